"""The transition memory alone: what came next after the newest events of a history."""

from __future__ import annotations

import numpy as np

from recsys.baselines.scoring import DenseScorer
from recsys.core.arguments import instance_or_none
from recsys.core.ragged import Float32, Int32, Ragged
from recsys.data.interactions import Interactions
from recsys.data.split import leave_last_out, random_split
from recsys.errors import ConfigError, DataError
from recsys.transitions.learn import Form, TransitionKind, default_form, learn
from recsys.transitions.memory import TransitionMemory

_USERS = 2000
_FAINT = 1e-6
"""Popularity times this is added, so that items that no event leads to are ranked by it."""


class Transitions(DenseScorer):
    """The memory that two towers have beside them, alone; see :class:`recsys.transitions.memory.TransitionMemory`.

    Its form is chosen on one event of each user of the training log, held out for that; the table is then learned from the
    whole log.

    Parameters
    ----------
    kind : {"auto", "ridge", "counts"}
    form : Form, optional
        Of the table, where nothing is to be chosen.

    Raises
    ------
    ConfigError
        There is no such kind.

    Examples
    --------
    >>> model = recsys.Transitions().fit(split.train)
    >>> recsys.evaluate(model, split.test, k=10)["ndcg@10"]
    1.0
    """

    name = "transitions"

    def __init__(self, kind: TransitionKind = "auto", form: Form | None = None) -> None:
        super().__init__()
        if not isinstance(kind, str) or kind not in ("auto", "ridge", "counts"):
            raise ConfigError(f"kind must be auto, ridge or counts, not {kind!r}")
        self.kind, self.form = kind, instance_or_none(form, Form, "form")
        self.memory: TransitionMemory | None = None

    def _learn(self, train: Interactions) -> None:
        n, form = len(train.items), self.form
        if form is None:
            chosen = self._chosen(train)
            form = default_form(self.kind, ordered=train.ordered) if chosen is None else chosen.form
        self.memory = TransitionMemory(learn(train.histories.without_events(), n, form), form, weight=1.0)
        self._counts = np.log1p(train.item_counts).astype(np.float32) * np.float32(_FAINT)

    def _chosen(self, train: Interactions) -> TransitionMemory | None:
        """A memory whose form does best on one held-out event of each user; None where no event can be held out."""
        from recsys.index.item_index import ItemIndex  # noqa: PLC0415 - the command line reads names without torch
        from recsys.transitions.choose import choose  # noqa: PLC0415
        from recsys.transitions.weigh import Asked  # noqa: PLC0415

        try:
            split = leave_last_out(train) if train.ordered else random_split(train)
        except DataError:  # no history is long enough
            return None
        if split.test is None or split.validation is None:
            return None
        held = split.validation.sample(_USERS)
        faint = np.log1p(split.train.item_counts).astype(np.float32)[:, None] * np.float32(_FAINT)
        asked = Asked(held.histories, held.targets, np.ones((len(held), 1), np.float32), ItemIndex.build(faint), True)
        found = choose(
            split.train.histories.without_events(),
            len(train.items),
            asked,
            kind=self.kind,
            ordered=train.ordered,
            weight=1.0,
        )
        return found.memory

    def _scores(self, histories: Ragged, users: Int32 | None) -> Float32:
        assert self.memory is not None  # noqa: S101 - fitted before
        scores = np.tile(self._counts, (len(histories), 1))
        added = self.memory.scores(histories)
        scores[added.lists.list_index(), added.lists.rows] += added.scores
        return scores
