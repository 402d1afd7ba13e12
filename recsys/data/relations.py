"""What is known of pairs of items: complements, substitutes, parts of a series."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from recsys.core.id_map import IdMap
from recsys.core.progress import log as say
from recsys.core.progress import warn
from recsys.core.ragged import Float32, Int32
from recsys.core.schema import ITEM, RELATED, RELATION, WEIGHT
from recsys.data.formats.frames import Frame, frame_of
from recsys.data.join import check_join
from recsys.errors import DataError

_DEFAULT = "related"
_MOST_RELATIONS = 20


@dataclass(frozen=True, eq=False)
class ItemRelations:
    """Related items: an item, another one that it leads to, how, and how strongly.

    Attributes
    ----------
    frame : DataFrame
        ``item_id``, ``related_item_id``, ``relation`` and ``weight`` (Float32, above 0); no pair twice in a relation, no
        item related to itself.

    Examples
    --------
    >>> frame = pl.DataFrame({"item_id": ["i1"], "related_item_id": ["i2"], "relation": ["part of series"]})
    >>> recsys.ItemRelations.from_frame(frame)
    ItemRelations(1 pair: part of series)
    """

    frame: pl.DataFrame

    @classmethod
    def from_frame(cls, frame: Frame, *, name: str = "the table of relations") -> ItemRelations:
        """Check a table.

        An item related to itself, and a row that repeats another, are left out, and a line says how many.

        Parameters
        ----------
        frame : frame
            ``item_id`` and ``related_item_id``; optionally ``relation`` (by default all pairs are ``"related"``) and
            ``weight`` (1). A relation leads one way: list both rows of one that goes both ways.
        name : str
            What messages call it.

        Raises
        ------
        DataError
            A column is missing, an id or a relation is empty, a weight is not a finite number above 0, a pair has two
            weights in one relation, there are more than 20 relations, or nothing is left.
        """
        table = frame_of(frame, name)
        for column in (ITEM, RELATED):
            if column not in table.columns:
                raise DataError(f"{name} has no column {column!r}; its columns are {', '.join(table.columns)}")
        relation = table[RELATION].cast(pl.String) if RELATION in table.columns else None
        weight = _weights(table, name) if WEIGHT in table.columns else None
        made = table.select(
            pl.col(ITEM),
            pl.col(RELATED),
            (pl.lit(_DEFAULT) if relation is None else relation.str.strip_chars()).alias(RELATION),
            (pl.lit(1.0, dtype=pl.Float32) if weight is None else weight).alias(WEIGHT),
        )
        for column in (ITEM, RELATED, RELATION):
            empty = (made[column].is_null() | (made[column].cast(pl.String).str.strip_chars() == "")).arg_true()
            if len(empty):
                raise DataError(f"{name}: {column} is empty in row {empty[0] + 1} ({len(empty):,} such rows); fill it in")
        itself = made[ITEM].cast(pl.String) == made[RELATED].cast(pl.String)
        kept = made.filter(~itself).unique(maintain_order=True)
        pairs = [ITEM, RELATED, RELATION]
        if bool((twice := kept.select(pairs).is_duplicated()).any()):
            one = kept.filter(twice).row(0, named=True)
            raise DataError(
                f"{name} has two weights for {one[ITEM]!r} and {one[RELATED]!r} in the relation {one[RELATION]!r}; keep one"
            )
        if len(kept) < len(made):
            again = len(made) - len(kept) - int(itself.sum())
            say(f"{name}: {int(itself.sum()):,} rows relate an item to itself, and {again:,} repeat another; left out")
        if kept.is_empty():
            raise DataError(f"{name} relates no item to another one")
        if (count := kept[RELATION].n_unique()) > _MOST_RELATIONS:
            raise DataError(
                f"{name} has {count:,} different relations, such as {kept[RELATION][0]!r}, and each has a weight to be "
                f"fitted: {_MOST_RELATIONS} at most; name the kind of a relation alone"
            )
        return cls(kept)

    def __repr__(self) -> str:
        count = len(self.frame)
        return f"ItemRelations({count:,} {'pair' if count == 1 else 'pairs'}: {', '.join(self.names)})"

    def __len__(self) -> int:
        return len(self.frame)

    @property
    def names(self) -> tuple[str, ...]:
        """The relations, in alphabetical order."""
        return tuple(sorted(self.frame[RELATION].unique().to_list()))

    def rows(self, items: IdMap) -> dict[str, tuple[Int32, Int32, Float32]]:
        """The pairs of each relation by item rows; pairs of which one item is unknown are left out, and counted.

        Parameters
        ----------
        items : IdMap

        Returns
        -------
        dict of (int32 (m,), int32 (m,), float32 (m,))
            By relation: items, those that they lead to, and weights.

        Raises
        ------
        DataError
            No item of the table is known.
        """
        check_join(self.frame[ITEM].unique(maintain_order=True), items, "the model", source="the table of relations")
        first, second = (items.find_rows(self.frame[name]) for name in (ITEM, RELATED))
        known = (first >= 0) & (second >= 0)
        if not known.all():
            told = f"{int((~known).sum()):,} of {len(known):,} related pairs name an item that the model does not know"
            (warn if known.mean() < 0.5 else say)(f"{told}; left out")
        names, weights = self.frame[RELATION].to_numpy(), self.frame[WEIGHT].to_numpy()
        chosen = {name: known & (names == name) for name in self.names}
        return {name: (first[one], second[one], weights[one]) for name, one in chosen.items() if np.any(one)}


def _weights(table: pl.DataFrame, name: str) -> pl.Series:
    """Float32, above 0; 1 where a weight is missing."""
    column = table[WEIGHT]
    written = column.str.strip_chars().replace("", None) if column.dtype == pl.String else column
    values = written.cast(pl.Float64, strict=False)
    narrow = values.cast(pl.Float32)
    wrong = (written.is_not_null() & ~(narrow.is_finite() & (narrow > 0)).fill_null(value=False)).arg_true()
    if len(wrong):
        raise DataError(
            f"{name}: the weight in row {wrong[0] + 1} is {column[wrong[0]]!r}, expected a finite number above 0 "
            f"({len(wrong):,} such rows)"
        )
    return narrow.fill_null(1.0)
