"""The items as they are at one moment: towers, index and catalogue that belong together, and how they change."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import Any

import numpy as np
import polars as pl

from recsys.bundle.new_columns import as_numbers, fitted, tell_columns, text_of_numbers
from recsys.core.id_map import IdMap
from recsys.core.ragged import Bool, Int32, Ragged, mask_of, overlap
from recsys.core.ranking import SparseScores
from recsys.core.schema import ITEM, TITLE
from recsys.data.catalog import Catalog, stacked
from recsys.data.filters import matching
from recsys.errors import DataError
from recsys.index.item_index import ItemIndex
from recsys.models.extend import extended, shortened
from recsys.models.feature_encoder import FeatureEncoder
from recsys.models.towers import TwoTowerModel
from recsys.transitions.memory import TransitionMemory

_REMEMBERED = 64
_MADE = ("typed", "text_index", "searchable", "picture_index", "pictured")
"""What is made of the items at first use."""


@dataclass(frozen=True, eq=False)
class Corpus:
    """Towers, index and catalogue in the same item rows. It never changes; a change makes another corpus.

    Attributes
    ----------
    towers : TwoTowerModel
    index : ItemIndex
    catalog : Catalog
    trained_items : int
        How many of the first rows the model was trained with.
    encoder : FeatureEncoder
        Reads new content by the token numbers and scales of training.
    transitions : TransitionMemory or None
        What is added to the towers' scores; None: nothing.
    """

    towers: TwoTowerModel
    index: ItemIndex
    catalog: Catalog
    trained_items: int
    encoder: FeatureEncoder = field(default_factory=lambda: FeatureEncoder(None, None), repr=False)
    transitions: TransitionMemory | None = None
    _masks: dict[str, Bool] = field(default_factory=dict, init=False, repr=False)

    def __getstate__(self) -> dict[str, Any]:
        """Without what was remembered: it can be made again."""
        return {one.name: getattr(self, one.name) for one in fields(self)} | {"_masks": {}}

    @property
    def items(self) -> IdMap:
        """All items, in row order."""
        return self.towers.items

    def matching(self, where: str | pl.Expr) -> Bool:
        """bool (n_items,): the items for which a predicate holds; written ones are remembered."""
        if not isinstance(where, str):
            return matching(self.typed, where)
        found = self._masks.get(where)
        if found is None:
            found = matching(self.typed, where)
            if len(self._masks) < _REMEMBERED:
                self._masks[where] = found
        return found

    @cached_property
    def typed(self) -> Catalog:
        """The catalogue, its columns of numbers written as text (as a CSV file has them) read as numbers."""
        columns = [as_numbers(column) for column in self.catalog.columns.iter_columns()]
        return replace(self.catalog, columns=pl.DataFrame(columns))

    def mask(self, rows: Int32 | None, where: str | pl.Expr | None) -> Bool | None:
        """bool (n_items,): the items that are among these rows and for which a predicate holds; None: every item.

        Parameters
        ----------
        rows : int32 (m,) or None
            None: every item.
        where : str, polars expression or None
        """
        chosen = None if rows is None else mask_of(rows, len(self.items))
        return overlap(chosen, None if where is None else self.matching(where))

    def added_scores(self, histories: Ragged) -> SparseScores | None:
        """What the transition memory adds to the towers' scores of each history; None without one."""
        return None if self.transitions is None else self.transitions.scores(histories)

    @cached_property
    def text_index(self) -> ItemIndex:
        """The items' texts, in the encoder's own space."""
        return ItemIndex.build(self.towers.text_vectors)

    @cached_property
    def searchable(self) -> Bool:
        """bool (n_items,): the items that are there and have a text."""
        found: Bool = self.towers.text_vectors.any(axis=1) & self.index.alive
        return found

    @cached_property
    def picture_index(self) -> ItemIndex:
        """The items' pictures, in the space of their encoder."""
        return ItemIndex.build(self.towers.picture_vectors)

    @cached_property
    def pictured(self) -> Bool:
        """bool (n_items,): the items that are there and have a picture."""
        found: Bool = self.towers.picture_vectors.any(axis=1) & self.index.alive
        return found

    def read_items(self, frame: pl.DataFrame) -> Catalog:
        """A table of items as a catalogue, its ids and texts made as those of this one; raises as :meth:`with_items`."""
        if ITEM not in frame.columns:
            raise DataError(f"a frame of items needs a column {ITEM!r}; it has {', '.join(frame.columns)}")
        text = self.catalog.text_columns
        missing = [name for name in text if name not in frame.columns]
        if missing:
            raise DataError(
                f"an item's text is made of the columns {', '.join(text)}, and the new table has no column "
                f"{', '.join(missing)}: add it, and leave it empty for items without such a text"
            )
        ids = self.items.cast(frame[ITEM])
        if ids.null_count() > frame[ITEM].null_count():
            strange = frame[ITEM].filter(ids.is_null() & frame[ITEM].is_not_null())[0]
            raise DataError(f"the item id {strange!r} is not a whole number, and all ids of this catalogue are; correct it")
        frame = frame.with_columns(ids.alias(ITEM))
        return Catalog.from_frame(frame, text=text, title=TITLE if TITLE in frame.columns else None)

    def with_items(self, frame: pl.DataFrame) -> Corpus:
        """Add items that are new, or that were removed before.

        Parameters
        ----------
        frame : DataFrame
            ``item_id`` and the columns of the catalogue; what it lacks is null.

        Raises
        ------
        DataError
            An item is there already, an id is null or repeated, or a text column is missing.
        UnsupportedError
            The model knows items by their ids alone, or reads pictures and its bundle holds no image encoder.
        """
        new = self.read_items(frame)
        known = self.items.find_rows(new.items.ids)
        present = known[(known >= 0)]
        present = present[self.index.alive[present]]
        if len(present):
            raise DataError(
                f"{self._named(present, 'is', 'are')} already in the bundle; leave known items out, or change them with "
                f"update_items (recsys index --update)"
            )
        return self._with(new)

    def with_updated_items(self, frame: pl.DataFrame) -> Corpus:
        """Replace the content of items that are there; raises as :meth:`with_items`, and UnknownIdError."""
        new = self.read_items(frame)
        self._present(self.items.to_rows(new.items.ids))
        return self._with(new)

    def without_items(self, rows: Int32) -> Corpus:
        """Remove some items; histories keep them.

        Raises
        ------
        DataError
            An item was removed before.
        """
        return replace(self, index=self.index.removed(self._present(rows)))

    def with_transitions(self, transitions: TransitionMemory) -> Corpus:
        """Replace the transition memory; what was made of the items is kept."""
        new = replace(self, transitions=transitions)
        made: dict[str, Any] = {name: vars(self)[name] for name in _MADE if name in vars(self)}
        vars(new).update(made | {"_masks": self._masks})
        return new

    def compacted(self, used: Bool) -> tuple[Corpus, Int32]:
        """Drop the rows of removed items that nothing refers to, and build the index anew of what is there.

        Parameters
        ----------
        used : bool (n_items,)
            Rows that something outside refers to.

        Returns
        -------
        Corpus
        int32 (n_items,)
            The new row of each old one; −1 for those that were dropped.

        Raises
        ------
        DataError
            No item would be left.
        """
        if not self.index.alive.any():
            raise DataError("every item is removed; add some before the index is built anew")
        keep = self.index.alive | used
        rows = np.flatnonzero(keep).astype(np.int32)
        new_rows = np.where(keep, np.cumsum(keep) - 1, -1).astype(np.int32)
        if len(rows) == len(keep):
            return replace(self, index=self.index.compacted()), new_rows
        items = IdMap(self.items.to_ids(rows), self.items.kind)
        towers = shortened(self.towers, rows, items)
        index = self.index.shortened(rows, towers.vectors)
        trained = int(keep[: self.trained_items].sum())
        transitions = None if self.transitions is None else self.transitions.shortened(rows)
        return Corpus(towers, index, self.catalog.aligned(items), trained, self.encoder, transitions), new_rows

    def _present(self, rows: Int32) -> Int32:
        gone = rows[~self.index.alive[rows]]
        if len(gone):
            raise DataError(
                f"{self._named(gone, 'was', 'were')} removed earlier; leave removed items out, or add them again with "
                f"add_items (recsys index --add)"
            )
        return rows

    def _named(self, rows: Int32, one: str, many: str) -> str:
        """The items of these rows and their verb, for a message."""
        ids = ", ".join(repr(item) for item in self.items.to_ids(rows[:5]).to_list())
        return (
            f"the item {ids} {one}" if len(rows) == 1 else f"{len(rows):,} items ({ids}{', ...' * (len(rows) > 5)}) {many}"
        )

    def _with(self, new: Catalog) -> Corpus:
        before = len(self.items)
        items = self.items.extended(new.items.ids)
        catalog = merged(self.catalog, new, items)
        rows = items.to_rows(new.items.ids)
        towers = extended(self.towers, catalog, rows, self.encoder)
        vectors = towers.vectors
        index = self.index
        if len(items) > before:
            index = index.added(vectors[before:])
        old = rows[rows < before]
        if len(old):
            index = index.restored(old).updated(old, vectors[old])
        transitions = None if self.transitions is None else self.transitions.extended(len(items))
        return Corpus(towers, index, catalog, self.trained_items, self.encoder, transitions)


