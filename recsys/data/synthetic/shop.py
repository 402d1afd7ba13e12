"""A seeded synthetic shop: a year of purchases with drifting tastes, fashions, companion products and cold items."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl

from recsys.core.files import atomic_file
from recsys.core.ragged import Float32, Int64
from recsys.core.schema import ITEM, TIMESTAMP, TITLE, USER
from recsys.data.synthetic.shop_words import DESCRIPTION_TEMPLATES, THEMES, TITLE_TEMPLATE
from recsys.errors import ConfigError

_CATALOG: Final = (TITLE, "description", "category", "price", "brand")
_DAY: Final = 86_400
_END: Final = int(datetime(2025, 1, 1, tzinfo=UTC).timestamp())
_START: Final = _END - 365 * _DAY
_LAST_DAY: Final = _END - _DAY
_KINDS: Final = len(THEMES[0].products)
_LOYALTY: Final = 6.0  # how many times likelier an item is if it has the brand bought last
_FADE: Final = 60.0 * _DAY  # in which the novelty of an item falls to 1/e


@dataclass(frozen=True, eq=False)
class Shop:
    """What a shop would export.

    Attributes
    ----------
    events : DataFrame
        ``user_id``, ``item_id`` (String) and ``timestamp`` (Int64, seconds since 1970), in time order.
    items : DataFrame
        ``item_id``, ``title``, ``description``, ``category``, ``price`` (Float64) and ``brand``, by id.
    """

    events: pl.DataFrame
    items: pl.DataFrame


@dataclass(frozen=True, eq=False)
class _Stock:
    """What shoppers go by, per item (n_items,); products are numbered theme by theme."""

    product: Int64
    brand: Int64
    popularity: Float32
    launch: Int64


def make_shop(*, users: int = 3000, items: int = 2000, seed: int = 0) -> Shop:
    """Invent a shop and a year of its purchases, which ends at 2025-01-01 UTC.

    Shoppers stay with a theme for a while and then drift to a neighbouring one; within it they go from a product to its
    companion (tent, sleeping bag, mat), often of the same brand, and prefer popular and recent items. Nobody buys an item
    twice. About 5 % of the items are never bought. Another 4 % arrive on the last day and are only ever somebody's last
    event: about 8 % of the users end with one, in place of an older item of the same product.

    Parameters
    ----------
    users : int
        Number of users, at least 10; each has 5 to 80 events.
    items : int
        Number of items, from 40 to 10,000.
    seed : int
        Not negative; the same seed gives the same shop.

    Returns
    -------
    Shop

    Raises
    ------
    ConfigError
        A number is outside its limits.
    """
    # Ids have five digits; with more items the vocabulary would run out of distinct titles, with fewer users of items.
    for name, value, low, high in (("users", users, 10, 99_999), ("items", items, 40, 10_000), ("seed", seed, 0, 2**32)):
        if not low <= value <= high:
            raise ConfigError(f"{name} is {value}; for a synthetic shop, it must be from {low:,} to {high:,}")
    rng = np.random.default_rng(seed)
    stock, catalog = _stock(items, rng)
    lengths = np.minimum(5 + rng.lognormal(1.9, 0.85, users).astype(np.int64), min(80, items // 4))
    times = _times(lengths, rng)
    rows = _walks(stock, times, lengths, rng)
    _end_with_arrivals(stock, rows, times, np.cumsum(lengths) - 1, rng)
    names = pl.Series([f"u{user:05d}" for user in range(users)])[np.repeat(np.arange(users), lengths)]
    events = pl.DataFrame({USER: names, ITEM: catalog[ITEM][rows], TIMESTAMP: times})
    return Shop(events.sort(TIMESTAMP, USER), catalog)


def write_shop(shop: Shop, folder: Path) -> None:
    """Write ``events.csv`` and ``items.csv``, with headers, into ``folder``; each appears whole or not at all."""
    for name, frame in (("events.csv", shop.events), ("items.csv", shop.items)):
        with atomic_file(folder / name) as temporary:
            frame.write_csv(temporary)


def _stock(n: int, rng: np.random.Generator) -> tuple[_Stock, pl.DataFrame]:
    n_products = min(max(n // 40, 2), len(THEMES)) * _KINDS
    # Products repeat with their full period, so the cold items, which stand in front, are spread evenly over them.
    product = np.resize(rng.permutation(n_products), n)
    old, sold = np.arange(n) >= round(0.04 * n), np.arange(n) >= round(0.09 * n)
    popularity, launch, brand = np.zeros(n, dtype=np.float32), np.full(n, _LAST_DAY), np.zeros(n, dtype=np.int64)
    launch[old] = rng.permutation(np.linspace(_START - 200 * _DAY, _END - 30 * _DAY, old.sum(), dtype=np.int64))
    for theme in range(n_products // _KINDS):
        shelf = np.flatnonzero(sold & (product // _KINDS == theme))
        popularity[shelf] = (1.0 + rng.permutation(len(shelf))) ** -0.85
    words: dict[int, tuple[str, str, str, float, str]] = {}
    for number in range(n_products):
        about = THEMES[number // _KINDS]
        noun, usual_price, options, use = about.products[number % _KINDS]
        choices = (about.brands, about.lines, options.split("/"))
        members, sizes = np.flatnonzero(product == number), tuple(map(len, choices))
        picks = rng.choice(np.prod(sizes), len(members), replace=False)  # no title twice
        brand[members] = np.unravel_index(picks, sizes)[0]
        for row, pick in zip(members.tolist(), picks.tolist(), strict=True):
            maker, line, option = (choice[i] for choice, i in zip(choices, np.unravel_index(pick, sizes), strict=True))
            fill = {"brand": maker, "line": line, "option": option, "noun": noun, "use": use}
            fill |= {"adjective": rng.choice(about.adjectives), "perk": rng.choice(about.perks)}
            description = str(rng.choice(DESCRIPTION_TEMPLATES)).format_map(fill)
            price = float(np.floor(usual_price * rng.lognormal(0.0, 0.25))) + 0.95
            words[row] = TITLE_TEMPLATE.format_map(fill), description, about.name, price, maker
    order = rng.permutation(n)  # so that an id does not tell what it is
    catalog = pl.DataFrame([words[row] for row in order], schema=_CATALOG, orient="row")
    catalog.insert_column(0, pl.Series(ITEM, [f"p{row:05d}" for row in range(n)]))
    return _Stock(product[order], brand[order], popularity[order], launch[order]), catalog


def _times(lengths: Int64, rng: np.random.Generator) -> Int64:
    """Instants of all events (n_events,), user by user, rising strictly within each user."""
    user = np.repeat(np.arange(len(lengths)), lengths)
    start = _START + 300 * _DAY * rng.random(len(lengths))
    span = (_END - _DAY / 2 - start) * rng.uniform(0.2, 1.0, len(lengths))
    times = (start[user] + span[user] * rng.random(len(user))).astype(np.int64)
    return times[np.lexsort((times, user))] + np.arange(len(user)) - (np.cumsum(lengths) - lengths)[user]


def _walks(stock: _Stock, times: Int64, lengths: Int64, rng: np.random.Generator) -> Int64:
    """The item rows (n_events,) that each user in turn buys at these instants."""
    n_themes = int(stock.product.max()) // _KINDS + 1
    shelves = [np.flatnonzero(stock.product // _KINDS == theme) for theme in range(n_themes)]
    appeal = (1.0 + np.arange(n_themes)) ** -0.5
    after_first = (0.03, 0.64, 0.18, *(_KINDS - 3) * (0.03,))
    companions = np.array([*(np.roll(after_first, kind) for kind in range(_KINDS)), np.ones(_KINDS)])  # last: none yet
    rows: list[int] = []
    for mine in np.split(times, np.cumsum(lengths)[:-1]):
        theme = int(rng.choice(n_themes, p=appeal / appeal.sum()))
        wanted, kind, brand = stock.popularity.copy(), _KINDS, -1
        for now in mine:
            on_sale, drifts = np.where(stock.launch <= now, wanted, 0.0), rng.random() < 0.1
            while drifts or not on_sale[shelves[theme]].any():
                theme, kind, brand, drifts = (theme + int(rng.choice((-2, -1, 1, 2)))) % n_themes, _KINDS, -1, False
            shelf = shelves[theme]
            novelty = 0.15 + np.exp(-np.abs(now - stock.launch[shelf]) / _FADE)
            loyalty = np.where(stock.brand[shelf] == brand, _LOYALTY, 1.0)
            chance = np.cumsum(on_sale[shelf] * novelty * loyalty * companions[kind, stock.product[shelf] % _KINDS])
            row = int(shelf[np.searchsorted(chance, rng.random() * chance[-1], side="right")])
            kind, brand, wanted[row] = int(stock.product[row]) % _KINDS, int(stock.brand[row]), 0.0
            rows.append(row)
    return np.array(rows)


def _end_with_arrivals(stock: _Stock, rows: Int64, times: Int64, last: Int64, rng: np.random.Generator) -> None:
    """Put a new arrival of the same product, on the last day, in place of the last event of some users."""
    product, arrivals = stock.product, np.flatnonzero(stock.launch == _LAST_DAY)
    of_product = np.full(len(THEMES) * _KINDS, -1)
    of_product[product[arrivals]] = arrivals
    before, wanted = rows[last - 1], product[rows[last]]
    arrival = of_product[wanted]
    fits = np.flatnonzero((arrival >= 0) & (product[before] // _KINDS == wanted // _KINDS) & (times[last - 1] < _LAST_DAY))
    loyalty = np.where(stock.brand[before] == stock.brand[arrival], _LOYALTY, 1.0)
    weight = loyalty * np.exp((times[last - 1] - _LAST_DAY) / _FADE)  # so that the purchase before is seldom long ago
    chosen = fits[np.argsort(rng.exponential(size=len(fits)) / weight[fits])[: round(0.08 * len(last))]]
    rows[last[chosen]], times[last[chosen]] = arrival[chosen], _LAST_DAY + rng.integers(0, _DAY, len(chosen))
