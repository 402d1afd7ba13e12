"""Searching: what a space may say, how a study goes on, what it gives."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import optuna
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.trial import TrialState
from sqlalchemy import event
from sqlalchemy.engine import Engine

from recsys.cli import main
from recsys.data.catalog import Catalog
from recsys.data.split import Split
from recsys.errors import ConfigError, RecsysError
from recsys.options import build, read_recipe
from recsys.recipe import TABLES, Recipe
from recsys.training.config import Training
from recsys.training.logs import TrainingLog
from recsys.training.search_space import Choice, Range, Space, read_space, recipe_text
from recsys.training.tune import Tuning, tune
from recsys.training.tune_report import page, table_text, write
from recsys.two_tower import TwoTower
from tests.conftest import make_events, make_items

FIXED = '[model]\nencoder = "none"\nmax_length = 8\n[training]\nepochs = 2\nbatch_tokens = 64\ndevice = "cpu"\n'
SEARCH = "[search.model]\ndropout = { low = 0.0, high = 0.5 }\ndim = [8, 16]\n"


def space_of(folder: Path, text: str) -> Space:
    file = folder / "space.toml"
    file.write_text(text)
    return read_space(file, TABLES)


@pytest.fixture(scope="module", autouse=True)
def hasty_sqlite() -> Iterator[None]:
    """SQLite that leaves writing to the operating system: what a killed process has committed is kept all the same."""

    def hurry(connection: Any, _: object) -> None:
        connection.execute("PRAGMA synchronous = OFF")

    event.listen(Engine, "connect", hurry)
    yield
    event.remove(Engine, "connect", hurry)


Curve = Callable[[TwoTower, Training], list[float]]


def pretend(monkeypatch: pytest.MonkeyPatch, curve: Curve) -> list[TwoTower]:
    """A fit that takes no time: its validation figures are those of ``curve``. Gives the models that it was asked for."""
    asked: list[TwoTower] = []

    def fit(self: TwoTower, *, training: Training, on_epoch: Any, **_: object) -> TwoTower:
        asked.append(self)
        rows = []
        for epoch, value in enumerate(curve(self, training), start=1):
            rows.append({"epoch": float(epoch), "loss": 1.0, "val_ndcg@10": value})
            on_epoch(dict(rows[-1]))
        best = max(rows, key=lambda row: row["val_ndcg@10"])
        self.log = TrainingLog(epochs=rows, best_epoch=int(best["epoch"]))
        return self

    monkeypatch.setattr(TwoTower, "fit", fit)
    monkeypatch.setattr("recsys.training.tune.gc.collect", lambda: None)  # slow, and there is no network to give back
    return asked


def hill(model: TwoTower, training: Training) -> list[float]:
    """Rises to its end, the higher the closer dropout is to 0.3."""
    top = 1 - (model.dropout - 0.3) ** 2 + model.dim / 1000
    return [top * epoch / training.epochs for epoch in range(1, training.epochs + 1)]


def search(split: Split, space: Space, folder: Path, trials: int = 12, **options: Any) -> Tuning:
    assert split.validation is not None
    return tune(split.train, None, split.validation, space, trials=trials, storage=folder / "study.db", **options)


def essence(found: Tuning) -> pl.DataFrame:
    """What was tried and what came out, without what depends on clocks and interruptions."""
    return found.trials.filter(pl.col("state") != "interrupted").drop("number", "seconds")


# The space


def test_a_space_holds_lists_ranges_and_fixed_values(tmp_path: Path) -> None:
    space = space_of(
        tmp_path,
        FIXED
        + '[search.model]\ndim = [64, 128]\ndropout = { low = 0, high = 0.6, step = 0.2 }\nscore = ["dot", "cosine"]\n'
        "blocks = { low = 1, high = 3 }\n[search.training]\nlearning_rate = { low = 1e-4, high = 5e-3, log = true }\n",
    )
    assert space.searched == {
        "model.dim": Choice((64, 128)),
        "model.dropout": Range(0.0, 0.6, step=0.2),
        "model.score": Choice(("dot", "cosine")),
        "model.blocks": Range(1, 3),
        "training.learning_rate": Range(1e-4, 5e-3, log=True),
    }
    assert isinstance(space.searched["model.dropout"], Range)
    assert isinstance(space.searched["model.dropout"].low, float)
    assert space.fixed["model"] == {"encoder": None, "max_length": 8}
    made = space.configs({"model.dim": 64, "training.learning_rate": 1e-3})
    assert made["model"].options() == TwoTower(encoder=None, max_length=8, dim=64).options()
    assert made["training"] == Training(epochs=2, batch_tokens=64, device="cpu", learning_rate=1e-3)


def test_none_is_a_choice_as_in_recipes(tmp_path: Path) -> None:
    space = space_of(tmp_path, '[search.model]\nencoder = ["none", "all-MiniLM-L6-v2"]\n')
    assert space.searched["model.encoder"] == Choice((None, "all-MiniLM-L6-v2"))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[search.modell]\ndim = [8]\n", "[search] has no option 'modell'; it has augment, model, objective, training"),
        ("[modell]\ndim = 8\n" + SEARCH, "unknown table 'modell'"),
        ("[search]\nmodel = 3\n", "[search] model must be a table of options, not 3"),
        ("[search.model]\ndims = [8]\n", "[search.model] has no option 'dims'"),
        ("[search.model]\ndim = []\n", "[search.model] dim is an empty list"),
        ("[search.model]\ndim = [8, 8]\n", "[search.model] dim names a value twice"),
        ("[search.model]\ndim = 8\n", "[search.model] dim must be a list of values or"),
        ("[search.model]\ndim = [8, 'wide']\n", "[search.model] dim must be of type int, not 'wide'"),
        ("[search.model]\ndim = [8, 16.0]\n", "[search.model] dim must be of type int, not 16.0"),
        ("[search.model]\nuse_ids = [true, 0]\n", "[search.model] use_ids must be of type bool, not 0"),
        ("[search.model]\nscore = ['dot', 'euclid']\n", "[search.model] score must be one of cosine, dot, not 'euclid'"),
        ("[search.model]\nscore = { low = 1, high = 2 }\n", "[search.model] score is not a number"),
        ("[search.model]\ndim = { low = 8, high = 16.5 }\n", "[search.model] dim must be of type int, not 16.5"),
        ("[search.model]\ndropout = { low = 0.5, high = 0.5 }\n", "dropout: a range needs low below high, not 0.5 and 0.5"),
        ("[search.model]\ndropout = { low = 0, high = 1, log = true }\n", "a logarithmic range needs low above 0, not 0.0"),
        ("[search.model]\ndropout = { low = 0, high = inf }\n", "dropout: high must be a finite number, not inf"),
        ("[search.model]\ndropout = { low = 0 }\n", "dropout: the range has no high"),
        ("[search.model]\ndropout = { low = 0, hi = 1, high = 1 }\n", "a range has low, high, step and log, but not hi"),
        ("[search.model]\ndropout = { low = 0, high = 1, log = 1 }\n", "dropout: log must be true or false, not 1"),
        ("[search.model]\ndim = { low = 8, high = 16, step = 0 }\n", "dim: step must be above 0, not 0"),
        ("[search.model]\ndim = { low = 8, high = 15, step = 4 }\n", "15 is not 8 plus a whole number of steps of 4"),
        ("[search.model]\ndim = { low = 8, high = 16, step = 4, log = true }\n", "step and log exclude each other"),
        ("[model]\ndim = 8\n[search.model]\ndim = [8, 16]\n", "[search.model] dim is fixed by [model] as well"),
        ("[search.training]\nmonitor = ['ndcg@10', 'recall@10']\n", "monitor says how trials are judged"),
        ("[model]\ndim = 'wide'\n[search.training]\nl1 = [0.0]\n", "[model] dim must be of type int, not 'wide'"),
        ("[training]\nepochs = 0\n" + SEARCH, "[training] epochs must be at least 1"),
        ("[search.model]\ncategories = ['genres', 'year']\n", "categories is a list of names, which cannot be searched"),
        ("[search.model]\n", "[search.model] is empty"),
        ("[model]\ndim = 8\n", "nothing to search: add a table such as [search.model]"),
        ("[search", "not valid TOML"),
    ],
)
def test_a_broken_space_is_refused_by_file_table_and_key(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(says)) as refused:
        space_of(tmp_path, text)
    assert str(tmp_path / "space.toml") in str(refused.value)


def test_a_step_that_floats_cannot_hold_exactly_still_fits(tmp_path: Path) -> None:
    space = space_of(tmp_path, "[search.model]\ndropout = { low = 0.1, high = 0.7, step = 0.1 }\n")
    assert space.searched["model.dropout"] == Range(0.1, 0.7, step=0.1)


def test_the_shipped_space_is_one() -> None:
    file = Path(__file__).parents[2] / "training" / "recipes" / "search-default.toml"
    space = read_space(file, TABLES)
    assert "training.learning_rate" in space.searched
    assert space.fixed["training"]["epochs"] >= 1


KEYS = st.from_regex(r"[a-z_]{1,8}", fullmatch=True)
TEXT = st.text(st.characters(exclude_categories=["Cs"]))
SCALARS = st.one_of(st.booleans(), st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False), TEXT, st.lists(TEXT))


@given(st.dictionaries(KEYS, st.dictionaries(KEYS, SCALARS), min_size=1), st.text("ab \n#"))
def test_recipes_are_written_so_that_toml_reads_the_same(options: dict[str, dict[str, Any]], comment: str) -> None:
    read = tomllib.loads(recipe_text(options, comment))
    options = {name: table for name, table in options.items() if table}
    assert read == options
    assert [[type(v) for v in table.values()] for table in read.values()] == [
        [type(v) for v in table.values()] for table in options.values()
    ]


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
    def steps(model: TwoTower, training: Training) -> list[float]:
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


def failing(when: Callable[[TwoTower], bool]) -> Curve:
    def curve(model: TwoTower, training: Training) -> list[float]:
        if when(model):
            raise RecsysError("the loss became nan in epoch 1; lower the learning rate")
        return hill(model, training)

    return curve


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
    def broken(model: TwoTower, training: Training) -> list[float]:
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

    def __call__(self, model: TwoTower, training: Training) -> Any:
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
from tests.training import test_tune as t

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

    def slow(model: TwoTower, training: Training) -> list[float]:
        now[0] += 40.0
        return hill(model, training)

    pretend(monkeypatch, slow)
    monkeypatch.setattr("recsys.training.tune.time.monotonic", lambda: now[0])
    assert search(ring_split, space_of(tmp_path, FIXED + SEARCH), tmp_path, minutes=1).trials.height == 2


def test_a_study_of_another_space_or_other_data_is_refused_by_what_differs(
    ring_split: Split, ring_catalog: Catalog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(monkeypatch, hill)
    space = space_of(tmp_path, FIXED + SEARCH)
    search(ring_split, space, tmp_path, trials=1)
    wider = space_of(tmp_path, FIXED.replace("epochs = 2", "epochs = 5") + SEARCH.replace("0.5", "0.6"))
    with pytest.raises(ConfigError, match=r"another \[model\] dropout, \[training\] epochs; name another"):
        search(ring_split, wider, tmp_path, trials=1)
    assert ring_split.validation is not None
    storage = tmp_path / "study.db"
    fewer = ring_split.validation.sample(5)
    with pytest.raises(ConfigError, match="begun with another validation users;"):
        tune(ring_split.train, None, fewer, space, trials=1, storage=storage)
    with pytest.raises(ConfigError, match="begun with another catalogue;"):
        tune(ring_split.train, ring_catalog, ring_split.validation, space, trials=1, storage=storage)
    with pytest.raises(ConfigError, match="begun with another training log;"):
        tune(_less(ring_split), None, ring_split.validation, space, trials=1, storage=storage)
    found = tune(ring_split.train, None, fewer, space, trials=1, storage=storage, name="fewer")
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

    def nested(model: TwoTower, training: Training) -> list[float]:
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
        ({"seed": -1}, "seed must not be negative, but is -1"),
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


# What it gives


@pytest.fixture(scope="module")
def found(ring_split: Split, tmp_path_factory: pytest.TempPathFactory) -> Tuning:
    folder = tmp_path_factory.mktemp("found")
    text = '[search.model]\nencoder = ["none", "<b>x</b></script>"]\ndropout = { low = 0.0, high = 0.5 }\n'
    text += "[search.training]\nlearning_rate = { low = 1e-4, high = 1e-2, log = true }\n"
    space = space_of(folder, FIXED.replace('encoder = "none"\n', "") + text)
    with pytest.MonkeyPatch.context() as patch:
        pretend(patch, failing(lambda model: model.dropout < 0.1))
        return search(ring_split, space, folder, name="<i>&")


class Loads(HTMLParser):
    """What a page would fetch, what it runs, and the text outside scripts and styles."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.ids: list[str | None] = []
        self.scripts: list[str] = []
        self.text = ""
        self._inside = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._inside = tag
        found = dict(attrs)
        self.loads += [value or "" for name, value in attrs if name in {"src", "href", "data", "srcset"}]
        self.loads += [tag] if tag in {"link", "iframe", "img", "object", "embed", "base"} else []
        self.ids += [found.get("id")] if found.get("class") == "plot" else []
        self.scripts += [""] if tag == "script" else []

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside == "script":
            self.scripts[-1] += data
        elif self._inside != "style":
            self.text += data


