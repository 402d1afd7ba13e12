"""Find the rows of a delimited text that cannot be read, and let the others stand."""

from __future__ import annotations

import csv
import io
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from recsys.data.formats.dialect import Damaged, fields_of_any_length
from recsys.data.formats.text_bytes import TextBytes
from recsys.data.formats.text_lines import Lines

_MOST_LINES = 100
"""Lines that a row may have: a quote that is not closed by then is taken as damage of its first line alone."""


@dataclass(frozen=True)
class Sifted:
    """Some rows of a text, of which those that could not be read are empty.

    Attributes
    ----------
    text : str
        All fields quoted that need it, without blank lines.
    rows : int
        With the header, if it is among them.
    share : float
        How much of the text was looked at by then.
    """

    text: str
    rows: int
    share: float


def without_damaged(
    text: TextBytes, separator: str, quote: str | None, width: int, tell: Damaged, lines: Lines, most: int | None = None
) -> Iterator[Sifted]:
    """Put an empty row in place of each that cannot be read, so that the others keep their numbers.

    Parameters
    ----------
    text : TextBytes
        UTF-8; the header comes first; lines end in line feeds.
    separator : str
    quote : str or None
        None: quotes are ordinary characters.
    width : int
        Fields of the header.
    tell : callable
        Told of each damaged row: its number, from 1 after the header, why, and its text.
    lines : Lines
        Told in which line each row begins.
    most : int, optional
        Rows that are held at once; by default all are.

    Raises
    ------
    UnicodeDecodeError
        A line is not UTF-8.
    """
    out, rows, held, seen, size = io.StringIO(newline=""), 0, 0, 0, max(text.size(), 1)
    with fields_of_any_length():
        for number, line, fields, why in _rows(text, separator, quote, width):
            lines.row(rows, number)
            if why:
                tell(rows, why, line)
            if quote is None:
                out.write((separator * (width - 1) if why else line) + "\n")
            else:
                writer = csv.writer(out, delimiter=separator, quotechar=quote, lineterminator="\n")
                writer.writerow([""] * width if why else fields)
            rows, held, seen = rows + 1, held + 1, seen + len(line) + 1
            if held == most:
                yield Sifted(out.getvalue(), held, min(seen / size, 1.0))
                out, held = io.StringIO(newline=""), 0
    if held:
        yield Sifted(out.getvalue(), held, 1.0)


def _rows(text: TextBytes, separator: str, quote: str | None, width: int) -> Iterator[tuple[int, str, list[str], str]]:
    """The first line of each row, its text, its fields, and what is wrong with it."""
    source, ahead, number = text.lines(), deque[str](), 1
    while True:
        ahead.extend(islice(source, 2 * _MOST_LINES - len(ahead)) if len(ahead) <= _MOST_LINES else ())
        if not ahead:
            return
        if not ahead[0].strip("\r"):
            ahead.popleft()
            number += 1
            continue
        size, fields, why = _row(list(islice(ahead, _MOST_LINES)), separator, quote, width)
        taken = [ahead.popleft() for _ in range(size)]
        yield number, "\n".join(taken).rstrip("\r"), fields, why
        number += size


def _row(lines: list[str], separator: str, quote: str | None, width: int) -> tuple[int, list[str], str]:
    """The row that begins in the first of some lines: its lines, fields, and what is wrong."""
    first = lines[0].rstrip("\r")
    if "\0" in first:
        return 1, [], "it holds NUL bytes"
    if quote is None:
        fields = first.split(separator)
        return 1, fields, _miscounted(len(fields), width)
    quotes = 0
    for size, line in enumerate(lines, 1):
        quotes += line.count(quote)
        if quotes % 2:
            continue
        try:
            source = io.StringIO("\n".join(lines[:size]), newline="")
            found = list(csv.reader(source, delimiter=separator, quotechar=quote, strict=True))
        except csv.Error:
            break
        if len(found) == 1 and len(found[0]) == width:
            return size, found[0], ""
        if size == 1:
            return 1, [], _miscounted(len(found[0]), width)
        break
    return 1, [], "it holds a quote that is not closed, or stands where none may be"


def _miscounted(count: int, width: int) -> str:
    return "" if count == width else f"it has {count} fields, and the header has {width}"
