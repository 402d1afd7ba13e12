"""The command line refuses what it would ignore, and what it cannot do, in one line; odd folders are folders."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from recsys.cli.parser import main
from tests.cli.test_cli import answer, refused
from tests.cli.test_ids import stopped
from tests.conftest import make_events, make_items


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Log, catalogue, users and a bundle on ids alone."""
    folder = tmp_path_factory.mktemp("world")
    make_events(20).write_csv(folder / "log.csv")
    make_items().with_columns(price=pl.Series(range(32))).write_csv(folder / "items.csv")
    pl.DataFrame({"user_id": [f"u{i}" for i in range(20)], "team": ["red", "blue"] * 10}).write_csv(folder / "users.csv")
    data = [str(folder / "log.csv"), "--catalog", str(folder / "items.csv"), "--encoder", "none", "--dim", "8"]
    assert main(["fit", *data, "--heads", "2", "--epochs", "1", "--device", "cpu", "--out", str(folder / "run")]) == 0
    recipes = {
        "space": "[search.model]\ndim = [8, 16]\n",
        "wide": "[model]\ndim = 'wide'\n",
        "odd": "[training]\nema_decay = 2\n",
        "small": "[training]\nepochs = 1\n",
    }
    for name, text in recipes.items():
        (folder / f"{name}.toml").write_text(text)
    (folder / "rules.toml").write_text('[[exclude]]\nwhere = "price > 5"\n')
    return folder


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("recommend RUN --users u1 --shard-users 5", "--shard-users needs --out"),
        ("recommend RUN --users u1 --overwrite", "--overwrite needs --out"),
        ("recommend RUN --history i1 --engine local", "--engine needs --out"),
        ("recommend RUN --history i1 --workers 2", "--workers needs --out"),
        ("recommend RUN --history i1 --fallback popular", "cannot be combined with --history"),
        ("recommend RUN --history i1 --users u1", "--history cannot be combined with --users or --out"),
        ("recommend RUN --history i1 --out DIR/x", "--history cannot be combined with --users or --out"),
        ("recommend RUN --users all", "need --out FOLDER"),
        ("explain RUN i1", "either --user or --history"),
        ("explain RUN i1 --user u1 --history i2", "either --user or --history"),
        ("explain RUN i1 --user u1 --top 0", "--top must be at least 1, not 0"),
        ("explain RUN i1 --user u1 --top -2", "--top must be at least 1, not -2"),
        ("index RUN --add DIR/items.csv --recall 0.5", "--recall is for choosing an index"),
        ("index RUN --update DIR/items.csv --memory 1GiB", "--memory is for choosing an index"),
        ("index RUN --remove i1 --kind hnsw", "--kind is for choosing an index"),
        ("index RUN --compact --out DIR/x.html", "--out is for choosing an index"),
        ("index RUN --out DIR", "is a folder; name a file for the page"),
        ("index RUN --memory much", "'much' is not a valid size"),
        ("inspect RUN --user who", "is a bundle, and --user is for reading logs"),
        ("inspect RUN --catalog DIR/items.csv", "is a bundle, and --catalog is for reading logs"),
        ("inspect RUN --page DIR/x.html", "is a bundle, and --page is for reading logs"),
        ("inspect DIR/log.csv --text title", "--text describes the catalogue"),
        ("inspect DIR/log.csv --title title", "--title describes the catalogue"),
        ("fit DIR/log.csv --catalog-item item_id --out DIR/x --encoder none", "--catalog-item describes the catalogue"),
        ("fit DIR/log.csv --catalog-format csv --out DIR/x --encoder none", "--catalog-format describes the catalogue"),
        ("fit DIR/log.csv --user-columns team --out DIR/x --encoder none", "need --user-table"),
        ("fit DIR/log.csv --user-table DIR/users.csv --out DIR/x --encoder none", "needs --user-columns or --user-numbers"),
        ("evaluate RUN --user-table DIR/users.csv", "--user-table needs --user-columns"),
        ("evaluate RUN --user-columns team", "need --user-table"),
        ("evaluate RUN --user who", "need --user-table"),
        ("evaluate RUN --category nope", "no column 'nope'"),
        ("report RUN --out DIR/x.html --category nope", "no column 'nope'"),
        ("compare RUN --baselines popularity --metric clicks@10", "metric= (--metric) is 'clicks@10', expected one of"),
        ("compare RUN --baselines popularity --metric ndcg@7", "at a k of 10, 20, 50"),
        ("compare RUN --baselines popularity popularity", "names popularity twice"),
        ("compare RUN", "two models or more"),
        ("index RUN --remove zz", "(such as 'i25', 'i26', 'i27'); leave out items that the bundle does not know"),
        (
            "index RUN --add DIR/items.csv",
            "32 items ('i0', 'i1', 'i2', 'i3', 'i4', ...) are already in the bundle; leave known items out",
        ),
        (
            "search RUN car",
            "reads no texts, as it was trained without a text encoder (encoder=None); fit it again with one",
        ),
        ("evaluate DIR/nowhere", "is not a recsys bundle: there is no such folder; name one that recsys fit has written"),
        ("evaluate DIR/log.csv", "is not a recsys bundle: it is not a folder; name one that recsys fit has written"),
        (
            "tune DIR/absent.csv --space DIR/space.toml --out DIR/s --trials 0",
            "trials must be at least 1, not 0 (--trials)",
        ),
        (
            "tune DIR/absent.csv --space DIR/space.toml --out DIR/s --minutes 0",
            "minutes must be above 0, not 0.0 (--minutes)",
        ),
        ("fit DIR/log.csv --out DIR/x --recipe DIR/wide.toml", "wide.toml: [model] dim must be of type int, not 'wide'"),
        (
            "fit DIR/log.csv --out DIR/x --recipe DIR/odd.toml",
            "odd.toml: [training] ema_decay is a decay in [0, 1), not 2.0",
        ),
        (
            "fit DIR/log.csv --out DIR/x --recipe DIR/small.toml --ema-decay 2",
            "recsys: ema_decay is a decay in [0, 1), not 2.0",
        ),
        (
            "fit DIR/log.csv --encoder none --out DIR/x --user-table DIR/users.csv --user-numbers team",
            "users.csv, column 'team': row 1 is 'red', expected a finite number",
        ),
    ],
)
def test_what_would_be_ignored_is_refused(world: Path, capsys: pytest.CaptureFixture[str], words: str, says: str) -> None:
    spoken = [one.replace("RUN", str(world / "run")).replace("DIR", str(world)) for one in words.split()]
    assert says in refused(capsys, *spoken)


