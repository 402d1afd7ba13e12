"""Weights that make no loss are refused before the training, with a row that has one; a learning rate is not blamed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from recsys.cli.parser import main
from recsys.config.training import Objective, Training
from recsys.data.interactions import Interactions
from recsys.errors import DataError
from recsys.two_tower import TwoTower

QUICK = Training(epochs=1, batch_tokens=64, device="cpu")


def log_with(weights: Any) -> Interactions:
    rows = [(f"u{user}", f"i{(user + step) % 7}", step) for user in range(10) for step in range(6)]
    frame = pl.DataFrame(rows, schema=["user_id", "item_id", "timestamp"], orient="row")
    log = Interactions.from_frame(frame)
    return replace(log, weights=np.broadcast_to(np.asarray(weights, dtype=np.float32), (60,)).copy())


def one_is(value: float) -> list[float]:
    return [1.0] * 13 + [value] + [2.0] * 46


def fit(weights: Any, **objective: Any) -> TwoTower:
    model = TwoTower(encoder=None, dim=8, max_length=8)
    return model.fit(log_with(weights), training=QUICK, objective=Objective(**objective))


@pytest.mark.parametrize(
    ("weights", "says"),
    [
        (0.0, "all 60 are 0, so nothing would be learned"),
        (1e-38, "all 60 are below 1e-30"),
        (one_is(-2.0), "1 of 60 are below 0, such as -2 of user 'u2' and item 'i3'; weights must be 0 or more"),
        (one_is(float("nan")), "1 of 60 are not finite, such as nan of user 'u2' and item 'i3'"),
        (one_is(float("inf")), "1 of 60 are not finite, such as inf of user 'u2'"),
        (1e38, r"60 of 60 are above 1e\+30, such as 1e\+38 of user 'u0' and item 'i0'.*divide the whole column"),
    ],
)
@pytest.mark.parametrize("loss", ["softmax", "bpr"])
def test_weights_that_cannot_be_counted_by_are_refused(weights: Any, says: str, loss: str) -> None:
    with pytest.raises(DataError, match=says):
        fit(weights, weighted=True, loss=loss)


@pytest.mark.parametrize(("value", "says"), [(1e38, r"above 1e\+15"), (-1e38, r"above 1e\+15"), (np.nan, "not finite")])
def test_ratings_whose_squares_do_not_fit_are_refused(value: float, says: str) -> None:
    with pytest.raises(DataError, match=says):
        fit(one_is(value), loss="mse")


@pytest.mark.parametrize("weights", [0.0, one_is(-2.0), one_is(0.0)])
def test_ratings_may_be_0_and_below(weights: Any) -> None:
    assert fit(weights, loss="mse").log is not None


@pytest.mark.parametrize("weights", [one_is(0.0), 1e-20, 1e29, [0.0] * 59 + [1.0]])
def test_weights_at_the_ends_of_what_is_allowed_train_to_finite_vectors(weights: Any) -> None:
    model = fit(weights, weighted=True)
    assert np.isfinite(model.vectors).all()
    assert model.log is not None
    assert all(np.isfinite(row["loss"]) for row in model.log.epochs)


def test_weights_that_are_not_read_do_not_matter() -> None:
    assert fit(0.0).log is not None


def test_it_is_found_before_anything_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("recsys.training.prepare.prepare", lambda *_, **__: pytest.fail("towers were made"))
    with pytest.raises(DataError, match="nothing would be learned"):
        fit(0.0, weighted=True)


def test_event_types_that_all_weigh_nothing_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [(f"u{user}", f"i{(user + step) % 7}", step, "view") for user in range(10) for step in range(6)]
    pl.DataFrame(rows, schema=["user_id", "item_id", "timestamp", "kind"], orient="row").write_csv(tmp_path / "log.csv")
    words = ["fit", str(tmp_path / "log.csv"), "--event", "kind", "--event-weights", "view=0", "--weighted"]
    assert main([*words, "--encoder", "none", "--out", str(tmp_path / "run")]) == 2
    assert "nothing would be learned" in capsys.readouterr().err
