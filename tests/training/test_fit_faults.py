"""After a training: one evaluation, every option in the bundle, a command that trains it again, and nothing lost."""

import dataclasses
import json
import shlex
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import recsys
from recsys import report as report_module
from recsys.cli.parser import build_parser, main
from recsys.cli.reading import reading_of
from recsys.config.options import given_tables
from recsys.config.recipe import TABLES
from recsys.two_tower import Recipe, TwoTower
from tests.conftest import make_events, make_items

OPTIONS = [
    "--encoder", "none", "--word-features", "on", "--dim", "16", "--max-length", "8", "--categories", "sort",
    "--no-learn-temperature", "--loss", "gbce", "--negatives", "7", "--calibration", "0.5", "--crop", "0.3",
    "--reorder", "0.2", "--epochs", "1", "--batch-tokens", "64", "--device", "cpu", "--seed", "3",
]  # fmt: skip
DATA = ["--user", "who is", "--item", "what", "--catalog-item", "item_id", "--event-weights", "view=1", "buy=2.5"]
DATA += ["--event", "kind", "--text", "title", "sort"]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("a world")
    log = make_events().rename({"user_id": "who is", "item_id": "what"})
    log.with_columns(kind=pl.Series(["view", "buy"] * (len(log) // 2))).write_csv(folder / "log.csv")
    items = make_items()
    items.with_columns(sort=pl.Series([f"s{i % 3}" for i in range(items.height)])).write_csv(folder / "items.csv")
    return folder


def fit(world: Path, out: Path, *more: str) -> int:
    words = ["fit", str(world / "log.csv"), "--catalog", str(world / "items.csv"), *DATA, *OPTIONS, *more]
    return main([*words, "--out", str(out)])


@pytest.fixture(scope="module")
def run(world: Path) -> Path:
    assert fit(world, world / "run") == 0
    return world / "run"


def again(run: Path) -> list[str]:
    """The words of the card's own command."""
    card = (run / "MODEL_CARD.md").read_text(encoding="utf-8")
    block = card.split("## Reproduce\n\n```\n")[1].split("\n```")[0]
    return shlex.split(block.replace("\\\n", " ").splitlines()[0])


def test_the_bundle_keeps_every_option(run: Path) -> None:
    config = json.loads((run / "config.json").read_text())
    assert (config["model"]["dim"], config["model"]["categories"]) == (16, ["sort"])
    assert (config["objective"]["loss"], config["objective"]["negatives"]) == ("gbce", 7)
    assert (config["augment"]["crop"], config["augment"]["reorder"]) == (0.3, 0.2)
    assert config["training"]["options"]["seed"] == 3
    assert config["reading"]["split"] == "last"
    assert set(DATA) <= {*config["reading"]["words"]}
    loaded = recsys.load(run)
    assert loaded.bundle.objective.loss == "gbce"
    loaded.save(run.parent / "copy")
    assert json.loads((run.parent / "copy" / "config.json").read_text()) == config


def test_the_card_s_command_trains_the_same_model(world: Path, run: Path) -> None:
    words = again(run)
    assert words[:3] == ["recsys", "fit", "LOG"]
    assert "[]" not in words
    files = {"LOG": str(world / "log.csv"), "ITEMS": str(world / "items.csv"), "RUN": str(world / "second")}
    assert main([files.get(word, word) for word in words[1:]]) == 0
    first, second = recsys.load(run), recsys.load(world / "second")
    configs = [json.loads((one / "config.json").read_text()) for one in (run, world / "second")]
    for table in ("model", "objective", "augment", "reading"):
        assert configs[0][table] == configs[1][table]
    assert configs[0]["training"]["options"] == configs[1]["training"]["options"]
    assert first.recommend(["u1", "u2"], k=9).equals(second.recommend(["u1", "u2"], k=9))


@pytest.mark.parametrize(
    "flags",
    [
        ["--split", "time", "--ties", "item"],
        ["--keep-seen", "--no-use-ids", "--encoder", "none", "--word-features", "on"],
        ["--temperature", "0.05", "--weight-decay", "0.0", "--stochastic-depth", "0.1", "--positions", "rotary"],
        ["--numbers", "price", "year", "--encoder", "none", "--loss", "bce", "--mask-history", "--no-log-q"],
        ["--separator", ";", "--quote", "none", "--null-values", "NULL", "n/a", "--drop-unordered", "--order", "n o"],
    ],
)
def test_every_option_survives_the_card_s_command(flags: list[str]) -> None:
    from types import SimpleNamespace

    from recsys.report import reproduce

    parsed = build_parser().parse_args(["fit", "a.csv", "--catalog", "b.csv", *flags])
    recipe = Recipe.read(**given_tables(parsed, TABLES))
    reading = reading_of(parsed, parsed.data_flags, parsed.split or "last")
    bundle: Any = SimpleNamespace(
        options=json.loads(json.dumps(recipe.model.to_dict())),
        objective=recipe.objective,
        augment=recipe.augment,
        training=recipe.training,
        reading=json.loads(json.dumps(reading)),
        record={},
    )
    words = shlex.split(reproduce.command(bundle).replace("\\\n", " ").splitlines()[0])
    second = build_parser().parse_args(words[1:])
    made = Recipe.read(**given_tables(second, TABLES))
    assert made.model == recipe.model
    assert (made.objective, made.augment, made.training) == (recipe.objective, recipe.augment, recipe.training)
    for flag in parsed.data_flags:
        if flag.dest not in ("log", "catalog"):
            assert getattr(second, flag.dest) == getattr(parsed, flag.dest), flag.dest
    assert second.split == (parsed.split or "last")


def test_a_model_fitted_in_python_says_that_its_log_s_flags_are_not_known(run: Path, tmp_path: Path) -> None:
    retriever = recsys.load(run)
    retriever.bundle = dataclasses.replace(retriever.bundle, reading=None)
    report = report_module.build(retriever.bundle, retriever, baselines=False, with_map=False)
    card = report_module.model_card(report.figures)
    assert "read from Python" in card
    assert "--catalog ITEMS --text title sort" in card
    assert "read from Python" not in (run / "MODEL_CARD.md").read_text()


def test_manifest_report_and_card_tell_of_one_evaluation(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from recsys.evaluation import evaluate as module

    calls = []
    real = module.measure
    monkeypatch.setattr(module, "measure", lambda *args: calls.append((args[0], args[2].protocol)) or real(*args))
    assert fit(world, tmp_path / "run", "--json") == 0
    assert calls.count((TwoTower.name, "leave-last-out, test")) == 1, "the test users are judged once"
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    figures = json.loads((tmp_path / "run" / "report.json").read_text())
    told = {name: value["mean"] for name, value in figures["models"][0]["metrics"].items()}
    shared = told.keys() & manifest["metrics"].keys()
    assert "recall@10" in shared
    assert all(told[name] == manifest["metrics"][name] for name in shared)
    assert json.loads(capsys.readouterr().out)["test"]["metrics"] == manifest["metrics"]


class PanicError(BaseException):
    """As polars panics: no Exception."""


@pytest.mark.parametrize(
    ("where", "error"),
    [
        ("evaluate_held_out", PanicError("called unwrap on None")),
        ("build", ValueError("year 55841 is out of range")),
        ("bundle_files", PanicError("called unwrap on None")),
    ],
)
def test_a_report_that_fails_never_costs_the_model(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], where: str, error: Any
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(report_module, where, fail)
    assert fit(world, tmp_path / "a run") == 2
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert f"trained and saved in {tmp_path / 'a run'}" in said
    assert str(error) in said
    assert f"recsys report '{tmp_path / 'a run'}'" in said
    assert recsys.load(tmp_path / "a run").recommend("u1", k=3).height == 3
    assert not (tmp_path / "checkpoints").exists()
    monkeypatch.undo()
    assert main(shlex.split(said.split("try recsys ")[1])) == 0


def test_an_index_that_cannot_be_chosen_never_costs_the_model(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from recsys.serving.retriever import Retriever

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("Error in faiss: no memory")

    monkeypatch.setattr(Retriever, "choose_index", fail)
    assert fit(world, tmp_path / "run") == 0
    assert "no index could be chosen (RuntimeError: Error in faiss: no memory)" in capsys.readouterr().err
    assert str(recsys.load(tmp_path / "run").index.spec) == "exact"


def test_a_bundle_that_cannot_be_written_says_how_to_go_on(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("recsys.bundle.manifest.write", fail)
        assert fit(world, tmp_path / "run") == 2
    said = capsys.readouterr().err
    assert "No space left on device" in said
    assert "add --resume" in said
    assert fit(world, tmp_path / "run", "--resume") == 0
    recsys.load(tmp_path / "run")


def commands_of(out: str) -> list[list[str]]:
    lines = out.split("next:\n")[1].splitlines()
    return [shlex.split(line)[1:] for line in lines if line.strip().startswith("recsys ")]


@pytest.mark.parametrize("split", ["last", "none"])
def test_what_is_named_as_next_is_answered(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], split: str
) -> None:
    assert fit(world, tmp_path / "my [first] run's", "--split", split) == 0
    following = commands_of(capsys.readouterr().out)
    assert [words[0] for words in following] == (["evaluate", "recommend"] if split == "last" else ["recommend"])
    for words in following:
        assert main(words) == 0, words


def test_two_changes_of_a_bundle_at_once_are_both_made(run: Path, tmp_path: Path) -> None:
    recsys.load(run).save(tmp_path / "run")
    command = [sys.executable, "-m", "recsys", "index", str(tmp_path / "run"), "--remove"]
    done = []

    def remove(item: str) -> None:
        done.append(subprocess.run([*command, item], capture_output=True, text=True, check=False))

    threads = [threading.Thread(target=remove, args=(item,)) for item in ("i1", "i2")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [one.returncode for one in done] == [0, 0], done
    alive = recsys.load(tmp_path / "run").index.alive
    assert int(alive.sum()) == 30
    assert [entry.name for entry in tmp_path.iterdir() if "run" in entry.name] == ["run"]


def test_a_change_of_what_is_no_bundle_makes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["index", str(tmp_path / "no" / "such"), "--remove", "i1"]) == 2
    assert "is not a recsys bundle" in capsys.readouterr().err
    assert not (tmp_path / "no").exists()
