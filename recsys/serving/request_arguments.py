"""What a caller may pass to a retriever: ids, lists of ids, texts, frames; anything else is an error."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence, Set
from pathlib import PurePath
from typing import Any, Literal, TypeAlias

import numpy as np
import polars as pl

from recsys.core.arguments import choice, described, listed
from recsys.core.id_map import IdMap
from recsys.core.ragged import Int32
from recsys.data.formats.frames import frame_of
from recsys.errors import ConfigError, DataError, UnknownIdError

RawId: TypeAlias = str | int
RawIds: TypeAlias = RawId | Sequence[RawId] | pl.Series
Unknown: TypeAlias = Literal["error", "skip"]
Similarity: TypeAlias = Literal["vectors", "transitions"]
"""What makes items similar: near vectors, or that one came next after the other."""

_SKIP = "to leave out unknown ids, set unknown='skip' (--unknown skip)"
_NO_ID = (bool, np.bool_, type(None), bytes, list, tuple, Mapping, Set, np.ndarray, pl.Series, pl.DataFrame, PurePath)


def id_list(ids: object, name: str, of: str) -> pl.Series | list[Hashable]:
    """One id or many, as many.

    Parameters
    ----------
    ids : id, list, tuple, set, one-dimensional array, Series or generator
    name, of : str
        Of the argument, and what its elements are, for messages.

    Raises
    ------
    ConfigError
        It is something else, or an element is no id.
    """
    if isinstance(ids, pl.Series):
        if ids.dtype.is_nested() or ids.dtype in (pl.Boolean, pl.Binary, pl.Object):
            raise ConfigError(f"{name} must hold {of}, not a column of {ids.dtype}")
        if ids.null_count():
            raise DataError(f"{name}: {ids.null_count():,} of {len(ids):,} {of} are null")
        return ids
    if isinstance(ids, str | int | float | np.generic) and not isinstance(ids, bool | np.bool_):
        return [ids]
    if isinstance(ids, Set):
        ids = list(ids)
    if isinstance(ids, pl.DataFrame | pl.LazyFrame) or getattr(ids, "ndim", 1) == 2:
        raise ConfigError(f"{name} must be {of}, not {described(ids)}; pass one of its columns")
    if not isinstance(ids, Iterable):
        raise ConfigError(f"{name} must be one of the {of} or a list of them, not {described(ids)}")
    values = listed(ids, name, of)
    _check_ids(values, name, of)
    return values


def single(one: object, name: str) -> list[RawId]:
    """One id, as a list of it.

    Raises
    ------
    ConfigError
        It is a list, or no id.
    """
    if not isinstance(one, str | int | float | np.generic) or isinstance(one, bool | np.bool_):
        raise ConfigError(f"{name} must be one {name} id, not {described(one)}")
    return [one]  # type: ignore[list-item]


def _check_ids(values: list[Any], name: str, of: str) -> None:
    for kind in set(map(type, values)):
        if issubclass(kind, _NO_ID):
            at = next(i for i, one in enumerate(values) if type(one) is kind)
            raise ConfigError(f"{name} must hold {of}; number {at + 1} is {described(values[at])}")


def id_lists(histories: object, name: str) -> tuple[np.ndarray[Any, np.dtype[np.int64]], list[Hashable]]:
    """The length of each history, int64 (n,), and all their item ids one after the other.

    Raises
    ------
    ConfigError
        This is not a list of lists of ids, or it is empty.
    """
    if isinstance(histories, np.ndarray) and histories.ndim == 2:
        histories = list(histories)
    outer = listed(histories, name, "lists of item ids, one for each person")
    if not outer:
        raise ConfigError(f"there is nobody to ask for: {name} is empty")
    for one in outer:
        if isinstance(one, str | int):
            raise ConfigError(f"{name} is a list of lists of item ids, one list per person; it holds {described(one)}")
    lists = [listed(one, f"{name}[{i}]", "item ids") for i, one in enumerate(outer)]
    flat = [one for inner in lists for one in inner]
    _check_ids(flat, name, "item ids")
    return np.array([len(one) for one in lists], dtype=np.int64), flat


def check_unknown(unknown: object) -> bool:
    """Whether unknown ids are passed over.

    Raises
    ------
    ConfigError
        It is neither ``"error"`` nor ``"skip"``.
    """
    choice(unknown, "unknown", ("error", "skip"))
    return unknown == "skip"


def found_rows(ids: pl.Series | list[Hashable], known: IdMap, name: str, remedy: str = _SKIP) -> Int32:
    """int32 (n,): rows of ids, all of which must be known; ``remedy`` ends the error about unknown ones.

    Raises
    ------
    UnknownIdError
        Some are not; the message counts them and names the argument.
    """
    rows = known.find_rows(ids)
    missing = np.flatnonzero(rows < 0)
    if len(missing):
        names = ", ".join(repr(ids[int(i)]) for i in missing[:5]) + (", ..." if len(missing) > 5 else "")
        such = ", ".join(repr(one) for one in known.ids[:3].to_list())
        count = "" if len(ids) == 1 else f"{len(missing):,} of {len(ids):,} ids in {name} are "
        if apart := _in_one_word(ids[int(missing[0])], known):
            remedy = f"write several ids apart: {apart}"
        raise UnknownIdError(
            f"unknown {known.kind} {names}: {count}not among the {len(known):,} {known.kind}s (such as {such})"
            f"{known.meant_by(ids[int(missing[0])])}; {remedy}"
        )
    return rows


def _in_one_word(one: object, known: IdMap) -> str | None:
    """Known ids that were written as one word with commas, apart; None if this is no such word."""
    parts = [part.strip() for part in one.split(",")] if isinstance(one, str) else []
    return " ".join(parts) if len(parts) > 1 and bool((known.find_rows(parts) >= 0).all()) else None


def known_rows(ids: RawIds, known: IdMap, name: str, unknown: Unknown = "error", remedy: str = _SKIP) -> tuple[Int32, int]:
    """Rows of ids in the order given, and how many ids were passed over because they are unknown.

    Raises
    ------
    ConfigError
        This is no id and no list of ids.
    UnknownIdError
        An id is unknown, and ``unknown`` is ``"error"``.
    """
    given = id_list(ids, name, f"{known.kind} ids")
    if not check_unknown(unknown):
        return found_rows(given, known, name, remedy), 0
    rows = known.find_rows(given)
    kept = rows[rows >= 0]
    return kept, len(rows) - len(kept)


def search_texts(texts: object) -> list[str]:
    """One text or many, as many.

    Raises
    ------
    ConfigError
        This is no text and no list of texts.
    DataError
        A text is blank.
    """
    found = [texts] if isinstance(texts, str) else listed(texts, "texts", "texts")
    if not found:
        raise ConfigError("there is nothing to search for: texts is empty")
    for place, one in enumerate(found, 1):
        if not isinstance(one, str):
            raise ConfigError(f"texts must hold texts; it holds {described(one)}")
        if not one.strip():
            raise DataError("a search text is blank" + (f", number {place} of {len(found)}" if len(found) > 1 else ""))
    return found


def item_frame(frame: object) -> pl.DataFrame:
    """A frame of any kind as polars holds it, with rows.

    Raises
    ------
    ConfigError
        It is something else.
    DataError
        It has no rows, or cannot be read.
    """
    items = frame_of(frame, "the frame of items")
    if items.height == 0:
        raise DataError("the frame of items has no rows")
    return items
