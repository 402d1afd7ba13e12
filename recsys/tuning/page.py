"""A search's trials as a table, its best options as a recipe, and both with figures as one page that loads nothing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import optuna
import polars as pl
from optuna.importance import FanovaImportanceEvaluator, get_param_importances
from optuna.trial import FrozenTrial, TrialState

from recsys.core.files import atomic_file
from recsys.core.text_table import as_text
from recsys.core.version import __version__
from recsys.pages.page import cards, figure, page
from recsys.pages.plots import COLOURS, GREY, Spec, Specs, category_axis, plot_spec, safe, titled_axis
from recsys.pages.tables import definitions, number, table
from recsys.tuning.space import Choice, Range, recipe_text

if TYPE_CHECKING:
    from recsys.tuning.search import Tuning

REASON = "reason"
"""Attribute of a trial: why it did not come to its end."""
_STATES = {TrialState.COMPLETE: "complete", TrialState.PRUNED: "pruned", TrialState.FAIL: "failed"}
_FEWEST = 4
"""Complete trials below which importances say nothing."""


def trial_table(trials: Sequence[FrozenTrial], names: Sequence[str], interrupted: Sequence[int]) -> pl.DataFrame:
    """A row per ended trial, as :class:`recsys.tuning.search.Tuning` describes them.

    Parameters
    ----------
    trials : sequence of FrozenTrial
    names : sequence of str
        The searched ``table.key``.
    interrupted : sequence of int
        Numbers of the trials that were cut off from outside.

    Returns
    -------
    DataFrame
        A value of None is written ``"none"``, as recipes do.
    """
    ended = [one for one in trials if one.state in _STATES]
    bests = [max(one.intermediate_values, key=one.intermediate_values.__getitem__, default=None) for one in ended]
    cut = set(interrupted)
    return pl.DataFrame(
        [
            pl.Series("number", [one.number for one in ended], dtype=pl.Int64),
            pl.Series(
                "state", ["interrupted" if one.number in cut else _STATES[one.state] for one in ended], dtype=pl.String
            ),
            pl.Series(
                "value",
                [None if best is None else one.intermediate_values[best] for one, best in zip(ended, bests, strict=True)],
                dtype=pl.Float64,
            ),
            pl.Series("best_epoch", bests, dtype=pl.Int64),
            pl.Series(
                "seconds", [one.duration.total_seconds() if one.duration else None for one in ended], dtype=pl.Float64
            ),
            *(_column(name, ended) for name in names),
            pl.Series(REASON, [one.user_attrs.get(REASON) for one in ended], dtype=pl.String),
        ]
    )


def _column(name: str, trials: Sequence[FrozenTrial]) -> pl.Series:
    values = [one.params.get(name) if one.params.get(name, "") is not None else "none" for one in trials]
    kinds = {type(value) for value in values if value is not None}
    if len(kinds) > 1:
        values = [None if value is None else str(value) for value in values]
    return pl.Series(name, values, dtype=pl.Null if not kinds else None)


def importances(study: optuna.Study) -> dict[str, float]:
    """What share of the variance of the complete trials' values each option explains on its own, the largest first.

    By functional ANOVA over a random forest (Hutter et al., ICML 2014). Empty for fewer than four complete trials, or
    where all their values are equal.
    """
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    if len(complete) < _FEWEST or len({one.value for one in complete}) < 2:
        return {}
    found = get_param_importances(study, evaluator=FanovaImportanceEvaluator(seed=0))
    return {name: float(share) for name, share in found.items()}


def table_text(tuning: Tuning) -> str:
    """The trials for a terminal, the best one marked; below them why some did not come to their end."""
    cut = tuning.trials.filter(pl.col(REASON).is_not_null())
    why = cut.group_by("state", REASON, maintain_order=True).len()
    shown = tuning.trials.drop(REASON).with_columns(
        pl.when(pl.col("number") == tuning.best_number).then(pl.lit("best")).otherwise(pl.col("state")).alias("state"),
        pl.col("value").map_elements("{:.4f}".format, return_dtype=pl.String),
        pl.col("best_epoch").cast(pl.String),
        pl.col("seconds").map_elements("{:.1f}".format, return_dtype=pl.String),
        *(_digits(name) for name in tuning.space.searched if tuning.trials[name].dtype == pl.Float64),
    )
    reasons = [f"{count} {state}: {reason}" for state, reason, count in why.iter_rows()]
    return "\n".join([as_text(shown.with_columns(pl.col(pl.String).fill_null(""))), *reasons])


def _digits(name: str) -> pl.Expr:
    return pl.col(name).map_elements("{:.4g}".format, return_dtype=pl.String)


def best_text(tuning: Tuning) -> str:
    """The best options as a recipe, with a line on where they come from."""
    best = tuning.best_row
    said = f"Best of {tuning.trials.height} trials: {tuning.monitor} {best['value']:.4f} on validation"
    return recipe_text(tuning.best, f"{said}, epoch {best['best_epoch']} (trial {best['number']}).")


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
    warned = (
        '<p class="soft">The best of many trials looks better on validation than it is; judge it on the test users, as '
        "recsys fit does.</p>"
    )
    return f"{cards({name: f'<b>{value}</b>' for name, value in facts.items()})}\n{definitions(pairs)}\n{recipe}\n{warned}"


def _history_section(tuning: Tuning, specs: Specs) -> str:
    """Each trial's value in order, and the best so far."""
    told = tuning.trials.filter(pl.col("value").is_not_null())
    complete, pruned = (told.filter(pl.col("state") == state) for state in ("complete", "pruned"))
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
        f"{tuning.monitor} of each trial's best epoch. Pruned trials were stopped when they lay below the median of the "
        "others at the same epoch. Where the line has long been flat, more trials will hardly help.",
    )


