"""What the page must know to begin: facts of the bundle, and items by a part of their title."""

from __future__ import annotations

from typing import Any, Final
from weakref import WeakKeyDictionary

import numpy as np
import polars as pl

from recsys.data.catalog import Catalog
from recsys.server.answering import State
from recsys.serving.request_arguments import RawId

_USERS: Final = 6
_LOWER: WeakKeyDictionary[Catalog, pl.Series] = WeakKeyDictionary()


def facts(state: State, *, with_users: bool) -> dict[str, Any]:
    """Facts of a bundle by which the page shows what can be asked.

    Parameters
    ----------
    state : State
    with_users : bool
        Whether a few ids of users are among them.
    """
    model = state.model
    return {
        "bundle": state.digest,
        "users": len(model.users),
        "items": int(model.alive.sum()),
        "searches": model.searches,
        "reads_times": model.reads_times,
        "event_types": list(model.event_names) if model.reads_events else [],
        "columns": model.catalog.columns.columns,
        "some_users": _some_users(state) if with_users else [],
    }


def find_titles(state: State, text: str, k: int) -> list[tuple[RawId, str]]:
    """Items whose title has a text in it, whatever its case, or whose id it is.

    The item of that id stands first, then titles that begin with the text, the more popular first.

    Parameters
    ----------
    state : State
    text : str
    k : int
        Most items.
    """
    model, wanted = state.model, text.strip().lower()
    titles = _lowered(model.catalog)
    named = model.items.find_rows([text.strip()])
    has = titles.str.contains(wanted, literal=True).to_numpy()
    has[named[named >= 0]] = True
    rows = np.flatnonzero(has & model.alive)
    begins = titles.gather(rows).str.starts_with(wanted).to_numpy()
    order = np.lexsort((rows, -state.popularity.counts(len(titles))[rows], ~begins, rows != named[0]))[:k]
    chosen = rows[order].astype(np.int32)
    return list(zip(model.items.to_ids(chosen).to_list(), model.catalog.title_of(chosen).to_list(), strict=True))


def _lowered(catalog: Catalog) -> pl.Series:
    """All titles in lower case; made once for each state of the catalogue."""
    found = _LOWER.get(catalog)
    if found is None:
        found = _LOWER[catalog] = catalog.title_of(np.arange(len(catalog), dtype=np.int32)).str.to_lowercase()
    return found


def _some_users(state: State) -> list[RawId]:
    """A few users whose histories are neither short nor long."""
    lengths = state.model.histories.lengths
    known = np.flatnonzero(lengths)
    by_length = known[np.argsort(lengths[known], kind="stable")]
    places = np.linspace(len(known) // 4, len(known) - 1 - len(known) // 4, _USERS).astype(np.int64)
    chosen = by_length[np.unique(places)[: len(known)]]
    found: list[RawId] = state.model.users.to_ids(chosen.astype(np.int32)).to_list()
    return found
