"""Figures by group of users and of items, and the long tail."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl

from recsys.core.ragged import Int64
from recsys.core.schema import GENRES
from recsys.data.catalog import Catalog
from recsys.data.interactions import Interactions
from recsys.evaluation import segments
from recsys.evaluation.result import Evaluation

K = 10
"""The list length for groups, exposure and examples."""
CATEGORY_COLUMNS = ("category", "categories", GENRES, "brand")
"""Usual names of a column of categories, tried in this order if the caller names none."""
_METRICS = [f"recall@{K}", f"ndcg@{K}"]
_REST = "other"
_POINTS = 160


def user_segments(reports: Sequence[Evaluation]) -> dict[str, pl.DataFrame]:
    """Recall and NDCG by group of users: history length, and time if the holdout has times.

    Returns
    -------
    dict of DataFrame
        As :func:`recsys.evaluation.segments.by_user` returns it, for all reports, with a column ``model``.
    """
    made: dict[str, list[pl.DataFrame]] = {}
    for report in reports:
        for name, labels in segments.user_labels(report).items():
            made.setdefault(name, []).append(_of(report, segments.by_user(report, labels, _METRICS)))
    return {name: pl.concat(frames, how="vertical_relaxed") for name, frames in made.items()}


def item_groups(
    reports: Sequence[Evaluation], catalog: Catalog, train: Interactions | None, category: str | None
) -> dict[str, pl.DataFrame]:
    """Recall and exposure by group of items: popularity and temperature if the training log is known, and category.

    Parameters
    ----------
    reports : sequence of Evaluation
    catalog : Catalog
        In the item rows of the reports, and so is ``train``.
    train : Interactions, optional
    category : str, optional

    Returns
    -------
    dict of DataFrame
        As :func:`recsys.evaluation.segments.by_item` returns it, for all reports, with the columns ``model``,
        ``interactions`` (the group's events in training; null if they are not known), and ``of_items`` and
        ``of_interactions``, those of all items that have a label: an item with several is in several groups.
    """
    found = {}
    for name, given in segments.item_labels(train, catalog, category).items():
        parts = [_of(report, segments.by_item(report, given)) for report in reports]
        labelled = given.is_not_null().to_numpy()
        found[name] = (
            pl.concat(parts, how="vertical_relaxed")
            .join(_events(given, train), on="label", how="left")
            .with_columns(
                of_items=pl.lit(int(labelled.sum())),
                of_interactions=pl.lit(None if train is None else int(train.item_counts[labelled].sum()), dtype=pl.Int64),
            )
        )
    return found


def _of(report: Evaluation, frame: pl.DataFrame) -> pl.DataFrame:
    return frame.select(pl.lit(report.model).alias("model"), pl.all())


def _events(labels: pl.Series, train: Interactions | None) -> pl.DataFrame:
    counts = pl.Series([None] * len(labels), dtype=pl.Int64) if train is None else pl.Series(train.item_counts)
    frame = pl.DataFrame({"label": labels, "interactions": counts})
    frame = frame.explode("label") if labels.dtype == pl.List else frame
    frame = frame.with_columns(pl.col("label").cast(pl.String))
    summed = pl.col("interactions").sum() if train is not None else pl.col("interactions").first()
    return frame.drop_nulls("label").group_by("label").agg(summed)


def segment_figures(frames: dict[str, pl.DataFrame]) -> list[dict[str, Any]]:
    """One entry per grouping: its name, what is counted, and a row per group and model."""
    made: list[dict[str, Any]] = []
    for name, frame in frames.items():
        unit = "targets" if "targets" in frame.columns else "users"
        rows: list[dict[str, Any]] = [
            {
                "label": row["label"],
                "model": row["model"],
                "n": row[unit],
                **{metric: row.get(metric) for one in _METRICS for metric in (one, f"{one}_low", f"{one}_high")},
            }
            for row in _in_order(frame).iter_rows(named=True)
            if row[unit]
        ]
        place = {label: i for i, label in enumerate(dict.fromkeys(row["label"] for row in rows))}
        made.append({"name": name, "unit": unit, "rows": sorted(rows, key=lambda row: place[row["label"]])})
    return made


def fairness_figures(frames: dict[str, pl.DataFrame], model: str) -> list[dict[str, Any]]:
    """For each grouping of items: every group's share of the catalogue, of training and of the lists, and its recall."""
    made = []
    for name, frame in frames.items():
        own = _in_order(frame.filter(pl.col("model") == model))
        items, events = int(own["of_items"].sum() / max(1, own.height)), 0
        if own["of_interactions"].null_count() == 0:
            events = int(own["of_interactions"].sum() / max(1, own.height))
        rows = []
        for row in own.iter_rows(named=True):
            trained, shown = row["interactions"] / events if events else None, row[f"exposure@{K}"]
            rows.append(
                {
                    "label": row["label"],
                    "items": row["items"],
                    "targets": row["targets"],
                    "catalogue": row["items"] / items if items else None,
                    "interactions": trained,
                    "exposure": shown,
                    "ratio": shown / trained if trained else None,
                    "recall": row[f"recall@{K}"],
                    "recall_low": row[f"recall@{K}_low"],
                    "recall_high": row[f"recall@{K}_high"],
                }
            )
        made.append({"name": name, "rows": rows})
    return made


def _in_order(frame: pl.DataFrame) -> pl.DataFrame:
    """Categories by number of events (or items), ``other`` last; bands in their own order."""
    if "items" not in frame.columns or set(frame["label"]) & {"head", "hot"}:
        return frame
    size = pl.col("interactions").fill_null(pl.col("items"))
    return frame.sort(pl.col("label") == _REST, -size.cast(pl.Int64), "label", maintain_order=True)


def long_tail(reports: Sequence[Evaluation], counts: Int64) -> dict[str, Any]:
    """Cumulative shares over the items from the most to the least popular in training.

    Parameters
    ----------
    reports : sequence of Evaluation
        In the item rows of ``counts``.
    counts : int64 (n_items,)
        Events per item in training.

    Returns
    -------
    dict
        ``k``, ``items`` (how many of the most popular), and ``curves``: a ``name``, the ``share`` of all events or of
        all places in the lists that these items have, and for models ``coverage`` and ``gini``.
    """
    order = np.argsort(-counts, kind="stable")
    items = np.unique(np.geomspace(1, len(counts), _POINTS).round().astype(np.int64))

    def shares(taken: Int64) -> list[float]:
        running = np.cumsum(taken[order])
        return [float(one) for one in running[items - 1] / max(1, running[-1])]

    curves: list[dict[str, Any]] = [{"name": "interactions in training", "share": shares(counts)}]
    for report in reports:
        facts = {name: report.overall.get(f"{name}@{K}") for name in ("coverage", "gini")}
        curves.append({"name": report.model, "share": shares(report.exposure[K])} | facts)
    return {"k": K, "items": items.tolist(), "curves": curves}