def _importance_section(tuning: Tuning, specs: Specs) -> str:
    """A bar per option."""
    if not tuning.importances:
        return (
            f'<p class="note">Left out: it takes {_FEWEST} complete trials or more, of different values, to tell what '
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
        f"How much of the differences in {tuning.monitor} among complete trials each option explains on its own "
        "(functional ANOVA), as shares of their sum. With few trials these are rough.",
    )


def _slices_section(tuning: Tuning, specs: Specs) -> str:
    """A plot per option, the most important first: the values tried against what they gave."""
    ordered = [*tuning.importances, *(name for name in tuning.space.searched if name not in tuning.importances)]
    told = tuning.trials.filter(pl.col("value").is_not_null())
    parts = []
    for i, name in enumerate(ordered):
        specs[f"plot-slice-{i}"] = _slice(tuning, told, name)
        parts.append(figure(f"plot-slice-{i}", f"{name}, {_searched(tuning.space.searched[name])}"))
    told_in_words = '<p class="soft">A dot is a trial; the orange one is the best, grey ones were pruned.</p>'
    return f'{told_in_words}\n<div class="pair">{"".join(parts)}</div>'


def _slice(tuning: Tuning, told: pl.DataFrame, name: str) -> Spec:
    domain, axis = tuning.space.searched[name], dict[str, Any]()
    if isinstance(domain, Choice):
        names = ["none" if value is None else str(value) for value in domain.values]
        axis = {"type": "category", "categoryorder": "array", "categoryarray": [safe(one) for one in names]}
        xs = pl.Series([safe(str(value)) for value in told[name]], dtype=pl.String)
    else:
        ends = [math.log10(domain.low), math.log10(domain.high)] if domain.log else [domain.low, domain.high]
        margin = (ends[1] - ends[0]) / 20
        axis = {"type": "log" if domain.log else "linear", "range": [ends[0] - margin, ends[1] + margin]}
        axis |= {"dtick": 1, "exponentformat": "e"} if domain.log and ends[1] - ends[0] > 1 else {}
        xs = told[name]
    best, complete = told["number"] == tuning.best_number, told["state"] == "complete"
    data = [
        _dots(label, xs.filter(keep), told["value"].filter(keep), colour)
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
        told = ["" if row[key] is None else str(row[key]) for key in ("number", "state", "best_epoch")]
        seconds = number(row["seconds"], 1)
        values = [_cell(row[name]) for name in names]
        shown = [told[0], told[1], number(row["value"]), told[2], seconds, *values, row[REASON] or ""]
        rows.append([escape(cell) for cell in shown])
    header = ["trial", "state", tuning.monitor, "best epoch", "seconds", *names, "reason"]
    right = (0, 2, 3, 4)
    return table(
        [escape(one) for one in header], rows, right=right, last_wide=bool(tuning.trials[REASON].is_not_null().any())
    )
