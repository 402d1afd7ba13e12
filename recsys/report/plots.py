"""The plots of the report, made from its figures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from recsys.pages.plots import (
    COLOURS,
    GREY,
    PALE,
    Spec,
    category_axis,
    colour_of,
    faint,
    plot_spec,
    safe,
    short,
    titled_axis,
    whiskers,
)

_NO_HOVER: dict[str, Any] = {"hoverinfo": "skip", "showlegend": False}


def curve(figures: dict[str, Any]) -> Spec:
    """Recall against the length of the list, a line and a band per model."""
    found = figures["curve"]
    colours = colour_of([line["model"] for line in found["models"]])
    data: list[dict[str, Any]] = []
    for line in found["models"]:
        colour, name = colours[line["model"]], safe(line["model"])
        edge = {"x": found["k"], "mode": "lines", "line": {"width": 0}, "legendgroup": name} | _NO_HOVER
        data += [
            edge | {"y": line["low"]},
            edge | {"y": line["high"], "fill": "tonexty", "fillcolor": faint(colour)},
            {
                "x": found["k"],
                "y": line["mean"],
                "customdata": [list(ends) for ends in zip(line["low"], line["high"], strict=True)],
                "name": name,
                "legendgroup": name,
                "mode": "lines+markers",
                "line": {"color": colour, "width": 2.5},
                "hovertemplate": "recall@%{x}: %{y:.4f} (%{customdata[0]:.4f}–%{customdata[1]:.4f})",
            },
        ]
    layout = {
        "hovermode": "x",
        "xaxis": {"type": "log", "tickvals": found["k"], "ticktext": [str(k) for k in found["k"]]} | titled_axis("k"),
        "yaxis": {"rangemode": "tozero"} | titled_axis("recall@k"),
    }
    return plot_spec(data, layout, 420)


def segment_bars(segment: dict[str, Any], models: Sequence[str], metric: str) -> Spec:
    """A bar with its interval for each group and model, the groups from top to bottom."""
    labels = list(dict.fromkeys(row["label"] for row in segment["rows"]))
    sizes = {row["label"]: row["n"] for row in segment["rows"]}
    ticks = [f"{short(label)} ({sizes[label]:,})" for label in labels]
    colours = colour_of(models)
    data = []
    shown = [model for model in models if any(row["model"] == model for row in segment["rows"])]
    for model in shown:
        rows = {row["label"]: row for row in segment["rows"] if row["model"] == model}
        values = [rows[label][metric] for label in labels]
        lows, highs = ([rows[label][f"{metric}_{end}"] for label in labels] for end in ("low", "high"))
        data.append(
            {
                "type": "bar",
                "orientation": "h",
                "name": safe(model),
                "y": ticks,
                "x": values,
                "marker": {"color": colours[model]},
                "error_x": {
                    "type": "data",
                    "symmetric": False,
                    "array": whiskers(highs, values),
                    "arrayminus": whiskers(values, lows),
                    "thickness": 1.2,
                    "width": 3,
                },
                "customdata": list(zip(lows, highs, strict=True)),
                "hovertemplate": "%{y}: %{x:.4f} (%{customdata[0]:.4f}–%{customdata[1]:.4f})",
            }
        )
    layout = {
        "barmode": "group",
        "bargap": 0.25,
        "legend": {"traceorder": "normal"},
        "xaxis": {"rangemode": "tozero"} | titled_axis(metric),
        "yaxis": category_axis(),
    }
    return plot_spec(data, layout, 110 + len(labels) * (14 + 17 * len(shown)))


def long_tail(figures: dict[str, Any]) -> Spec:
    """Cumulative shares over the items by popularity; training is the dashed line."""
    found = figures["long_tail"]
    colours = colour_of([line["model"] for line in figures["curve"]["models"]])
    data = [
        {
            "x": found["items"],
            "y": one["share"],
            "name": safe(one["name"]),
            "mode": "lines",
            "line": {"color": colours[one["name"]], "width": 2.5}
            if one["name"] in colours
            else {"color": GREY, "width": 2.5, "dash": "dash"},
            "hovertemplate": "%{y:.1%}",
        }
        for one in found["curves"]
    ]
    layout = {
        "hovermode": "x",
        "xaxis": {"type": "log", "dtick": 1, "hoverformat": ",d"} | titled_axis("n most popular items"),
        "yaxis": {"range": [0, 1.02], "tickformat": ".0%"} | titled_axis("their share"),
    }
    return plot_spec(data, layout, 420)


def shares(group: dict[str, Any]) -> Spec:
    """A group's share of the catalogue, of training (grey, as in the long tail) and of what is shown."""
    rows = group["rows"]
    bars = (
        ("catalogue", "of the catalogue", PALE),
        ("interactions", "of training", GREY),
        ("exposure", "of the lists", COLOURS[0]),
    )
    data = [
        {
            "type": "bar",
            "orientation": "h",
            "name": name,
            "y": [short(row["label"]) for row in rows],
            "x": [row[key] for row in rows],
            "marker": {"color": colour},
            "hovertemplate": "%{y}: %{x:.1%}",
        }
        for key, name, colour in bars
        if any(row[key] is not None for row in rows)
    ]
    layout = {
        "barmode": "group",
        "bargap": 0.25,
        "legend": {"traceorder": "normal"},
        "xaxis": {"tickformat": ".0%", "rangemode": "tozero"} | titled_axis("share"),
        "yaxis": category_axis(),
    }
    return plot_spec(data, layout, 110 + len(rows) * (14 + 15 * len(data)))


