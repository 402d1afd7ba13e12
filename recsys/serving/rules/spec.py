"""Ranking rules as data: what to leave out, raise, pin, cap and vary in ranked lists."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import polars as pl

from recsys.core.ragged import Bool, Float32
from recsys.data.catalog import Catalog
from recsys.data.filters import matching
from recsys.data.times.columns import read_times
from recsys.data.times.units import DATE_YEARS, instants
from recsys.errors import ConfigError, RecsysError
from recsys.serving.rules.apply import BoundRules
from recsys.serving.rules.diversity import Float64, Members
from recsys.serving.rules.file import Boost, Cap, Chosen, Diversity, Exclude, Freshness, Pin, checked, read_file

_YEARS = (1800, 2200)
"""A column of numbers between these holds years."""


@dataclass(frozen=True, kw_only=True)
class Rules:
    """Ranking rules as they were written; :meth:`bind` makes them ready for a catalogue.

    They act in this order: exclude, boosts (in the order of the file) and freshness, diversity, caps, pins.

    Attributes
    ----------
    exclude, boost, pin, cap : tuple of rules
    diversity : Diversity or None
    freshness : Freshness or None
    pool : int or None
        How many candidates boosts, freshness and caps choose from; by default ten for each place, and 100 at least.
    source : str
        The file, for messages.

    Examples
    --------
    >>> rules = recsys.Rules.of({"cap": [{"column": "title", "at_most": 1}], "pin": [{"item": "i4", "position": 1}]})
    >>> retriever.recommend("u1", k=3, rules=rules, filter_seen=False)["item_id"][0]
    'i4'
    """

    exclude: tuple[Exclude, ...] = ()
    boost: tuple[Boost, ...] = ()
    pin: tuple[Pin, ...] = ()
    cap: tuple[Cap, ...] = ()
    diversity: Diversity | None = None
    freshness: Freshness | None = None
    pool: int | None = None
    source: str = "the rules"

    @classmethod
    def read(cls, path: str | Path) -> Self:
        """Read a TOML file.

        Every rule may have a ``name``, which is ``boost 1`` and so on by default.

        Raises
        ------
        ConfigError
            The file cannot be read, or says something that rules cannot say; the message names file, rule and key.

        Examples
        --------
        >>> written = '''
        ... pool = 500
        ...
        ... [[exclude]]
        ... where = "stock == 0 or for_adults"
        ...
        ... [[boost]]
        ... name = "own brand"
        ... where = 'brand == "Acme" and price < 20'
        ... times = 1.2
        ...
        ... [[boost]]
        ... items = ["i7", "i9"]
        ... add = 0.1
        ...
        ... [[pin]]
        ... item = "i42"
        ... position = 1
        ...
        ... [[cap]]
        ... column = "brand"
        ... at_most = 2
        ...
        ... [diversity]
        ... lambda = 0.7
        ... pool = 100
        ...
        ... [freshness]
        ... column = "published"
        ... half_life_days = 30
        ... weight = 0.5
        ... '''
        >>> _ = Path("rules.toml").write_text(written)
        >>> rules = Rules.read("rules.toml")
        >>> len(rules.boost), rules.pin[0].item
        (2, 'i42')
        """
        return cls.of(read_file(Path(path)), str(path))

    @classmethod
    def of(cls, tables: Mapping[str, Any], source: str = "the rules") -> Self:
        """Rules from what a TOML file holds: lists of tables and tables.

        Raises
        ------
        ConfigError
            As for :meth:`read`.
        """
        return cls(**checked(tables, source), source=source)

    def bind(self, catalog: Catalog, vectors: Float32) -> BoundRules:
        """Look up items, columns and predicates once.

        Parameters
        ----------
        catalog : Catalog
            In the item rows of what is ranked.
        vectors : float32 (n_items, D)
            Item vectors, which diversity compares by cosine.

        Raises
        ------
        UnknownIdError
            An item that a rule names is not in the catalogue.
        ConfigError, DataError
            A predicate, a column or the vectors do not fit the catalogue; the message names file and rule.
        """
        if vectors.ndim != 2 or len(vectors) != len(catalog):
            raise ConfigError(f"item vectors of shape {vectors.shape} do not fit a catalogue of {len(catalog)} items")
        masks: dict[str, Bool] = {}
        for rule in (*self.exclude, *self.boost):
            with self._naming(rule.name):
                masks[rule.name] = _mask(rule, catalog)
        members: list[Members] = []
        for cap in self.cap:
            with self._naming(cap.name):
                members.append(_members(cap.column, catalog))
        born: Float64 | None = None
        if self.freshness is not None:
            with self._naming(self.freshness.name):
                born = _seconds(self.freshness.column, catalog)
        pinned = np.empty(len(self.pin), dtype=np.int32)
        for place, pin in enumerate(self.pin):
            with self._naming(pin.name):
                pinned[place] = catalog.items.to_rows([pin.item])[0]
                if pinned[place] in pinned[:place]:
                    raise ConfigError(f"the item {pin.item!r} is pinned twice; keep one of the pins")
        return BoundRules(
            rules=self,
            eligible=~np.logical_or.reduce([masks[rule.name] for rule in self.exclude]) if self.exclude else None,
            masks=masks,
            born=born,
            members=tuple(members),
            pinned=pinned,
            vectors=vectors,
            norms=np.linalg.norm(vectors, axis=1).astype(np.float32) if self.diversity else None,
        )

    @contextmanager
    def _naming(self, rule: str) -> Iterator[None]:
        """Put file and rule before the message of whatever the block refuses."""
        try:
            yield
        except RecsysError as error:
            raise type(error)(f"{self.source}: rule {rule!r}: {error}") from error


def _mask(rule: Chosen, catalog: Catalog) -> Bool:
    """bool (n_items,): the items that a rule is about."""
    if rule.where is not None:
        return matching(catalog, rule.where)
    mask = np.zeros(len(catalog), dtype=np.bool_)
    mask[catalog.items.to_rows(list(rule.items))] = True
    return mask


def _members(column: str, catalog: Catalog) -> Members:
    """bool CSR (n_items, n_values): the values of each item."""
    dtype = catalog.column(column).dtype
    inner = dtype.inner if isinstance(dtype, pl.List | pl.Array) else dtype
    if inner.is_nested() or inner in (pl.Binary, pl.Object, pl.Duration):
        raise ConfigError(f"the column {column!r} is of type {dtype}; a cap needs text, numbers or lists of these")
    return catalog.memberships(column)[0]


def _seconds(column: str, catalog: Catalog) -> Float64:
    """float64 (n_items,): seconds since 1970, NaN where unknown; whole numbers such as 1999 are years."""
    where = f"the catalogue, column {column!r}"
    read = read_times(catalog.column(column), where)
    if read.numbers is not None and read.numbers.dtype == pl.Int64 and read.numbers.is_between(*_YEARS).all():
        first_days = pl.DataFrame({"year": read.numbers}).select(pl.datetime("year", 1, 1)).to_series()
        read = replace(
            read,
            numbers=None,
            dates=pl.coalesce([read.dates, first_days], eager=True) if read.dates is not None else first_days,
        )
    born = instants([read], years=DATE_YEARS, what=where)[0]
    seconds = born if not born.dtype.is_temporal() else born.dt.epoch("us") / 1e6
    return seconds.cast(pl.Float64).to_numpy()
