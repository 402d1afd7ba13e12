"""Histories as text, and the text that came next."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from recsys.core.ragged import Bool, Int64, Ragged
from recsys.data.catalog import Catalog
from recsys.data.interactions import Interactions

_SEEN = 50
"""Events of a history whose texts are no negatives of what came next."""
_HELD_OUT, _LEAST_LEFT = 200, 20
"""Users whose last pair is kept to compare by, and pairs for each of them that there must be beside."""


@dataclass(frozen=True, eq=False)
class Pairs:
    """Events of which the text, and that of some event before, is known.

    Attributes
    ----------
    texts : list of str
        Distinct ones.
    histories : Ragged (n_users)
        Numbers of texts in time order, without items that have none.
    targets : int64 (n,)
        Places in ``histories.rows`` of what came next, in an order drawn at random.
    held_out : int64 (m,)
        The same of users who are in no other pair.
    """

    texts: list[str]
    histories: Ragged
    targets: Int64
    held_out: Int64

    @classmethod
    def of(cls, log: Interactions, catalog: Catalog, seed: int) -> Pairs:
        """All pairs of a log, save those whose next text is that of the event before."""
        texts = catalog.aligned(log.items).texts
        distinct = texts.drop_nulls().unique(maintain_order=True)
        place = pl.Series(range(len(distinct)), dtype=pl.Int32)
        numbers = texts.replace_strict(distinct, place, default=-1, return_dtype=pl.Int32).to_numpy()
        read = numbers[log.histories.rows]
        histories = log.histories.without_events().remap(numbers).where(read >= 0)
        follows = np.ones(len(histories.rows), dtype=np.bool_)
        follows[histories.offsets[:-1][histories.lengths > 0]] = False
        follows[1:] &= histories.rows[1:] != histories.rows[:-1]
        users, draw = histories.list_index(), np.random.default_rng(seed)
        places = np.flatnonzero(follows)
        able = np.unique(users[places])
        kept = draw.permutation(able)[: min(_HELD_OUT, len(places) // _LEAST_LEFT)]
        apart = np.isin(users[places], kept)
        last = np.append(users[places][1:] != users[places][:-1], True)[: len(places)]
        return cls(distinct.to_list(), histories, draw.permutation(places[~apart]), places[apart & last])

    def history_texts(self, targets: Int64, events: int) -> list[str]:
        """The texts of the events before, the newest first, joined by ``". "``."""
        starts = self.histories.offsets[np.searchsorted(self.histories.offsets, targets, side="right") - 1]
        rows, begins = self.histories.rows, np.maximum(starts, targets - events)
        return [
            ". ".join(self.texts[number] for number in rows[begin:end][::-1])
            for begin, end in zip(begins, targets, strict=True)
        ]

    def next_texts(self, targets: Int64) -> list[str]:
        """The texts of the events themselves."""
        return [self.texts[number] for number in self.histories.rows[targets]]

    def alike(self, targets: Int64) -> Bool:
        """bool (n, n): the next texts that are no negatives of a pair: its own, and those of its history."""
        numbers = self.histories.rows[targets]
        starts = self.histories.offsets[np.searchsorted(self.histories.offsets, targets, side="right") - 1]
        spots = targets[:, None] - np.arange(1, _SEEN + 1)
        seen = np.where(spots >= starts[:, None], self.histories.rows[np.maximum(spots, 0)], -1)
        found: Bool = (seen[:, :, None] == numbers).any(axis=1) | (numbers[:, None] == numbers)
        return found
