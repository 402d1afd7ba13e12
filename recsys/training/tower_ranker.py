"""Towers in training as a ranker that can be evaluated."""

from __future__ import annotations

from dataclasses import dataclass

from recsys.core.id_map import IdMap
from recsys.core.ragged import Bool, Int32, Int64, Ragged
from recsys.core.ranking import Ranked
from recsys.evaluation.protocol import Traits
from recsys.models.towers import TwoTowerModel
from recsys.transitions.memory import TransitionMemory


@dataclass(frozen=True, eq=False)
class TowerRanker:
    """Ranks by towers whose log was checked against the validation set before training began.

    Attributes
    ----------
    towers : TwoTowerModel
    memory : TransitionMemory or None
        What adds to their scores.
    """

    towers: TwoTowerModel
    memory: TransitionMemory | None = None

    @property
    def name(self) -> str:
        return self.towers.name

    @property
    def users(self) -> IdMap:
        return self.towers.users

    @property
    def items(self) -> IdMap:
        return self.towers.items

    @property
    def traits(self) -> Traits:
        return Traits(
            vectors=self.towers.vectors,
            reads_request_time=self.towers.reads_request_time,
            event_names=self.towers.event_names,
        )

    def recommend_rows(
        self,
        histories: Ragged,
        k: int,
        *,
        exclude: Ragged | None = None,
        users: Int32 | None = None,
        eligible: Bool | None = None,
        request_times: Int64 | None = None,
    ) -> Ranked:
        """Rank all items for each history; see :class:`recsys.evaluation.protocol.Ranker`."""
        return self.towers.recommend_rows(
            histories,
            k,
            exclude=exclude,
            users=users,
            eligible=eligible,
            request_times=request_times,
            added=None if self.memory is None else self.memory.scores(histories),
        )
