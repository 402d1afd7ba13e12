"""Map raw ids to rows and back: callers see raw ids, all code inside works with rows."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.core.distinct import Distinct
from recsys.core.ragged import Int32
from recsys.core.schema import canonical_ids, exact_below, tight_ids
from recsys.errors import DataError, UnknownIdError

_UNKNOWN = -1
_MOST_ZEROS = 20
_FEW = 1000
"""Up to so many ids are looked up one by one."""
_MOST_CHUNKS = 64
_TAIL_SHARE = 0.25
"""A map that has grown by more than this share is looked up as a new one."""
_DICT = 100_000
"""Maps of more ids are not held in a dict, which takes ten times the memory."""


class IdSource(Protocol):
    """Ids that lie elsewhere, in the order of their rows, and can find a few of them without reading all.

    Attributes
    ----------
    dtype : Int64 or String
    """

    @property
    def dtype(self) -> pl.DataType: ...

    def __len__(self) -> int: ...

    def read(self) -> pl.Series:
        """All ids."""
        ...

    def at(self, rows: Int32) -> pl.Series:
        """The ids of some rows."""
        ...

    def find(self, wanted: pl.Series) -> Int32:
        """The rows of ids of this type; −1 for null and unknown ones."""
        ...


@dataclass(frozen=True, eq=False)
class _Tail:
    """Ids that were appended to a map; longer maps of the same origin share the look-up.

    Attributes
    ----------
    base : IdMap
        The map that was first extended.
    row_of : dict
        The row of each id after those of ``base``; rows beyond the end of a map belong to longer ones.
    """

    base: IdMap
    row_of: dict[Any, int] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def rows(self, wanted: pl.Series, length: int) -> Int32:
        """The rows of ids in a map of this length; −1 for those it lacks."""
        found = self.base.find_rows(wanted)
        for place in np.flatnonzero(found == _UNKNOWN):
            row = self.row_of.get(wanted[int(place)], length)
            if row < length:
                found[place] = row
        return found

    def extended(self, ids: pl.Series, length: int) -> _Tail:
        """With more ids behind those of a map of this length; a copy if another map has taken these rows."""
        new = dict(zip(ids.to_list(), range(length, length + len(ids)), strict=True))
        with self.lock:
            if len(self.base) + len(self.row_of) == length:
                self.row_of.update(new)
                return self
            mine = {raw: row for raw, row in self.row_of.items() if row < length}
        return _Tail(self.base, mine | new)


class IdMap:
    """An ordered set of raw ids; an id's position is its row.

    Parameters
    ----------
    ids : Series
        Distinct raw ids without nulls; kept as Int64 or String.
    kind : str
        What the ids name, for messages: ``"user"`` or ``"item"``.
    checked : bool
        The ids are known to be canonical and distinct, so that they need no second check.

    Raises
    ------
    DataError
        An id is null or occurs twice.
    """

    def __init__(self, ids: pl.Series, kind: str, *, checked: bool = False) -> None:
        self.kind = kind
        self._tail: _Tail | None = None
        self._source: IdSource | None = None
        self._called: Callable[[pl.Series], pl.Series] | None = None
        if checked:
            self._ids: pl.Series | None = ids.alias(f"{kind}_id")
            return
        if ids.null_count():
            raise DataError(f"{ids.null_count()} {kind} ids are null")
        canonical = tight_ids(ids).alias(f"{kind}_id")
        if canonical.n_unique() != len(canonical):
            twice = canonical.filter(canonical.is_duplicated())[0]
            raise DataError(f"the {kind} id {twice!r} occurs more than once; {kind} ids must be distinct")
        self._ids = canonical

    @classmethod
    def stored(cls, source: IdSource, kind: str) -> IdMap:
        """A map of ids that are read when they are first needed; distinct and canonical ones."""
        made = cls(pl.Series([], dtype=source.dtype), kind, checked=True)
        made._ids, made._source = None, source
        return made

    @property
    def ids(self) -> pl.Series:
        """All raw ids, in the order of their rows."""
        if self._ids is None:
            assert self._source is not None  # noqa: S101 - one of the two is always there
            self._ids = self._source.read().alias(f"{self.kind}_id")
        return self._ids

    @property
    def dtype(self) -> pl.DataType:
        """Int64 or String."""
        return self.ids.dtype if self._source is None else self._source.dtype

    def __len__(self) -> int:
        return len(self.ids) if self._source is None else len(self._source)

    def __repr__(self) -> str:
        return f"IdMap({len(self)} {self.kind}s, {self.dtype})"

    def asked_by(self, called: Callable[[pl.Series], pl.Series]) -> IdMap:
        """The same ids, which callers call otherwise: ``called`` turns what is looked up into ids of this map.

        Parameters
        ----------
        called : callable
            From a Series of String to one of the same length, without nulls where there are none.
        """
        made = IdMap(self.ids, self.kind, checked=True)
        made._called = called
        return made

    @property
    def called_otherwise(self) -> bool:
        """Whether callers call these ids by other names."""
        return self._called is not None

    def same(self, other: IdMap) -> bool:
        """Tell whether both maps hold the same ids in the same order."""
        if self is other:
            return True
        return self.dtype == other.dtype and len(self) == len(other) and self.ids.equals(other.ids)

    def __getstate__(self) -> dict[str, Any]:
        """Leave out the look-up tables, which are made again."""
        return {"_ids": self.ids, "kind": self.kind, "_tail": None, "_source": None, "_called": None}

    @cached_property
    def _row_of(self) -> dict[Any, int]:
        return {raw: row for row, raw in enumerate(self.ids.to_list())}

    def cast(self, raw: Iterable[Hashable] | pl.Series) -> pl.Series:
        """Convert raw ids to the dtype of this map; an id that is written otherwise (``"042"``, ``42.5``) becomes null.

        A whole float is that integer, and in a map of integers so is its text (``42.0``, ``"42.0"``), as pandas writes it.
        """
        cast = self._cast(raw)
        return cast if self._called is None else self._called(cast)

    def _cast(self, raw: Iterable[Hashable] | pl.Series) -> pl.Series:
        if isinstance(raw, pl.Series):
            series = raw
        else:
            values = list(raw)
            if self.dtype == pl.Int64 and all(_is_whole(v) for v in values):
                return pl.Series(values, dtype=pl.Int64, strict=False)
            series = pl.Series([None if v is None else _written(v) for v in values], dtype=pl.String)
        if series.dtype.is_float():
            exact = series.cast(pl.Int64, strict=False)
            exact = exact.set((exact.cast(series.dtype) != series) | (exact.abs() >= exact_below(series.dtype)), None)
            if self.dtype == pl.Int64:
                return exact
            return pl.select(pl.coalesce(exact.cast(pl.String), series.cast(pl.String))).to_series().alias(series.name)
        if self.dtype == pl.String or series.dtype.is_integer():
            return series.cast(self.dtype, strict=False)
        text = series.cast(pl.String).str.replace(r"^(-?[0-9]+)\.0$", "$1")
        number = text.cast(pl.Int64, strict=False)
        return number.set(number.cast(pl.String) != text, None)

    def find_rows(self, raw: Iterable[Hashable] | pl.Series) -> Int32:
        """Look up the rows of raw ids; −1 for an unknown id, which the caller must handle.

        Returns
        -------
        int32 (n,)
        """
        wanted = self.cast(raw)
        if self._source is not None and (self._ids is None or len(wanted) < _FEW) and len(wanted) < len(self):
            return self._source.find(wanted)
        if len(wanted) < _FEW:
            if self._tail is not None:
                return self._tail.rows(wanted, len(self))
            if len(self) <= _DICT:
                return np.array([self._row_of.get(one, _UNKNOWN) for one in wanted.to_list()], dtype=np.int32)
            found = self._by_hash(wanted)
            if found is not None:
                return found
        return self._joined(wanted)

    @cached_property
    def _hashes(self) -> tuple[NDArray[np.uint64], Int32]:
        """Hashes of the ids, ascending, and their rows: 12 bytes an id, where a dict takes some 115."""
        hashes = self.ids.hash().to_numpy()
        order = np.argsort(hashes, kind="stable").astype(np.int32)
        return hashes[order], order

    def _by_hash(self, wanted: pl.Series) -> Int32 | None:
        """Look up a few ids by their hashes; None if two ids share one."""
        hashes, order = self._hashes
        asked = wanted.hash().to_numpy()
        place = np.minimum(np.searchsorted(hashes, asked), len(hashes) - 1)
        alike = hashes[place] == asked
        same = (self.ids.gather(pl.Series(order[place], dtype=pl.UInt32)) == wanted).fill_null(value=False).to_numpy()
        if (alike & ~same & wanted.is_not_null().to_numpy()).any():
            return None
        return np.where(alike & same, order[place], _UNKNOWN).astype(np.int32)

    def _joined(self, wanted: pl.Series) -> Int32:
        table = pl.DataFrame({"id": self.ids, "row": np.arange(len(self), dtype=np.int32)})
        joined = wanted.alias("id").to_frame().join(table, on="id", how="left", maintain_order="left")
        return joined["row"].fill_null(_UNKNOWN).to_numpy().astype(np.int32)

    def to_rows(self, raw: Iterable[Hashable] | pl.Series) -> Int32:
        """Look up the rows of raw ids, all of which must be known.

        Returns
        -------
        int32 (n,)

        Raises
        ------
        UnknownIdError
            The map lacks an id; the message names the first few.
        """
        asked = raw if isinstance(raw, pl.Series) else list(raw)
        found = self.find_rows(asked)
        missing = np.flatnonzero(found == _UNKNOWN)
        if len(missing):
            names = ", ".join(repr(asked[int(i)]) for i in missing[:5])
            more = f" and {len(missing) - 5} more" if len(missing) > 5 else ""
            known = ", ".join(map(repr, self.to_ids(np.arange(min(3, len(self)), dtype=np.int32)).to_list()))
            raise UnknownIdError(
                f"unknown {self.kind} {names}{more}: not among the {len(self)} known {self.kind}s (such as {known})"
                f"{self.meant_by(asked[int(missing[0])])}"
            )
        return found

    def meant_by(self, asked: Hashable) -> str:
        """The end of an error about an unknown id: asks whether one is meant that differs in zeros in front only.

        Examples
        --------
        >>> IdMap(pl.Series(["000017", "b"]), "user").meant_by(17)
        "; did you mean '000017'?"
        """
        bare = str(asked).strip().lstrip("0")
        if self.dtype != pl.String or not bare.isdigit():
            return ""
        written = ["0" * zeros + bare for zeros in range(_MOST_ZEROS)]  # a stored map reads no other ids for these
        alike = [one for one, row in zip(written, self.find_rows(written), strict=True) if row != _UNKNOWN]
        return f"; did you mean {alike[0]!r}?" if len(alike) == 1 else ""

    def to_ids(self, rows: Int32) -> pl.Series:
        """Look up the raw ids of rows."""
        if self._ids is None and self._source is not None and len(rows) < _FEW:
            return self._source.at(np.asarray(rows, dtype=np.int32)).alias(f"{self.kind}_id")
        return self.ids[pl.Series(rows, dtype=pl.UInt32)]

    def extended(self, ids: pl.Series) -> IdMap:
        """Append those of the raw ``ids`` that this map lacks; existing rows stay as they are."""
        if len(self) and ids.dtype == self.dtype and len(ids) < _FEW:
            fresh = ids.filter(pl.Series(self.find_rows(ids) == _UNKNOWN))
            if fresh.null_count() == 0 and fresh.n_unique() == len(fresh):
                return self._appended(fresh) if len(fresh) else self
        if ids.dtype != self.ids.dtype:
            mine, theirs = self.ids.cast(pl.String), ids.cast(pl.String)
        else:
            mine, theirs = self.ids, ids
        fresh = theirs.filter(~theirs.is_in(mine.implode()))
        if len(fresh) == 0:
            return self
        return IdMap(pl.concat([mine, fresh.alias(mine.name)]), self.kind)

    def _appended(self, fresh: pl.Series) -> IdMap:
        """A longer map, of ids of the same type that this one lacks, whose look-up is shared with this one's."""
        ids = pl.concat([self.ids, fresh.alias(self.ids.name)], rechunk=False)
        longer = IdMap(ids.rechunk() if ids.n_chunks() > _MOST_CHUNKS else ids, self.kind, checked=True)
        tail = self._tail or _Tail(self)
        if len(longer) <= len(tail.base) + max(_FEW, _TAIL_SHARE * len(tail.base)):
            longer._tail = tail.extended(fresh, len(self))
        return longer


