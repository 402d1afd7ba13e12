"""Items that come, change and go, and the index that follows, while others ask."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl

from recsys.bundle.corpus import Corpus
from recsys.core.processes import check_process
from recsys.core.ragged import Ragged
from recsys.data.split import Holdout
from recsys.models.towers import numpy_of
from recsys.serving.request import known_rows
from recsys.serving.request_arguments import RawIds, item_frame

_TRIES = 3
"""How often an index is built while others may change what is on offer."""


class Living:
    """The part of a retriever that changes what is on offer: writers wait for each other, and swap the shelf as a whole."""

    shelf: Corpus
    options: dict[str, Any]
    histories: Ragged
    holdout: Holdout | None
    _changing: threading.Lock

    def add_items(self, frame: pl.DataFrame) -> None:
        """Put new items on offer: the item tower makes their vectors from what the frame tells of them.

        Whoever is asking meanwhile is answered from the state before. A bundle on disk stays as it is until :meth:`save`.

        Parameters
        ----------
        frame : DataFrame
            ``item_id`` and columns of the catalogue, the text columns among them.

        Raises
        ------
        DataError
            An item is there already, an id is null or repeated, or a column does not fit.
        UnsupportedError
            The model knows items by their ids alone, or reads images.
        """
        check_process()
        told = item_frame(frame)
        with self._changing:
            self.shelf = self.shelf.added(told, self.options)

    def update_items(self, frame: pl.DataFrame) -> None:
        """Tell other things of items that are there; as :meth:`add_items`."""
        check_process()
        told = item_frame(frame)
        with self._changing:
            self.shelf = self.shelf.updated(told, self.options)

    def remove_items(self, items: RawIds) -> None:
        """Take items off: nobody gets them any more. Histories still tell of them, and the user tower still reads them.

        Raises
        ------
        UnknownIdError, DataError
            An item is unknown, or was removed before.
        """
        check_process()
        with self._changing:
            shelf = self.shelf
            self.shelf = shelf.removed(known_rows(items, shelf.items, "items")[0])

    def compact(self) -> None:
        """Drop the rows of removed items that no history tells of, and build the index anew of the items that are there.

        A removed item that a history, or a user kept apart for evaluation, tells of stays known; the others become unknown.

        Raises
        ------
        DataError
            No item would be left.
        """
        check_process()
        with self._changing:
            held = self.holdout
            used = np.zeros(len(self.shelf.items), dtype=np.bool_)
            if held is not None:
                used[held.histories.rows] = used[held.targets.rows] = True
            shelf, place = self.shelf.compacted(used, self.options)
            if held is not None:
                lists = {name: getattr(held, name).remap(place) for name in ("histories", "targets")}
                self.holdout = replace(held, items=shelf.items, **lists)
            self.shelf = shelf
            if shelf.histories is not None:
                self.histories = shelf.histories

    def choose_index(self, **bounds: Any) -> None:
        """Build the index that answers fastest within bounds, measured on this retriever's own user vectors.

        Takes ``recall_target``, ``memory_budget`` and ``kinds``, and raises, as :func:`recsys.index.choose.choose`. Others
        may add and remove items meanwhile; where they did, it is chosen once more.
        """
        from recsys.index.choose import SAMPLE, choose  # noqa: PLC0415

        check_process()

        def chosen(shelf: Corpus) -> Corpus:
            histories = self.histories if shelf.histories is None else shelf.histories
            rows = np.flatnonzero(histories.lengths).astype(np.int32)
            if len(rows) > SAMPLE:
                rows = np.sort(np.random.default_rng(0).choice(rows, SAMPLE, replace=False))
            queries = numpy_of(shelf.towers.user_vectors(histories.take(rows), rows))
            return replace(shelf, index=choose(shelf.index, queries, **bounds))

        for _ in range(_TRIES):
            before = self.shelf
            after = chosen(before)
            with self._changing:
                if self.shelf is before:
                    self.shelf = after
                    return
        with self._changing:  # others change it again and again: let them wait this time
            self.shelf = chosen(self.shelf)
