"""The tables of the report."""

from __future__ import annotations

from html import escape
from typing import Any

from recsys.pages.tables import number, percent, table
from recsys.report.words import MEANING, ends, metric_number


def models_at(figures: dict[str, Any], k: int) -> str:
    """Every metric at one k: a row per metric, a column per model, the report's own model first."""
    models = sorted(figures["models"], key=lambda model: bool(model["model"] != figures["headline"]["model"]))
    names = list(dict.fromkeys(name for model in models for name in model["metrics"] if name.endswith(f"@{k}")))
    rows = []
    for name in names:
        family = name.partition("@")[0]
        found = [model["metrics"].get(name) for model in models]
        best = max((one["mean"] for one in found if one and one["mean"] is not None), default=None)
        bold = family in models[0]["accuracy"] and len(models) > 1
        label = f'<span title="{escape(MEANING.get(family, ""))}">{escape(name)}</span>'
        rows.append([label, *(_cell(name, one, bold and one is not None and one["mean"] == best) for one in found)])
    return table(["metric", *(escape(model["model"]) for model in models)], rows, right=range(1, len(models) + 1))


def _cell(name: str, valued: dict[str, Any] | None, bold: bool) -> str:
    if valued is None:
        return "–"
    shown, interval = metric_number(name, valued["mean"]), ends(valued, name)
    return (f"<b>{shown}</b>" if bold else shown) + (f"<small>{interval}</small>" if interval else "")


def tests_table(figures: dict[str, Any]) -> str:
    """A row per pair of models."""
    rows = [
        [
            escape(row["better"]),
            escape(row["worse"]),
            f"{row['difference']:+.4f}",
            f"{row['p_holm']:.2g}",
            "significant" if row["significant"] else "not significant",
        ]
        for row in figures["tests"]["rows"]
    ]
    return table(["higher", "lower", "difference", "corrected p", "verdict"], rows, right=(2, 3))


def segment_table(segment: dict[str, Any], k: int) -> str:
    """A row per group and model."""
    rows = []
    for row in segment["rows"]:
        values = [_interval(row, f"{name}@{k}") for name in ("recall", "ndcg")]
        rows.append([escape(row["label"]), escape(row["model"]), f"{row['n']:,}", *values])
    shown = [name for name in ("recall", "ndcg") if any(row.get(f"{name}@{k}") is not None for row in segment["rows"])]
    width = 3 + len(shown)
    header = ["group", "model", segment["unit"], *(f"{name}@{k}" for name in shown)]
    return table(header, [row[:width] for row in rows], right=range(2, width))


def shares_table(group: dict[str, Any], k: int) -> str:
    """A row per group of items: shares, exposure per interaction, recall."""
    rows = [
        [
            escape(row["label"]),
            f"{row['items']:,}",
            percent(row["catalogue"]),
            percent(row["interactions"]),
            percent(row["exposure"]),
            number(row["ratio"], 2),
            f"{row['targets']:,}",
            _interval(row, "recall"),
        ]
        for row in group["rows"]
    ]
    header = ["group", "items", "catalogue", "training", "shown", "shown / training", "targets", f"recall@{k}"]
    return table(header, rows, right=range(1, len(header)))


def _interval(row: dict[str, Any], name: str) -> str:
    interval = ends({"low": row.get(f"{name}_low"), "high": row.get(f"{name}_high")})
    return number(row.get(name)) + (f"<small>{interval}</small>" if interval else "")
