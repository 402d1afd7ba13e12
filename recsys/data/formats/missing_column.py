"""Say which columns a table has instead of a missing one, and what the cause may be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from recsys.core.schema import ITEM, USER
from recsys.errors import DataError

_MARKS = ",;\t|"
_NAMED = {
    USER: f"; name the column of users, user= (--user{{}}), or rename it {USER}",
    ITEM: f"; name the column of items, item= (--item, of a catalogue --catalog-item{{}}), or rename it {ITEM}",
}
_OF_LISTS = {USER: ", of lists --list-user", ITEM: ", of lists --list-item"}


def refuse_missing(
    name: Path | str, wanted: Mapping[str, str], columns: Sequence[str], *, lines: bool, of_lists: bool = False
) -> None:
    """Refuse a table that lacks a wanted column.

    Parameters
    ----------
    name : Path or str
        The file, or what messages call a frame.
    wanted : mapping
        Our name of a column → the one that was asked for.
    columns : sequence of str
        Those that it has.
    lines : bool
        Whether the first line of the file names them.
    of_lists : bool
        Whether the table holds lists of recommendations, whose columns have flags of their own.

    Raises
    ------
    DataError
        The message says which columns there are, and what the cause may be.
    """
    for ours, theirs in wanted.items():
        if theirs not in columns:
            raise DataError(missing_column(name, ours, theirs, columns, lines=lines, of_lists=of_lists))


def missing_column(
    file: Path | str, ours: str, theirs: str, columns: Sequence[str], *, lines: bool, of_lists: bool = False
) -> str:
    """The message about a column that a file lacks.

    Parameters
    ----------
    file : Path or str
        The file, or what messages call a frame.
    ours, theirs : str
        Our name of the column, and the one that was asked for.
    columns : sequence of str
        Those that it has.
    lines, of_lists : bool
        As for :func:`refuse_missing`.
    """
    role = "" if ours == theirs else f" to read as {ours}"
    hint = _hint(ours, theirs, columns, lines, of_lists)
    return f"{file} has no column {theirs!r}{role}; its columns are {', '.join(columns)}{hint}"


def _hint(ours: str, theirs: str, columns: Sequence[str], lines: bool, of_lists: bool) -> str:
    """The end of the message: the likely cause and the remedy; empty if none is known."""
    parts = [part.strip() for part in theirs.split(",")]
    if lines and columns[0].lower().startswith("sep="):
        return f"; the first line, {columns[0]}, is for spreadsheets: remove it, so that the first line names the columns"
    if len(parts) > 1 and set(parts) <= set(columns):
        return f"; name the columns apart: {' '.join(parts)}"
    if lines and any(mark in name for name in columns for mark in _MARKS):
        return "; if another character separates the columns, name it, separator= (--separator)"
    if lines and f'"{theirs}"' in columns:
        return "; if its fields are quoted, set quote='\"' (--quote '\"')"
    if alike := [name for name in columns if _plain(name) == _plain(theirs)]:
        return f"; did you mean {alike[0]!r}?{_named(ours, of_lists).replace('; n', ' N')}"
    if not lines:
        return _named(ours, of_lists)
    if len(columns) == 1 and theirs in columns[0].split():
        return "; if blanks separate the columns, set separator='blank' (--separator blank)"
    if any(_is_number(name) for name in columns):
        return "; the first line must name the columns, and this one looks like data: write their names above it"
    if len(columns) == 1:
        return "; the first line must name the columns: is there another line above them?"
    return _named(ours, of_lists)


def _named(ours: str, of_lists: bool) -> str:
    """How to name a column of ids."""
    return _NAMED.get(ours, "").format(_OF_LISTS[ours] if of_lists and ours in _OF_LISTS else "")


def _plain(name: str) -> str:
    """A name without case, blanks, dashes and underscores."""
    return "".join(letter for letter in name.casefold() if letter not in " _-")


def _is_number(name: str) -> bool:
    try:
        float(name)
    except ValueError:
        return False
    return name.lower() not in ("nan", "inf", "infinity")
