"""Rules made ready for a catalogue: items, columns and predicates are looked up once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

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
from recsys.serving.rules.file import Chosen
from recsys.serving.rules.spec import Rules

_YEARS = (1800, 2200)
"""A column of numbers between these holds years."""


def bind(rules: Rules, catalog: Catalog, vectors: Float32) -> BoundRules:
    """Look up items, columns and predicates once.

    Parameters
    ----------
    rules : Rules
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
    for rule in (*rules.exclude, *rules.boost):
        with _naming(rules, rule.name):
            masks[rule.name] = _mask(rule, catalog)
    members: list[Members] = []
    for cap in rules.cap:
        with _naming(rules, cap.name):
            members.append(_members(cap.column, catalog))
    born: Float64 | None = None
    if rules.freshness is not None:
        with _naming(rules, rules.freshness.name):
            born = _seconds(rules.freshness.column, catalog)
    pinned = np.empty(len(rules.pin), dtype=np.int32)
    for place, pin in enumerate(rules.pin):
        with _naming(rules, pin.name):
            pinned[place] = catalog.items.to_rows([pin.item])[0]
            if pinned[place] in pinned[:place]:
                raise ConfigError(f"the item {pin.item!r} is pinned twice; keep one of the pins")
    return BoundRules(
        rules=rules,
        eligible=~np.logical_or.reduce([masks[rule.name] for rule in rules.exclude]) if rules.exclude else None,
        masks=masks,
        born=born,
        members=tuple(members),
        pinned=pinned,
        vectors=vectors,
        norms=np.linalg.norm(vectors, axis=1).astype(np.float32) if rules.diversity else None,
    )


@contextmanager
def _naming(rules: Rules, rule: str) -> Iterator[None]:
    """Put file and rule before the message of whatever the block refuses."""
    try:
        yield
    except RecsysError as error:
        raise type(error)(f"{rules.source}: rule {rule!r}: {error}") from error


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
