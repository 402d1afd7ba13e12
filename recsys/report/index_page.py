"""The trade-off between recall, time and memory that was measured when an index was chosen, as one page."""

from __future__ import annotations

from html import escape
from typing import Any

from recsys.core.version import __version__
from recsys.pages.page import figure, page
from recsys.pages.plots import COLOURS, Specs, plot_spec, titled_axis
from recsys.pages.tables import table


def index_page(name: str, items: int, measured: list[dict[str, Any]]) -> str:
    """Build the page.

    Parameters
    ----------
    name : str
        Of the bundle.
    items : int
        Number of items.
    measured : list of dict
        The measurements of :func:`recsys.index.choose.choose`.
    """
    specs: Specs = {}
    sections = {
        "plot": ("Recall against time", _plot(measured, specs)),
        "table": ("All measurements", _table(measured)),
    }
    chosen = next((row["index"] for row in measured if row["chosen"]), "none")
    about = f"{items:,} items; chosen: {chosen}"
    return page(title=f"{name}: index", about=about, sections=sections, specs=specs, version=__version__)


def _plot(measured: list[dict[str, Any]], specs: Specs) -> str:
    data: list[dict[str, Any]] = []
    for place, kind in enumerate(dict.fromkeys(row["kind"] for row in measured)):
        rows = [row for row in measured if row["kind"] == kind]
        data.append(
            {
                "name": kind,
                "x": [row["milliseconds"] for row in rows],
                "y": [row["recall"] for row in rows],
                "text": [f"{row['index']}, {row['bytes'] / 2**20:,.0f} MiB" for row in rows],
                "mode": "lines+markers",
                "line": {"color": COLOURS[place % len(COLOURS)], "width": 1.5},
                "marker": {
                    "size": [14 if row["chosen"] else 8 for row in rows],
                    "symbol": ["star" if row["chosen"] else "circle" for row in rows],
                },
                "hovertemplate": "%{text}<br>%{x:.2f} ms, recall %{y:.4f}",
            }
        )
    layout = {
        "hovermode": "closest",
        "xaxis": {"type": "log"} | titled_axis("milliseconds of a single query, median"),
        "yaxis": {"range": [max(0.0, min(row["recall"] for row in measured) - 0.05), 1.01]} | titled_axis("recall"),
    }
    specs["plot-trade-off"] = plot_spec(data, layout, 420)
    return figure(
        "plot-trade-off",
        "Each dot is a configuration, measured on this model's own user vectors; the star was chosen. Recall is the "
        "share of the results of an exact float32 search that the index finds.",
    )


def _table(measured: list[dict[str, Any]]) -> str:
    rows = [
        [
            f"<b>{escape(row['index'])}</b>" if row["chosen"] else escape(row["index"]),
            f"{row['recall']:.4f}",
            f"{row['milliseconds']:.2f}",
            f"{row['bytes'] / 2**20:,.1f}",
            f"{row['build_seconds']:.1f}",
        ]
        for row in measured
    ]
    return table(["index", "recall", "ms", "MiB", "build s"], rows, right=(1, 2, 3, 4))
