"""The events of a log that are left while it is cleaned; its arrays stay where they are, in memory or on disk."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from recsys.core.ragged import Bool, Float32, Int8, Int32, Int64
from recsys.data.clean.waterfall import Step
from recsys.data.interactions import Interactions

_Kind = TypeVar("_Kind", bound=np.generic)


@dataclass
class Selection:
    """Which events are left, and what rules have made of their columns.

    Attributes
    ----------
    log : Interactions
    source : str
        What messages call the rules.
    keep : bool (n,) or None
        The events that are left, in the order of the log; None: all.
    owners : int32 (n,)
        The user of each event, or its session.
    n_owners : int
        Above every owner.
    weights : float32 (n,) or None
    events : int8 (n,) or None
    event_names : tuple of str
    session_users : int32 (n_owners,) or None
        The user of each session, if sessions have become users.
    steps : list of Step
    """

    log: Interactions
    source: str
    keep: Bool | None
    owners: Int32
    n_owners: int
    weights: Float32 | None
    events: Int8 | None
    event_names: tuple[str, ...]
    session_users: Int32 | None = None
    steps: list[Step] = field(default_factory=list)

    @classmethod
    def of(cls, log: Interactions, source: str) -> Selection:
        """All events of a log."""
        owners = np.repeat(np.arange(len(log.users), dtype=np.int32), log.histories.lengths)
        return cls(log, source, None, owners, len(log.users), log.weights, log.events, log.event_names)

    def left(self, column: NDArray[_Kind]) -> NDArray[_Kind]:
        """The values of a column, one per event of the log, for the events that are left; a copy only if needed."""
        return column if self.keep is None else column[self.keep]

    def times(self) -> Int64:
        """int64 (m,): the times of the events that are left."""
        times = self.log.timestamps
        assert times is not None  # noqa: S101 - each rule that needs times has refused a log without
        return self.left(times)

    def whole(self, values: NDArray[Any], empty: NDArray[_Kind]) -> NDArray[_Kind]:
        """Put values of the events that are left into a column of the whole log."""
        empty[slice(None) if self.keep is None else self.keep] = values
        return empty

    def counts(self) -> tuple[int, int, int]:
        """Events, users and items that are left."""
        owners, rows = self.left(self.owners), self.left(self.log.histories.rows)
        users = np.count_nonzero(np.bincount(owners, minlength=1))
        return len(owners), int(users), int(np.count_nonzero(np.bincount(rows, minlength=1)))

    def narrow(self, kept: Bool) -> None:
        """Keep those of the events that are left for which this is true, bool (m,)."""
        if kept.all():
            return
        if self.keep is None:
            self.keep = kept
        else:
            self.keep[self.keep] = kept
