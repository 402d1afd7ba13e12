"""Items that come, change and go, and the index that follows, while others ask."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl

from recsys.data.row_lists import RowLists
from recsys.models.towers import numpy_of
from recsys.serving.asked import RawIds, listed
from recsys.serving.shelf import Shelf


class Living:
    """The part of a retriever that changes what is on offer: writers wait for each other, and swap the shelf as a whole."""

    shelf: Shelf
    options: dict[str, Any]
    histories: RowLists
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
        with self._changing:
            self.shelf = self.shelf.added(frame, self.options)

    def update_items(self, frame: pl.DataFrame) -> None:
        """Tell other things of items that are there; as :meth:`add_items`."""
        with self._changing:
            self.shelf = self.shelf.updated(frame, self.options)

    def remove_items(self, items: RawIds) -> None:
        """Take items off: nobody gets them any more. Histories still tell of them, and the user tower still reads them.

        Raises
        ------
        UnknownIdError, DataError
            An item is unknown, or was removed before.
        """
        with self._changing:
            self.shelf = self.shelf.removed(self.shelf.items.rows(listed(items)))

    def compact(self) -> None:
        """Build the index anew, of the items that are there and of nothing else."""
        with self._changing:
            self.shelf = self.shelf.compacted()

    def choose_index(self, **bounds: Any) -> None:
        """Build the index that answers fastest within bounds, measured on this retriever's own user vectors.

        Takes ``recall_target``, ``memory_budget`` and ``kinds``, and raises, as :func:`recsys.index.choose.choose`.
        """
        from recsys.index.choose import SAMPLE, choose  # noqa: PLC0415

        with self._changing:
            shelf = self.shelf
            rows = np.flatnonzero(self.histories.lengths).astype(np.int32)
            if len(rows) > SAMPLE:
                rows = np.sort(np.random.default_rng(0).choice(rows, SAMPLE, replace=False))
            queries = numpy_of(shelf.towers.user_vectors(self.histories.take(rows), rows))
            self.shelf = replace(shelf, index=choose(shelf.index, queries, **bounds))
