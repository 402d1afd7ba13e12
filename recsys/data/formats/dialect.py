"""The dialect of a text table: its separator, quotes, encoding and null values."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

from recsys.core.progress import log
from recsys.errors import ConfigError, DataError

SEPARATORS: Final = {",": "comma", ";": "semicolon", "\t": "tab", "|": "pipe", " ": "blank"}
_SNIFFED = ",;\t|"
_NAMES = {"comma": ",", "semicolon": ";", "tab": "\t", "\\t": "\t", "pipe": "|", "blank": " ", "space": " "}
_SAMPLE = 100


Damaged: TypeAlias = Callable[[int, str, str], None]
"""Told of a row that cannot be read: its number, why, and its text."""


@dataclass(frozen=True)
class Dialect:
    """What the caller says about a text table; None: use the format's default, or what the file shows.

    Attributes
    ----------
    separator : str, optional
        One ASCII character between two fields, or one of the names comma, semicolon, tab, pipe and blank.
    quote : str, optional
        One ASCII character around a field that holds separators or line ends; if it is empty or ``"none"``, quotes are
        ordinary characters.
    encoding : str, optional
        Python's name of it, such as cp1252, latin-1 or utf-16.
    null_values : tuple of str
        Texts that mean a missing value, such as ``NULL``.
    damaged : callable, optional
        Told of each line of NDJSON that is no JSON object, and of each row of CSV or TSV with another number of fields than
        the header or a quote where none may be: by the number of the row, from 1, the reason and the text; the row is then
        empty. By default, such a file is refused.

    Raises
    ------
    ConfigError
        A separator or a quote is not one ASCII character, or both are the same.
    """

    separator: str | None = None
    quote: str | None = None
    encoding: str | None = None
    null_values: tuple[str, ...] = ()
    damaged: Damaged | None = None

    def __post_init__(self) -> None:
        if self.separator is not None:
            separator = _NAMES.get(self.separator.lower(), self.separator)
            if len(separator) != 1 or not separator.isascii() or separator in "\r\n\0":
                instead = "; for '::' set format='movielens' (--format movielens)" if separator == "::" else ""
                raise ConfigError(
                    f"separator= (--separator) is {self.separator!r}, expected one ASCII character or one of "
                    f"{', '.join(SEPARATORS.values())}{instead}"
                )
            object.__setattr__(self, "separator", separator)
        if self.quote is not None:
            quote = "" if self.quote.lower() == "none" else self.quote
            if len(quote) > 1 or not quote.isascii() or (quote and quote in "\r\n\0"):
                raise ConfigError(f"quote= (--quote) is {self.quote!r}, expected one ASCII character, or none")
            if quote and quote == self.separator:
                raise ConfigError(f"separator= and quote= are both {quote!r}")
            object.__setattr__(self, "quote", quote)
        if isinstance(self.null_values, str) or not all(isinstance(value, str) for value in self.null_values):
            raise ConfigError(f"null_values= (--null-values) is {self.null_values!r}, expected a list of texts")

    @classmethod
    def of(
        cls, separator: str | None, quote: str | None, encoding: str | None, null_values: str | Sequence[str] | None
    ) -> Dialect:
        """Build from keyword arguments of the readers."""
        values = (null_values,) if isinstance(null_values, str) else tuple(null_values or ())
        return cls(separator, quote, encoding, values)

    def resolved(self, file: Path, kind: str, head: str, *, whole: bool) -> tuple[str, str | None, list[str]]:
        """Find out from the first rows how a CSV or TSV file is written.

        Parameters
        ----------
        file : Path
            For messages.
        kind : str
            csv or tsv.
        head : str
            The first rows.
        whole : bool
            Whether these are all rows; otherwise the last one may be cut off.

        Returns
        -------
        separator : str
        quote : str or None
            None: quotes are ordinary characters.
        columns : list of str
            The fields of the first row.

        Raises
        ------
        DataError
            The file has no row, or several separators fit.
        """
        quote = {None: '"' if kind == "csv" else None, "": None}.get(self.quote, self.quote)
        separator = self.separator
        if separator is None:
            default = "," if kind == "csv" else "\t"
            try:
                separator = sniffed(head if whole else head[: head.rfind("\n") + 1] or head, default, quote)
            except ConfigError as error:
                raise DataError(f"{file}: {error}") from error
            if separator != default:
                log(f"{file}: the columns are separated by {separator!r} ({SEPARATORS[separator]})")
        first = records(head, separator, quote, most=1)
        if not first:
            raise DataError(f"{file} is empty")
        return separator, quote, first[0]


PLAIN: Final = Dialect()


@contextmanager
def fields_of_any_length() -> Iterator[None]:
    """Lift the limit of the module csv, 131,072 characters per field, until the block ends."""
    before = csv.field_size_limit(2**31 - 1)
    try:
        yield
    finally:
        csv.field_size_limit(before)


def records(head: str, separator: str, quote: str | None, most: int = _SAMPLE) -> list[list[str]]:
    """Split the first rows of a text into fields, without blank lines."""
    if quote is None:
        lines = [line for line in io.StringIO(head) if line.strip("\r\n")]
        return [line.rstrip("\r\n").split(separator) for line in lines[:most]]
    found = list[list[str]]()
    try:
        with fields_of_any_length():
            for row in csv.reader(io.StringIO(head, newline=""), delimiter=separator, quotechar=quote):
                if row:
                    found.append(row)
                if len(found) == most:
                    break
    except csv.Error:
        pass  # the count of all rows reports what is wrong with one
    return found


def sniffed(head: str, default: str, quote: str | None) -> str:
    """Find the separator of a text: the format's own if the first row has it, else the one that splits all rows alike.

    Raises
    ------
    ConfigError
        Several others fit.
    """
    rows = records(head, default, quote)
    if not rows or len(rows[0]) > 1:
        return default
    fitting = list[str]()
    for separator in _SNIFFED.replace(default, ""):
        widths = [len(row) for row in records(head, separator, quote)]
        if widths and widths[0] > 1 and len(set(widths)) == 1:
            fitting.append(separator)
    if len(fitting) > 1:
        some = " or ".join(repr(separator) for separator in fitting)
        raise ConfigError(f"the columns may be separated by {some}; name the right one, separator= (--separator)")
    return fitting[0] if fitting else default
