"""Read MovieLens files: fields between ``::``, without a header."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import polars as pl

from recsys.core.progress import log
from recsys.data.formats.text_bytes import TextBytes, in_movielens_encoding, open_text, refuse_bad_utf8
from recsys.errors import DataError


def read_movielens(file: Path, columns: Sequence[str], encoding: str | None) -> tuple[pl.LazyFrame, TextBytes]:
    """Read all fields as text, and give the text too.

    Parameters
    ----------
    file : Path
        May be gzipped.
    columns : sequence of str
        The names of the fields, in order.
    encoding : str, optional
        By default UTF-8, or latin-1 if nothing beyond ASCII is UTF-8.

    Raises
    ------
    DataError
        The file is empty, damaged, or has a line with another number of fields.
    """
    text = open_text(file, encoding)
    data = (text if encoding is not None else in_movielens_encoding(text)).whole()
    if b"\r" in data:
        data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    if not data.strip():
        raise DataError(f"{file} is empty")
    refuse_bad_utf8(TextBytes(file, data), "movielens")
    if b"\0" in data:
        line = TextBytes(file, data).line_of(data.index(b"\0"))
        raise DataError(f"{file}: line {line} holds NUL bytes; the file is damaged")
    # No separator of more than one byte is known to the CSV reader: read whole lines, then split them.
    lines = pl.read_csv(
        data, has_header=False, new_columns=["line"], separator="\x1f", quote_char=None, infer_schema=False, glob=False
    )
    fields, blank = len(columns), lines["line"].null_count()
    counts = lines.select(pl.col("line").str.count_matches("::", literal=True) + 1)["line"]
    wrong = (counts != fields).arg_true()
    if len(wrong):
        row = int(wrong[0])
        raise DataError(
            f"{file}: row {row + 1} has {counts[row]} fields between '::' where {fields} are expected "
            f"({', '.join(columns)}): {lines['line'][row]!r}"
        )
    _refuse_header(file, str(lines["line"].drop_nulls()[0]))
    ends = data.count(b"\n") + (not data.endswith(b"\n"))
    if lines.height + _leading_blank(data) != ends:
        raise DataError(f"{file} holds {ends:,} lines, but {lines.height:,} were read; is it damaged?")
    if blank:
        log(f"{file}: {blank:,} blank lines left out")
        lines = lines.drop_nulls()
    split = pl.col("line").str.split_exact("::", fields - 1).struct.rename_fields(list(columns))
    return lines.lazy().select(split.alias("row")).unnest("row"), TextBytes(file, data)


_NAMES = frozenset((
    "user", "userid", "uid", "item", "itemid", "iid", "movie", "movieid", "mid", "rating", "timestamp", "time", "title",
    "genre", "genres", "gender", "sex", "age", "occupation", "zip", "zipcode",
))  # fmt: skip
"""Names of columns, without case and marks."""


def _refuse_header(file: Path, first: str) -> None:
    """Refuse names of columns in the first line: they would become an id."""
    fields = ["".join(letter for letter in field.casefold() if letter.isalpha()) for field in first.split("::")]
    if all(field in _NAMES for field in fields):
        raise DataError(
            f"{file}: line 1 names the columns ({first}), which MovieLens files do not; remove the line, or write the "
            f"table as CSV, whose columns you can name"
        )


def _leading_blank(data: bytes) -> int:
    return len(data) - len(data.lstrip(b"\n"))
