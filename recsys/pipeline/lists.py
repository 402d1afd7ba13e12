"""Judge the lists of other systems."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import polars as pl

from recsys.data.recommendations import Recommendations
from recsys.errors import ConfigError
from recsys.evaluation.arguments import check_cuts
from recsys.evaluation.truth import Truth
from recsys.pipeline.evaluate import CUTS, EvaluationResult

if TYPE_CHECKING:
    from recsys.evaluation.compare import Comparison


@dataclass(frozen=True, eq=False)
class ListsResult:
    """What was found about each system, in the order given, and the comparison of several."""

    systems: list[EvaluationResult]
    comparison: Comparison | None


def evaluate_lists(
    lists: Mapping[str, Recommendations],
    truth: Truth,
    k: Sequence[int] = CUTS,
    *,
    metric: str | None = None,
    segments: bool = False,
    user_groups: Mapping[str, pl.DataFrame] | None = None,
) -> ListsResult:
    """Judge the lists of one system or more, and compare several.

    Parameters
    ----------
    lists : mapping
        Name of a system → its lists.
    truth : Truth
    k : sequence of int
        List lengths.
    metric : str, optional
        What several systems are ranked and tested by; by default ``ndcg@10``, or at the first k if that has no 10.
    segments : bool
        Also by history length, popularity, time and category, as far as history and catalogue allow.
    user_groups : mapping, optional
        As for :func:`recsys.pipeline.evaluate_bundle`.

    Raises
    ------
    ConfigError
        A metric is named for one system, or cannot be compared by.
    """
    from recsys.evaluation.compare import check_metric, compare  # noqa: PLC0415
    from recsys.evaluation.segments import by_user, user_column  # noqa: PLC0415

    cuts = check_cuts(k)
    if metric is not None and len(lists) < 2:
        raise ConfigError("metric= (--metric) is for comparing several systems, and there is one; leave it out")
    metric = metric or f"ndcg@{10 if 10 in cuts else k[0]}"
    check_metric(metric, cuts)
    found = list[EvaluationResult]()
    for name, one in lists.items():
        evaluation = truth.judge(one, cuts, name)
        groups = truth.segments(evaluation) if segments else {}
        groups |= {
            name: by_user(evaluation, user_column(evaluation, table, name)) for name, table in (user_groups or {}).items()
        }
        found.append(EvaluationResult(evaluation, groups))
    comparison = compare([one.evaluation for one in found], k=cuts, metric=metric) if len(found) > 1 else None
    return ListsResult(found, comparison)