def _written(raw: Hashable) -> str:
    """Write a raw id as a column of its type would."""
    if isinstance(raw, bool | np.bool_):
        return str(raw).lower()
    if isinstance(raw, float | np.floating) and abs(float(raw)) < 2**53 and float(raw).is_integer():
        return str(int(raw))
    return str(raw)


def _is_whole(raw: Hashable) -> bool:
    return raw is None or (isinstance(raw, int | np.integer) and not isinstance(raw, bool))


def encode(raw: pl.Series | Distinct, kind: str) -> tuple[IdMap, Int32]:
    """Map a column of raw ids to rows, numbered in order of first appearance.

    Parameters
    ----------
    raw : Series or Distinct
        Raw ids without nulls, or what is distinct among them if that is known already.
    kind : str
        ``"user"`` or ``"item"``.

    Returns
    -------
    IdMap
        The distinct ids.
    int32 (len(raw),)
        The row of each element.
    """
    distinct = Distinct.of(raw) if isinstance(raw, pl.Series) else raw
    ids, rows = canonical_ids(distinct.values), distinct.codes
    if ids.dtype == pl.Int64 and distinct.values.dtype == pl.String:
        merged = Distinct.of(ids)  # "42" and "42.0" are one number
        ids, rows = merged.values, merged.codes[rows]
    return IdMap(ids, kind, checked=True), rows
