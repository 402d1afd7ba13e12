"""Open a table in any format, and read the wanted columns of all its rows."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import get_args

import polars as pl

from recsys.core.processes import begin_threads
from recsys.core.schema import ITEM, USER
from recsys.data.formats.arrow_ipc import open_arrow_file
from recsys.data.formats.delimited import Delimited
from recsys.data.formats.dialect import PLAIN, Dialect
from recsys.data.formats.json_lines import JsonLines
from recsys.data.formats.missing_column import refuse_missing
from recsys.data.formats.movielens import read_movielens
from recsys.data.formats.parquet import open_parquet
from recsys.data.formats.paths import Format, format_of
from recsys.data.formats.pieces import Pieces, Prover, Reader, nothing_to_prove, one_piece
from recsys.data.formats.text_lines import LineFinder, lines_of
from recsys.errors import ConfigError, DataError

_WITH_LINES = ("csv", "tsv")
"""Formats whose first line names the columns."""


@dataclass(frozen=True, eq=False)
class Table:
    """An opened file or frame, whose rows are read later.

    Attributes
    ----------
    name : str
        What messages call it: the file's path, or "the frame".
    format : Format or None
        None: a frame.
    columns : list of str
        Its columns, and those that a file's folders give (``year=2024/``).
    read : callable
        Our name → its name; returns these columns of all rows.
    pieces : callable
        Yields them piece by piece; see :data:`recsys.data.formats.pieces.Pieces`.
    prove : callable
        Refuses ids that the file contradicts; see :data:`recsys.data.formats.pieces.Prover`. Both ``read`` and ``pieces``
        leave that to the caller.
    lines : callable, optional
        The lines in which rows begin that were read; see :data:`recsys.data.formats.text_lines.LineFinder`. None: the table
        is no text of lines.
    """

    name: str
    format: Format | None
    columns: list[str]
    read: Reader
    pieces: Pieces
    prove: Prover = nothing_to_prove
    lines: LineFinder | None = None

    def refuse_missing(self, wanted: Mapping[str, str], *, of_lists: bool = False) -> None:
        """Refuse columns that the table lacks; see :func:`recsys.data.formats.missing_column.refuse_missing`."""
        refuse_missing(self.name, wanted, self.columns, lines=self.format in _WITH_LINES, of_lists=of_lists)

    def words(self, null_values: str | Sequence[str] | None) -> bool | None:
        """Whether to refuse ids such as NULL: in files, unless null values are named; None: warn about them."""
        return None if self.format is None and null_values is None else null_values is None


def open_table(
    file: Path,
    fmt: Format | None,
    movielens_columns: Sequence[str],
    dialect: Dialect = PLAIN,
    partition: Mapping[str, str | None] | None = None,
) -> Table:
    """Open a file and find its columns.

    Parameters
    ----------
    file : Path
        An existing file; text formats may be gzipped.
    fmt : Format or None
        None: found from the file's ending.
    movielens_columns : sequence of str
        Names of the fields of a MovieLens file, which has no header.
    dialect : Dialect
        The separator, quotes, encoding and null values of a text table.
    partition : mapping, optional
        Columns with one value for all rows, as the file's folders give them; the file's own columns win.

    Raises
    ------
    DataError
        The file is empty, or not in this format.
    ConfigError
        The dialect names a separator, quotes or an encoding, which this format does not have.
    """
    fmt, before = _checked(file, fmt, dialect), _state(file)
    with guarded(file, fmt):
        own, read, pieces, prove, lines = _opened(file, fmt, movielens_columns, dialect)
    constant = {name: value for name, value in (partition or {}).items() if name not in own}
    columns = [*own, *constant]

    def inner(wanted: dict[str, str]) -> dict[str, str]:
        refuse_missing(file, wanted, columns, lines=fmt in _WITH_LINES)
        return {ours: theirs for ours, theirs in wanted.items() if theirs not in constant} or {"": own[0]}

    def finished(frame: pl.DataFrame, wanted: dict[str, str]) -> pl.DataFrame:
        given = [pl.lit(constant[theirs], pl.String).alias(ours) for ours, theirs in wanted.items() if theirs in constant]
        frame = frame.with_columns(given).select(*wanted)
        return _without_nulls(frame, dialect.null_values) if dialect.null_values else frame

    def read_wanted(wanted: dict[str, str]) -> pl.DataFrame:
        own_columns = inner(wanted)
        with guarded(file, fmt):
            frame = finished(read(own_columns), wanted)
        _refuse_changed(file, before)
        return frame

    def pieces_of_wanted(wanted: dict[str, str], rows: int) -> Iterator[tuple[pl.DataFrame, float]]:
        own_columns = inner(wanted)
        with guarded(file, fmt):
            for frame, share in pieces(own_columns, rows):
                yield finished(frame, wanted), share
        _refuse_changed(file, before)

    def prove_own(theirs: str, values: pl.Series) -> None:
        if theirs not in constant:
            prove(theirs, values)

    return Table(str(file), fmt, columns, read_wanted, pieces_of_wanted, prove_own, lines)


def _state(file: Path) -> tuple[int, int, int]:
    """What changes when somebody writes a file, or puts another one in its place."""
    found = file.stat()
    return found.st_size, found.st_mtime_ns, found.st_ino


def _refuse_changed(file: Path, before: tuple[int, int, int]) -> None:
    """Refuse a file that was written meanwhile: what was read may be of two versions, or end in half a row.

    Raises
    ------
    DataError
        It is another file than when it was opened.
    """
    try:
        same = _state(file) == before
    except OSError:
        same = False
    if not same:
        raise DataError(f"{file} changed while it was read; read it when nobody writes it, or a copy of it")


def table_of(name: str, columns: list[str], read: Reader, pieces: Pieces | None = None) -> Table:
    """A table that is no file; a column that is missing is told as for a file.

    Parameters
    ----------
    name : str
        What messages call it.
    columns : list of str
    read : callable
        Our name → its name; returns these columns of all rows.
    pieces : callable, optional
        Yields them piece by piece; by default, all rows are one piece.

    Raises
    ------
    DataError
        Two columns have one name.
    """
    if twice := next((column for column in columns if columns.count(column) > 1), None):
        raise DataError(f"{name} has two columns called {twice!r}; rename one of them")

    def known(wanted: dict[str, str]) -> dict[str, str]:
        refuse_missing(name, wanted, columns, lines=False)
        return wanted

    by_piece = one_piece(read) if pieces is None else pieces
    return Table(
        name, None, columns, lambda wanted: read(known(wanted)), lambda wanted, rows: by_piece(known(wanted), rows)
    )


def with_dialect(table: Table, dialect: Dialect) -> Table:
    """A table that is no file, with the null values of a dialect.

    Raises
    ------
    ConfigError
        The dialect names a separator, quotes or an encoding.
    """
    if useless := next((one for one in ("separator", "quote", "encoding") if getattr(dialect, one) is not None), None):
        raise ConfigError(f"{table.name} is no text file and has no {useless}; leave out {useless}= (--{useless})")
    if not dialect.null_values:
        return table

    def read(wanted: dict[str, str]) -> pl.DataFrame:
        return _without_nulls(table.read(wanted), dialect.null_values)

    def pieces(wanted: dict[str, str], rows: int) -> Iterator[tuple[pl.DataFrame, float]]:
        for frame, share in table.pieces(wanted, rows):
            yield _without_nulls(frame, dialect.null_values), share

    return replace(table, read=read, pieces=pieces)


def _without_nulls(frame: pl.DataFrame, words: Sequence[str]) -> pl.DataFrame:
    """Replace the texts, and the numbers written so, that mean a missing value by null."""

    def without(column: pl.Series) -> pl.Series:
        if column.dtype == pl.String:
            return column.set(column.is_in(words), None)
        if column.dtype.is_numeric():
            return column.set((column.cast(pl.String).str.strip_suffix(".0").is_in(words)).fill_null(False), None)
        return column

    return frame.select(without(column) for column in frame)


def _checked(file: Path, fmt: Format | None, dialect: Dialect) -> Format:
    fmt = format_of(file) if fmt is None else fmt
    if fmt not in get_args(Format):
        raise DataError(f"{file}: format {fmt!r} is not known; use one of {', '.join(get_args(Format))}")
    if file.stat().st_size == 0:
        raise DataError(f"{file} is empty")
    useless = [name for name in ("separator", "quote") if getattr(dialect, name) is not None and fmt not in ("csv", "tsv")]
    if dialect.encoding is not None and fmt in ("parquet", "arrow"):
        useless.append("encoding")
    if useless:
        raise ConfigError(f"{file} is read as {fmt}, which has no {useless[0]}; leave out {useless[0]}= (--{useless[0]})")
    return fmt


def _opened(
    file: Path, fmt: Format, movielens_columns: Sequence[str], dialect: Dialect
) -> tuple[list[str], Reader, Pieces, Prover, LineFinder | None]:
    if fmt in ("csv", "tsv"):
        table = Delimited.open(file, fmt, dialect)
        return table.columns, table.read, table.pieces, nothing_to_prove, table.lines
    if fmt == "parquet":
        return *open_parquet(file), None
    columns, read, lines = _opened_whole(file, fmt, movielens_columns, dialect)
    return columns, read, one_piece(read), nothing_to_prove, lines


def _opened_whole(
    file: Path, fmt: Format, movielens_columns: Sequence[str], dialect: Dialect
) -> tuple[list[str], Reader, LineFinder | None]:
    """Open a file of a format that is only read as a whole."""
    if fmt == "ndjson":
        objects = JsonLines.open(file, dialect.encoding, dialect.damaged)
        return objects.columns, objects.read, objects.lines
    if fmt == "movielens":
        frame, text = read_movielens(file, movielens_columns, dialect.encoding)
        return list(movielens_columns), lambda wanted: _selected(frame, wanted), partial(lines_of, text, None, header=False)
    return *open_arrow_file(file), None


def _selected(frame: pl.LazyFrame, wanted: dict[str, str]) -> pl.DataFrame:
    return frame.select(pl.col(theirs).alias(ours) for ours, theirs in wanted.items()).collect()


def collect(
    file: Path,
    fmt: Format | None,
    movielens_columns: Sequence[str],
    wanted: dict[str, str],
    dialect: Dialect = PLAIN,
    partition: Mapping[str, str | None] | None = None,
) -> pl.DataFrame:
    """Read the wanted columns of a file, under our names.

    Parameters
    ----------
    file, fmt, movielens_columns, dialect, partition
        As for :func:`open_table`.
    wanted : dict
        Our column name → the file's column name.

    Raises
    ------
    DataError
        A column is missing, the file has no rows, or it is broken.
    """
    return rows_of(open_table(file, fmt, movielens_columns, dialect, partition), wanted)


def rows_of(table: Table, wanted: dict[str, str]) -> pl.DataFrame:
    """Read the wanted columns of an opened table, under our names.

    Raises
    ------
    DataError
        A column is missing, the file has no rows, or it is broken.
    """
    frame = unproven_rows_of(table, wanted)
    for ours in (USER, ITEM):
        if ours in wanted:
            table.prove(wanted[ours], frame[ours])
    return frame


def unproven_rows_of(table: Table, wanted: dict[str, str]) -> pl.DataFrame:
    """As :func:`rows_of`, without a proof of the ids: see ``Table.prove``. Raises DataError."""
    frame = table.read(wanted)
    if frame.height == 0:
        raise DataError(f"{table.name} has no rows")
    return frame


@contextmanager
def guarded(file: Path, kind: str) -> Iterator[None]:
    """Turn the errors and panics of reading a file into a DataError that names the file.

    A panic of polars is not an ``Exception`` and passes every ``except Exception``; here it means a damaged file.

    Parameters
    ----------
    file : Path
    kind : str
        The format, for the message.

    Raises
    ------
    DataError
        The block raised an error of polars, the operating system or unzipping.
    """
    begin_threads()
    try:
        yield
    except (pl.exceptions.NoDataError, EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{file} is empty or cut off: {error}") from error
    except (pl.exceptions.PolarsError, OSError) as error:
        raise DataError(f"{file} cannot be read as {kind}: {_first_line(error)}") from error
    except pl.exceptions.PanicException as error:
        raise DataError(f"{file} cannot be read as {kind}: it is damaged ({_first_line(error)})") from error


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