def merged(old: Catalog, new: Catalog, items: IdMap) -> Catalog:
    """The old catalogue, longer, with the new one's rows in their places; its columns stay what they are.

    Parameters
    ----------
    old, new : Catalog
    items : IdMap
        Those of the old one first; all of the new one, and maybe some that neither has, of which nothing is known.

    Raises
    ------
    DataError
        A value of the new one does not fit the old one's column.
    """
    if not len(new):
        return old.aligned(items)
    rows = items.to_rows(new.items.ids)
    if len(items) == len(old) + len(new) and np.array_equal(rows, np.arange(len(old), len(items))):
        return _appended(old, new, items)
    grown = old.aligned(items)
    place = pl.Series(rows, dtype=pl.UInt32)
    columns = grown.columns
    tell_columns(columns, new.columns, (TITLE,))
    for name in columns.columns:
        column = columns[name]
        if name in new.columns.columns:
            column, values = fitted(column, new.columns[name], new.items.ids)
        else:
            values = pl.Series(name, [None] * len(new), dtype=column.dtype)
        columns = columns.with_columns(_scattered(column, place, values))
    return Catalog(
        items,
        _scattered(grown.texts, place, new.texts),
        _scattered(grown.titles, place, new.titles),
        columns,
        old.text_columns,
    )


def _appended(old: Catalog, new: Catalog, items: IdMap) -> Catalog:
    """The old catalogue with items behind it that it lacks."""
    tell_columns(old.columns, new.columns, (TITLE,))
    columns, numbers = dict[str, pl.Series](), dict[str, bool]()
    for column in old.columns.iter_columns():
        name = column.name
        known = old.text_of_numbers.get(name)
        if known is None:
            known = text_of_numbers(column)
        if known is not None:
            numbers[name] = known
        if name in new.columns.columns:
            before, values = fitted(column, new.columns[name], new.items.ids, numbers=known)
        else:
            before, values = column, pl.Series(name, [None] * len(new), dtype=column.dtype)
        columns[name] = stacked(before, values)
    return old.appended(items, new, pl.DataFrame(columns), numbers)


def _scattered(column: pl.Series, place: pl.Series, values: pl.Series) -> pl.Series:
    """The column with other values at some places, of any dtype."""
    order = np.arange(len(column))
    order[place.to_numpy()] = len(column) + np.arange(len(values))
    both = pl.concat([column, values.cast(column.dtype).alias(column.name)])
    return both.gather(pl.Series(order, dtype=pl.UInt32))
