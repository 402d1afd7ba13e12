"""evaluate(): what its arguments may be, and that anything else is refused with what to pass."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest

from recsys.data.split import Holdout
from recsys.errors import ConfigError
from recsys.evaluation.evaluate import evaluate
from tests.evaluation.fixed_lists import FixedLists


@pytest.mark.parametrize(
    "k", [2.5, True, "10", None, [10, 2.5], (10, True), np.array(10), [[10]], {"k": 10}, pl.DataFrame({"k": [10]})]
)
def test_a_k_that_is_no_whole_number_is_refused(model: FixedLists, holdout: Holdout, k: Any) -> None:
    with pytest.raises(ConfigError, match="k must be a (whole number|list of whole numbers)"):
        evaluate(model, holdout, k=k)
    assert model.asked == []


@pytest.mark.parametrize("k", [np.int64(2), np.array([1, 2]), range(1, 3), (n for n in (2, 1)), pl.Series([1, 2]), {1, 2}])
def test_ks_may_come_from_numpy_from_polars_or_from_a_generator(model: FixedLists, holdout: Holdout, k: Any) -> None:
    report = evaluate(model, holdout, k=k)
    assert report.k[-1] == 2
    assert report["recall@2"] == evaluate(model, holdout, k=2)["recall@2"]
    assert all(type(cut) is int for cut in report.k)


def test_a_k_of_a_billion_costs_no_more_than_the_catalogue(model: FixedLists, holdout: Holdout) -> None:
    every, billion = evaluate(model, holdout, k=6), evaluate(model, holdout, k=10**9)
    for metric in ("recall", "ndcg", "mrr", "map", "hit_rate", "coverage", "gini"):
        assert billion[f"{metric}@1000000000"] == every[f"{metric}@6"]
    assert billion["precision@1000000000"] == pytest.approx(every["precision@6"] * 6 / 10**9)


def test_the_old_name_of_eligible_is_refused_with_the_new_one(model: FixedLists, holdout: Holdout) -> None:
    with pytest.raises(ConfigError, match="evaluate has no argument 'candidates'; it is now called 'eligible'"):
        evaluate(model, holdout, candidates=[1])  # type: ignore[call-arg]


@pytest.mark.parametrize(
    ("rows", "says"), [([7], "rows from 0 to 5; it holds 7"), ([0.5], "a list of item rows"), ("a", "")]
)
def test_eligible_items_are_rows_of_the_holdout(model: FixedLists, holdout: Holdout, rows: Any, says: str) -> None:
    with pytest.raises(ConfigError, match=f"eligible must .*{says}"):
        evaluate(model, holdout, eligible=rows)
