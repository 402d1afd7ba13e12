"""Logs in which people come back to the same items: one option, from fit to the report, says that seen items are ranked."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest

import recsys
from recsys.baselines import Popularity
from recsys.cli.parser import main
from recsys.config.training import Training
from recsys.data.split import Split
from recsys.errors import ConfigError
from recsys.evaluation.arguments import filters_seen
from recsys.two_tower import TwoTower

KEEPING = Training(epochs=15, batch_tokens=64, learning_rate=1e-2, device="cpu", patience=0, keep_seen=True)


def rounds() -> pl.DataFrame:
    """Everybody goes round the same three items for ever: what comes next has always been there before."""
    rows = [(f"u{user}", f"i{(user + step) % 3}", step) for user in range(30) for step in range(9)]
    return pl.DataFrame(rows, schema=["user_id", "item_id", "timestamp"], orient="row")


@pytest.fixture(scope="module")
def split() -> Split:
    return recsys.leave_last_out(recsys.Interactions.from_frame(rounds()))


def small() -> TwoTower:
    return TwoTower(encoder=None, dim=16, max_length=8, dropout=0.0)


@pytest.fixture(scope="module")
def model(split: Split) -> TwoTower:
    return small().fit(split.train, validation=split.validation, training=KEEPING)


def test_validation_finds_repeats_where_seen_items_are_kept(model: TwoTower) -> None:
    assert model.log is not None
    assert model.log.epochs[-1]["val_recall@10"] == 1.0


def test_without_the_option_no_repeat_can_be_found(split: Split) -> None:
    filtering = Training(epochs=1, batch_tokens=64, device="cpu")
    log = small().fit(split.train, validation=split.validation, training=filtering).log
    assert log is not None
    assert log.epochs[-1]["val_recall@10"] == 0.0


def test_the_model_is_judged_as_it_was_validated_and_can_be_judged_otherwise(model: TwoTower, split: Split) -> None:
    report = recsys.evaluate(model, split.test, 1)
    assert report["recall@1"] > 0.9
    assert not report.seen_filtered
    assert recsys.evaluate(model, split.test, 1, filter_seen=True)["recall@1"] == 0.0


def test_a_saved_bundle_remembers_it(model: TwoTower, split: Split, tmp_path: Path) -> None:
    model.retriever(holdout=split.test).save(tmp_path / "bundle")
    retriever = recsys.load(tmp_path / "bundle")
    assert retriever.traits.keep_seen
    assert not recsys.evaluate(retriever, split.test, 1).seen_filtered


def test_models_and_baselines_are_compared_as_the_model_was_validated(model: TwoTower, split: Split) -> None:
    found = recsys.compare([model, Popularity().fit(split.train)], split.test, metric="ndcg@10")
    assert [report.seen_filtered for report in found.reports] == [False, False]


def test_models_validated_in_different_ways_are_compared_only_when_told_how(model: TwoTower, split: Split) -> None:
    other = small().fit(split.train, training=Training(epochs=1, batch_tokens=64, device="cpu"))
    other.name = "other"
    with pytest.raises(ConfigError, match=r"two towers was validated with seen items kept and other with seen items filt"):
        filters_seen([model, other])
    with pytest.raises(ConfigError, match=r"filter_seen=True or False \(--no-keep-seen or --keep-seen\)"):
        recsys.compare([model, other], split.test)
    found = recsys.compare([model, other], split.test, filter_seen=False)
    assert [report.seen_filtered for report in found.reports] == [False, False]


def test_a_flag_that_is_no_truth_value_is_refused(model: TwoTower, split: Split) -> None:
    for filter_seen in ("false", 0, [True]):
        with pytest.raises(ConfigError, match="filter_seen must be True or False"):
            recsys.evaluate(model, split.test, 1, filter_seen=filter_seen)  # type: ignore[arg-type]


def test_every_command_follows_what_fit_was_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rounds().write_csv(tmp_path / "log.csv")
    run, flags = str(tmp_path / "run"), ["--encoder", "none", "--dim", "16", "--max-length", "8", "--device", "cpu"]
    training = ["--epochs", "12", "--batch-tokens", "64", "--learning-rate", "0.01", "--patience", "0"]
    assert main(["fit", str(tmp_path / "log.csv"), "--out", run, "--keep-seen", "--json", *flags, *training]) == 0
    fitted = json.loads(capsys.readouterr().out)
    assert not fitted["test"]["seen_filtered"]
    assert fitted["test"]["metrics"]["recall@10"] == 1.0

    def asked(*words: str) -> str:
        assert main(list(words)) == 0
        return capsys.readouterr().out

    assert json.loads(asked("evaluate", run, "--json"))["metrics"] == fitted["test"]["metrics"]
    assert "seen items not filtered" in asked("evaluate", run)
    assert json.loads(asked("evaluate", run, "--no-keep-seen", "--json"))["metrics"]["recall@10"] == 0.0
    compared = json.loads(asked("compare", run, "--baselines", "popularity", "--json"))
    assert [one["seen_filtered"] for one in compared["models"]] == [False, False]
    asked("report", run, "--out", str(tmp_path / "report.html"), "--no-baselines")
    assert not json.loads((tmp_path / "report.json").read_text())["headline"]["seen_filtered"]
    assert "seen items kept" in (tmp_path / "run" / "MODEL_CARD.md").read_text()


def test_a_search_ranks_seen_items_where_it_is_told_to(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rounds().write_csv(tmp_path / "log.csv")
    (tmp_path / "space.toml").write_text(
        '[model]\nencoder = "none"\ndim = 16\nmax_length = 8\n'
        '[training]\nepochs = 2\nbatch_tokens = 64\ndevice = "cpu"\n[search.model]\ndropout = [0.0, 0.1]\n'
    )
    words = ["tune", str(tmp_path / "log.csv"), "--space", str(tmp_path / "space.toml"), "--out", str(tmp_path / "found")]
    assert main([*words, "--trials", "1", "--keep-seen", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["best"]["training"]["keep_seen"] is True
    assert found["best_trial"]["value"] > 0.0
    assert "keep_seen = true" in (tmp_path / "found" / "best.toml").read_text()


def test_what_a_figure_means_is_not_searched_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rounds().write_csv(tmp_path / "log.csv")
    (tmp_path / "space.toml").write_text('[model]\nencoder = "none"\n[search.training]\nkeep_seen = [true, false]\n')
    words = ["tune", str(tmp_path / "log.csv"), "--space", str(tmp_path / "space.toml"), "--out", str(tmp_path / "found")]
    assert main(words) == 2
    assert "keep_seen changes what the figures mean" in capsys.readouterr().err
