"""The item catalogue: each item's text, title and other columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from recsys.core.arguments import different, text_or_none, texts
from recsys.core.id_map import IdMap
from recsys.core.schema import ITEM, TEXT, TITLE
from recsys.data.formats.frames import Frame, frame_of
from recsys.data.parse import unique_ids
from recsys.data.shown import card, frame_rows
from recsys.errors import ConfigError, DataError

if TYPE_CHECKING:
    import scipy.sparse as sp

_MOST_CHUNKS = 64


@dataclass(frozen=True, eq=False)
class Catalog:
    """One row per item: its text, its title and the other columns of the file.

    Attributes
    ----------
    items : IdMap
        Item ids in row order.
    texts : Series of String (n_items,)
        The text that the item tower reads; null if the item has none.
    titles : Series of String (n_items,)
        What people are shown; null if the item has none.
    columns : DataFrame (n_items rows)
        The file's columns as read, for display, filters and segments.
    text_columns : tuple of str
        The columns that ``texts`` is made of.
    text_of_numbers : dict of bool
        For text columns of a catalogue that grew: whether every value is a number.

    Examples
    --------
    >>> frame = pl.DataFrame({"item_id": ["a", "b"], "title": ["Alien", "Brazil"], "genres": ["horror|sci-fi", None]})
    >>> recsys.Catalog.from_frame(frame, text=["title", "genres"]).texts.to_list()
    ['Alien. horror, sci-fi', 'Brazil']
    """

    items: IdMap
    texts: pl.Series
    titles: pl.Series
    columns: pl.DataFrame
    text_columns: tuple[str, ...]
    text_of_numbers: dict[str, bool] = field(default_factory=dict, repr=False)

    @classmethod
    def from_frame(cls, frame: Frame, *, text: Sequence[str], title: str | None = None) -> Catalog:
        """Build from a frame with an ``item_id`` column.

        Parameters
        ----------
        frame : frame
            One row per item: a frame of polars (lazy too) or pandas, an Arrow table or data set, or anything that has
            ``__arrow_c_stream__``.
        text : sequence of str
            Columns that make the text, joined by ". " in this order; the members of a list, and values with "|" between
            them, are joined by ", ".
        title : str, optional
            The column shown to people; by default the first of ``text``.

        Raises
        ------
        DataError
            A column is missing or cannot be text, or an id is null or repeated.
        """
        frame = frame_of(frame, "the catalogue")
        text, title = different(texts(text, "text"), "text= (--text)"), text_or_none(title, "title")
        title = text[0] if title is None and text else title
        for name in (ITEM, *text, *([title] if title else [])):
            if name not in frame.columns:
                raise DataError(f"the catalogue has no column {name!r}; its columns are {', '.join(frame.columns)}")
        items = unique_ids(frame[ITEM], f"the catalogue, column {ITEM!r}", "item")
        return cls.of_items(items, frame, text=text, title=title)

    @classmethod
    def of_items(cls, items: IdMap, frame: pl.DataFrame, *, text: Sequence[str], title: str | None) -> Catalog:
        """Build from a frame as for :meth:`from_frame`, whose ids are checked already: ``items``, in its order."""
        blank = pl.repeat(None, pl.len(), dtype=pl.String)
        parts = [_words(frame, name) for name in text]
        made = frame.select(
            (_clean(pl.concat_str(parts, separator=". ", ignore_nulls=True)) if parts else blank).alias(TEXT),
            (_words(frame, title) if title else blank).alias(TITLE),
        )
        return cls(
            items=items,
            texts=made[TEXT],
            titles=made[TITLE],
            columns=frame.drop(ITEM),
            text_columns=tuple(text),
        )

    @classmethod
    def without_text(cls, items: IdMap) -> Catalog:
        """Build a catalogue of items that have ids only."""
        blank = pl.Series([None] * len(items), dtype=pl.String)
        return cls(items, blank.alias(TEXT), blank.alias(TITLE), pl.DataFrame({TITLE: blank}).drop(TITLE), ())

    def __len__(self) -> int:
        return len(self.items)

    def __repr__(self) -> str:
        return f"Catalog({len(self):,} items, text from {', '.join(self.text_columns) or 'nothing'})"

    def _repr_html_(self) -> str:
        facts = {"items": len(self), "text from": self.text_columns, "without text": int(self.texts.is_null().sum())}
        first = self.columns.head(3).with_columns(pl.col(pl.String).str.head(60))
        return card("Catalog", facts, frame_rows(first.insert_column(0, self.items.ids.head(3).alias(ITEM))))

    def aligned(self, items: IdMap) -> Catalog:
        """The same columns in the row order of ``items``; nulls for items that this catalogue lacks."""
        if items.same(self.items):
            return self
        mine = self.items.find_rows(items.ids if items.ids.dtype == self.items.ids.dtype else items.ids.cast(pl.String))
        rows = pl.Series(mine, dtype=pl.Int64).set(pl.Series(mine < 0), None)

        def gather(column: pl.Series) -> pl.Series:
            return column.gather(rows)

        columns = pl.DataFrame([gather(column) for column in self.columns.iter_columns()])
        return Catalog(items, gather(self.texts), gather(self.titles), columns, self.text_columns)

    def appended(
        self, items: IdMap, new: Catalog, columns: pl.DataFrame, text_of_numbers: dict[str, bool] | None = None
    ) -> Catalog:
        """Add the rows of a catalogue of other items behind these.

        Parameters
        ----------
        items : IdMap
            These items, then those of ``new``.
        new : Catalog
        columns : DataFrame
            What ``columns`` becomes, old rows and new ones.
        text_of_numbers : dict of bool, optional
            As the attribute.
        """
        return Catalog(
            items,
            stacked(self.texts, new.texts),
            stacked(self.titles, new.titles),
            columns,
            self.text_columns,
            text_of_numbers or {},
        )

    def column(self, name: str) -> pl.Series:
        """A column as it was read.

        Raises
        ------
        ConfigError
            The catalogue has no such column.
        """
        if name not in self.columns.columns:
            known = ", ".join(self.columns.columns)
            has = f"its columns are {known}" if known else "it has only ids; name a file with more columns (--catalog)"
            raise ConfigError(f"the catalogue has no column {name!r}; {has}")
        return self.columns[name]

    def listed(self, column: str) -> pl.Series:
        """A column as one list per item: a list column as it is; another column is cut at "|".

        Raises
        ------
        ConfigError
            The catalogue has no such column.
        DataError
            Its values cannot be written as text.
        """
        values = self.column(column)
        check_text(values.dtype, column)
        if isinstance(values.dtype, pl.Array):
            return values.arr.to_list()
        return values if values.dtype == pl.List else values.cast(pl.String).str.split("|")

    def memberships(self, column: str) -> tuple[sp.csr_matrix[np.bool_], list[str]]:
        """Which categories each item is in, from a column with one value or several separated by "|" (or a list).

        Parameters
        ----------
        column : str

        Returns
        -------
        bool CSR (n_items, n_categories), list of str
            The matrix, and the categories in sorted order; the row of an item without a value is empty.

        Raises
        ------
        ConfigError, DataError
            As for :meth:`listed`.
        """
        frame = (
            self.listed(column).alias("category").to_frame().with_row_index("row").explode("category", empty_as_null=True)
        )
        frame = frame.with_columns(pl.col("category").cast(pl.String).str.strip_chars())
        frame = frame.filter(pl.col("category").is_not_null() & (pl.col("category") != "")).unique()
        names = frame["category"].unique().sort()
        place = frame["category"].replace_strict(names, np.arange(len(names)), return_dtype=pl.Int64).to_numpy()
        from scipy.sparse import csr_matrix  # noqa: PLC0415 - a catalogue is read without it

        shape = (len(self), len(names))
        flags = np.ones(len(place), dtype=np.bool_)
        return csr_matrix((flags, (frame["row"].to_numpy().astype(np.int64), place)), shape=shape), names.to_list()

    def title_of(self, rows: np.ndarray[tuple[int], np.dtype[np.int32]]) -> pl.Series:
        """Titles of item rows; the raw id if an item has no title."""
        titles = self.titles.gather(pl.Series(rows, dtype=pl.UInt32))
        return titles.fill_null(self.items.to_ids(rows).cast(pl.String)).alias(TITLE)


def stacked(column: pl.Series, values: pl.Series) -> pl.Series:
    """A column with more values behind it, in its type; chunks are joined only now and then, so that a row is cheap."""
    both = pl.concat([column, values.cast(column.dtype).alias(column.name)], rechunk=False)
    return both.rechunk() if both.n_chunks() > _MOST_CHUNKS else both


def check_text(dtype: pl.DataType, name: str) -> None:
    """Refuse a column whose values cannot be written as text: durations, bytes, records, lists of lists.

    Raises
    ------
    DataError
        The column is of such a type.
    """
    inner = dtype.inner if isinstance(dtype, pl.List | pl.Array) else dtype
    if inner.is_nested() or inner in (pl.Binary, pl.Object, pl.Duration):
        raise DataError(f"the catalogue's column {name!r} is of type {dtype}, expected text, numbers or lists of these")


def _words(frame: pl.DataFrame, name: str) -> pl.Expr:
    """A column as tidy text; the members of a list are joined by ", "."""
    column, dtype = pl.col(name), frame.schema[name]
    check_text(dtype, name)
    if isinstance(dtype, pl.List | pl.Array):
        column = column.cast(pl.List(pl.String)).list.join(", ", ignore_nulls=True)
    return _clean(column.cast(pl.String))


def _clean(text: pl.Expr) -> pl.Expr:
    """Collapse white space, spell out "|" lists, and make the empty string null."""
    tidy = text.str.replace_all(r"\s*\|\s*", ", ").str.replace_all(r"\s+", " ").str.strip_chars()
    return pl.when(tidy.str.len_bytes() > 0).then(tidy)
