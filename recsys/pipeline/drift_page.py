"""The look at drift as one HTML page: the advice, every figure beside what is usual, and what age costs."""

from __future__ import annotations

import math
from html import escape
from typing import Any

from recsys.core.version import __version__
from recsys.evaluation.ageing import K
from recsys.evaluation.shift import Figure
from recsys.pages.page import cards, figure, left_out, page
from recsys.pages.plots import COLOURS, GREY, Spec, Specs, category_axis, faint, plot_spec, safe, titled_axis
from recsys.pages.tables import percent, table
from recsys.pipeline.drift_result import DriftResult
from recsys.pipeline.drift_rule import shown

_EDGE = 3.0
"""Beyond this many half ranges all dots stand at the edge of the plot."""
_LINES = ("new_items", "new_users", "coverage", "recommended")


def drift_page(name: str, found: DriftResult) -> str:
    """Build the page.

    Parameters
    ----------
    name : str
        Of the bundle.
    found : DriftResult

    Raises
    ------
    DependencyError
        Plotly is not installed.
    """
    specs: Specs = {}
    counts = found.counts
    sections = {
        "advice": ("Advice", _advice(found)),
        "figures": ("What has changed", _figures(found, specs)),
        "windows": ("Window by window", _windows(found, specs)),
        "age": ("What age costs", _age(found, specs)),
    }
    about = f"{counts['new_events']:,} new events, beside {counts['known_events']:,} that the bundle knows"
    return page(title=f"{name}: drift", about=about, sections=sections, specs=specs, version=__version__)


def _advice(found: DriftResult) -> str:
    loss = found.aged.loss
    boxes = {
        "advice": escape(found.advice),
        "expected loss of recall": "–" if loss is None else percent(loss[0]),
        "unusual figures": f"{sum(one.unusual for one in found.figures)} of {len(found.figures)}",
        "new events": f"{found.counts['new_events']:,}",
    }
    rows = [[f"<b>{escape(one.advice)}</b>", escape(one.text)] for one in found.reasons]
    return cards({key: f"<b>{value}</b>" for key, value in boxes.items()}) + table(["says", "why"], rows, last_wide=True)


def _figures(found: DriftResult, specs: Specs) -> str:
    drawn = [one for one in found.figures if one.place(one.value) is not None]
    rows = [
        [
            f"{_short(one)}<small>{escape(one.meaning)}</small>",
            shown(one.values[0]),
            shown(one.value),
            "–" if one.low is None or one.high is None else f"{shown(one.low)} – {shown(one.high)}",
            "<b>unusual</b>" if one.unusual else "",
        ]
        for one in found.figures
    ]
    listed = table(["figure", "first window", "last window", "usual range", ""], rows, right=(1, 2, 3))
    if not drawn:
        return left_out("The plot of what is usual", "the known log is too short for four earlier windows") + listed
    specs["plot-figures"] = _dots(drawn)
    windows = len(drawn[0].usual)
    caption = (
        f"Each figure of the last new window (large dot) and of {windows} earlier windows of as many events, on a scale of "
        f"its own: the shaded band is where 99 of 100 such windows would lie. Distances are against all that was known "
        f"before a window."
    )
    return figure("plot-figures", caption) + listed


def _short(one: Figure) -> str:
    return safe(one.name.replace("_psi", ", PSI").replace("_js", ", JS").replace("_", " "))


def _dots(figures: list[Figure]) -> Spec:
    earlier: dict[str, list[Any]] = {"x": [], "y": [], "text": []}
    last: dict[str, list[Any]] = {"x": [], "y": [], "text": []}
    for one in figures:
        for dots, values in ((earlier, one.usual), (last, (one.value,))):
            for value in values:
                if (place := one.place(value)) is not None:
                    dots["x"].append(min(max(place, -_EDGE), _EDGE))
                    dots["y"].append(_short(one))
                    dots["text"].append(shown(value))
    hover = {"mode": "markers", "hovertemplate": "%{y}: %{text}"}
    colours = [COLOURS[4] if one.unusual else COLOURS[0] for one in figures]
    data = [
        earlier | hover | {"name": "earlier windows", "marker": {"color": GREY, "size": 6, "opacity": 0.6}},
        last | hover | {"name": "last new window", "marker": {"color": colours, "size": 13}},
    ]
    band = {"type": "rect", "xref": "x", "yref": "paper", "x0": -1, "x1": 1, "y0": 0, "y1": 1, "line": {"width": 0}}
    axis = {"range": [-_EDGE - 0.2, _EDGE + 0.2], "tickvals": [-1, 0, 1], "ticktext": ["low", "usual", "high"]}
    layout = {
        "hovermode": "closest",
        "shapes": [band | {"fillcolor": faint(COLOURS[2]), "layer": "below"}],
        "xaxis": axis | {"fixedrange": True, "automargin": True},
        "yaxis": category_axis(),
    }
    return plot_spec(data, layout, 130 + 26 * len(figures))


