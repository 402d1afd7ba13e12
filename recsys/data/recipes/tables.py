"""Read the files of a data set as frames of text, block by block."""

from __future__ import annotations

import ast
import csv
import json
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from recsys.core.ragged import Int64
from recsys.data.formats.delimited import Delimited
from recsys.data.formats.table import guarded
from recsys.data.formats.text_bytes import TextBytes
from recsys.data.recipes.blocks import BLOCK, blocks
from recsys.data.recipes.sheet import sheet_rows
from recsys.data.recipes.sieve import ROW, Sieve
from recsys.data.recipes.spec import Source
from recsys.errors import DataError

_SHEET_ROWS = 100_000
_ASIDE = "--on-error quarantine sets such rows aside"


def frames(file: Path, source: Source, sieve: Sieve, size: int = BLOCK) -> Iterator[pl.DataFrame]:
    """The rows of a file.

    Parameters
    ----------
    file : Path
    source : Source
    sieve : Sieve
        Gets the number of rows, and those that are broken.
    size : int
        Bytes of a block.

    Yields
    ------
    DataFrame
        Columns of text under the file's names (``source.rename`` applied); empty fields are null. ``ROW`` beside them.

    Raises
    ------
    DataError
        The file is damaged, or a column is missing.
    """
    read = _sheet if file.suffix == ".xlsx" else {"csv": _csv, "lines": _lines, "objects": _objects}[source.format]
    with guarded(file, source.format):
        for frame in read(file, source, sieve, size):
            named = frame.rename({theirs: ours for theirs, ours in source.rename.items() if theirs in frame.columns})
            if missing := [one for one in source.needed if one not in named.columns and not source.step]:
                raise DataError(
                    f"{file} has no column {missing[0]!r}; its columns are {', '.join(named.columns[1:])}: "
                    f"is it the file as it was published?"
                )
            yield named.with_columns(pl.col(pl.String).replace("", None))


def _numbered(frame: pl.DataFrame, first: int) -> pl.DataFrame:
    """With the rows' numbers, from ``first`` on, in front."""
    return frame.select(pl.int_range(first, first + frame.height, dtype=pl.Int64).alias(ROW), pl.all())


def _whole(frame: pl.DataFrame, lost: Sequence[tuple[int, str, str]], sieve: Sieve) -> pl.DataFrame:
    """The rows but for damaged ones, which are set aside: their numbers, why, and their texts."""
    for row, why, text in lost:
        sieve.damaged(pl.Series([row]), why, pl.Series([text]))
    return frame.filter(~pl.col(ROW).is_in([row for row, _, _ in lost])) if lost else frame


def _tell(told: list[tuple[int, str, str]], row: int, why: str, text: str) -> None:
    told.append((row, why, text))


def _csv_lines(block: Delimited, shift: int, first: int, rows: Int64) -> Int64:
    return block.lines(rows - first + 1) + shift


def _taken(lines: Int64, first: int, rows: Int64) -> Int64:
    found: Int64 = lines[rows - first]
    return found


def _csv(file: Path, source: Source, sieve: Sieve, size: int) -> Iterator[pl.DataFrame]:
    header, first = "" if source.header else source.separator.join(source.columns) + "\n", 1
    for line, text in blocks(file, source.encoding, quoted=True, size=size):
        rows, before = text, line
        if not header:
            header = text.partition("\n")[0] + "\n"
            rows, before = text[len(header) :], line + 1
        if not rows.strip():
            continue
        names, told = next(csv.reader([header], delimiter=source.separator)), list[tuple[int, str, str]]()
        block = Delimited(
            TextBytes(file, (header + rows).encode()), "csv", source.separator, '"', names,
            None if sieve.aside is None else partial(_tell, told),
        )  # fmt: skip
        try:
            frame = block.read({name: name for name in names})
        except DataError as error:
            raise DataError(f"{error} (lines are counted from line {max(line - 1, 1)} of the file); {_ASIDE}") from error
        sieve.at(file, partial(_csv_lines, block, before - 2, first))
        sieve.counted.rows(frame.height)
        yield _whole(_numbered(frame, first), [(first + row - 1, why, whole) for row, why, whole in told], sieve)
        first += frame.height


