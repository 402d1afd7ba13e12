"""A log without order, from fit to the model card: random items are held out, positions are not learned, and it is said."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import recsys
from recsys.baselines import Popularity
from recsys.cli.parser import main
from recsys.config.training import Training
from recsys.data.interactions import Interactions
from recsys.errors import ConfigError, DataError
from recsys.two_tower import TwoTower

QUICK = Training(epochs=2, batch_tokens=64, device="cpu")


def plays() -> pl.DataFrame:
    rows = [(f"u{user}", f"i{2 * item + user % 2}", 9 - item) for user in range(40) for item in range(8)]
    return pl.DataFrame(rows, schema=["user_id", "item_id", "plays"], orient="row")


@pytest.fixture(scope="module")
def log() -> Interactions:
    return Interactions.from_frame(plays().drop("plays"), unordered=True)


def small(**options: Any) -> TwoTower:
    return TwoTower(**({"encoder": None, "dim": 16, "max_length": 8} | options))


def test_positions_are_learned_where_there_is_an_order_and_not_where_there_is_none(log: Interactions) -> None:
    ordered = Interactions(log.users, log.items, log.histories)
    assert small().fit(ordered, training=QUICK).towers.net.users.position is not None
    assert small().fit(log, training=QUICK).towers.net.users.position is None
    assert small(positions="none").fit(log, training=QUICK).towers.net.users.position is None


def test_one_model_can_be_fitted_on_both_in_turn(log: Interactions) -> None:
    model = small().fit(log, training=QUICK)
    model.fit(Interactions(log.users, log.items, log.histories), training=QUICK)
    assert model.towers.net.users.position is not None
    assert model.config.to_dict()["positions"] == "auto"


@pytest.mark.parametrize("positions", ["learned", "rotary", "relative"])
def test_positions_that_were_asked_for_are_refused_and_not_dropped(log: Interactions, positions: str) -> None:
    with pytest.raises(ConfigError, match=rf"positions='{positions}' reads the order of events, and the log has none"):
        small(positions=positions).fit(log, training=QUICK)


def test_elapsed_time_is_refused_too(log: Interactions) -> None:
    with pytest.raises(DataError, match="time_bias='history' reads timestamps"):
        small(time_bias="history").fit(log, training=QUICK)


def test_a_filter_over_earlier_events_is_refused_too(log: Interactions) -> None:
    with pytest.raises(
        ConfigError, match="filter_length=4 blends each event with those before it, and the log has no order"
    ):
        small(filter_length=4).fit(log, training=QUICK)


def test_a_saved_bundle_remembers_and_answers_alike(log: Interactions, tmp_path: Path) -> None:
    split = recsys.random_split(log)
    model = small(ensemble_size=2).fit(split.train, validation=split.validation, training=QUICK)
    made = model.retriever(log=log, holdout=split.test)
    made.save(tmp_path / "bundle")
    loaded = recsys.load(tmp_path / "bundle")
    assert not loaded.bundle.ordered
    assert made.recommend(["u1", "u2"], k=5).equals(loaded.recommend(["u1", "u2"], k=5))
    assert recsys.evaluate(loaded, split.test).means == pytest.approx(recsys.evaluate(model, split.test).means, rel=1e-5)


def test_what_it_was_trained_on_is_known_so_that_baselines_can_be_fitted_on_the_same(log: Interactions) -> None:
    split = recsys.random_split(log)
    retriever = small().fit(split.train, training=QUICK).retriever(log=log, holdout=split.test)
    trained = retriever.bundle.trained_on
    assert trained is not None
    assert not trained.ordered
    assert trained.frame().sort("user_id", "item_id").equals(split.train.frame().sort("user_id", "item_id"))
    assert np.array_equal(retriever.histories.lengths, log.histories.lengths)
    with pytest.raises(recsys.errors.LeakageError):
        recsys.evaluate(Popularity().fit(log), split.test)


def test_the_commands_hold_out_random_items_and_say_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plays().write_csv(tmp_path / "plays.csv")
    log, run = str(tmp_path / "plays.csv"), str(tmp_path / "run")
    model = ["--encoder", "none", "--dim", "16", "--max-length", "8", "--epochs", "1", "--device", "cpu"]
    assert main(["fit", log, "--weight", "plays", "--unordered", "--out", run, *model]) == 0
    out, err = capsys.readouterr()
    assert "random split (the log has no order), test · 40 users" in out
    assert "random split: two random items of each user are held out" in err
    card = (tmp_path / "run" / "MODEL_CARD.md").read_text()
    assert "Protocol: random split (the log has no order), test" in card
    assert "The log has no order: random items of each user were held out" in card
    assert "--split random" in card
    assert "--unordered" in card
    assert main(["compare", run, "--baselines", "popularity", "--json"]) == 0
    assert {one["protocol"] for one in json.loads(capsys.readouterr().out)["models"]} == {
        "random split (the log has no order), test"
    }
    assert main(["inspect", log, "--unordered"]) == 0
    assert "none; each history is in a random order" in capsys.readouterr().out
    assert main(["inspect", run, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["data"]["ordered"] is False


def test_a_split_by_the_last_event_is_refused_where_it_was_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plays().write_csv(tmp_path / "plays.csv")
    words = ["fit", str(tmp_path / "plays.csv"), "--unordered", "--encoder", "none", "--out", str(tmp_path / "run")]
    assert main([*words, "--split", "last"]) == 2
    assert "--split random" in capsys.readouterr().err
    assert main([*words, "--positions", "rotary"]) == 2
    assert "positions='rotary'" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_search_goes_on_as_it_began(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plays().write_csv(tmp_path / "plays.csv")
    (tmp_path / "space.toml").write_text(
        '[model]\nencoder = "none"\ndim = 16\nmax_length = 8\n'
        '[training]\nepochs = 1\nbatch_tokens = 64\ndevice = "cpu"\n[search.model]\ndropout = [0.0, 0.1]\n'
    )
    words = ["tune", str(tmp_path / "plays.csv"), "--unordered", "--drop-duplicates", "--trials", "1"]
    assert main([*words, "--space", str(tmp_path / "space.toml"), "--out", str(tmp_path / "found"), "--json"]) == 0
    command = json.loads(capsys.readouterr().out)["next"]
    assert "--unordered --drop-duplicates" in command
    assert "--split random" in command


def test_a_random_split_of_a_log_with_an_order_is_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    plays().with_columns(timestamp=pl.int_range(pl.len())).write_csv(tmp_path / "log.csv")
    model = ["--encoder", "none", "--dim", "16", "--max-length", "8", "--epochs", "1", "--device", "cpu"]
    assert main(["fit", str(tmp_path / "log.csv"), "--split", "random", "--out", str(tmp_path / "run"), *model]) == 0
    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert any("histories of a random split hold events from after" in warning for warning in warnings)
