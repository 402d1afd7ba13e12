"""Name the columns, and say how ids are written: no other module spells a column's name."""

from typing import Final

import polars as pl

USER: Final = "user_id"
ITEM: Final = "item_id"
TIMESTAMP: Final = "timestamp"
ORDER: Final = "order"
WEIGHT: Final = "weight"
EVENT: Final = "event_type"
RATING: Final = "rating"
TITLE: Final = "title"
GENRES: Final = "genres"
TEXT: Final = "text"
TEXT_COLUMNS: Final = ("title", "name", "description", "categories", "category", "genres", "brand")
SCORE: Final = "score"
RANK: Final = "rank"
QUERY: Final = "query"
SIMILAR: Final = "similar_item_id"
SIMILAR_USER: Final = "similar_user_id"
SOURCE: Final = "source"
CONTRIBUTION: Final = "contribution"
PLACE: Final = "place"
REQUEST: Final = "request"
ROW: Final = "row"
RULE: Final = "rule"
CHANGE: Final = "change"
RELATED: Final = "related_item_id"
RELATION: Final = "relation"
RANK_BEFORE: Final = "rank_before"
RANK_AFTER: Final = "rank_after"

MOVIELENS_INTERACTIONS: Final = (USER, ITEM, RATING, TIMESTAMP)
"""Columns of a MovieLens ``ratings.dat``, which has no header."""
MOVIELENS_USERS: Final = (USER, "gender", "age", "occupation", "zip")
"""Columns of a MovieLens ``users.dat``, which has no header."""
MOVIELENS_CATALOG: Final = (ITEM, TITLE, GENRES)
"""Columns of a MovieLens ``movies.dat``, which has no header."""


WHOLE: Final = r"^(?:0|-?[1-9]\d*)(?:\.0)?$"
"""A whole number as text; pandas writes a column of integers with a gap as 4.0."""


def canonical_ids(ids: pl.Series) -> pl.Series:
    """Convert raw ids to one of the two dtypes that an IdMap holds: Int64 or String.

    Integers, and floats that are all whole, become Int64. Strings become Int64 only if each is written as that
    integer is (``"42"``, but not ``"042"``), or as pandas writes it beside a missing value (``"42.0"``), so different
    ids are never merged. Everything else becomes String.

    Parameters
    ----------
    ids : Series
        Raw ids of any dtype, without nulls.

    Returns
    -------
    Series
        The same ids, Int64 or String.
    """
    tight = tight_ids(ids)
    if tight.dtype != pl.String or tight.is_empty() or not _whole_as_text(tight):
        return tight
    number = tight.str.strip_suffix(".0").cast(pl.Int64, strict=False)
    return tight if number.null_count() else number


def tight_ids(ids: pl.Series) -> pl.Series:
    """Convert ids as :func:`canonical_ids` does, but keep ``"42.0"`` as text: for ids that were canonical before."""
    if ids.dtype.is_integer():
        narrow = ids.cast(pl.Int64, strict=False)
        return narrow if narrow.null_count() == 0 else ids.cast(pl.String)
    if (
        ids.dtype.is_float() or ids.dtype.is_decimal()
    ):  # what pandas makes of integers beside a missing value; NUMERIC of SQL
        whole = ids.cast(pl.Int64, strict=False)
        if whole.null_count() == 0 and bool((whole.cast(ids.dtype) == ids).all()):
            return whole
    text = ids.cast(pl.String)
    if text.is_empty():
        return text
    number = text.cast(pl.Int64, strict=False)
    if number.null_count() == 0 and bool((number.cast(pl.String) == text).all()):
        return number
    return text


def exact_below(dtype: pl.DataType) -> int:
    """The least number that a float of this type cannot tell from its neighbour."""
    return 2**24 if dtype == pl.Float32 else 2**53


def _whole_as_text(text: pl.Series) -> bool:
    """Tell whether all ids are whole numbers, some of them with a trailing .0."""
    return bool(text[:1].str.contains(WHOLE).all()) and bool(text.str.contains(WHOLE).all())
