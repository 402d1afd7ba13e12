"""A validated model is trained again on more events, and says so."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import recsys
from recsys.cli.parser import main
from recsys.config.training import Training
from recsys.data.interactions import Interactions
from recsys.data.split import Split
from recsys.data.split_choice import SplitName, refit_log, split_log
from recsys.errors import ConfigError, LeakageError, NotFittedError
from recsys.two_tower import TwoTower


def _fitted(split: Split, **options: object) -> TwoTower:
    training = Training(epochs=4, batch_tokens=64, learning_rate=0.01)
    model = TwoTower(encoder=None, dim=16, max_length=8, **options)
    return model.fit(split.train, validation=split.validation, training=training)


def test_weights_and_memory_are_those_of_more_events(ring: Interactions, ring_split: Split) -> None:
    model = _fitted(ring_split)
    before, epochs = model.vectors.copy(), model.log.best_epoch
    form = None if model.transitions is None else model.transitions.form
    more = refit_log(ring, "last", "validation")
    model.refit(more)
    assert not np.array_equal(model.vectors, before)
    assert (model.log.refitted_events, model.log.best_epoch) == (len(more), epochs)
    assert len(more) == len(ring) - len(ring_split.test)
    assert (None if model.transitions is None else model.transitions.form) == form
    recsys.evaluate(model, ring_split.test, (10,))
    with pytest.raises(LeakageError):
        recsys.evaluate(model, ring_split.validation, (10,))


def test_refit_equals_a_fit_without_validation(ring: Interactions, ring_split: Split) -> None:
    model = _fitted(ring_split, transitions="none").refit(ring)
    training = Training(epochs=model.log.best_epoch, patience=0, batch_tokens=64, learning_rate=0.01)
    fresh = TwoTower(encoder=None, dim=16, max_length=8, transitions="none").fit(ring, training=training)
    assert np.array_equal(model.vectors, fresh.vectors)


@pytest.mark.parametrize("name", ["last", "random", "time"])
def test_the_log_without_its_test_events_has_all_of_the_training(name: SplitName) -> None:
    """Users of two events are trained on in the first fit, and so in the second."""
    lengths = [2] * 10 + [3] * 5 + [8] * 10
    rows = [(f"u{u}", f"i{(u + step) % 12}", 100 * step + u) for u, length in enumerate(lengths) for step in range(length)]
    log = Interactions.from_frame(pl.DataFrame(rows, schema=["user_id", "item_id", "timestamp"], orient="row"))
    train, _, test = split_log(log, name)
    more = refit_log(log, name, "validation")
    before, after, whole = (pairs(one) for one in (train, more, log))
    held = {(int(u), int(i)) for u, one in zip(test.user_rows, test.targets.to_lists(), strict=True) for i in one}
    assert before < after < whole
    assert not after & held
    if name != "time":
        assert after == whole - held
    assert refit_log(log, name, "all") is log


def pairs(log: Interactions) -> set[tuple[int, int]]:
    return set(zip(log.histories.list_index().tolist(), log.histories.rows.tolist(), strict=True))


def test_what_cannot_be_refitted_is_refused(ring: Interactions) -> None:
    with pytest.raises(NotFittedError):
        TwoTower(encoder=None).refit(ring)
    unvalidated = TwoTower(encoder=None, dim=16).fit(ring, training=Training(epochs=1, batch_tokens=64))
    with pytest.raises(ConfigError, match="for as long as validation found best"):
        unvalidated.refit(ring)
    with pytest.raises(ConfigError, match="refit must be validation, all or update, not 'test'"):
        refit_log(ring, "last", "test")
    with pytest.raises(ConfigError, match="split none holds out nothing"):
        refit_log(ring, "none", "all")


@pytest.mark.parametrize("refit", ["validation", "all", "update"])
def test_the_command_says_what_the_figures_are_of(
    refit: str, ring: Interactions, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ring.frame().write_csv(tmp_path / "log.csv")
    flags = ["--encoder", "none", "--dim", "16", "--epochs", "3", "--batch-tokens", "64", "--refit", refit]
    assert main(["fit", str(tmp_path / "log.csv"), "--out", str(tmp_path / "run"), *flags]) == 0
    told = capsys.readouterr().out
    retriever = recsys.load(tmp_path / "run")
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    assert manifest["metrics"]["recall@10"] >= 0
    card = (tmp_path / "run" / "MODEL_CARD.md").read_text()
    assert f"--refit {refit}" in card
    if refit != "validation":
        again = {"all": f"trained again on {len(ring):,} events", "update": "updated with 80 held-out events"}[refit]
        assert f"{again} after these figures" in told
        assert refit == "all" or "The weights were then updated once with 80 new events" in card
        assert retriever.holdout is None
        assert main(["evaluate", str(tmp_path / "run")]) == 2
        assert f"--refit {refit}" in capsys.readouterr().err
    else:
        assert "events before them" in told
        assert "trained again for as long" in card
        assert main(["evaluate", str(tmp_path / "run"), "--json"]) == 0
        again = json.loads(capsys.readouterr().out)
        assert again["metrics"]["recall@10"] == pytest.approx(manifest["metrics"]["recall@10"])
