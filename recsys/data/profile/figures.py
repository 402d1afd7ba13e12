"""All figures of a look at a log, as plain values."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from recsys.core.ragged import Float32, mask_of
from recsys.data.catalog import Catalog
from recsys.data.interactions import Interactions
from recsys.data.profile.hints import hints
from recsys.data.profile.items import catalogue
from recsys.data.profile.moments import moments, ties
from recsys.data.profile.splits import cuts, last_events
from recsys.data.profile.tail import history_lengths, long_tail, short_number
from recsys.data.summary import summary

_FEW = 20
_BINS = 16
_UNEQUAL = 20


def profile(log: Interactions, catalog: Catalog | None = None, counted: dict[str, Any] | None = None) -> dict[str, Any]:
    """Look at a log from all sides.

    Parameters
    ----------
    log : Interactions
    catalog : Catalog, optional
    counted : dict, optional
        What :func:`recsys.data.summary.summary` counted of both already.

    Returns
    -------
    dict
        Plain values, ready for JSON: what :func:`recsys.data.summary.summary` counts, and ``long_tail``, ``histories``,
        ``repeats``, ``time``, ``ties``, ``leave_last_out``, ``time_cuts``, ``weight_values``, ``event_types``,
        ``catalogue_coverage`` and ``hints``; what the log does not have is null.

    Examples
    --------
    >>> found = profile(log)
    >>> found["long_tail"]["items_with_half_of_the_events"], found["leave_last_out"]["targets"]
    (13, 40)
    """
    lists, times = log.histories, log.timestamps
    counts, lengths = log.item_counts[log.item_counts > 0], lists.lengths[lists.lengths > 0]
    facts = dict(summary(log, catalog) if counted is None else counted)
    facts |= {
        "long_tail": long_tail(counts),
        "histories": history_lengths(lengths),
        "repeats": _repeats(log, facts),
        "time": None if times is None else moments(lists, times, len(log.items)),
        "ties": None if times is None else ties(lists, times),
        "leave_last_out": last_events(log) if log.ordered else None,
        "time_cuts": cuts(log),
        "weight_values": None if log.weights is None else _weights(log.weights),
        "event_types": _types(log),
        "catalogue_coverage": None if catalog is None else catalogue(log, catalog),
    }
    return facts | {"hints": hints(facts)}


def _repeats(log: Interactions, facts: dict[str, Any]) -> dict[str, Any]:
    lists, owners = log.histories, log.histories.list_index()
    again = (owners[1:] == owners[:-1]) & (lists.rows[1:] == lists.rows[:-1])
    n = max(1, len(log))
    return {
        "pairs": facts["repeated_pairs"] / n,
        "in_a_row": float(again.sum() / n) if log.ordered else None,
        "events": facts["duplicate_events"] / n if "duplicate_events" in facts else None,
    }


def _weights(weights: Float32) -> dict[str, Any]:
    """The values of the weights: each one where they are few, else bins."""
    values, counts = np.unique(weights, return_counts=True)
    if len(values) <= _FEW:
        bins = [{"label": f"{value:g}", "events": int(count)} for value, count in zip(values, counts, strict=True)]
    else:
        found, edges = np.histogram(weights, _edges(weights, float(values[0]), float(values[-1])))
        bins = [
            {"label": f"{short_number(low)}–{short_number(high)}", "events": int(count)}
            for low, high, count in zip(edges[:-1], edges[1:], found, strict=True)
        ]
        if more := int((weights > edges[-1]).sum()):
            bins.append({"label": f"above {short_number(edges[-1])}", "events": more})
    return {
        "distinct": len(values),
        "least": float(values[0]),
        "mean": float(weights.mean(dtype=np.float64)),
        "median": float(np.median(weights)),
        "most": float(values[-1]),
        "not_above_zero": float((weights <= 0).mean()),
        "bins": bins,
    }


def _edges(weights: Float32, least: float, most: float) -> NDArray[np.float64]:
    """The edges of bins: of growing width where the weights are very unequal, else of one, up to the last hundredth."""
    if least > 0 and most > _UNEQUAL * float(np.median(weights)):
        edges = np.geomspace(least, most, _BINS + 1)
        edges[0], edges[-1] = least, most
        return edges
    top = float(np.quantile(weights, 0.99))
    return np.linspace(least, top if top > least else most, _BINS + 1)


def _types(log: Interactions) -> list[dict[str, Any]] | None:
    if log.events is None:
        return None
    owners = log.histories.list_index()
    counts = np.bincount(log.events, minlength=len(log.event_names))
    found = [
        {"label": name, "events": int(count), "users": int(mask_of(owners[log.events == code], len(log.users)).sum())}
        for code, (name, count) in enumerate(zip(log.event_names, counts, strict=True))
    ]
    return sorted(found, key=lambda row: -row["events"])
