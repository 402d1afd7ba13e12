"""Figures of windows by hand, and ranges that hold what they promise."""

from __future__ import annotations

import math

import numpy as np
import polars as pl
import pytest

from recsys.data.interactions import Interactions
from recsys.evaluation.drift import jensen_shannon
from recsys.evaluation.shift import Figure, Kind, Window, log_figures


def test_figures_of_a_window_by_hand() -> None:
    before = [("ann", "a", 0), ("ann", "b", 1), ("bob", "a", 2), ("bob", "c", 3)]
    within = [
        ("ann", "x", 86_400),
        ("ann", "c", 86_401),
        ("cat", "x", 90_000),
        ("dan", "x", 172_800),
        ("dan", "a", 172_800),
    ]
    frame = pl.DataFrame([*before, *within], schema=["user_id", "item_id", "timestamp"], orient="row")
    log = Interactions.from_frame(frame)
    assert log.timestamps is not None
    new = log.timestamps >= 86_400
    found = {one.name: one for one in log_figures(log, [Window(new, ~new)], [])}
    assert found["new_items"].value == pytest.approx(3 / 5)
    assert found["new_users"].value == pytest.approx(3 / 5)
    assert found["top_item"].value == pytest.approx(3 / 5)
    assert found["top_item_users"].value == 1.0
    assert found["coverage"].value == pytest.approx(2 / 3)
    assert found["days"].value == pytest.approx(1.0)
    items_before, items_within = np.array([2, 1, 1, 0]), np.array([1, 0, 1, 3])  # of a, b, c and x
    assert found["items_js"].value == pytest.approx(jensen_shannon(items_before, items_within))
    assert "activity_psi" not in found  # there is no earlier window to compare with
    assert found["new_items"].low is None
    assert not found["new_items"].unusual


@pytest.mark.parametrize(("kind", "draw"), [
    ("share", lambda random, n: random.beta(20, 80, n)),
    ("count", lambda random, n: random.lognormal(3, 0.5, n)),
    ("distance", lambda random, n: random.lognormal(-2, 0.5, n)),
])  # fmt: skip
def test_one_window_of_a_hundred_lies_outside_of_the_usual_range(kind: Kind, draw) -> None:  # type: ignore[no-untyped-def]
    random = np.random.default_rng(0)
    outside = sum(Figure("one", "one", kind, (float(new),), tuple(usual)).unusual
                  for new, *usual in draw(random, 600 * 9).reshape(600, 9))  # fmt: skip
    assert outside <= 15  # six are expected, three where only large ones count


def test_ends_of_the_range_stand_at_one_and_short_pasts_have_none() -> None:
    one = Figure("new_items", "new items", "share", (0.2, 0.9), (0.1, 0.12, 0.11, 0.13, math.nan))
    assert one.low is not None
    assert one.high is not None
    assert one.place(one.low) == pytest.approx(-1)
    assert one.place(one.high) == pytest.approx(1)
    assert one.unusual
    small = Figure("psi", "psi", "distance", (0.0,), (0.5, 0.6, 0.5, 0.4))
    assert small.low == 0
    assert not small.unusual
    equal = Figure("days", "days", "count", (7.0,), (7.0,) * 5)
    assert not equal.unusual
    few = Figure("days", "days", "count", (70.0,), (7.0, 8.0, 7.0))
    assert few.low is None
    assert not few.unusual
    assert one.to_dict()["unusual"] is True
