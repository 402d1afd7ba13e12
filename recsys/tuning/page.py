"""A search as one page that loads nothing, beside its trials as a file and its best options as a recipe."""

from __future__ import annotations

import math
from html import escape
from pathlib import Path
from typing import Any

import polars as pl

from recsys.core.files import atomic_file
from recsys.core.version import __version__
from recsys.pages.page import cards, figure, page
from recsys.pages.plots import COLOURS, GREY, Spec, Specs, category_axis, plot_spec, safe, titled_axis
from recsys.pages.tables import definitions, number, table
from recsys.tuning.space import Choice, Range
from recsys.tuning.trials import FEWEST, REASON, Tuning, best_text


def write(tuning: Tuning, folder: Path) -> dict[str, Path]:
    """Write ``best.toml``, ``trials.csv`` and ``search.html`` into a folder, each whole or not at all.

    Returns
    -------
    dict of Path
        ``recipe``, ``trials`` and ``page``.
    """
    files = {"recipe": folder / "best.toml", "trials": folder / "trials.csv", "page": folder / "search.html"}
    texts = {"recipe": best_text(tuning), "trials": tuning.trials.write_csv(), "page": search_page(tuning)}
    for what, target in files.items():
        with atomic_file(target) as file:
            file.write_text(texts[what], encoding="utf-8")
    return files


def search_page(tuning: Tuning) -> str:
    """The search as one HTML file: the best options, how it went, what mattered, every trial.

    Raises
    ------
    DependencyError
        Plotly is not installed.
    """
    specs: Specs = {}
    sections = {
        "best": ("Best options", _best_section(tuning)),
        "history": ("How the search went", _history_section(tuning, specs)),
        "importance": ("What mattered", _importance_section(tuning, specs)),
        "slices": ("Option by option", _slices_section(tuning, specs)),
        "trials": ("All trials", _trials_section(tuning)),
    }
    return page(
        title=f"{tuning.name}: search",
        about=f"{tuning.trials.height} trials, {tuning.monitor} on validation",
        sections=sections,
        specs=specs,
        version=__version__,
    )


def _best_section(tuning: Tuning) -> str:
    best = tuning.best_row
    states = dict(tuning.trials["state"].value_counts().iter_rows())
    facts = {tuning.monitor: number(best["value"]), "best epoch": best["best_epoch"], "trial": best["number"]}
    facts |= dict(sorted(states.items()))
    pairs = {name: _cell(best[name]) for name in tuning.space.searched}
    recipe = f"<details><summary>As a recipe</summary><pre>{escape(best_text(tuning))}</pre></details>"
    warning = (
        '<p class="soft">The best of many trials looks better on validation than it is: evaluate it on the test users, as '
        "recsys fit does.</p>"
    )
    shown = cards({name: f"<b>{value}</b>" for name, value in facts.items()})
    return f"{shown}\n{definitions(pairs)}\n{recipe}\n{warning}"


def _history_section(tuning: Tuning, specs: Specs) -> str:
    """Each trial's value in order, and the best so far."""
    valued = tuning.trials.filter(pl.col("value").is_not_null())
    complete, pruned = (valued.filter(pl.col("state") == state) for state in ("complete", "pruned"))
    data: list[dict[str, Any]] = [
        _dots("complete", complete["number"], complete["value"], COLOURS[0]),
        _dots("pruned", pruned["number"], pruned["value"], GREY),
        {
            "name": "best so far",
            "x": complete["number"].to_list(),
            "y": complete["value"].cum_max().to_list(),
            "mode": "lines",
            "line": {"color": COLOURS[1], "width": 2.5, "shape": "hv"},
            "hovertemplate": "%{y:.4f}",
        },
    ]
    layout = {
        "hovermode": "closest",
        "xaxis": {"tickformat": "d"} | titled_axis("trial"),
        "yaxis": titled_axis(tuning.monitor),
    }
    specs["plot-history"] = plot_spec([one for one in data if one["x"]], layout, 380)
    return figure(
        "plot-history",
        f"{tuning.monitor} of each trial's best epoch. Pruned trials were stopped because they were below the median of "
        "the others at the same epoch. If the line has long been flat, more trials will hardly help.",
    )


