"""Merge the ids of many tables, of which only the distinct ones are held."""

from __future__ import annotations

import numpy as np
import polars as pl

from recsys.core.distinct import Counter, Distinct
from recsys.core.id_map import encode
from recsys.core.ragged import Int32
from recsys.core.vocabulary import Vocabulary
from recsys.data.parse import check_distinct, id_column


class IdColumn:
    """The ids of one table, which come in pieces.

    Parameters
    ----------
    where : str
        Table and column, for messages.
    words : bool or None
        As for :func:`recsys.data.parse.check_ids`.
    """

    def __init__(self, where: str, words: bool | None) -> None:
        self._where, self._words = where, words
        self._counter: Counter | None = None

    def add(self, piece: pl.Series) -> Int32:
        """int32 (n,): a number of each row's id within this table.

        Raises
        ------
        DataError
            The column is of a type that holds no ids.
        """
        ids = id_column(piece, self._where)
        if self._counter is None:
            self._counter = Counter(ids.dtype)
        return self._counter.add(ids)

    def checked(self) -> pl.Series:
        """The distinct ids of the whole table, by their numbers.

        Raises
        ------
        DataError
            A row holds no id; see :func:`recsys.data.parse.check_ids`.
        """
        assert self._counter is not None  # noqa: S101 - a table has rows
        check_distinct(self._counter, self._where, words=self._words)
        return self._counter.values


class MergedIds:
    """The ids of all tables so far, in order of first appearance: Int64, or String if those of any table are."""

    def __init__(self, kind: str) -> None:
        self._kind = kind
        self._known: Vocabulary | None = None

    @property
    def ids(self) -> pl.Series:
        """Series (n_distinct,): in order of first appearance."""
        assert self._known is not None  # noqa: S101 - a log has rows
        return self._known.values

    def add(self, values: pl.Series) -> Int32:
        """int32 (n,): the row of each of the distinct ids of a table, which are converted as ids of a log are."""
        numbered = np.arange(len(values), dtype=np.int32)
        one, places = encode(Distinct(values, numbered, numbered), self._kind)
        ids = one.ids
        if self._known is None:
            self._known = Vocabulary(ids.dtype)
        if ids.dtype != self._known.values.dtype:
            ids = ids.cast(pl.String)
            if self._known.values.dtype != pl.String:
                before, self._known = self._known.values, Vocabulary(pl.String())
                self._known.add(before.cast(pl.String))
        return self._known.add(ids)[places]