NEEDING = ["evaluate NO", "report NO --out x.html", "recommend NO --users u1", "recommend NO --history i1", "similar NO i1"]
NEEDING += ["search NO x", "explain NO i1 --user u1", "index NO", "compare NO --baselines popularity", "inspect NO"]


@pytest.mark.parametrize(
    ("words", "name"),
    [
        *((words, "absent") for words in NEEDING),
        *((words, name) for words in NEEDING[:2] for name in ("log.csv", "empty", "a [b]\n'c' ü")),
    ],
)
def test_what_is_no_bundle_is_one_line(world: Path, capsys: pytest.CaptureFixture[str], words: str, name: str) -> None:
    (world / "empty").mkdir(exist_ok=True)
    refused(capsys, *[one.replace("NO", str(world / name)) for one in words.split()])


@pytest.mark.parametrize(
    "words", ["inspect ''", "fit '' --out x", "evaluate ''", "recommend RUN --out ''", "report RUN --out ''"]
)
def test_an_empty_path_is_not_the_current_folder(capsys: pytest.CaptureFixture[str], words: str) -> None:
    assert "is empty" in stopped(capsys, *[one.replace("''", "") for one in words.split()])


def test_every_answer_is_json(world: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    shutil.copytree(world / "run", tmp_path / "run")
    run, items = str(tmp_path / "run"), str(world / "items.csv")
    said = dict[str, Any]()
    for words in (
        ["evaluate", run, "--segments", "--category", "price"],
        ["evaluate", run, "--user-table", str(world / "users.csv"), "--user-columns", "team"],
        ["compare", run, "--baselines", "popularity", "--k", "5"],
        ["report", run, "--out", str(tmp_path / "r.html"), "--no-baselines"],
        ["recommend", run, "--users", "u1"],
        ["recommend", run, "--users", "u1", "--where", "price > 1000"],
        ["recommend", run, "--history", "i1"],
        ["recommend", run, "--out", str(tmp_path / "recs")],
        ["similar", run, "i1"],
        ["explain", run, "i1", "--user", "u1"],
        ["index", run],
        ["index", run, "--remove", "i1"],
        ["inspect", run],
        ["inspect", str(world / "log.csv"), "--catalog", items],
        ["fit", str(world / "log.csv"), "--dry-run", "--encoder", "none", "--dim", "8", "--device", "cpu"],
    ):
        code, out, err = answer(capsys, *words, "--json")
        assert code == 0, (words, err)
        said[" ".join(words[:1])] = json.loads(out, parse_constant=pytest.fail)
    assert said["compare"]["metric"] == "ndcg@5"


@pytest.mark.parametrize("who", [["--users", "u1"], ["--history", "i1"]])
def test_an_answer_without_items_says_so(world: Path, capsys: pytest.CaptureFixture[str], who: list[str]) -> None:
    code, out, _ = answer(capsys, "recommend", str(world / "run"), *who, "--where", "price > 1000")
    assert (code, out.splitlines()[0].split(":")[0]) == (0, "no item is left")


@pytest.mark.parametrize("name", ["a [1]", "new\nline", "größe 🚂", "-dash", "it's; *"])
def test_a_bundle_may_stand_anywhere(
    world: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(world / "run", tmp_path / name)
    run = f"./{name}" if name.startswith("-") else name
    _, usual, _ = answer(capsys, "recommend", str(world / "run"), "--users", "u1", "--json")
    for words in (["recommend", run, "--users", "u1"], ["recommend", "--users", "u1", "--", name]):
        code, out, err = answer(capsys, *words, *(["--json"] if "--" not in words else []))
        assert code == 0, err
        assert out == usual or "--" in words
    assert answer(capsys, "index", run, "--remove", "i1")[0] == 0
    assert answer(capsys, "evaluate", run)[0] == 0
    assert answer(capsys, "recommend", run, "--out", f"./{name}-recs/x.parquet")[0] == 0
    assert pl.read_parquet(f"./{name}-recs/x.parquet", glob=False).height > 0
    assert sorted(one.name for one in tmp_path.iterdir()) == sorted([name, f"{name}-recs"])


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_is_read_only(world: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "shut").mkdir(mode=0o500)
    for words in (["recommend", "RUN", "--out", "SHUT/x.parquet"], ["report", "RUN", "--out", "SHUT/x.html"]):
        refused(capsys, *[one.replace("RUN", str(world / "run")).replace("SHUT", str(tmp_path / "shut")) for one in words])


def test_the_demo_writes_over_nothing_of_others(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "events.csv").write_text("mine")
    assert "of something else" in refused(capsys, "demo", "--out", str(tmp_path))
    assert (tmp_path / "data" / "events.csv").read_text() == "mine"
    assert "is a file" in refused(capsys, "demo", "--out", str(tmp_path / "data" / "events.csv"))


def test_commands_are_told_as_a_shell_reads_them() -> None:
    import shlex

    from recsys.cli.words import command

    words = command("recommend", Path("-runs/it's [1]"), "--out", Path("a b"))
    assert shlex.split(words) == ["recsys", "recommend", "./-runs/it's [1]", "--out", "a b"]


@pytest.mark.parametrize(
    ("command", "old", "new"),
    [
        ("fit LOG --out x", "--members 2", "--ensemble-size"),
        ("fit LOG --out x", "--words", "--word-features"),
        ("fit LOG --out x", "--no-words", "--word-features off"),
        ("fit LOG --out x", "--clip-norm 2", "--max-grad-norm"),
        ("fit LOG --out x", "--average=0.9", "--ema-decay"),
        ("recommend RUN --users u1", "--allow i1", "--eligible"),
        ("recommend RUN --users u1", "--allow-file x", "--eligible-file"),
    ],
)
def test_an_old_flag_is_refused_with_its_new_name(
    command: str, old: str, new: str, capsys: pytest.CaptureFixture[str]
) -> None:
    said = stopped(capsys, *command.split(), *old.split())
    assert f"unknown flag {old.split(maxsplit=1)[0].split('=', maxsplit=1)[0]}; it is now called {new} (see" in said


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("fit log.csv --out x --epochs ten", "recsys: --epochs must be a whole number, not 'ten' (see recsys fit --help)"),
        ("tune log.csv --minutes soon", "recsys: --minutes must be a number, not 'soon' (see recsys tune --help)"),
        (
            "compare x --baselines popularty",
            "zero-shot, not 'popularty'; did you mean popularity? (see recsys compare --help)",
        ),
        ("recommend x --k", "recsys: --k needs a value (see recsys recommend --help)"),
        ("recommend x --users", "recsys: --users needs at least one value (see recsys recommend --help)"),
        ("inspekt log.csv", "recsys: unknown command 'inspekt'; the commands are demo, fit, "),
        ("inspekt log.csv", "; did you mean inspect? (see recsys --help)"),
    ],
)
def test_what_argparse_refuses_is_said_as_plainly(capsys: pytest.CaptureFixture[str], words: str, says: str) -> None:
    assert says in stopped(capsys, *words.split())


def test_an_id_given_twice_is_named(world: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        "the user id 'u1' is given more than once and answered once"
        in answer(capsys, "recommend", str(world / "run"), "--users", "u1", "u2", "u1")[2]
    )
