"""Searching: what is tried, what fails, and how a study goes on."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import optuna
import polars as pl
import pytest
from optuna.trial import TrialState

from recsys.config.model import ModelConfig
from recsys.config.training import Training
from recsys.data.catalog import Catalog
from recsys.data.split import Split
from recsys.errors import ConfigError, RecsysError
from recsys.pipeline import fit_trial
from recsys.tuning.fingerprints import digest
from recsys.tuning.search import tune
from recsys.tuning.trials import table_text
from tests.tuning.searching import FIXED, SEARCH, essence, failing, hill, pretend, search, space_of

pytestmark = pytest.mark.usefixtures("hasty_sqlite")

# The search


def test_every_trial_lies_in_the_space(ring_split: Split, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "[search.model]\ndim = { low = 4, high = 16, step = 4 }\nid_dropout = { low = 0, high = 0.5, step = 0.25 }\n"
    text += "[search.training]\nlearning_rate = { low = 1e-4, high = 1e-1, log = true }\n"
    asked = pretend(monkeypatch, hill)
    found = search(ring_split, space_of(tmp_path, FIXED + text), tmp_path, trials=14)
    assert {model.dim for model in asked} <= {4, 8, 12, 16}
    assert {model.id_dropout for model in asked} <= {0.0, 0.25, 0.5}
    assert found.trials["training.learning_rate"].is_between(1e-4, 1e-1).all()
    assert len(asked) == found.trials.height == 14


def test_the_search_finds_the_top_of_a_hill(ring_split: Split, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, hill)
    found = search(ring_split, space_of(tmp_path, FIXED + SEARCH), tmp_path, trials=24)
    assert found.best["model"]["dropout"] == pytest.approx(0.3, abs=0.06)
    assert found.best["model"]["dim"] == 16
    assert found.best["training"] == {"epochs": 2, "batch_tokens": 64, "device": "cpu"}
    complete = found.trials.filter(pl.col("state") == "complete")
    assert found.best_row["value"] == complete["value"].max()
    assert found.best_row["best_epoch"] == 2
    assert list(found.importances) == ["model.dropout", "model.dim"]
    assert sum(found.importances.values()) == pytest.approx(1)


def test_trials_below_the_median_are_pruned_and_never_the_best(
    ring_split: Split, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def steps(model: ModelConfig, training: Training) -> list[float]:
        return [model.dim / 100 * epoch for epoch in range(1, training.epochs + 1)]

    pretend(monkeypatch, steps)
    space = space_of(tmp_path, FIXED.replace("epochs = 2", "epochs = 10") + SEARCH)
    found = search(ring_split, space, tmp_path, trials=14)
    pruned = found.trials.filter(pl.col("state") == "pruned")
    assert pruned.height >= 2
    assert set(pruned["model.dim"]) == {8}
    assert set(pruned["reason"]) == {"below the median of the others at epoch 2"}
    assert pruned["number"].to_list()[0] > 4
    assert found.best_row["state"] == "complete"
    assert found.best["model"]["dim"] == 16


@pytest.fixture(scope="module")
def whole(ring_split: Split, tmp_path_factory: pytest.TempPathFactory) -> pl.DataFrame:
    """An uninterrupted search of twelve trials, the last two of them by TPE."""
    folder = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        pretend(patch, hill)
        return essence(search(ring_split, space_of(folder, FIXED + SEARCH), folder))


def test_the_same_seed_gives_the_same_search_and_another_seed_another(
    ring_split: Split, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole: pl.DataFrame
) -> None:
    pretend(monkeypatch, hill)
    space = space_of(tmp_path, FIXED + SEARCH)
    again, other = (essence(search(ring_split, space, tmp_path / str(seed), seed=seed)) for seed in (0, 4))
    assert again.equals(whole)
    assert not other.equals(whole)
    assert whole["model.dropout"].n_unique() == 12


def test_combinations_that_a_dataclass_refuses_are_pruned_with_the_reason(
    ring_split: Split, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = pretend(monkeypatch, hill)
    space = space_of(tmp_path, FIXED + "[search.model]\ndim = [8, 9]\nheads = [1, 2]\n")
    found = search(ring_split, space, tmp_path)
    odd = found.trials.filter((pl.col("model.dim") == 9) & (pl.col("model.heads") == 2))
    assert set(odd["state"]) == {"pruned"}
    assert set(odd["reason"]) == {"dim 9 is not divisible by heads 2"}
    assert len(asked) == 12 - odd.height
    assert set(found.trials.join(odd, on="number", how="anti")["state"]) <= {"complete", "pruned"}


def test_a_trial_whose_loss_is_no_number_fails_and_the_search_goes_on(
    ring_split: Split, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(monkeypatch, failing(lambda model: model.dim == 8))
    found = search(ring_split, space_of(tmp_path, FIXED + SEARCH), tmp_path)
    failed = found.trials.filter(pl.col("state") == "failed")
    assert set(failed["model.dim"]) == {8}
    assert failed.height >= 1
    assert all("the loss became nan" in reason for reason in failed["reason"])
    assert failed["value"].null_count() == failed.height
    assert found.trials.height == 12
    assert "lower the learning rate" in table_text(found)


def test_three_failures_at_the_start_stop_the_search(
    ring_split: Split, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = pretend(monkeypatch, failing(lambda model: True))
    with pytest.raises(RecsysError, match="first 3 trials all failed.*lower the learning rate"):
        search(ring_split, space_of(tmp_path, FIXED + SEARCH), tmp_path)
    assert len(asked) == 3


def test_an_error_of_the_program_itself_is_not_swallowed(
    ring_split: Split, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(model: ModelConfig, training: Training) -> list[float]:
        raise ZeroDivisionError("a bug")

    asked = pretend(monkeypatch, broken)
    with pytest.raises(ZeroDivisionError, match="a bug"):
        search(ring_split, space_of(tmp_path, FIXED + SEARCH), tmp_path)
    assert len(asked) == 1


def test_a_search_in_which_nothing_is_possible_says_why(ring_split: Split, tmp_path: Path) -> None:
    space = space_of(tmp_path, FIXED + "[search.model]\ndim = [9]\nheads = [2, 4]\n")
    with pytest.raises(RecsysError, match="none of the 2 trials .*dim 9 is not divisible"):
        search(ring_split, space, tmp_path, trials=2)


# Going on


class Stop:
    """Interrupts the n-th fit."""

    def __init__(self, at: int) -> None:
        self.at, self.fits = at, 0

    def __call__(self, model: ModelConfig, training: Training) -> Any:
        self.fits += 1
        for value in hill(model, training):
            if self.fits == self.at:
                raise KeyboardInterrupt
            yield value


@pytest.mark.parametrize("at", [1, 4, 12])
def test_an_interrupted_search_goes_on_as_if_nothing_had_happened(
    at: int, ring_split: Split, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole: pl.DataFrame
) -> None:
    space = space_of(tmp_path, FIXED + SEARCH)
    pretend(monkeypatch, Stop(at))
    with pytest.raises(KeyboardInterrupt):
        search(ring_split, space, tmp_path)
    asked = pretend(monkeypatch, hill)
    resumed = search(ring_split, space, tmp_path)
    assert essence(resumed).equals(whole)
    assert len(asked) == 12 - (at - 1)
    assert resumed.trials.filter(pl.col("state") == "interrupted")["number"].to_list() == [at - 1]


def test_a_killed_process_leaves_a_study_that_goes_on(
    ring_split: Split, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole: pl.DataFrame
) -> None:
    space = space_of(tmp_path, FIXED + SEARCH)
    script = """
