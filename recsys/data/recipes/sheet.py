"""Read the sheets of a workbook (.xlsx), row by row, with nothing but the standard library."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree
from zipfile import BadZipFile, ZipFile

from recsys.errors import DataError

_MAIN = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"
Row = list[str | None]


def sheet_rows(file: Path, most: int) -> Iterator[tuple[list[str], list[Row]]]:
    """The rows of all sheets, in order; each sheet's first row names its columns.

    Parameters
    ----------
    file : Path
    most : int
        Rows to yield at once.

    Yields
    ------
    list of str, list of list of str or None
        The columns; the rows. Numbers are texts as the workbook writes them, and dates are days since 1899-12-30.

    Raises
    ------
    DataError
        It is no workbook.
    """
    try:
        with ZipFile(file) as book:
            shared = _shared(book)
            sheets = [name for name in book.namelist() if re.fullmatch(r"xl/worksheets/sheet\d+\.xml", name)]
            for name in sorted(sheets, key=lambda one: int("".join(filter(str.isdigit, one)))):
                yield from _sheet(book, name, shared, most)
    except (BadZipFile, ElementTree.ParseError, KeyError) as error:
        raise DataError(f"{file} is no workbook or is damaged ({error}); download it again") from error


def _sheet(book: ZipFile, name: str, shared: list[str], most: int) -> Iterator[tuple[list[str], list[Row]]]:
    header, rows = list[str](), list[Row]()
    with ZipFile.open(book, name) as stream:
        for _, node in ElementTree.iterparse(stream):  # noqa: S314 - expat itself refuses entities that grow
            if node.tag != f"{_MAIN}row":
                continue
            cells = {
                _column(cell.get("r"), place): _value(cell, shared) for place, cell in enumerate(node.iter(f"{_MAIN}c"))
            }
            node.clear()
            if not header:
                header = [cells.get(place) or f"column {place + 1}" for place in range(max(cells, default=-1) + 1)]
                continue
            rows.append([cells.get(place) for place in range(len(header))])
            if len(rows) == most:
                yield header, rows
                rows = []
    if rows:
        yield header, rows


def _shared(book: ZipFile) -> list[str]:
    """The texts that cells name by number."""
    if "xl/sharedStrings.xml" not in book.namelist():
        return []
    texts = list[str]()
    with ZipFile.open(book, "xl/sharedStrings.xml") as stream:
        for _, node in ElementTree.iterparse(stream):  # noqa: S314 - as above
            if node.tag == f"{_MAIN}si":
                texts.append("".join(part.text or "" for part in node.iter(f"{_MAIN}t")))
                node.clear()
    return texts


def _column(reference: str | None, otherwise: int) -> int:
    """The place of a cell such as ``AB12`` in its row, from 0; a cell that does not say it follows the one before."""
    if reference is None:
        return otherwise
    place = 0
    for letter in reference:
        if letter.isdigit():
            break
        place = place * 26 + ord(letter) - ord("A") + 1
    return place - 1


def _value(cell: ElementTree.Element, shared: list[str]) -> str | None:
    if cell.get("t") == "inlineStr":
        return "".join(part.text or "" for part in cell.iter(f"{_MAIN}t"))
    value = cell.find(f"{_MAIN}v")
    if value is None or value.text is None:
        return None
    return shared[int(value.text)] if cell.get("t") == "s" else value.text
