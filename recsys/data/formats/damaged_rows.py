"""Find the rows of a delimited text that cannot be read, and let the others stand."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator

from recsys.data.formats.dialect import Damaged, fields_of_any_length

_MOST_LINES = 100
"""Lines that a row may have: a quote that is not closed by then is taken as damage of its first line alone."""


def without_damaged(text: str, separator: str, quote: str | None, width: int, tell: Damaged) -> tuple[str, int]:
    """Put an empty row in place of each that cannot be read, so that the others keep their numbers.

    Parameters
    ----------
    text : str
        The header comes first; lines end in line feeds.
    separator : str
    quote : str or None
        None: quotes are ordinary characters.
    width : int
        Fields of the header.
    tell : callable
        Told of each damaged row: its number, from 1 after the header, why, and its text.

    Returns
    -------
    str, and int
        The text, with all fields quoted that need it and without blank lines; and its rows, with the header.
    """
    out, rows = io.StringIO(newline=""), 0
    writer = csv.writer(out, delimiter=separator, quotechar=quote or '"', lineterminator="\n")
    with fields_of_any_length():
        for line, fields, why in _rows(text.split("\n"), separator, quote, width):
            if why:
                tell(rows, why, line)
            if quote is None:
                out.write((separator * (width - 1) if why else line) + "\n")
            else:
                writer.writerow([""] * width if why else fields)
            rows += 1
    return out.getvalue(), rows


def _rows(lines: list[str], separator: str, quote: str | None, width: int) -> Iterator[tuple[str, list[str], str]]:
    """The text of each row, its fields, and what is wrong with it."""
    at = 0
    while at < len(lines):
        if not lines[at].strip("\r"):
            at += 1
            continue
        size, fields, why = _row(lines, at, separator, quote, width)
        yield "\n".join(lines[at : at + size]).rstrip("\r"), fields, why
        at += size


def _row(lines: list[str], at: int, separator: str, quote: str | None, width: int) -> tuple[int, list[str], str]:
    """The row that begins in a line: its lines, fields, and what is wrong."""
    first = lines[at].rstrip("\r")
    if "\0" in first:
        return 1, [], "it holds NUL bytes"
    if quote is None:
        fields = first.split(separator)
        return 1, fields, _miscounted(len(fields), width)
    for size in range(1, min(_MOST_LINES, len(lines) - at) + 1):
        if sum(line.count(quote) for line in lines[at : at + size]) % 2:
            continue
        try:
            source = io.StringIO("\n".join(lines[at : at + size]), newline="")
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
