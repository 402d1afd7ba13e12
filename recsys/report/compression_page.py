"""The trade-off between size, time and quality that was measured when a bundle was made smaller, as one page."""

from __future__ import annotations

from html import escape
from typing import Any

from recsys.core.version import __version__
from recsys.pages.page import figure, page
from recsys.pages.plots import COLOURS, Specs, plot_spec, titled_axis
from recsys.pages.tables import table


def compression_page(name: str, found: dict[str, Any]) -> str:
    """Build the page.

    Parameters
    ----------
    name : str
        Of the bundle.
    found : dict
        What :meth:`recsys.compression.compress.Compressed.to_dict` gives.
    """
    specs: Specs = {}
    rows, chosen = found["measured"], found["chosen"]
    sections = {
        "plot": ("Quality against size", _plot(rows, chosen, specs)),
        "table": ("All that was tried", _table(rows, chosen)),
    }
    about = f"{found['users']:,} held-out users; chosen: {' + '.join(chosen) or 'the bundle as it was'}"
    return page(title=f"{name}: compression", about=about, sections=sections, specs=specs, version=__version__)


def _plot(rows: list[dict[str, Any]], chosen: list[str], specs: Specs) -> str:
    marked = [list(row["steps"]) == chosen for row in rows]
    data: list[dict[str, Any]] = [
        {
            "x": [row["bytes"] / 2**20 for row in rows],
            "y": [row["ndcg_10"] for row in rows],
            "text": [" + ".join(row["steps"]) or "as it was" for row in rows],
            "mode": "markers",
            "marker": {
                "color": COLOURS[0],
                "size": [14 if one else 8 for one in marked],
                "symbol": ["star" if one else "circle" for one in marked],
            },
            "hovertemplate": "%{text}<br>%{x:,.1f} MiB, NDCG@10 %{y:.4f}",
        }
    ]
    layout = {"hovermode": "closest", "xaxis": titled_axis("MiB of files"), "yaxis": titled_axis("NDCG@10")}
    specs["plot-trade-off"] = plot_spec(data, layout, 420)
    return figure("plot-trade-off", "Each dot is a combination of steps, judged on the same users; the star was chosen.")


def _table(rows: list[dict[str, Any]], chosen: list[str]) -> str:
    cells = []
    for row in rows:
        steps = escape(" + ".join(row["steps"]) or "as it was")
        low, high = row["loss_interval"]
        cells.append(
            [
                f"<b>{steps}</b>" if list(row["steps"]) == chosen else steps,
                f"{row['bytes'] / 2**20:,.1f}",
                f"{row['memory'] / 2**20:,.1f}",
                f"{row['p50']:.2f}",
                f"{row['p99']:.2f}",
                f"{row['recall_10']:.4f} ({row['recall_interval'][0]:.4f} to {row['recall_interval'][1]:.4f})",
                f"{row['recall_50']:.4f}",
                f"{row['ndcg_10']:.4f}",
                f"{row['loss']:+.2%} ({low:+.2%} to {high:+.2%})",
                f"{row['overlap']:.2%}",
                *(_told(row.get(name), form) for name, form in _OF_TEXTS.items()),
            ]
        )
    heads = ["steps", "MiB", "MiB in memory", "p50 ms", "p99 ms", "recall@10", "recall@50", "NDCG@10", "NDCG@10 lost"]
    heads += ["same top 10", "same searches", "NDCG@10 of new items lost", "search ms", "ms of a new item"]
    return table(heads, cells, right=tuple(range(1, len(heads))))


_OF_TEXTS = {"search_overlap": "{:.2%}", "new_loss": "{:+.2%}", "search": "{:.1f}", "add": "{:.1f}"}
"""Figures that only bundles with a text encoder have."""


def _told(figure: float | None, form: str) -> str:
    return "" if figure is None else form.format(figure)