def _lines(file: Path, source: Source, sieve: Sieve, size: int) -> Iterator[pl.DataFrame]:
    columns, first = list(source.columns), 1
    for line, text in blocks(file, source.encoding, size=size):
        lines = pl.Series("row", [text]).str.split("\n").explode()
        there = (lines != "").arg_true().to_numpy().astype(np.int64) + line
        lines = lines.filter(lines != "")
        sieve.at(file, partial(_taken, there, first))
        sieve.counted.rows(len(lines))
        numbers = pl.Series(ROW, np.arange(first, first + len(lines)), dtype=pl.Int64)
        first += len(lines)
        whole = lines.str.count_matches(source.separator, literal=True) + 1 == len(columns)
        sieve.damaged(numbers.filter(~whole), f"the line does not have {len(columns)} fields", lines.filter(~whole))
        fields = lines.filter(whole).str.split_exact(source.separator, len(columns) - 1).struct.rename_fields(columns)
        yield fields.struct.unnest().insert_column(0, numbers.filter(whole))


def _objects(file: Path, source: Source, sieve: Sieve, size: int) -> Iterator[pl.DataFrame]:
    first = 1
    for line, text in blocks(file, source.encoding, size=size):
        frame = None if source.each else _plain(text, source.columns)
        begun, lost = line + np.arange(0 if frame is None else frame.height), list[tuple[int, str, str]]()
        if frame is None:
            rows, numbers = list[list[str | None]](), list[int]()
            for number, one in enumerate(text.split("\n"), line):
                if not one.strip():
                    continue
                record = _record(one)
                if not isinstance(record, str):
                    found = _rows_of(record, source)
                elif sieve.aside is None:
                    raise DataError(f"{file}: line {number} {record}; is the file cut off? {one[:100]!r}; {_ASIDE}")
                else:
                    found = [[None] * len(source.columns)]
                    lost.append((first + len(rows), f"it {record}", one))
                rows += found
                numbers += [number] * len(found)
            frame, begun = _of_text(source.columns, rows), np.array(numbers, dtype=np.int64)
        sieve.at(file, partial(_taken, begun, first))
        sieve.counted.rows(frame.height)
        yield _whole(_numbered(frame, first), lost, sieve)
        first += frame.height


def _plain(text: str, columns: Sequence[str]) -> pl.DataFrame | None:
    """Read lines of JSON whose values are texts and numbers, ten times as fast as line by line; None: they are not."""
    try:
        frame = pl.read_ndjson(text.encode(), schema=dict.fromkeys(columns, pl.String))
    except pl.exceptions.PolarsError:
        return None
    odd = pl.all().str.contains(r"^[\[{]|\x00")  # a list or an object, written as text; half a letter
    lists = frame.select(odd.any()).row(0)
    whole = frame.height == text.count("\n") + (not text.endswith("\n"))  # blank lines are counted line by line
    return None if frame.height == 0 or any(lists) or not whole else frame


def _record(line: str) -> dict[str, Any] | str:
    """A line as an object: JSON, or a Python literal, as which older files are written; or why it is none."""
    try:
        found = json.loads(line)
    except json.JSONDecodeError:
        try:
            found = ast.literal_eval(line.strip())
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            return "is neither JSON nor a Python literal"
    return found if isinstance(found, dict) else "is not an object"


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


def _sheet(file: Path, source: Source, sieve: Sieve, size: int) -> Iterator[pl.DataFrame]:
    del size
    first = 1
    for names, rows in sheet_rows(file, _SHEET_ROWS):
        sieve.at(file, None)
        sieve.counted.rows(len(rows))
        yield _numbered(_of_text(names, rows), first)
        first += len(rows)


def _of_text(names: Sequence[str], rows: Sequence[Sequence[str | None]]) -> pl.DataFrame:
    schema = dict.fromkeys(names, pl.String)
    try:
        return pl.DataFrame(rows, schema=schema, orient="row")
    except UnicodeEncodeError:  # half a letter, such as \\ud83d, which UTF-8 cannot hold
        whole = [[one and one.encode("utf-8", "replace").decode() for one in row] for row in rows]
        return pl.DataFrame(whole, schema=schema, orient="row")
