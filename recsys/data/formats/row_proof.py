"""Count the rows of a delimited text and their fields, independently of the reader that parses it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from recsys.data.formats.text_bytes import Bytes, TextBytes

_PIECE = 1 << 16
"""Bytes that are searched together: they stay in the processor's cache."""
_LF, _CR = 10, 13


class NotPlainError(Exception):
    """The text has lone carriage returns: it must be rewritten before it can be counted."""


@dataclass(frozen=True)
class Flaw:
    """The first thing wrong with a text.

    Attributes
    ----------
    kind : str
        ``fields``: a row has another number of fields than the header. ``stray``: a quote is where none may be. ``open``:
        a quoted field does not end. ``nul``: a NUL byte.
    line : int
        Its line, counted from 1.
    fields : int
        The number of fields in that row.
    opened : int
        The line of the last opening quote, or 0.
    """

    kind: str
    line: int
    fields: int = 0
    opened: int = 0


@dataclass(frozen=True)
class Proof:
    """The counts of a text.

    Attributes
    ----------
    rows : int
        Rows without blank lines; the header counts.
    blank : int
        Lines without a character.
    inner_ends : int
        Line ends within quoted fields.
    suspect, opened : int
        Lines within a quoted field that have as many separators as a row, and the line in which the last such field opens.
    quotes : bool
        Whether the text has a quote.
    flaw : Flaw or None
        The first flaw, which ended the count.
    """

    rows: int
    blank: int = 0
    inner_ends: int = 0
    suspect: int = 0
    opened: int = 0
    quotes: bool = False
    flaw: Flaw | None = None


class _Counter:
    """Count piece by piece in vectors; a field that is open at the end of a piece goes on in the next one."""

    def __init__(self, separator: int, quote: int | None, width: int) -> None:
        self.separator, self.quote, self.width = separator, quote, width
        self.rows = self.blank = self.inner_ends = self.lines = self.fields = 0
        self.opened = self.suspect = self.suspect_opened = 0
        self.quotes = self.inside = False
        self.flaw: Flaw | None = None

    def take(self, text: Bytes) -> None:
        """Count whole lines: ``text`` ends with a line feed."""
        raw = text.tobytes()  # looking for one byte in bytes is faster than in an array
        if (zero := raw.find(b"\0")) >= 0:
            self.flaw = Flaw("nul", self.lines + raw.count(b"\n", 0, zero) + 1)
            return
        marks = text == self.separator
        marks |= text == _LF
        at = np.flatnonzero(marks)
        if self.quote is not None and (self.inside or self.quote in raw):
            self.quotes = True
            if not self._whole_fields_quoted(text, raw, at):
                marks |= text == self.quote
                at = np.flatnonzero(marks)
                self._take_quoted(text, at, text[at])
                return
        ends = text[at] == _LF
        lines = int(np.count_nonzero(ends))
        if b"\r" in raw and bool((text[np.flatnonzero(text == _CR) + 1] != _LF).any()):
            raise NotPlainError
        self._count(text, at, ends)
        self.lines += lines

    def _whole_fields_quoted(self, text: Bytes, raw: bytes, at: npt.NDArray[np.intp]) -> bool:
        """Tell whether all quotes are around whole fields, both or neither at the two ends of a field.

        Then no field holds a separator, a line end or a quote, and counting ``at`` (separators and line ends) is enough.
        """
        if self.inside or self.fields:
            return False
        begins, last = np.empty_like(at), at - 1
        begins[0], begins[1:] = 0, at[:-1] + 1
        if b"\r" in raw:
            if raw.count(b"\r") != raw.count(b"\r\n"):
                return False
            last -= text[last] == _CR
        opened = text[begins] == self.quote
        if not np.array_equal(opened, text[last] == self.quote):
            return False
        quoted = np.flatnonzero(opened)
        return np.count_nonzero(text == self.quote) == 2 * len(quoted) and bool((last[quoted] > begins[quoted]).all())

    def _take_quoted(self, text: Bytes, at: npt.NDArray[np.intp], kinds: Bytes) -> None:
        quoting = kinds == self.quote
        ends = kinds == _LF
        before = np.cumsum(quoting, dtype=np.uint8)
        before -= quoting
        before += np.uint8(self.inside)
        within = (before & 1).astype(np.bool_)
        places, closing = at[quoting], within[quoting]
        padded = np.empty(len(text) + 2, np.uint8)
        padded[0] = padded[-1] = _LF
        padded[1:-1] = text
        beside = np.where(closing, padded[places + 2], padded[places])
        fine = (beside == self.separator) | (beside == _LF) | (beside == _CR) | (beside == self.quote)
        opening = np.flatnonzero(quoting & ~within)
        if not bool(fine.all()):
            self._refuse_stray(ends, quoting, opening, closing, int(np.argmin(fine)))
            return
        if len(opening):
            self.opened = self._line_of(ends, int(opening[-1]))
        returns = np.flatnonzero(text == _CR)
        if len(returns):
            lone = returns[padded[returns + 2] != _LF]
            parity = np.searchsorted(places, lone) + int(self.inside)
            if bool((parity % 2 == 0).any()):
                raise NotPlainError
        inner = int(np.count_nonzero(ends & within))
        self.inner_ends += inner
        if inner:
            self._note_lines_like_rows(np.flatnonzero(ends), within, quoting)
        outer = ~(within | quoting)
        self._count(text, at[outer], ends[outer])
        self.inside = bool((len(places) + int(self.inside)) & 1)
        self.lines += int(np.count_nonzero(ends))

    def _line_of(self, ends: npt.NDArray[np.bool_], mark: int) -> int:
        return self.lines + int(np.count_nonzero(ends[:mark])) + 1

    def _refuse_stray(
        self,
        ends: npt.NDArray[np.bool_],
        quoting: npt.NDArray[np.bool_],
        opening: npt.NDArray[np.intp],
        closing: npt.NDArray[np.bool_],
        first: int,
    ) -> None:
        """Note a flaw; ``first`` is the index of the stray quote among all quotes."""
        mark = int(np.flatnonzero(quoting)[first])
        earlier = opening[opening < mark]
        if not closing[first]:
            self.opened = 0
        elif len(earlier):
            self.opened = self._line_of(ends, int(earlier[-1]))
        self.flaw = Flaw("stray", self._line_of(ends, mark), opened=self.opened)

    def _note_lines_like_rows(
        self, ends: npt.NDArray[np.intp], within: npt.NDArray[np.bool_], quoting: npt.NDArray[np.bool_]
    ) -> None:
        if self.width == 1 or len(ends) < 2:
            return
        quotes_before = np.cumsum(quoting)[ends]
        alike = within[ends][1:] & within[ends][:-1] & (np.diff(quotes_before) == 0) & (np.diff(ends) == self.width)
        if found := int(np.count_nonzero(alike)):
            self.suspect += found
            self.suspect_opened = self.opened

    def _count(self, text: Bytes, at: npt.NDArray[np.intp], row_ends: npt.NDArray[np.bool_]) -> None:
        """Count rows; ``at`` are separators and row ends, ``row_ends`` says which of them end rows."""
        rows = int(np.count_nonzero(row_ends))
        if rows == 0:
            self.fields += len(at)
            return
        width = self.width
        if width > 1 and not self.fields and rows * width == len(at) and bool(row_ends[width - 1 :: width].all()):
            self.rows += rows
            return
        ends = np.flatnonzero(row_ends)
        fields = np.diff(ends, prepend=-1)
        fields[0] += self.fields
        self.fields = len(at) - 1 - int(ends[-1])
        begins = np.concatenate([[0], at[ends][:-1] + 1])
        length = at[ends] - begins
        blank = (length == 0) | ((length == 1) & (text[begins] == _CR))
        if self.inside:
            blank[0] = False  # it is the rest of a row with a line end within quotes
        wrong = ~blank & (fields != width)
        if bool(wrong.any()):
            first = int(np.argmax(wrong))
            line = self.lines + int(np.count_nonzero(text[: int(at[ends[first]])] == _LF)) + 1
            self.flaw = Flaw("fields", line, int(fields[first]), self.opened)
        self.blank += int(np.count_nonzero(blank))
        self.rows += rows - int(np.count_nonzero(blank))