def _importance_section(tuning: Tuning, specs: Specs) -> str:
    """A bar per option."""
    if not tuning.importances:
        return (
            f'<p class="note">Left out: it takes {FEWEST} complete trials or more, with different values, to say what '
            "mattered.</p>"
        )
    bar = {
        "type": "bar",
        "orientation": "h",
        "y": [safe(name) for name in tuning.importances],
        "x": list(tuning.importances.values()),
        "marker": {"color": COLOURS[0]},
        "hovertemplate": "%{y}: %{x:.1%}",
    }
    layout = {
        "showlegend": False,
        "xaxis": {"tickformat": ".0%", "rangemode": "tozero"} | titled_axis("share of the variance"),
        "yaxis": category_axis(),
    }
    specs["plot-importance"] = plot_spec([bar], layout, 90 + 34 * len(tuning.importances))
    return figure(
        "plot-importance",
        f"The share of the variance of {tuning.monitor} among complete trials that each option explains on its own "
        "(functional ANOVA); the shares add up to 1. With few trials they are rough.",
    )


def _slices_section(tuning: Tuning, specs: Specs) -> str:
    """A plot per option, the most important first: the values tried against what they gave."""
    ordered = [*tuning.importances, *(name for name in tuning.space.searched if name not in tuning.importances)]
    valued = tuning.trials.filter(pl.col("value").is_not_null())
    parts = []
    for i, name in enumerate(ordered):
        specs[f"plot-slice-{i}"] = _slice(tuning, valued, name)
        parts.append(figure(f"plot-slice-{i}", f"{name}, {_searched(tuning.space.searched[name])}"))
    legend = '<p class="soft">A dot is a trial; the orange one is the best, grey ones were pruned.</p>'
    return f'{legend}\n<div class="pair">{"".join(parts)}</div>'


def _slice(tuning: Tuning, valued: pl.DataFrame, name: str) -> Spec:
    domain, axis = tuning.space.searched[name], dict[str, Any]()
    if isinstance(domain, Choice):
        names = ["none" if value is None else str(value) for value in domain.values]
        axis = {"type": "category", "categoryorder": "array", "categoryarray": [safe(one) for one in names]}
        xs = pl.Series([safe(str(value)) for value in valued[name]], dtype=pl.String)
    else:
        ends = [math.log10(domain.low), math.log10(domain.high)] if domain.log else [domain.low, domain.high]
        margin = (ends[1] - ends[0]) / 20
        axis = {"type": "log" if domain.log else "linear", "range": [ends[0] - margin, ends[1] + margin]}
        axis |= {"dtick": 1, "exponentformat": "e"} if domain.log and ends[1] - ends[0] > 1 else {}
        xs = valued[name]
    best, complete = valued["number"] == tuning.best_number, valued["state"] == "complete"
    data = [
        _dots(label, xs.filter(keep), valued["value"].filter(keep), colour)
        for label, keep, colour in (
            ("pruned", ~complete, GREY),
            ("complete", complete & ~best, COLOURS[0]),
            ("best", best, COLOURS[1]),
        )
        if keep.any()
    ]
    layout = {
        "showlegend": False,
        "hovermode": "closest",
        "xaxis": axis | titled_axis(name),
        "yaxis": titled_axis(tuning.monitor),
    }
    return plot_spec(data, layout, 280)


def _dots(name: str, x: pl.Series, y: pl.Series, colour: str) -> dict[str, Any]:
    return {
        "name": name,
        "x": x.to_list(),
        "y": y.to_list(),
        "mode": "markers",
        "marker": {"color": colour, "size": 9, "opacity": 0.8},
        "hovertemplate": "%{x}: %{y:.4f}",
    }


def _cell(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _searched(domain: Choice | Range) -> str:
    if isinstance(domain, Choice):
        return f"one of {', '.join('none' if value is None else str(value) for value in domain.values)}"
    steps = ", on a logarithmic scale" if domain.log else f" in steps of {domain.step}" if domain.step else ""
    return f"from {domain.low} to {domain.high}{steps}"


def _trials_section(tuning: Tuning) -> str:
    names = list(tuning.space.searched)
    ordered = tuning.trials.sort(["value", "number"], descending=[True, False], nulls_last=True)
    rows = []
    for row in ordered.iter_rows(named=True):
        trial, state, epoch = ("" if row[key] is None else str(row[key]) for key in ("number", "state", "best_epoch"))
        seconds = number(row["seconds"], 1)
        values = [_cell(row[name]) for name in names]
        shown = [trial, state, number(row["value"]), epoch, seconds, *values, row[REASON] or ""]
        rows.append([escape(cell) for cell in shown])
    header = ["trial", "state", tuning.monitor, "best epoch", "seconds", *names, "reason"]
    right = (0, 2, 3, 4)
    return table(
        [escape(one) for one in header], rows, right=right, last_wide=bool(tuning.trials[REASON].is_not_null().any())
    )
