"""Warn about ids that people hold for one and that are two, and about ids that a spreadsheet has cut."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import polars as pl

from recsys.core.distinct import Tally
from recsys.core.progress import warn
from recsys.core.schema import canonical_ids

_UNSEEN = "\u200b\u2060\ufeff"
"""Letters without a width, which copying from web pages leaves round a text."""
_CUT = r"^\d(?:[.,]\d+)?E\+\d+$"
"""How a spreadsheet shows long numbers."""
_ZEROS = "written like {!r} beside the same number without its zeros, and are ids of their own: write them alike"


def tell_look_alikes(text: pl.Series, distinct: Tally, where: str) -> None:
    """Warn about look-alikes among the distinct ids of a column, with the count of rows and an example.

    Parameters
    ----------
    text : Series of String (n_distinct,)
        No nulls.
    distinct : Tally
    where : str
        File and column, for the message.
    """
    for found, message in _found(text):
        rows = distinct.rows_of(found)
        at = int(found.arg_true()[0])
        warn(f"{where}: ids in {rows:,} rows are {message.format(text[at])} (first in row {int(distinct.first[at]) + 1})")


def tell_zeros(ids: pl.Series, kind: str) -> None:
    """Warn about ids of several tables that differ only in zeros in front, as where one was saved by a spreadsheet."""
    if ids.dtype == pl.String and (found := _with_twins(ids)).any():
        warn(f"{int(found.sum()):,} {kind} ids of all tables are {_ZEROS.format(ids[int(found.arg_true()[0])])}")


def _with_twins(text: pl.Series) -> pl.Series:
    """Which ids have zeros in front, and are beside the same number without them."""
    zeros = text.str.starts_with("0")
    if not zeros.any() or not (zeros := zeros & text.str.contains(r"^0+\d+$")).any():
        return zeros & False
    bare = text.filter(zeros).str.replace(r"^0+(\d)", "${1}")
    twins = text.filter(~zeros)
    met = bare.is_in(twins.implode()) | bare.is_duplicated()
    return zeros.scatter(zeros.arg_true(), met)


def tell_alike_types(names: Sequence[str]) -> None:
    """Warn about event types that differ only in blanks around them or in letter case."""
    plain = [name.strip().casefold() for name in names]
    alike = [name for name, one in zip(names, plain, strict=True) if plain.count(one) > 1]
    if alike:
        told = ", ".join(map(repr, alike[:6]))
        warn(f"the event types {told} differ only in blanks or letter case, and are different types: write them alike")


def plain_letters(text: pl.Series) -> pl.Series:
    """Text with composed letters, and without letters of no width around it: as it looks."""
    return text.str.normalize("NFC").str.strip_chars(_UNSEEN)


def _found(text: pl.Series) -> Iterator[tuple[pl.Series, str]]:
    floats = text.str.ends_with(".0") & text.str.contains(r"^-?\d+\.0$")
    if floats.any() and canonical_ids(text).dtype == pl.String:
        yield (
            floats,
            "written like {!r} beside ids that are no numbers, and stay text: the same id without .0 is another one",
        )
    cut = text.str.contains("E+", literal=True)
    if cut.any() and (cut := text.str.contains(_CUT)).any():
        yield (
            cut,
            "written like {!r}, as spreadsheets cut long numbers: different ids may have become one; export them as text",
        )
    zeros = _with_twins(text)
    if zeros.any():
        yield (zeros, _ZEROS)
    odd = text.str.len_bytes() != text.str.len_chars()
    if odd.any():
        plain = text.zip_with(~odd, plain_letters(text))
        alike = plain.is_duplicated() & odd
        if alike.any():
            yield (
                alike,
                "spelt so that they look like others, such as {!a}: each spelling is an id of its own; write them alike",
            )