def test_the_page_loads_nothing_and_says_what_was_found(found: Tuning) -> None:
    html = page(found)
    read = Loads(html)
    assert all(one.startswith("#") for one in read.loads)
    assert "default-src 'none'" in html
    assert 'name="viewport" content="width=device-width' in html
    own = [script for script in read.scripts if "plotly.js" not in script[:400]]
    assert "http" not in "".join(own)
    assert len(read.scripts) == 3
    assert f"{found.best_row['value']:.4f}" in read.text
    assert "<i>&: search" in read.text
    assert read.text.count("the loss became nan") == found.trials["state"].to_list().count("failed")


def test_every_plot_is_one_that_plotly_accepts_and_has_axes(found: Tuning) -> None:
    import plotly.graph_objects as go  # type: ignore[import-untyped]

    read = Loads(page(found))
    specs = json.loads(read.scripts[0])
    assert (
        set(specs) == set(read.ids) == {"plot-history", "plot-importance", "plot-slice-0", "plot-slice-1", "plot-slice-2"}
    )
    for spec in specs.values():
        figure = go.Figure(spec)
        assert all(len(trace.y) > 0 for trace in figure.data)
        assert {"xaxis", "yaxis"} <= spec["layout"].keys()
    drawn = sum(len(trace["x"]) for trace in specs["plot-slice-0"]["data"])
    assert drawn == found.trials["value"].count()
    line = next(trace for trace in specs["plot-history"]["data"] if trace["name"] == "best so far")
    assert line["y"] == sorted(line["y"])
    assert line["y"][-1] == found.best_row["value"]


