"""Read newline-delimited JSON without losing a line or a key."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from recsys.core.progress import log
from recsys.core.ragged import Int64
from recsys.data.formats.dialect import Damaged
from recsys.data.formats.text_bytes import TextBytes, open_text, refuse_bad_utf8
from recsys.errors import DataError

_LINE = rb"(?m)^[ \t\r]*[^ \t\r\n]"
"""The beginning of a line that holds something."""


@dataclass(frozen=True, eq=False)
class JsonLines:
    """An opened NDJSON file.

    Attributes
    ----------
    text : TextBytes
    frame : LazyFrame
    columns : list of str
        The keys of all lines.
    """

    text: TextBytes
    frame: pl.LazyFrame
    columns: list[str]

    @classmethod
    def open(cls, file: Path, encoding: str | None, damaged: Damaged | None = None) -> JsonLines:
        """Find the columns; all lines are searched, as a key may come late.

        Raises
        ------
        DataError
            The file is empty or cannot be decoded, or a line is not a JSON object.
        """
        text = open_text(file, encoding)
        data = text.whole()
        refuse_bad_utf8(text, "ndjson")
        if re.search(rb"\r(?!\n)", data):
            text = TextBytes(file, data.replace(b"\r\n", b"\n").replace(b"\r", b"\n"))
            log(f"{file}: some lines end in a carriage return alone; each is taken as a line end")
        first = data.lstrip()[:1]
        if not first:
            raise DataError(f"{file} is empty")
        if first == b"[":
            raise DataError(
                f"{file} cannot be read as ndjson: it is one JSON list; write each of its objects on a line of its own"
            )
        text = TextBytes(file, data) if text.data is None else text  # a path would be taken as a pattern
        try:
            return cls._scanned(text)
        except pl.exceptions.PolarsError:
            if damaged is None:
                _refuse_broken(text)
                raise
            return cls._scanned(_emptied(text, damaged))

    @classmethod
    def _scanned(cls, text: TextBytes) -> JsonLines:
        frame = pl.scan_ndjson(text.whole(), infer_schema_length=None)
        return cls(text, frame, frame.collect_schema().names())

    def read(self, wanted: dict[str, str]) -> pl.DataFrame:
        """Read the wanted columns of all lines, under our names.

        Raises
        ------
        DataError
            A line has a wanted key twice, or not every line became a row.
        """
        frame = self.frame.select(pl.col(theirs).alias(ours) for ours, theirs in wanted.items()).collect()
        data = self.text.whole()
        lines = len(re.findall(_LINE, data))
        if frame.height != lines:
            raise DataError(
                f"{self.text.file} cannot be read as ndjson: it holds {lines:,} lines, but {frame.height:,} rows were read"
            )
        for ours, theirs in wanted.items():
            key = json.dumps(theirs, ensure_ascii=False).encode()
            if data.count(key) + frame[ours].null_count() != lines:
                _refuse_repeated(self.text, theirs)
        if re.search(rb"\\u[dD][89a-fA-F]", data):
            _refuse_half_letters(self.text)
        return frame

    def lines(self, rows: Int64) -> Int64:
        """The lines, from 1, in which rows stand."""
        data = self.text.whole()
        ends = np.flatnonzero(np.frombuffer(data, np.uint8) == ord("\n"))
        begins = np.array([found.start() for found in re.finditer(_LINE, data)], dtype=np.int64)
        return np.searchsorted(ends, begins[rows - 1]) + 1


class _ConstantError(Exception):
    """NaN, Infinity or -Infinity, which Python's module json reads and writes."""


def _refuse_constant(name: str) -> None:
    raise _ConstantError(name)


def _refuse_broken(text: TextBytes) -> None:
    """Search line by line for the first that is not a JSON object."""
    for number, cause, line in _broken(text):
        raise DataError(f"{text.file} cannot be read as ndjson: line {number}: {cause}: {line[:100]!r}")


def _emptied(text: TextBytes, damaged: Damaged) -> TextBytes:
    """With an empty object in place of each line that is not a JSON object, so that the other rows keep their numbers."""
    lines = text.whole().decode("utf-8").split("\n")
    rows = np.cumsum([bool(line.strip(" \t\r")) for line in lines])
    for number, cause, line in _broken(text):
        damaged(int(rows[number - 1]), cause, line)
        lines[number - 1] = "{}"
    return TextBytes(text.file, "\n".join(lines).encode())


def _broken(text: TextBytes) -> Iterator[tuple[int, str, str]]:
    """The lines that are not JSON objects: number, why, text."""
    for number, line in enumerate(text.whole().decode("utf-8").split("\n"), 1):
        try:
            whole = not line.strip() or isinstance(json.loads(line, parse_constant=_refuse_constant), dict)
            cause = "it is not a JSON object"
        except _ConstantError as error:
            whole, cause = False, f"{error} is not JSON; write null"
        except json.JSONDecodeError as error:
            whole, cause = False, f"{error.msg} at character {error.pos + 1}"
        if not whole:
            yield number, cause, line


def _refuse_repeated(text: TextBytes, key: str) -> None:
    """Search line by line: a key may also be in a text or an inner object, where it does no harm."""
    mark = json.dumps(key, ensure_ascii=False)
    for number, line in enumerate(text.whole().decode("utf-8").split("\n"), 1):
        if line.count(mark) > 1:
            pairs = json.loads(line, object_pairs_hook=list)
            if sum(name == key for name, _ in pairs) > 1:
                raise DataError(
                    f"{text.file}: line {number} has the key {key!r} twice, so it is not clear which value counts: "
                    f"{line[:100]!r}"
                )


def _refuse_half_letters(text: TextBytes) -> None:
    for number, line in enumerate(text.whole().decode("utf-8").split("\n"), 1):
        if "\\u" in line and not _encodable(json.loads(line)):
            raise DataError(
                f"{text.file}: line {number} holds half a letter (a lone surrogate such as \\ud83d): {line[:100]!r}"
            )


def _encodable(value: object) -> bool:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True
