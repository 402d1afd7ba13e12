"""Everything that a report says, as one plain dict."""

from __future__ import annotations

import importlib.metadata
import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
import polars as pl

from recsys.bundle.contents import Bundle
from recsys.evaluation.compare import Comparison
from recsys.evaluation.protocol import Ranker
from recsys.evaluation.result import ACCURACY, DEFINITION, Evaluation
from recsys.evaluation.segments import HISTORY, TIME
from recsys.report import reproduce
from recsys.report.examples import chosen_users
from recsys.report.groups import K, fairness_figures, long_tail, segment_figures
from recsys.report.item_map import FEWEST, item_map

__all__ = ["METRIC", "K", "collect", "no_tests", "plain"]

METRIC = f"ndcg@{K}"
"""The metric by which models are ranked and tested."""
_LIBRARIES = ("recsys", "torch", "transformers", "sentence-transformers", "polars", "numpy", "faiss-cpu", "faiss-gpu")
_NO_LOG = "the bundle does not record which part of the log the model was trained on"


def no_tests() -> pl.DataFrame:
    """The tests of a comparison with a single model."""
    numbers = dict.fromkeys(("difference", "p", "p_holm"), pl.Float64)
    return pl.DataFrame(schema={"better": pl.String, "worse": pl.String, **numbers, "significant": pl.Boolean})


def collect(
    bundle: Bundle,
    ranker: Ranker,
    comparison: Comparison,
    segments: dict[str, pl.DataFrame],
    item_groups: dict[str, pl.DataFrame],
    *,
    category: str | None = None,
    baselines: bool = True,
    with_map: bool = True,
    seed: int = 0,
) -> dict[str, Any]:
    """Collect all figures of a report.

    Parameters
    ----------
    bundle : Bundle
    ranker : Ranker
        Its evaluation is the one of its name in ``comparison``; all evaluations are in its item rows.
    comparison : Comparison
    segments, item_groups : dict of DataFrame
        From :func:`recsys.report.groups.user_segments` and :func:`~recsys.report.groups.item_groups`.
    category : str, optional
        The catalogue column that colours the map.
    baselines : bool
        Whether baselines were asked for, to say why there are none.
    with_map : bool
        Whether to lay out item vectors in two dimensions.
    seed : int
        For the choice of examples and for the map.

    Returns
    -------
    dict
        Of dicts, lists, strings, finite numbers, booleans and None, as JSON needs them.
    """
    own = next(report for report in comparison.reports if report.model == ranker.name)
    reports = [own, *(report for report in comparison.reports if report is not own)]
    train = bundle.trained_on
    counts = None if train is None else train.item_counts
    found: dict[str, Any] = plain(
        {
            "headline": _headline(bundle, own),
            "models": [_metrics(report) for report in comparison.reports],
            "tests": {"metric": comparison.metric, "rows": comparison.tests.to_dicts()},
            "curve": _curve(reports),
            "segments": segment_figures(segments | item_groups),
            "long_tail": None if counts is None else long_tail(reports, counts),
            "fairness": {"k": K, "model": own.model, "groups": fairness_figures(item_groups, own.model)},
            "training": bundle.record | ({} if bundle.lineage is None else {"lineage": bundle.lineage}),
            "examples": chosen_users(bundle, ranker, own, K, seed),
            "map": item_map(bundle, counts, category, seed) if with_map and not bundle.config.fast else None,
            "left_out": _left_out(bundle, segments, category, baselines) | ({} if with_map else {"map": "not asked for"}),
        }
    )
    return found


def plain(value: Any) -> Any:
    """The same value as JSON can hold it: numpy becomes Python, NaN and infinity become None."""
    if isinstance(value, Mapping):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, np.ndarray | list | tuple):
        return [plain(one) for one in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, bool | int | str) else str(value)


def _headline(bundle: Bundle, own: Evaluation) -> dict[str, Any]:
    return {
        "model": own.model,
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "protocol": own.protocol,
        "users": own.n_users,
        "targets": len(own.target_places),
        "items": own.n_items,
        "seen_filtered": own.seen_filtered,
        "definition": DEFINITION,
        "deepest": own.k[-1],
        "k": K,
        "metrics": {f"{name}@{K}": _valued(own, f"{name}@{K}") for name in ("recall", "ndcg", "mrr", "coverage")},
        "counts": own.counts,
        "data": bundle.data | {"text_columns": list(bundle.catalog.text_columns)},
        "options": bundle.options,
        "command": reproduce.command(bundle),
        "all_options": reproduce.options_of(bundle),
        "reading_known": bundle.reading is not None,
        "versions": _versions(),
    }


def _valued(report: Evaluation, name: str) -> dict[str, float | None]:
    low, high = report.intervals.get(name, (None, None))
    return {"mean": report.means[name], "low": low, "high": high}


def _metrics(report: Evaluation) -> dict[str, Any]:
    return {
        "model": report.model,
        "k": list(report.k),
        "accuracy": list(ACCURACY),
        "metrics": {name: _valued(report, name) for name in report.means},
        "counts": report.counts,
    }


def _curve(reports: Sequence[Evaluation]) -> dict[str, Any]:
    lines = []
    for report in reports:
        values = [_valued(report, f"recall@{k}") for k in report.k]
        lines.append({"model": report.model} | {end: [value[end] for value in values] for end in ("mean", "low", "high")})
    return {"metric": "recall", "k": list(reports[0].k), "models": lines}


def _versions() -> dict[str, str]:
    found = {}
    for name in _LIBRARIES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _left_out(bundle: Bundle, segments: dict[str, pl.DataFrame], category: str | None, baselines: bool) -> dict[str, str]:
    """What the report cannot show, and why."""
    reasons = {}
    if bundle.trained_on is None:
        reasons["baselines"] = f"{_NO_LOG}, so baselines cannot be fitted on the same events"
        reasons["popularity"] = _NO_LOG
        reasons["long_tail"] = f"{_NO_LOG}, so the popularity of items is not known"
    elif not baselines:
        reasons["baselines"] = "not asked for"
    if category is None:
        reasons["category"] = "no column of categories was chosen (--category), and no column has a usual name for one"
    if HISTORY in segments and TIME not in segments:
        reasons["time"] = "the holdout was made from a log without timestamps"
    if bundle.config.fast:
        reasons["training"] = "a fast model is learned in closed form, without epochs"
    elif not bundle.record.get("epochs"):
        reasons["training"] = "the bundle has no record of the training"
    elif not any(name.startswith("val_") for name in bundle.record["epochs"][0]):
        reasons["validation"] = "the model was trained without validation"
    if bundle.config.fast:
        reasons["map"] = "a fast model has no item vectors"
    elif len(bundle.items) < FEWEST:
        reasons["map"] = f"there are only {len(bundle.items)} items"
    return reasons
