"""Batches of an update: all new events, and old ones that are drawn anew in each pass."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray

from recsys.core.ragged import Bool, Int64, Ragged, ragged_positions
from recsys.training.windows import Batch, WindowBatches

_SOONER = 10.0
"""How much more often a window is drawn that is read for its new events anyway: its old ones cost next to nothing more."""


@dataclass(eq=False, kw_only=True)
class UpdateBatches(WindowBatches):
    """Windows of histories in which some events are targets: each new one once a pass, and some of the old ones.

    Windows are cut as in the first training, so that a new event is predicted from contexts of every length. Old windows
    are drawn without replacement, with a chance that halves with each ``recency`` of the log that they lie further back,
    until they hold ``replay`` old targets for each new one; those that hold new targets too, and are read in any case, are
    drawn first more often than not.

    Parameters
    ----------
    new : bool (len(log),)
        Which events the model was not trained on, in history order.
    replay : float
    recency : float
        In (0, 1].
    """

    new: Bool
    replay: float = 1.0
    recency: float = 0.25
    _latest: tuple[int, Bool] | None = field(default=None, init=False, repr=False)

    @property
    def reshuffled(self) -> bool:
        """No: targets are told by their places."""
        return False

    @cached_property
    def _halvings(self) -> NDArray[np.float64]:
        """float64 (len(log),): how many halvings old each event is."""
        return ages(self.log.histories, ordered=self.log.ordered) / self.recency

    @cached_property
    def _before(self) -> Int64:
        """int64 (len(log) + 1,): how many new events come before each place."""
        return np.concatenate([[0], np.cumsum(self.new)])

    def _cut(self, generator: np.random.Generator) -> tuple[tuple[Int64, Int64, Int64], Bool]:
        """The windows that hold a target, and in which of them the old events are targets."""
        owners, starts, sizes = super().windows(generator)
        first = self.log.histories.offsets[owners] + starts + 1  # of the targets, in the log
        new = self._before[first + sizes] - self._before[first]
        old = sizes - new
        keys = generator.exponential(size=len(sizes)) * np.exp2(self._halvings[first + sizes - 1])
        keys[new > 0] /= _SOONER
        order = np.argsort(keys, kind="stable")  # drawing by weight without replacement (Efraimidis and Spirakis, 2006)
        held = np.cumsum(old[order])
        drawn = np.zeros(len(sizes), dtype=np.bool_)
        drawn[order[held - old[order] < self.replay * float(new.sum())]] = True
        drawn &= old > 0
        kept = (new > 0) | drawn
        return (owners[kept], starts[kept], sizes[kept]), drawn[kept]

    def windows(self, generator: np.random.Generator) -> tuple[Int64, Int64, Int64]:
        """History, first event and number of inputs of each window of an epoch that holds a target."""
        return self._cut(generator)[0]

    def wanted(self, epoch: int) -> Bool:
        """bool (len(log),): the events that are targets in an epoch."""
        if self._latest is None or self._latest[0] != epoch:
            (owners, starts, sizes), drawn = self._cut(np.random.default_rng((self.seed, epoch)))
            first = self.log.histories.offsets[owners] + starts + 1
            wanted = self.new.copy()
            wanted[ragged_positions(first[drawn], sizes[drawn])] = True
            self._latest = epoch, wanted
        return self._latest[1]

    def batch(self, owners: Int64, starts: Int64, sizes: Int64, key: tuple[int, int, int]) -> tuple[Batch, Int64]:
        """A batch without the positions that predict no target, and the places in the log of its targets."""
        made, predicted = super().batch(owners, starts, sizes, key)
        kept = self.wanted(key[1])[predicted]
        predicted, where = predicted[kept], torch.from_numpy(kept)
        targets = made.targets[where]
        weights = None if made.weights is None else made.weights[where]
        replayed = torch.from_numpy(~self.new[predicted])
        return replace(
            made, targets=targets, positions=made.positions[where], all_targets=targets, weights=weights,
            all_weights=weights, replayed=replayed,
        ), predicted  # fmt: skip


def ages(histories: Ragged, *, ordered: bool) -> NDArray[np.float64]:
    """How long ago each event was, as a share of the log: 0 for the newest.

    Parameters
    ----------
    histories : Ragged (n)
        By their times where they have them; otherwise each history spans the whole log.
    ordered : bool
        False: all events are of age 0.

    Returns
    -------
    float64 (len(histories.rows),)
        In [0, 1].

    Examples
    --------
    >>> ages(Ragged.from_lists([[5, 6], [7]]), ordered=True)
    array([0.5, 0. , 0. ])
    """
    if not ordered:
        return np.zeros(len(histories.rows))
    if histories.times is None:
        lengths = np.repeat(histories.lengths, histories.lengths)
        behind = np.repeat(histories.offsets[1:], histories.lengths) - 1 - np.arange(len(histories.rows))
        return behind / lengths
    newer = len(histories.rows) - np.searchsorted(np.sort(histories.times), histories.times, side="right")
    return newer / max(1, len(histories.rows))
