"""Read ids from a file: one per line, or a column of a table."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

import polars as pl

from recsys.core.id_map import encode
from recsys.data.formats.table import collect
from recsys.data.parse import check_ids
from recsys.errors import DataError

_TABLES: Final = (".csv", ".tsv", ".parquet", ".pq", ".ndjson", ".jsonl")


def read_ids(file: str, column: str) -> list[str]:
    """Read raw ids in the order of the file.

    Parameters
    ----------
    file : str
        A table (CSV, TSV, Parquet, NDJSON) with the column ``column``, or ``FILE::COLUMN`` for another one; any other file
        holds one id per line in UTF-8; ``-`` is standard input.
    column : str
        ``user_id`` or ``item_id``.

    Returns
    -------
    list of str

    Raises
    ------
    DataError
        The file cannot be read, is empty, or a line or row holds no id.
    """
    if file == "-":
        return _lines(sys.stdin.buffer.read(), "standard input")
    path, named = Path(file), column
    if not path.exists() and "::" in file:
        before, _, named = file.rpartition("::")
        path = Path(before)
    if not path.exists():
        raise DataError(f"{path} does not exist")
    if path.is_dir():
        raise DataError(f"{path} is a folder; name a file of ids")
    if any(path.name.lower().removesuffix(".gz").endswith(ending) for ending in _TABLES):
        ids = collect(path, None, (), {column: named})[column]
        found, rows = encode(check_ids(ids, f"{path}, column {named!r}"), "")
        return found.to_ids(rows).cast(pl.String).to_list()
    if named is not column:
        raise DataError(f"{path} is not a table: it holds one id per line; tables end in {', '.join(_TABLES)}")
    return _lines(path.read_bytes(), str(path))


def _lines(data: bytes, where: str) -> list[str]:
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        row = data[: error.start].count(b"\n") + 1
        raise DataError(f"{where}: line {row} is not UTF-8; write the ids in UTF-8, one per line") from error
    lines = text.replace("\r\n", "\n").replace("\r", "\n").rstrip("\n").split("\n")
    for number, line in enumerate(lines, 1):
        if not line.strip() or "\0" in line:
            what = "is empty" if not line.strip() else "holds a zero byte"
            raise DataError(
                f"{where}: line {number} {what}; write one id per line" if text.strip() else f"{where} is empty"
            )
    return lines
