"""Models of several ages: those of a world that stands still lose nothing, those of one that turns do."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from recsys.baselines import Transitions
from recsys.data.interactions import Interactions
from recsys.evaluation.ageing import AgeLoss, ageing, ratio_of_means
from recsys.transitions.learn import Form

ITEMS, WINDOWS = 60, 4


def world(turning: int) -> tuple[Interactions, np.ndarray]:
    """People walk round a ring by steps of one; from the second window on they take longer steps, by ``turning``."""
    random = np.random.default_rng(0)
    place, rows = random.integers(0, ITEMS, 60), []
    for window in range(WINDOWS + 1):
        for _ in range(4):
            place = (place + 1 + 20 * turning * (window >= 2)) % ITEMS
            rows.append(place.copy())
    frame = pl.DataFrame({
        "user_id": np.tile(np.arange(60), len(rows)),
        "item_id": np.concatenate(rows),
        "timestamp": np.repeat(np.arange(len(rows)) * 1000 + 1_000_000, 60),
    })  # fmt: skip
    log = Interactions.from_frame(frame)
    assert log.timestamps is not None
    return log, (log.timestamps - 1_000_000) // 4000


def losses(turning: int) -> tuple[AgeLoss, ...]:
    log, number = world(turning)
    form = Form("counts", 1.5, 4)
    return ageing(log, number, lambda known: Transitions(form=form).fit(known), oldest=2, judged=400, keep_seen=True)


def test_age_costs_nothing_where_nothing_changes_and_much_where_all_does() -> None:
    still = losses(0)
    assert [one.age for one in still] == [0, 1, 2]
    assert [one.windows for one in still] == [4, 3, 2]
    assert still[0].loss == 0
    assert max(one.loss for one in still) < 0.06  # what is rare is learned late
    turning = losses(2)
    assert turning[1].low > 0.2
    assert turning[2].loss > still[2].loss


def test_the_interval_of_a_ratio_holds_its_truth() -> None:
    random, held = np.random.default_rng(1), 0
    for seed in range(60):
        pairs = []
        for _ in range(3):
            other = random.binomial(1, 0.4, 150).astype(np.float64)
            pairs.append((other * random.binomial(1, 0.9, 150), other))
        share, low, high = ratio_of_means(pairs, draws=300, seed=seed)
        assert low <= share <= high
        held += low <= 0.9 <= high
    assert held >= 52  # 57 are expected
    assert np.isnan(ratio_of_means([(np.ones(3), np.zeros(3))])).all()
    assert ratio_of_means([(np.array([1.0, 0.0]), np.array([1.0, 1.0])), (np.ones(4), np.ones(4))])[0] == pytest.approx(
        0.75
    )