def epochs(figures: dict[str, Any], keys: Sequence[str], title: str) -> Spec:
    """Values by epoch as lines, the best epoch marked."""
    found = figures["training"]
    data: list[dict[str, Any]] = [
        {
            "x": [int(one["epoch"]) for one in found["epochs"]],
            "y": [one.get(key) for one in found["epochs"]],
            "name": key.removeprefix("val_"),
            "mode": "lines+markers",
            "connectgaps": True,
            "line": {"color": COLOURS[i % len(COLOURS)], "width": 2.5},
            "hovertemplate": "%{y:.4f}",
        }
        for i, key in enumerate(keys)
    ]
    layout: dict[str, Any] = {
        "hovermode": "x",
        "showlegend": len(keys) > 1,
        "xaxis": {"tickformat": "d", "nticks": 10} | titled_axis("epoch"),
        "yaxis": ({} if keys == ["loss"] else {"rangemode": "tozero"}) | titled_axis(title),
    }
    if best := found.get("best_epoch"):
        layout["shapes"] = [
            {
                "type": "line",
                "x0": best,
                "x1": best,
                "yref": "paper",
                "y0": 0,
                "y1": 1,
                "line": {"dash": "dot", "width": 1.5},
            }
        ]
    return plot_spec(data, layout, 320)


def item_map(figures: dict[str, Any]) -> Spec:
    """A dot per item, coloured by category, the most frequent first."""
    found = figures["map"]
    sizes: dict[str, int] = {}
    for label in found["label"]:
        sizes[label] = sizes.get(label, 0) + 1
    ordered = sorted(sizes, key=lambda label: (label in ("other", "unknown"), -sizes[label], label))
    data = []
    for i, label in enumerate(ordered):
        members = [j for j, one in enumerate(found["label"]) if one == label]
        data.append(
            {
                "type": "scatter",
                "mode": "markers",
                "name": short(label),
                "x": [found["x"][j] for j in members],
                "y": [found["y"][j] for j in members],
                "text": [safe(found["title"][j]) for j in members],
                "marker": {
                    "size": 5,
                    "opacity": 0.75,
                    "color": GREY if label in ("other", "unknown") else COLOURS[i % len(COLOURS)],
                },
                "hovertemplate": "%{text}",
            }
        )
    bare = {"visible": False, "fixedrange": False}
    layout = {
        "hovermode": "closest",
        "dragmode": "zoom",
        "showlegend": len(ordered) > 1,
        "legend": {"itemsizing": "constant"},
        "xaxis": bare,
        "yaxis": bare,
    }
    return plot_spec(data, layout, 620)
