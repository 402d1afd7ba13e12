"""Users whom a model does not know, and items that a history holds already: counted, told, and no reason to refuse."""

from __future__ import annotations

import logging
from pathlib import Path

import polars as pl
import pytest

import recsys
from recsys.baselines import BPR, EASE, Popularity
from recsys.config.training import Training
from recsys.data.interactions import Interactions
from recsys.data.split import Holdout, Split
from recsys.errors import ConfigError, UnsupportedError
from recsys.evaluation.compare import compare
from recsys.evaluation.evaluate import evaluate
from recsys.two_tower import TwoTower
from tests.evaluation.fixed_lists import FixedLists


def rows(users: int = 40, events: int = 6, items: int = 9) -> pl.DataFrame:
    made = [(f"u{user}", f"i{(user + step) % items}", step) for user in range(users) for step in range(events)]
    return pl.DataFrame(made, schema=["user_id", "item_id", "timestamp"], orient="row")


@pytest.fixture
def split() -> Split:
    return recsys.leave_last_out(Interactions.from_frame(rows()))


def without(train: Interactions, user: str) -> Interactions:
    return Interactions.from_frame(train.frame().filter(pl.col("user_id") != user))


def test_a_model_that_lacks_a_user_is_compared_on_all_of_them(split: Split) -> None:
    all_known, lacking = Popularity().fit(split.train), EASE().fit(without(split.train, "u7"))
    found = compare([all_known, lacking], split.test)
    assert [report.n_users for report in found.reports] == [40, 40]
    counts = {report.model: report.counts["unknown_users"] for report in found.reports}
    assert counts == {"popularity": 0, "EASE": 1}
    assert "unknown to the model: 1 users (ranked by their history alone)" in str(evaluate(lacking, split.test))


def test_the_first_user_may_be_the_unknown_one(split: Split) -> None:
    compare([Popularity().fit(without(split.train, "u0")), EASE().fit(split.train)], split.test)


def test_an_evaluation_of_other_users_is_still_refused(split: Split) -> None:
    known = Popularity().fit(split.train)
    fewer = evaluate(known, split.test.sample(39))
    with pytest.raises(ConfigError, match=r"popularity was evaluated on other users \(39 against 40\)"):
        compare([fewer, EASE().fit(split.train)], split.test)
    one, two = split.test.where(split.test.user_rows < 20), split.test.where(split.test.user_rows >= 20)
    with pytest.raises(ConfigError, match="popularity was evaluated on other users than these 20: 20 differ"):
        compare([evaluate(known, one), EASE().fit(split.train)], two)


def test_a_model_that_knows_users_by_name_alone_says_whom_it_does_not_know(split: Split) -> None:
    model = BPR(factors=2, iterations=1).fit(without(split.train, "u7"))
    with pytest.raises(UnsupportedError, match="does not know 1 of the 40 held-out users, such as 'u7'"):
        evaluate(model, split.test)
    known = split.test.where(
        model.users.find_rows(split.test.users.to_ids(split.test.user_rows)) >= 0
    )  # as the message says
    assert len(evaluate(model, known).holdout) == 39


@pytest.fixture
def doubled() -> Split:
    frame = pl.concat([rows()] * 3)  # of three equal events in a row, the last two are held out
    return recsys.leave_last_out(Interactions.from_frame(frame))


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]


def test_a_doubled_log_is_a_warning_where_it_is_judged(doubled: Split, caplog: pytest.LogCaptureFixture) -> None:
    caplog.clear()
    report = evaluate(Popularity().fit(doubled.train), doubled.test)
    assert report["recall@10"] == 0.0
    (warning,) = warnings(caplog)
    assert "40 of 40 targets are in their user's history already" in warning
    assert "--keep-seen" in warning
    assert "--drop-duplicates" in warning


@pytest.mark.parametrize("filter_seen", [True, False])
def test_whoever_says_how_seen_items_are_treated_is_not_warned(
    doubled: Split, caplog: pytest.LogCaptureFixture, filter_seen: bool
) -> None:
    caplog.clear()
    evaluate(Popularity().fit(doubled.train), doubled.test, filter_seen=filter_seen)
    assert warnings(caplog) == []


def test_a_training_warns_once_and_not_where_seen_items_are_kept(
    doubled: Split, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("recsys.core.progress._said", [True])  # where progress goes, which the first fit of a process says
    for keep_seen, told in ((False, 1), (True, 0)):
        caplog.clear()
        training = Training(epochs=2, batch_tokens=64, device="cpu", keep_seen=keep_seen)
        TwoTower(encoder=None, dim=8, max_length=8).fit(doubled.train, validation=doubled.validation, training=training)
        assert len(warnings(caplog)) == told


def test_a_log_whose_doubled_rows_are_dropped_is_judged_as_it_was_written(tmp_path: Path) -> None:
    pl.concat([rows(), rows()]).write_csv(tmp_path / "log.csv")
    read = recsys.leave_last_out(recsys.read_interactions(tmp_path / "log.csv", drop_duplicates=True))
    once = recsys.leave_last_out(Interactions.from_frame(rows()))
    assert (
        evaluate(Popularity().fit(read.train), read.test).means == evaluate(Popularity().fit(once.train), once.test).means
    )


def test_targets_that_are_new_are_no_warning(model: FixedLists, holdout: Holdout, caplog: pytest.LogCaptureFixture) -> None:
    evaluate(model, holdout, k=2)
    assert warnings(caplog) == []