def _windows(found: DriftResult, specs: Specs) -> str:
    lines = [one for one in found.figures if one.name in _LINES]
    if not lines:
        return left_out("Shares by window", "there are none")
    n_usual = len(lines[0].usual)
    ticks = [*(f"−{n_usual - i}" for i in range(n_usual)), *(f"+{i + 1}" for i in range(len(lines[0].values)))]
    data = [
        {
            "x": ticks,
            "y": [None if math.isnan(value) else value for value in (*one.usual, *one.values)],
            "name": _short(one),
            "mode": "lines+markers",
            "line": {"color": COLOURS[place], "width": 2},
            "hovertemplate": "%{y:.1%}",
        }
        for place, one in enumerate(lines)
    ]
    new = {"type": "rect", "xref": "x", "yref": "paper", "x0": n_usual - 0.5, "x1": len(ticks) - 0.5, "y0": 0, "y1": 1}
    layout = {
        "hovermode": "x unified",
        "shapes": [new | {"line": {"width": 0}, "fillcolor": faint(COLOURS[1]), "layer": "below"}],
        "xaxis": {"type": "category"} | titled_axis("window: − known, + new"),
        "yaxis": {"rangemode": "tozero", "tickformat": ".0%"} | titled_axis("share"),
    }
    specs["plot-windows"] = plot_spec(data, layout, 430)
    caption = (
        "Shares in each window, the known ones first; the new log is shaded. What a known window did not know is counted "
    )
    parts = [figure("plot-windows", caption + "as of that moment, and of a new window as of the bundle.")]
    if any(not math.isnan(one) for one in found.recall):
        rows = [[f"+{i}", "–" if math.isnan(one) else f"{one:.4f}"] for i, one in enumerate(found.recall, start=1)]
        parts.append(f"<h3>recall@{K} of this model on the new events</h3>")
        parts.append(table(["window", f"recall@{K}"], rows, right=(1,)))
    return "\n".join(parts)


def _age(found: DriftResult, specs: Specs) -> str:
    aged = found.aged
    if not aged.ages:
        why = "the log is to be checked first" if found.advice == "check" else "no backtest was made"
        return left_out("The loss by age", why)
    events = [one.age * aged.window_events for one in aged.ages]
    edge = {"x": events, "mode": "lines", "line": {"width": 0}, "hoverinfo": "skip", "showlegend": False}
    data: list[dict[str, Any]] = [
        edge | {"y": [one.low for one in aged.ages]},
        edge | {"y": [one.high for one in aged.ages], "fill": "tonexty", "fillcolor": faint(COLOURS[0])},
        {
            "x": events,
            "y": [one.loss for one in aged.ages],
            "name": "loss",
            "mode": "lines+markers",
            "line": {"color": COLOURS[0], "width": 2.5},
            "hovertemplate": "%{x:,d} events: %{y:.1%}",
        },
    ]
    here = aged.age * aged.window_events
    mark = {"type": "line", "xref": "x", "yref": "paper", "x0": here, "x1": here, "y0": 0, "y1": 1}
    layout = {
        "hovermode": "closest",
        "showlegend": False,
        "shapes": [mark | {"line": {"color": COLOURS[1], "width": 2, "dash": "dot"}}],
        "xaxis": titled_axis("events since training"),
        "yaxis": {"tickformat": ".0%"} | titled_axis(f"loss of recall@{K}"),
    }
    specs["plot-age"] = plot_spec(data, layout, 340)
    caption = (
        f"Loss of recall@{K} of models of each age against a fresh one on the same events, with a 95 % interval. Measured "
        f"with {aged.kind}. The dotted line is the age of this bundle: {here:,.0f} events that it was not trained on."
    )
    rows = [
        [
            f"{one.age * aged.window_events:,}",
            "–" if math.isnan(aged.window_days) else f"{one.age * aged.window_days:,.0f}",
            f"{one.recall:.4f}",
            percent(one.loss),
            f"{percent(one.low)} to {percent(one.high)}",
            f"{one.windows}",
            f"{one.users:,}",
        ]
        for one in aged.ages
    ]
    header = ["events since training", "days", f"recall@{K}", "loss", "95 %", "windows", "users"]
    return figure("plot-age", caption) + table(header, rows, right=range(7))
