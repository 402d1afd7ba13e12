"""Catalog: what is known of each item besides its interactions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from recsys.data.vocabulary import Vocabulary
from recsys.errors import DataError
from recsys.schema import ITEM, TEXT, TITLE


@dataclass(frozen=True, eq=False)
class Catalog:
    """One row per item: its text, its title and whatever other columns the file has.

    Attributes
    ----------
    items : Vocabulary
        Item ids in row order.
    texts : Series of String (n_items,)
        The text that the item tower reads; null where nothing is known.
    titles : Series of String (n_items,)
        What people are shown; null where nothing is known.
    columns : DataFrame (n_items rows)
        The file's columns as read, for display, filters and segments.
    text_columns : tuple of str
        The columns that ``texts`` is made of.
    """

    items: Vocabulary
    texts: pl.Series
    titles: pl.Series
    columns: pl.DataFrame
    text_columns: tuple[str, ...]

    @classmethod
    def from_frame(cls, frame: pl.DataFrame, *, text: Sequence[str], title: str | None = None) -> Catalog:
        """Build from a frame with an ``item_id`` column.

        Parameters
        ----------
        frame : DataFrame
            One row per item.
        text : sequence of str
            Columns that make the text, joined by ". " in this order; "|" between values becomes ", ".
        title : str, optional
            The column shown to people; by default the first of ``text``.

        Raises
        ------
        DataError
            A column is missing, or an id is null or repeated.
        """
        title = text[0] if title is None and text else title
        for name in (ITEM, *text, *([title] if title else [])):
            if name not in frame.columns:
                raise DataError(f"the catalogue has no column {name!r}; its columns are {', '.join(frame.columns)}")
        parts = [_clean(pl.col(name).cast(pl.String)) for name in text]
        joined = pl.concat_str(parts, separator=". ", ignore_nulls=True) if parts else pl.lit(None, dtype=pl.String)
        made = frame.select(
            _clean(joined).alias(TEXT), (_clean(pl.col(title).cast(pl.String)) if title else pl.lit(None)).alias(TITLE)
        )
        return cls(
            items=Vocabulary(frame[ITEM], "item"),
            texts=made[TEXT],
            titles=made[TITLE].cast(pl.String),
            columns=frame.drop(ITEM),
            text_columns=tuple(text),
        )

    @classmethod
    def without_text(cls, items: Vocabulary) -> Catalog:
        """The catalogue of items of which nothing is known."""
        blank = pl.Series([None] * len(items), dtype=pl.String)
        return cls(items, blank.alias(TEXT), blank.alias(TITLE), pl.DataFrame({TITLE: blank}).drop(TITLE), ())

    def __len__(self) -> int:
        return len(self.items)

    def __repr__(self) -> str:
        return f"Catalog({len(self):,} items, text from {', '.join(self.text_columns) or 'nothing'})"

    def aligned(self, items: Vocabulary) -> Catalog:
        """The same knowledge in the row order of ``items``; items that this catalogue lacks get nulls."""
        if items.same(self.items):
            return self
        mine = self.items.find(items.ids if items.ids.dtype == self.items.ids.dtype else items.ids.cast(pl.String))
        rows = pl.Series(mine, dtype=pl.Int64).set(pl.Series(mine < 0), None)

        def gather(column: pl.Series) -> pl.Series:
            return column.gather(rows)

        columns = pl.DataFrame([gather(column) for column in self.columns.iter_columns()])
        return Catalog(items, gather(self.texts), gather(self.titles), columns, self.text_columns)

    def title_of(self, rows: np.ndarray[tuple[int], np.dtype[np.int32]]) -> pl.Series:
        """Titles of item rows; the id stands in where there is no title."""
        titles = self.titles.gather(pl.Series(rows, dtype=pl.UInt32))
        return titles.fill_null(self.items.raw(rows).cast(pl.String)).alias(TITLE)


def _clean(text: pl.Expr) -> pl.Expr:
    """Collapse white space, spell out "|" lists, and make the empty string null."""
    tidy = text.str.replace_all(r"\s*\|\s*", ", ").str.replace_all(r"\s+", " ").str.strip_chars()
    return pl.when(tidy.str.len_bytes() > 0).then(tidy)