import os, signal, sys
from pathlib import Path
import pytest
from recsys.data.interactions import Interactions
from recsys.data.split import leave_last_out
from tests.conftest import make_events
from tests.tuning import searching as t

folder, fits = Path(sys.argv[1]), []
def dying(model, training):
    fits.append(model)
    for value in t.hill(model, training):
        yield value
        if len(fits) == 3:
            os.kill(os.getpid(), signal.SIGKILL)
with pytest.MonkeyPatch.context() as patch:
    t.pretend(patch, dying)
    space = t.read_space(folder / "space.toml", t.TABLES)
    t.search(leave_last_out(Interactions.from_frame(make_events())), space, folder, trials=6)
"""
    root = Path(__file__).parents[2]
    killed = subprocess.run([sys.executable, "-c", script, str(tmp_path)], cwd=root, capture_output=True, check=False)
    assert killed.returncode == -9, killed.stderr.decode()
    asked = pretend(monkeypatch, hill)
    resumed = search(ring_split, space, tmp_path, trials=6)
    assert resumed.trials["state"].to_list()[:3] == ["complete", "complete", "interrupted"]
    assert resumed.trials["model.dropout"][2] == resumed.trials["model.dropout"][3]
    assert len(asked) == 4
    assert essence(resumed).equals(whole.head(6))


def test_asking_for_more_trials_adds_them_and_for_no_more_runs_none(
    ring_split: Split, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = pretend(monkeypatch, hill)
    space = space_of(tmp_path, FIXED + SEARCH)
    for trials, fits in ((3, 3), (3, 3), (5, 5)):
        found = search(ring_split, space, tmp_path, trials=trials)
        assert len(asked) == fits
        assert found.trials.height == fits


def test_no_trial_begins_after_the_minutes_are_over(
    ring_split: Split, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]

    def slow(model: ModelConfig, training: Training) -> list[float]:
        now[0] += 40.0
        return hill(model, training)

    pretend(monkeypatch, slow)
    monkeypatch.setattr("recsys.tuning.search.time.monotonic", lambda: now[0])
    assert search(ring_split, space_of(tmp_path, FIXED + SEARCH), tmp_path, minutes=1).trials.height == 2


def test_a_study_of_another_space_or_other_data_is_refused_by_what_differs(
    ring_split: Split, ring_catalog: Catalog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(monkeypatch, hill)
    space = space_of(tmp_path, FIXED + SEARCH)
    search(ring_split, space, tmp_path, trials=1)
    wider = space_of(tmp_path, FIXED.replace("epochs = 2", "epochs = 5") + SEARCH.replace("0.5", "0.6"))
    with pytest.raises(ConfigError, match=r"another \[model\] dropout, \[training\] epochs; choose another"):
        search(ring_split, wider, tmp_path, trials=1)
    assert ring_split.validation is not None
    storage = tmp_path / "study.db"
    fewer = ring_split.validation.sample(5)
    with pytest.raises(ConfigError, match="has another validation users;"):
        tune(ring_split.train, None, fewer, space, fit=fit_trial, trials=1, storage=storage)
    with pytest.raises(ConfigError, match="has another catalogue;"):
        tune(ring_split.train, ring_catalog, ring_split.validation, space, fit=fit_trial, trials=1, storage=storage)
    with pytest.raises(ConfigError, match="has another training log;"):
        tune(_less(ring_split), None, ring_split.validation, space, fit=fit_trial, trials=1, storage=storage)
    found = tune(ring_split.train, None, fewer, space, fit=fit_trial, trials=1, storage=storage, name="fewer")
    assert found.trials.height == 1


def _less(split: Split) -> Any:
    import numpy as np

    keep = np.ones(len(split.train), dtype=np.bool_)
    keep[0] = False
    return split.train.select(keep)


def test_two_processes_at_one_storage_are_kept_apart(
    ring_split: Split, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    space = space_of(tmp_path, FIXED + SEARCH)
    refused = []

    def nested(model: ModelConfig, training: Training) -> list[float]:
        with pytest.raises(ConfigError, match="another process is searching") as caught:
            search(ring_split, space, tmp_path)
        refused.append(caught)
        return hill(model, training)

    pretend(monkeypatch, nested)
    assert search(ring_split, space, tmp_path, trials=1).trials.height == 1
    assert len(refused) == 1


def test_impossible_searches_are_refused_before_anything_is_run(ring_split: Split, tmp_path: Path) -> None:
    space = space_of(tmp_path, FIXED + SEARCH)
    for options, says in (
        ({"trials": 0}, "trials must be at least 1, not 0"),
        ({"minutes": 0.0}, "minutes must be above 0, not 0.0"),
        ({"seed": -1}, "seed must be at least 0, not -1"),
    ):
        with pytest.raises(ConfigError, match=says):
            search(ring_split, space, tmp_path, **options)
    spread = space_of(tmp_path, FIXED + "devices = 2\n" + SEARCH)
    with pytest.raises(ConfigError, match="one device"):
        search(ring_split, spread, tmp_path)
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "study.db").write_text("not a database" * 100)
    with pytest.raises(ConfigError, match="cannot be used as a study's storage: .*file is not a database"):
        search(ring_split, space, tmp_path / "foreign")


def test_a_study_that_recsys_did_not_make_is_refused(ring_split: Split, tmp_path: Path) -> None:
    theirs = optuna.create_study(study_name="tune", storage=f"sqlite:///{tmp_path / 'study.db'}")
    theirs.tell(theirs.ask(), state=TrialState.FAIL)
    with pytest.raises(ConfigError, match="was not made by recsys"):
        search(ring_split, space_of(tmp_path, FIXED + SEARCH), tmp_path)


@pytest.mark.parametrize("length", [0, 1, 3, 4, 9])
def test_a_digest_by_the_block_is_that_of_the_whole_column(monkeypatch: pytest.MonkeyPatch, length: int) -> None:
    monkeypatch.setattr("recsys.tuning.fingerprints._BLOCK", 4)
    column = pl.Series(["é", None, '"', "]", ", "] * 2)[:length]
    whole = json.dumps(column.to_list()).encode() + json.dumps("x").encode() + json.dumps(None).encode()
    assert digest([column, "x", None]) == hashlib.sha256(whole).hexdigest()