def test_too_few_trials_leave_importances_out_and_say_so(
    ring_split: Split, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(monkeypatch, hill)
    few = search(ring_split, space_of(tmp_path, FIXED + SEARCH), tmp_path, trials=2)
    assert few.importances == {}
    assert "it takes 4 complete trials or more" in Loads(page(few)).text


def test_the_best_recipe_is_an_ordinary_recipe(found: Tuning, tmp_path: Path) -> None:
    files = write(found, tmp_path / "out")
    recipe = read_recipe(files["recipe"], TABLES)
    assert recipe == found.best
    assert build(TwoTower, recipe["model"]).dropout == found.best_row["model.dropout"]
    assert f"{found.best_row['value']:.4f}" in files["recipe"].read_text().splitlines()[0]
    assert pl.read_csv(files["trials"]).height == 12
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == ["best.toml", "search.html", "trials.csv"]


def test_the_best_recipe_gives_the_figure_that_it_claims_when_fitted_again(ring_split: Split, tmp_path: Path) -> None:
    text = (
        FIXED.replace("epochs = 2", "epochs = 3")
        + "[search.training]\nlearning_rate = { low = 1e-3, high = 0.05, log = true }\n"
    )
    found = search(ring_split, space_of(tmp_path, text), tmp_path, trials=3)
    recipe = Recipe.of(write(found, tmp_path)["recipe"])
    model = recipe.model.fit(
        ring_split.train,
        validation=ring_split.validation,
        training=recipe.training,
        objective=recipe.objective,
        augment=recipe.augment,
    )
    assert model.log is not None
    assert model.log.best_epoch == found.best_row["best_epoch"]
    assert model.log.epochs[model.log.best_epoch - 1]["val_ndcg@10"] == found.best_row["value"]
    assert found.trials["value"].n_unique() > 1


# The command


def test_the_command_prints_the_table_and_the_command_to_go_on_with(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "a shop"
    folder.mkdir()
    make_events().rename({"user_id": "who"}).write_csv(folder / "log.csv")
    make_items().write_csv(folder / "items.csv")
    (folder / "space.toml").write_text(FIXED.replace("epochs = 2", "epochs = 1") + SEARCH)
    words = [str(folder / "log.csv"), "--user", "who", "--catalog", str(folder / "items.csv")]
    out = tmp_path / "search"
    asked = ["tune", *words, "--space", str(folder / "space.toml"), "--trials", "2", "--out", str(out)]
    assert main(asked) == 0
    said = capsys.readouterr()
    assert "trial 2/2: model.dropout" in said.err
    assert "complete" in said.out
    assert "best" in said.out
    assert str(out / "best.toml") in said.out
    command = shlex.split(said.out.strip().splitlines()[-1].removeprefix("next: "))
    assert command[:2] == ["recsys", "fit"]
    assert main(command[1:]) == 0
    capsys.readouterr()
    assert main([*asked, "--json"]) == 0  # nothing left to do: the same answer again
    facts = json.loads(capsys.readouterr().out)
    assert facts["recipe"] == str(out / "best.toml")
    assert facts["best"]["training"]["epochs"] == 1


def test_a_broken_space_is_one_line_before_the_log_is_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "space.toml").write_text("[search.model]\ndim = []\n")
    code = main(["tune", "absent.csv", "--space", str(tmp_path / "space.toml"), "--out", str(tmp_path / "out")])
    assert code == 2
    assert "[search.model] dim is an empty list" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
