"""Ids on the command line: those that begin with a dash, those in files, those that are given twice."""

import io
import json
import sys
from pathlib import Path

import polars as pl
import pytest

from recsys.cli.parser import main
from tests.cli.test_cli import answer, refused

USERS = ["-abc", "-1", "--x", "all", 'o\'neil, "the" boss', "🚂", "plain", "-9Yz_k"]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Users and items whose ids a command line finds hard, and a bundle fitted on them."""
    folder = tmp_path_factory.mktemp("dashes")
    items = [f"-v{i}" for i in range(8)] + [f"--w{i}" for i in range(4)]
    walks = [(user, items[(start + step) % 12], step) for start, user in enumerate(USERS) for step in range(5)]
    pl.DataFrame(walks, schema=["user_id", "item_id", "timestamp"], orient="row").write_csv(folder / "log.csv")
    pl.DataFrame({"item_id": items, "title": [f"film {one}" for one in items]}).write_csv(folder / "items.csv")
    data = [str(folder / "log.csv"), "--catalog", str(folder / "items.csv"), "--encoder", "none", "--dim", "8"]
    assert main(["fit", *data, "--heads", "2", "--epochs", "1", "--device", "cpu", "--out", str(folder / "run")]) == 0
    return folder


def users_in(out: str) -> list[str]:
    return list(dict.fromkeys(row["user_id"] for row in json.loads(out)))


@pytest.mark.parametrize(
    "words",
    [
        ["--users", "-abc", "-1", "--x", "plain", "--k", "2"],
        ["--k", "2", "--users", "--", "-abc", "-1", "--x", "plain"],
        ["--users=-abc", "--users", "-1", "--x", "--k", "2", "--users=plain"],
        ["--users", "-abc", "--users-file", "FILE", "--k", "2"],
    ],
)
def test_users_that_begin_with_a_dash(world: Path, capsys: pytest.CaptureFixture[str], words: list[str]) -> None:
    (world / "three.txt").write_bytes(b"-1\r\n--x\nplain")
    words = [str(world / "three.txt") if word == "FILE" else word for word in words]
    code, out, err = answer(capsys, "recommend", str(world / "run"), "--json", *words)
    assert code == 0, err
    assert users_in(out) == ["-abc", "-1", "--x", "plain"]


def test_what_was_read_as_an_id_is_told(world: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, _, err = answer(capsys, "recommend", str(world / "run"), "--users", "-abc", "--x", "plain")
    assert "read as ids, not as flags: -abc --x" in err


def test_items_that_begin_with_a_dash(world: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = str(world / "run")
    for words in (["-v1", "--w2", "--k", "2"], ["--k", "2", "--", "-v1", "--w2"]):
        code, out, err = answer(capsys, "similar", "--json", run, *words)
        assert code == 0, err
        assert {row["item_id"] for row in json.loads(out)} == {"-v1", "--w2"}
    code, out, err = answer(capsys, "explain", run, "-v5", "--w1", "--user", "-abc", "--json")
    assert code == 0, err
    assert [row["item_id"] for row in json.loads(out)] == ["-v5", "--w1"]
    code, out, err = answer(capsys, "explain", run, "-v5", "--history", "-v1", "--w1", "--json")
    assert code == 0, err
    asked = ["recommend", run, "--history", "-v1", "-v2", "--exclude", "-v3", "--w1", "--eligible", "-v3", "-v4", "--json"]
    code, out, err = answer(capsys, *asked)
    assert code == 0, err
    assert [row["item_id"] for row in json.loads(out)] == ["-v4"]


def test_files_of_items(world: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = str(world / "run")
    (world / "seen").write_text("\ufeff-v1\n-v2\n\n")
    pl.DataFrame({"film": ["-v3"], "item_id": ["-v4"]}).write_csv(world / "two.csv")
    history = ["--history-file", str(world / "seen")]
    for file, kept in ((f"{world}/two.csv", "-v4"), (f"{world}/two.csv::film", "-v3")):
        code, out, err = answer(capsys, "recommend", run, *history, "--eligible-file", file, "--json")
        assert code == 0, err
        assert [row["item_id"] for row in json.loads(out)] == [kept]
        rest = ["-v3", "-v4", "--exclude-file", file]
        code, out, err = answer(capsys, "recommend", run, *history, "--eligible", *rest, "--json")
        assert code == 0, err
        assert [row["item_id"] for row in json.loads(out)] == [{"-v3": "-v4", "-v4": "-v3"}[kept]]
    code, out, err = answer(capsys, "similar", run, "--items-file", f"{world}/two.csv", "--k", "1", "--json")
    assert [row["item_id"] for row in json.loads(out)] == ["-v4"]


def test_items_are_removed_by_a_file(world: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    import shutil

    shutil.copytree(world / "run", tmp_path / "run")
    (tmp_path / "gone.txt").write_text("-v0\n")
    code, out, err = answer(
        capsys, "index", str(tmp_path / "run"), "--remove", "--w3", "--remove-file", str(tmp_path / "gone.txt"), "--json"
    )
    assert code == 0, err
    assert json.loads(out)["items"] == 10


def test_users_from_standard_input(
    world: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO("🚂\n-abc\n".encode())))
    code, out, err = answer(capsys, "recommend", str(world / "run"), "--users-file", "-", "--json")
    assert code == 0, err
    assert users_in(out) == ["🚂", "-abc"]


def test_odd_ids_are_taken_as_they_are(world: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = answer(capsys, "recommend", str(world / "run"), "--users", *USERS[4:6], "--json")
    assert code == 0, err
    assert users_in(out) == USERS[4:6]


def test_everybody_stands_alone(world: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    run, out = str(world / "run"), str(tmp_path / "recs.parquet")
    assert "--users all cannot be combined with other users" in refused(
        capsys, "recommend", run, "--users", "all", "plain", "--out", out
    )
    assert "need --out FOLDER" in refused(capsys, "recommend", run, "--users", "all")
    assert answer(capsys, "recommend", run, "--users", "all", "--out", out, "--k", "2")[0] == 0
    assert pl.read_parquet(out)["user_id"].n_unique() == len(USERS)
    (tmp_path / "all.txt").write_text("all\n")
    code, found, _ = answer(capsys, "recommend", run, "--users-file", str(tmp_path / "all.txt"), "--json")
    assert (code, users_in(found)) == (0, ["all"])


def test_an_id_given_twice_is_answered_once_and_told(world: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = answer(
        capsys, "recommend", str(world / "run"), "--users", "plain", "🚂", "plain", "--k", "2", "--json"
    )
    assert code == 0
    assert [row["rank"] for row in json.loads(out)] == [1, 2, 1, 2]
    assert "'plain'" in err
    code, out, err = answer(capsys, "similar", str(world / "run"), "-v1", "-v1", "--k", "2", "--json")
    assert [row["rank"] for row in json.loads(out)] == [1, 2]


def test_a_hundred_thousand_ids_come_from_a_file(world: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "many.txt").write_text("".join(f"-u{i}\n" for i in range(100_000)))
    said = refused(capsys, "recommend", str(world / "run"), "--users-file", str(tmp_path / "many.txt"))
    assert "unknown user '-u0'" in said
    assert len(said) < 1000


def stopped(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    with pytest.raises(SystemExit) as left:
        main(arguments)
    captured = capsys.readouterr()
    assert left.value.code == 2
    assert captured.err.count("\n") == 1
    return captured.err


@pytest.mark.parametrize(
    ("words", "near"),
    [
        (["recommend", "run", "--users", "u1", "--overwite"], "--overwrite"),
        (["recommend", "run", "--users", "u1", "--over"], "--overwrite"),
        (["recommend", "run", "--users", "u1", "--shard_users", "5"], "--shard-users"),
        (["recommend", "run", "--users", "u1", "-k", "5"], "--k"),
        (["recommend", "run", "--users", "u1", "-json"], "--json"),
        (["recommend", "run", "--user", "u1"], "--users"),
        (["recommend", "run", "--history", "i1", "--exlude", "i2"], "--exclude"),
        (["recommend", "run", "--history", "i1", "--exclude=i1", "--elligible=i2"], "--eligible"),
        (["recommend", "run", "--keep-sen"], "--keep-seen"),
        (["similar", "run", "i1", "--wheer", "x"], "--where"),
        (["similar", "run", "--jsn", "i1"], "--json"),
        (["explain", "run", "i1", "--usr", "u1"], "--user"),
        (["index", "run", "--remove", "i1", "--compct"], "--compact"),
        (["fit", "x", "--ot", "y"], "--out"),
        (["fit", "x", "--text", "title", "--overwite"], "--overwrite"),
        (["evaluate", "run", "--segment"], "--segments"),
    ],
)
def test_a_misspelt_flag_is_no_id(capsys: pytest.CaptureFixture[str], words: list[str], near: str) -> None:
    assert f"did you mean {near}?" in stopped(capsys, *words)


def test_a_flag_that_is_like_none_is_refused_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert "unknown flag --zebra" in stopped(capsys, "fit", "log.csv", "--zebra")
    assert "unknown flag -x" in stopped(capsys, "evaluate", "run", "-x")
    assert "too many words: other" in stopped(capsys, "evaluate", "run", "other")


@pytest.mark.parametrize("words", [["--users", ""], ["--users", "u1", " "], ["--history="], ["--exclude", "a", ""]])
def test_an_empty_id_is_refused(capsys: pytest.CaptureFixture[str], words: list[str]) -> None:
    assert "an id is empty" in stopped(capsys, "recommend", "run", *words)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is empty"),
        (b"\n\n", "is empty"),
        (b"a\n\nb\n", "line 2 is empty"),
        (b"a\nb\n\xff\n", "line 3 is not UTF-8"),
        (b"a\nb\0\n", "line 2 holds a zero byte"),
    ],
)
def test_a_file_of_ids_is_checked(world: Path, capsys: pytest.CaptureFixture[str], content: bytes, says: str) -> None:
    (world / "bad.txt").write_bytes(content)
    assert says in refused(capsys, "recommend", str(world / "run"), "--users-file", str(world / "bad.txt"))


def test_a_file_of_ids_that_is_none(world: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = str(world / "run")
    (world / "list.csv").write_text("plain\n-abc\n")
    assert "no column 'user_id'" in refused(capsys, "recommend", run, "--users-file", str(world / "list.csv"))
    assert "absent does not exist" in refused(capsys, "recommend", run, "--users-file", str(world / "absent"))
    assert "is a folder" in refused(capsys, "recommend", run, "--users-file", str(world))
    both = ["--history", "-v1", "--history-file", str(world / "list.csv")]
    assert "--history and --history-file cannot be combined" in refused(capsys, "recommend", run, *both)


def test_a_list_in_two_parts_is_one_list(capsys: pytest.CaptureFixture[str]) -> None:
    from recsys.cli.parser import build_parser

    parsed = build_parser().parse_args(
        ["fit", "x", "--text", "a", "--text", "b", "c", "--categories", "d", "--categories", "e"]
    )
    assert (parsed.text, parsed.categories) == (["a", "b", "c"], ["d", "e"])
    assert build_parser().parse_args(["evaluate", "x", "--k", "5", "--k", "1"]).k == [5, 1]
    build_parser().parse_args(["evaluate", "x", "--category", "a", "--category", "b"])