def prove(text: TextBytes, separator: str, quote: str | None, width: int) -> Proof:
    """Count rows and fields.

    Parameters
    ----------
    text : TextBytes
    separator : str
        One ASCII character.
    quote : str or None
        One ASCII character; None: quotes are ordinary characters.
    width : int
        Fields that each row must have.

    Raises
    ------
    NotPlainError
        A carriage return outside quotes has no line feed after it.
    """
    counter = _Counter(ord(separator), None if quote is None else ord(quote), width)
    rest = list[Bytes]()
    for piece in _pieces(text, _PIECE):
        if cut := _after_last_line(piece):
            counter.take(np.concatenate([*rest, piece[:cut]]) if rest else piece[:cut])
            rest.clear()
        if counter.flaw is not None:
            break
        if cut < len(piece):
            rest.append(piece[cut:].copy())
    if counter.flaw is None and rest:
        counter.take(np.concatenate([*rest, np.array([_LF], np.uint8)]))
    if counter.flaw is None and counter.inside:
        counter.flaw = Flaw("open", counter.lines, opened=counter.opened)
    return Proof(
        counter.rows,
        counter.blank,
        counter.inner_ends,
        counter.suspect,
        counter.suspect_opened,
        counter.quotes,
        counter.flaw,
    )


def _pieces(text: TextBytes, size: int) -> Iterator[Bytes]:
    """uint8 (at most size,): the text in pieces; a piece is valid until the next one is read."""
    if text.data is not None:
        whole = np.frombuffer(text.data, np.uint8)
        for start in range(0, len(whole), size):
            yield whole[start : start + size]
        return
    room = bytearray(size)
    buffer = np.frombuffer(room, np.uint8)
    with text.file.open("rb", buffering=0) as stream:
        while count := stream.readinto(room):
            yield buffer[:count]


def _after_last_line(piece: Bytes) -> int:
    """Find where the last line of a piece ends; 0 if none does."""
    for size in (1 << 10, len(piece)):
        if len(found := np.flatnonzero(piece[-size:] == _LF)):
            return max(len(piece) - size, 0) + int(found[-1]) + 1
    return 0
