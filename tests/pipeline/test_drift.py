"""Drift of a small shop: an ordinary week, spoiled ones, and the rule that follows from the numbers."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

import recsys
from recsys.bundle.contents import Bundle
from recsys.config.drift import DriftOptions
from recsys.errors import ConfigError, DataError
from recsys.evaluation.ageing import AgeLoss
from recsys.evaluation.shift import Figure
from recsys.pipeline.drift_backtest import Aged, expected_loss
from recsys.pipeline.drift_result import DriftResult
from recsys.pipeline.drift_rule import advice_of, reasons_of
from recsys.serving.retriever import Retriever

DAY = 86_400
USERS, ITEMS = 120, 60


def shop(days: range, seed: int) -> pl.DataFrame:
    """Some users a day walk along items of which a few are new each day."""
    random = np.random.default_rng(seed)
    parts = []
    for day in days:
        users = random.choice(USERS, 25, replace=False)
        starts = random.integers(0, ITEMS, 25)
        items = (starts[:, None] + np.arange(3) + day // 10) % ITEMS
        times = 1_000_000_000 + day * DAY + random.integers(0, DAY // 2, 25)[:, None] + np.arange(3)
        parts.append(pl.DataFrame({
            "user_id": np.repeat([f"u{one}" for one in users], 3),
            "item_id": [f"i{one}" for one in items.ravel()],
            "timestamp": times.ravel(),
        }))  # fmt: skip
    return pl.concat(parts)


@pytest.fixture(scope="module")
def retriever() -> Retriever:
    log = recsys.Interactions.from_frame(shop(range(60), 0))
    return recsys.TwoTower(fast=True).fit(log).retriever(log=log, index="exact")


def newer() -> pl.DataFrame:
    return shop(range(60, 65), 1)


def look(retriever: Retriever, frame: pl.DataFrame, **options: object) -> DriftResult:
    given = DriftOptions(**{"judged": 200, "windows": 5} | options)  # type: ignore[arg-type]
    return recsys.drift(retriever, recsys.Interactions.from_frame(frame), options=given)


@pytest.fixture(scope="module")
def ordinary(retriever: Retriever) -> DriftResult:
    return look(retriever, newer())


def test_an_ordinary_week_is_compared_with_earlier_ones(ordinary: DriftResult, retriever: Retriever) -> None:
    assert ordinary.advice != "check"
    assert ordinary.counts["new_events"] == newer().height
    assert ordinary.counts["known_events"] == len(retriever.histories.rows)
    assert {len(one.usual) for one in ordinary.figures} == {5}
    assert {one.name for one in ordinary.figures} >= {"new_items", "popularity_js", "scores_psi", "recommended", "days"}
    assert sum(one.unusual for one in ordinary.figures) <= 2
    assert ordinary.aged.ages[0].loss == 0
    assert 0 < ordinary.recall[0] < 1
    assert f"advice: {ordinary.advice}" in str(ordinary)
    data = json.loads(json.dumps(ordinary.to_dict(), allow_nan=False))
    assert data["advice"] == ordinary.advice
    assert data["aged"]["ages"][0]["loss"] == 0


def test_a_log_that_holds_the_known_events_too_says_the_same(retriever: Retriever, ordinary: DriftResult) -> None:
    whole = look(retriever, pl.concat([shop(range(60), 0), newer()]))
    assert whole.figures == ordinary.figures
    assert whole.advice == ordinary.advice
    with pytest.raises(DataError, match="knows all 4,500 events of the log already"):
        look(retriever, shop(range(60), 0))


def test_spoiled_logs_are_to_be_checked_and_nothing_is_tried_with_them(retriever: Retriever) -> None:
    week = newer()
    everybody = week.unique("user_id", keep="last", maintain_order=True).with_columns(item_id=pl.lit("offer"))
    other = week.with_columns(pl.format("b{}", "user_id").alias("user_id"), pl.format("b{}", "item_id").alias("item_id"))
    for spoiled in (pl.concat([week, everybody]), other):
        found = look(retriever, spoiled)
        assert found.advice == "check"
        assert found.aged.ages == ()
        assert found.recall == ()
        assert "check: " in str(found)


def test_a_log_without_times_is_compared_too() -> None:
    frame = shop(range(60), 0).drop("timestamp")
    log = recsys.Interactions.from_frame(frame)
    retriever = recsys.TwoTower(fast=True).fit(log).retriever(log=log, index="exact")
    found = look(retriever, newer().drop("timestamp"), backtest="none")
    assert {one.name for one in found.figures}.isdisjoint(("days", "activity_psi", "history_js"))
    assert found.aged.loss is None
    assert any(one.name == "new items" for one in found.reasons)


def test_the_model_itself_can_be_tried_at_earlier_moments() -> None:
    log = recsys.Interactions.from_frame(shop(range(20), 0))
    tiny = recsys.TwoTower(encoder=None, word_features="off", dim=8, blocks=1, heads=1, max_length=8, transitions="none")
    training = recsys.Training(epochs=1, device="cpu")
    retriever = tiny.fit(log, training=training).retriever(log=log, index="exact")
    found = look(retriever, shop(range(20, 22), 1), backtest="full", windows=4)
    assert "the model itself" in found.aged.kind
    assert found.aged.loss is not None


def loss(*ages: float) -> Aged:
    found = tuple(AgeLoss(age, one, one - 0.01, one + 0.01, 0.3, 4, 500) for age, one in enumerate(ages))
    return Aged("a memory", found, 100, 7.0, 1.0, expected_loss(found, 1.0))


def test_the_rule(retriever: Retriever) -> None:
    options = DriftOptions(update_at=0.02, retrain_at=0.3, growth_at=0.5)
    few = [Figure("new_items", "new items", "share", (0.01,), (0.01,) * 5)]
    many = [replace(few[0], values=(0.4,))]

    def advised(aged: Aged, stale: int = 100, figures: list[Figure] = few) -> str:
        return advice_of(reasons_of(retriever.bundle, 1000, stale, aged, figures, options))

    assert advised(loss(0.0, 0.015)) == "leave"
    assert advised(loss(0.0, 0.05)) == "update"
    assert advised(loss(0.0, 0.31)) == "retrain"
    wide = Aged("a memory", (), 100, 7.0, 1.0, (0.05, -0.01, 0.1))
    assert advised(replace(wide, ages=loss(0.0, 0.05).ages)) == "leave"  # it may be none
    assert advised(loss(0.0, 0.01), stale=400) == "retrain"  # 400 events after 600
    assert advised(Aged()) == "leave"
    assert advised(Aged(), figures=many) == "update"


def test_options_that_contradict_each_other_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"retrain_at .* is 0.01, below update_at"):
        DriftOptions(retrain_at=0.01)
    with pytest.raises(ConfigError, match="windows must be at least 4"):
        DriftOptions(windows=2)


def test_people_who_were_forgotten_call_for_a_training(retriever: Retriever, ring: recsys.Interactions) -> None:
    model = recsys.TwoTower(encoder=None, dim=8, blocks=1, transitions="none")
    towers = model.fit(ring, training=recsys.Training(epochs=1)).retriever(index="exact").bundle
    figures = [Figure("new_items", "new items", "share", (0.01,), (0.01,) * 5)]

    def advised(bundle: Bundle, gone: int, at: int = 1) -> str | None:
        changed = replace(bundle, data=bundle.data | {"forgotten_since_training": gone})
        reasons = reasons_of(changed, 1000, 0, Aged(), figures, DriftOptions(forgotten_at=at))
        return {one.name: one.advice for one in reasons}.get("forgotten")

    assert [advised(towers, 3), advised(towers, 3, at=4), advised(towers, 0)] == ["retrain", "leave", None]
    assert advised(retriever.bundle, 3) is None, "a table is learned anew without them"
