"""Count the rows of a delimited text, and the fields of each, independently of the reader that parses it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from recsys.data.text_bytes import Bytes, TextBytes

_PIECE = 1 << 18
"""Bytes looked at together: they stay in the processor's cache."""
_LF, _CR = 10, 13


class NotPlainError(Exception):
    """The text has lone carriage returns, or quotes within fields: it must be rewritten before it can be counted."""


@dataclass(frozen=True)
class Flaw:
    """What stands against a text.

    Attributes
    ----------
    kind : str
        ``fields``: a row has another number of fields than the first one. ``stray``: a quote where none may stand.
        ``open``: a quoted field does not end. ``nul``: a NUL byte.
    line : int
        Where, counted from 1.
    fields : int
        Of that row.
    opened : int
        The line of the last opening quote, or 0.
    """

    kind: str
    line: int
    fields: int = 0
    opened: int = 0


@dataclass(frozen=True)
class Proof:
    """What a text holds.

    Attributes
    ----------
    rows : int
        All but blank lines; the header counts.
    blank : int
        Lines without a character.
    inner_ends : int
        Line ends within quoted fields.
    suspect, opened : int
        Lines within a quoted field that have as many separators as a row, and where the last such field opens.
    quotes : bool
        Whether there is any quote.
    flaw : Flaw or None
        The first one, where the counting ended.
    """

    rows: int
    blank: int = 0
    inner_ends: int = 0
    suspect: int = 0
    opened: int = 0
    quotes: bool = False
    flaw: Flaw | None = None


class _Counter:
    """Reads line by line in vectors; what is open at the end of a piece waits for the next one."""

    def __init__(self, separator: int, quote: int | None, width: int) -> None:
        self.separator, self.quote, self.width = separator, quote, width
        self.rows = self.blank = self.inner_ends = self.lines = self.fields = 0
        self.opened = self.suspect = self.suspect_opened = 0
        self.quotes = self.inside = False
        self.flaw: Flaw | None = None

    def take(self, text: Bytes) -> None:
        """Count whole lines: ``text`` ends with a line feed."""
        if int(text.min()) == 0:
            self.flaw = Flaw("nul", self.lines + int(np.count_nonzero(text[: int(np.argmin(text))] == _LF)) + 1)
            return
        marks = text == self.separator
        marks |= text == _LF
        if self.quote is not None:
            quotes = text == self.quote
            if self.inside or quotes.any():
                marks |= quotes
                self._take_quoted(text, np.flatnonzero(marks))
                return
        at = np.flatnonzero(marks)
        ends = text[at] == _LF
        lines = int(np.count_nonzero(ends))
        self._refuse_lone_returns(text)
        if self.width == 1 or lines * self.width != len(at) or not bool(ends[self.width - 1 :: self.width].all()):
            self._count(text, at, np.flatnonzero(ends), np.arange(1, lines + 1))
        else:
            self.rows += lines
        self.lines += lines

    def _refuse_lone_returns(self, text: Bytes) -> None:
        returns = text == _CR
        if bool(returns.any()) and bool((text[np.flatnonzero(returns) + 1] != _LF).any()):
            raise NotPlainError

    def _take_quoted(self, text: Bytes, at: npt.NDArray[np.intp]) -> None:
        self.quotes = True
        kinds = text[at]
        quoting = kinds == self.quote
        before = np.cumsum(quoting) - quoting + int(self.inside)
        within = (before & 1).astype(bool)
        ends = kinds == _LF
        places = at[quoting]
        closing = within[quoting]
        padded = np.concatenate([[_LF], text, [_LF]]).astype(np.uint8)
        left, right = padded[places], padded[places + 2]
        fine = np.where(
            closing,
            (right == self.separator) | (right == _LF) | (right == _CR) | (right == self.quote),
            (left == self.separator) | (left == _LF) | (left == _CR) | (left == self.quote),
        )
        numbers = np.cumsum(ends) - ends  # line ends before each mark
        opening_lines = numbers[quoting][~closing]
        if not bool(fine.all()):
            first = int(np.argmin(fine))
            line = self.lines + int(numbers[quoting][first]) + 1
            opened = opening_lines[: int(np.count_nonzero(~closing[:first]))]
            if bool(closing[first]):
                self.opened = self.lines + int(opened[-1]) + 1 if len(opened) else self.opened
            else:
                self.opened = 0
            self.flaw = Flaw("stray", line, opened=self.opened)
            return
        if len(opening_lines):
            self.opened = self.lines + int(opening_lines[-1]) + 1
        returns = np.flatnonzero(text == _CR)
        if len(returns):
            lone = returns[padded[returns + 2] != _LF]
            parity = np.searchsorted(places, lone) + int(self.inside)
            if bool((parity % 2 == 0).any()):
                raise NotPlainError
        self.inner_ends += int(np.count_nonzero(ends & within))
        self._note_lines_like_rows(np.flatnonzero(ends), within, quoting)
        outer = ~within & ~quoting
        self._count(text, at[outer], np.flatnonzero(ends[outer]), numbers[outer][ends[outer]] + 1)
        self.inside = bool((int(np.count_nonzero(quoting)) + int(self.inside)) & 1)
        self.lines += int(np.count_nonzero(ends))

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

    def _count(
        self, text: Bytes, at: npt.NDArray[np.intp], ends: npt.NDArray[np.intp], lines: npt.NDArray[np.intp]
    ) -> None:
        """``at``: separators and row ends; ``ends``: which of them end rows; ``lines``: the line of each row's end."""
        if len(ends) == 0:
            self.fields += len(at)
            return
        fields = np.diff(ends, prepend=-1)
        fields[0] += self.fields
        self.fields = len(at) - 1 - int(ends[-1])
        begins = np.concatenate([[0], at[ends][:-1] + 1])
        length = at[ends] - begins
        blank = (length == 0) | ((length == 1) & (text[np.minimum(begins, len(text) - 1)] == _CR))
        if self.inside:
            blank[0] = False  # it is the rest of a row with a line end within quotes
        wrong = ~blank & (fields != self.width)
        if bool(wrong.any()):
            first = int(np.argmax(wrong))
            self.flaw = Flaw("fields", self.lines + int(lines[first]), int(fields[first]), self.opened)
        self.blank += int(np.count_nonzero(blank))
        self.rows += len(ends) - int(np.count_nonzero(blank))


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
        There is a carriage return outside quotes without a line feed after it.
    """
    counter = _Counter(ord(separator), None if quote is None else ord(quote), width)
    rest = list[Bytes]()
    for piece in text.pieces(_PIECE):
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


def _after_last_line(piece: Bytes) -> int:
    """Where the last line of a piece ends; 0 where no line does."""
    for size in (1 << 10, len(piece)):
        if len(found := np.flatnonzero(piece[-size:] == _LF)):
            return max(len(piece) - size, 0) + int(found[-1]) + 1
    return 0
