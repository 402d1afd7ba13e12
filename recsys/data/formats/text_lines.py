"""In which line of a text each of its rows begins."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeAlias

import numpy as np

from recsys.core.ragged import Int64
from recsys.data.formats.text_bytes import TextBytes

LineFinder: TypeAlias = Callable[[Int64], Int64]
"""The lines, from 1, in which rows, from 1 after the header and ascending, begin."""
_BLOCK = 1 << 20
_LF = 10


class Lines:
    """How much further the lines are than the rows, from which row on."""

    def __init__(self) -> None:
        self._rows, self._shifts = list[int](), list[int]()

    def row(self, row: int, line: int) -> None:
        """Note that a row begins in a line; rows come in order."""
        if not self._shifts or self._shifts[-1] != line - row:
            self._rows.append(row)
            self._shifts.append(line - row)

    def clear(self) -> None:
        """Forget all of them."""
        self._rows.clear()
        self._shifts.clear()

    def __bool__(self) -> bool:
        return bool(self._rows)

    def of(self, rows: Int64) -> Int64:
        """int64: the lines in which rows begin."""
        place = np.searchsorted(np.array(self._rows), rows, side="right") - 1
        return rows + np.array(self._shifts, dtype=np.int64)[place]


def lines_of(text: TextBytes, quote: str | None, rows: Int64, *, header: bool) -> Int64:
    """Find the lines in which some rows begin; blank lines are no rows, and line ends within quotes end none.

    Parameters
    ----------
    text : TextBytes
        Whose quotes are known to be paired.
    quote : str or None
        One ASCII character; None: every line end ends a row.
    rows : int64 (n,)
        Ascending, from 1 after the header.
    header : bool
        Whether the first row names the columns.

    Returns
    -------
    int64 (n,)
    """
    wanted = rows + header - 1  # from 0, with the header
    found, met, line, inside = np.zeros(len(rows), dtype=np.int64), 0, 1, False
    for block in _whole_lines(text):
        data = np.frombuffer(block, np.uint8)
        ends = np.flatnonzero(data == _LF)
        quotes = np.flatnonzero(data == ord(quote)) if quote is not None else np.zeros(0, dtype=np.int64)
        within = (np.searchsorted(quotes, ends) + inside) % 2 == 1
        begins = np.concatenate([[0], ends[:-1] + 1])
        filled = ends > begins
        starts = np.flatnonzero(filled & ~np.concatenate([[inside], within[:-1]]))
        here = (wanted >= met) & (wanted < met + len(starts))
        found[here] = line + starts[wanted[here] - met]
        met, line, inside = met + len(starts), line + len(ends), bool(within[-1])
        if len(wanted) == 0 or met > wanted[-1]:
            break
    return found


def _whole_lines(text: TextBytes) -> Iterator[bytes]:
    """The text in blocks that end with a line feed."""
    rest = b""
    for block in text.blocks(_BLOCK):
        data = rest + block
        cut = data.rfind(b"\n") + 1
        rest = data[cut:]
        if cut:
            yield _plain(data[:cut])
    if rest:
        yield _plain(rest + b"\n")


def _plain(data: bytes) -> bytes:
    """With line feeds for all line ends."""
    return data.replace(b"\r\n", b"\n").replace(b"\r", b"\n") if b"\r" in data else data
