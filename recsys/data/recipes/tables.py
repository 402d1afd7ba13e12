"""Read the files of a data set as frames of text, block by block."""

from __future__ import annotations

import ast
import csv
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from recsys.data.formats.delimited import Delimited
from recsys.data.formats.table import guarded
from recsys.data.formats.text_bytes import TextBytes
from recsys.data.recipes.blocks import BLOCK, blocks
from recsys.data.recipes.sheet import sheet_rows
from recsys.data.recipes.spec import Source
from recsys.data.recipes.waterfall import Waterfall
from recsys.errors import DataError

_SHEET_ROWS = 100_000


def frames(file: Path, source: Source, counted: Waterfall, size: int = BLOCK) -> Iterator[pl.DataFrame]:
    """The rows of a file.

    Parameters
    ----------
    file : Path
    source : Source
    counted : Waterfall
        Gets the number of rows, and of lines that are broken.
    size : int
        Bytes of a block.

    Yields
    ------
    DataFrame
        Columns of text under the file's names (``source.rename`` applied); empty fields are null.

    Raises
    ------
    DataError
        The file is damaged, or a column is missing.
    """
    read = _sheet if file.suffix == ".xlsx" else {"csv": _csv, "lines": _lines, "objects": _objects}[source.format]
    with guarded(file, source.format):
        for frame in read(file, source, counted, size):
            named = frame.rename({theirs: ours for theirs, ours in source.rename.items() if theirs in frame.columns})
            if missing := [one for one in source.needed if one not in named.columns and not source.step]:
                raise DataError(
                    f"{file} has no column {missing[0]!r}; its columns are {', '.join(named.columns)}: "
                    f"is it the file as it was published?"
                )
            yield named.with_columns(pl.all().replace("", None))


def _csv(file: Path, source: Source, counted: Waterfall, size: int) -> Iterator[pl.DataFrame]:
    header = "" if source.header else source.separator.join(source.columns) + "\n"
    for line, text in blocks(file, source.encoding, quoted=True, size=size):
        rows = text
        if not header:
            header = text.partition("\n")[0] + "\n"
            rows = text[len(header) :]
        if not rows.strip():
            continue
        names = next(csv.reader([header], delimiter=source.separator))
        block = Delimited(TextBytes(file, (header + rows).encode()), "csv", source.separator, '"', names)
        try:
            frame = block.read({name: name for name in names})
        except DataError as error:
            raise DataError(f"{error} (lines are counted from line {max(line - 1, 1)} of the file)") from error
        counted.rows(frame.height)
        yield frame


def _lines(file: Path, source: Source, counted: Waterfall, size: int) -> Iterator[pl.DataFrame]:
    columns = list(source.columns)
    for _, text in blocks(file, source.encoding, size=size):
        lines = pl.Series("row", [text]).str.split("\n").explode()
        lines = lines.filter(lines != "")
        counted.rows(len(lines))
        fields = lines.str.count_matches(source.separator, literal=True) + 1
        counted.dropped(f"the line does not have {len(columns)} fields", int((fields != len(columns)).sum()))
        whole = lines.filter(fields == len(columns))
        yield whole.str.split_exact(source.separator, len(columns) - 1).struct.rename_fields(columns).struct.unnest()


def _objects(file: Path, source: Source, counted: Waterfall, size: int) -> Iterator[pl.DataFrame]:
    for line, text in blocks(file, source.encoding, size=size):
        frame = None if source.each else _plain(text, source.columns)
        if frame is None:
            rows = list[list[str | None]]()
            for number, one in enumerate(text.split("\n"), line):
                if one.strip():
                    rows += _rows_of(_record(file, number, one), source)
            frame = _of_text(source.columns, rows)
        counted.rows(frame.height)
        yield frame


def _plain(text: str, columns: Sequence[str]) -> pl.DataFrame | None:
    """Read lines of JSON whose values are texts and numbers, ten times as fast as line by line; None: they are not."""
    try:
        frame = pl.read_ndjson(text.encode(), schema=dict.fromkeys(columns, pl.String))
    except pl.exceptions.PolarsError:
        return None
    odd = pl.all().str.contains(r"^[\[{]|\x00")  # a list or an object, written as text; half a letter
    lists = frame.select(odd.any()).row(0)
    return None if frame.height == 0 or any(lists) else frame


def _record(file: Path, number: int, line: str) -> dict[str, Any]:
    """A line as an object: JSON, or a Python literal, as which older files are written."""
    try:
        found = json.loads(line)
    except json.JSONDecodeError:
        try:
            found = ast.literal_eval(line.strip())
        except (ValueError, SyntaxError, RecursionError, MemoryError) as error:
            raise DataError(
                f"{file}: line {number} is neither JSON nor a Python literal; is the file cut off? {line[:100]!r}"
            ) from error
    if not isinstance(found, dict):
        raise DataError(f"{file}: line {number} is not an object: {line[:100]!r}")
    return found


def _rows_of(record: dict[str, Any], source: Source) -> list[list[str | None]]:
    """The rows of an object: itself, or each of a list in it."""
    if not source.each:
        return [[flat(record.get(key)) for key in source.columns]]
    return [[flat(one.get(key, record.get(key))) for key in source.columns] for one in record.get(source.each) or ()]


def flat(value: Any) -> str | None:
    """A value as text: members of a list with commas between them, paths of a list of lists as ``a > b | a > c``."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, list | tuple) and any(isinstance(one, list | tuple) for one in value):
        return " | ".join(" > ".join(filter(None, map(flat, one))) for one in value if isinstance(one, list | tuple))
    if isinstance(value, list | tuple):
        return ", ".join(filter(None, map(flat, value)))
    if isinstance(value, dict):
        return "; ".join(f"{name}: {text}" for name, one in value.items() if (text := flat(one)))
    return json.dumps(value)


def _sheet(file: Path, source: Source, counted: Waterfall, size: int) -> Iterator[pl.DataFrame]:
    del size
    for names, rows in sheet_rows(file, _SHEET_ROWS):
        counted.rows(len(rows))
        yield _of_text(names, rows)


def _of_text(names: Sequence[str], rows: Sequence[Sequence[str | None]]) -> pl.DataFrame:
    schema = dict.fromkeys(names, pl.String)
    try:
        return pl.DataFrame(rows, schema=schema, orient="row")
    except UnicodeEncodeError:  # half a letter, such as \\ud83d, which UTF-8 cannot hold
        whole = [[one and one.encode("utf-8", "replace").decode() for one in row] for row in rows]
        return pl.DataFrame(whole, schema=schema, orient="row")
