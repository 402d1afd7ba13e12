"""Open a table in any of the formats that logs and catalogues come in."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import polars as pl

from recsys.core.progress import log
from recsys.data.delimited import Delimited
from recsys.data.dialect import PLAIN, Dialect
from recsys.data.guard import guarded
from recsys.data.json_lines import JsonLines
from recsys.data.parquet_proof import prove_parquet
from recsys.data.paths import Format, PathLike, expand, format_of
from recsys.data.text_bytes import TextBytes, in_movielens_encoding, open_text, refuse_bad_utf8
from recsys.errors import ConfigError, DataError

__all__ = ["Format", "PathLike", "Table", "collect", "expand", "format_of", "open_table", "rows_of", "scan"]


@dataclass(frozen=True, eq=False)
class Table:
    """One opened file; its rows are read when they are asked for.

    Attributes
    ----------
    file : Path
    format : Format
    columns : list of str
        Its own, and those that its folders tell.
    read : callable
        Our name → its name; gives these columns of all rows.
    """

    file: Path
    format: Format
    columns: list[str]
    read: Callable[[dict[str, str]], pl.DataFrame]


def open_table(
    file: Path,
    fmt: Format | None,
    movielens_columns: Sequence[str],
    dialect: Dialect = PLAIN,
    partition: Mapping[str, str | None] | None = None,
) -> Table:
    """Open one file and find its columns.

    Parameters
    ----------
    file : Path
        An existing file; text formats may be gzipped.
    fmt : Format or None
        None: told from the file's ending.
    movielens_columns : sequence of str
        Names of the ``::``-separated fields, which carry no header.
    dialect : Dialect
        How a text table is written.
    partition : mapping, optional
        Columns that are the same in every row, as the file's folders tell; the file's own win.

    Raises
    ------
    DataError
        The file is empty, or is not of this format.
    ConfigError
        The dialect speaks of separators, quotes or an encoding, which this format does not have.
    """
    fmt = _checked(file, fmt, dialect)
    with guarded(file, fmt):
        own, read = _opened(file, fmt, movielens_columns, dialect)
    constant = {name: value for name, value in (partition or {}).items() if name not in own}
    columns = [*own, *constant]

    def read_wanted(wanted: dict[str, str]) -> pl.DataFrame:
        for ours, theirs in wanted.items():
            if theirs not in columns:
                raise DataError(_missing(file, ours, theirs, columns))
        inner = {ours: theirs for ours, theirs in wanted.items() if theirs not in constant}
        with guarded(file, fmt):
            lazy = read(inner or {"": own[0]}).lazy()
            told = [
                pl.lit(constant[theirs], pl.String).alias(ours) for ours, theirs in wanted.items() if theirs in constant
            ]
            return dialect.without_nulls(lazy.with_columns(told).select(*wanted)).collect()

    return Table(file, fmt, columns, read_wanted)


def _checked(file: Path, fmt: Format | None, dialect: Dialect) -> Format:
    fmt = format_of(file) if fmt is None else fmt
    if fmt not in get_args(Format):
        raise DataError(f"{file}: format {fmt!r} is not known; use one of {', '.join(get_args(Format))}")
    if file.stat().st_size == 0:
        raise DataError(f"{file} is empty")
    useless = [name for name in ("separator", "quote") if getattr(dialect, name) is not None and fmt not in ("csv", "tsv")]
    if dialect.encoding is not None and fmt == "parquet":
        useless.append("encoding")
    if useless:
        raise ConfigError(f"{file} is read as {fmt}, which has no {useless[0]}; leave {useless[0]}= (--{useless[0]}) out")
    return fmt


def _missing(file: Path, ours: str, theirs: str, columns: Sequence[str]) -> str:
    hint = ""
    if any(mark in name for name in columns for mark in ",;\t|"):
        hint = "; if the columns are separated otherwise, say separator= (--separator)"
    elif f'"{theirs}"' in columns:
        hint = "; if its fields are quoted, say quote='\"' (--quote '\"')"
    return f"{file} has no column {theirs!r} (asked for as {ours}); its columns are {', '.join(columns)}{hint}"


def _opened(
    file: Path, fmt: Format, movielens_columns: Sequence[str], dialect: Dialect
) -> tuple[list[str], Callable[[dict[str, str]], pl.DataFrame]]:
    if fmt in ("csv", "tsv"):
        table = Delimited.open(file, fmt, dialect)

        def read_text(wanted: dict[str, str]) -> pl.DataFrame:
            try:
                return table.read(wanted)
            except pl.exceptions.PolarsError:
                refuse_bad_utf8(table.text, fmt)
                raise

        return table.columns, read_text
    if fmt == "ndjson":
        lines = JsonLines.open(file, dialect.encoding)
        return lines.columns, lines.read
    if fmt == "movielens":
        frame = _movielens(file, movielens_columns, dialect.encoding)
        return list(movielens_columns), lambda wanted: _selected(frame, wanted)
    stored = pl.scan_parquet(file, glob=False, hive_partitioning=False)

    def read_stored(wanted: dict[str, str]) -> pl.DataFrame:
        found = _selected(stored, wanted)
        prove_parquet(file, found, wanted)
        return found

    return stored.collect_schema().names(), read_stored


def _selected(frame: pl.LazyFrame, wanted: dict[str, str]) -> pl.DataFrame:
    return frame.select(pl.col(theirs).alias(ours) for ours, theirs in wanted.items()).collect()


def _movielens(file: Path, columns: Sequence[str], encoding: str | None) -> pl.LazyFrame:
    text = open_text(file, encoding)
    data = (text if encoding is not None else in_movielens_encoding(text)).whole()
    if b"\r" in data:
        data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    if not data.strip():
        raise DataError(f"{file} is empty")
    refuse_bad_utf8(TextBytes(file, data), "movielens")
    if b"\0" in data:
        line = TextBytes(file, data).line_of(data.index(b"\0"))
        raise DataError(f"{file}: line {line} holds NUL bytes; the file is damaged")
    # No separator of more than one byte is known to the CSV reader: read whole lines, then split them.
    lines = pl.read_csv(
        data, has_header=False, new_columns=["line"], separator="\x1f", quote_char=None, infer_schema=False, glob=False
    )
    fields, blank = len(columns), lines["line"].null_count()
    counts = lines.select(pl.col("line").str.count_matches("::", literal=True) + 1)["line"]
    wrong = (counts != fields).arg_true()
    if len(wrong):
        row = int(wrong[0])
        raise DataError(
            f"{file}: row {row + 1} has {counts[row]} fields between '::' where {fields} are expected "
            f"({', '.join(columns)}): {lines['line'][row]!r}"
        )
    ends = data.count(b"\n") + (not data.endswith(b"\n"))
    if lines.height + _leading_blank(data) != ends:
        raise DataError(f"{file} holds {ends:,} lines, but {lines.height:,} were read; is it damaged?")
    if blank:
        log(f"{file}: {blank:,} blank lines left out")
        lines = lines.drop_nulls()
    split = pl.col("line").str.split_exact("::", fields - 1).struct.rename_fields(list(columns))
    return lines.lazy().select(split.alias("row")).unnest("row")


def _leading_blank(data: bytes) -> int:
    return len(data) - len(data.lstrip(b"\n"))


def scan(file: Path, fmt: Format | None, movielens_columns: Sequence[str], dialect: Dialect = PLAIN) -> pl.LazyFrame:
    """Open one file lazily; text columns of CSV and TSV are left as strings, and their rows are not counted.

    Raises
    ------
    DataError
        The file is empty or is not of this format.
    """
    fmt = _checked(file, fmt, dialect)
    with guarded(file, fmt):
        if fmt in ("csv", "tsv"):
            return Delimited.open(file, fmt, dialect).lazy()
        if fmt == "ndjson":
            return JsonLines.open(file, dialect.encoding).frame
        if fmt == "movielens":
            return _movielens(file, movielens_columns, dialect.encoding)
        return pl.scan_parquet(file, glob=False, hive_partitioning=False)


def collect(
    file: Path,
    fmt: Format | None,
    movielens_columns: Sequence[str],
    wanted: dict[str, str],
    dialect: Dialect = PLAIN,
    partition: Mapping[str, str | None] | None = None,
) -> pl.DataFrame:
    """Read the wanted columns of one file under our names.

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
    """The wanted columns of an opened table, under our names.

    Raises
    ------
    DataError
        A column is missing, the file has no rows, or it is broken.
    """
    frame = table.read(wanted)
    if frame.height == 0:
        raise DataError(f"{table.file} has no rows")
    return frame
