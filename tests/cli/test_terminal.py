"""The command line in a terminal: of any encoding, closed early, or full."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from recsys.cli.parser import main
from recsys.cli.screen import as_json

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle in a folder of an odd name, with titles that few encodings know."""
    data, folder = tmp_path_factory.mktemp("data"), tmp_path_factory.mktemp("wörld [1] it's")
    walks = [(f"ü{user}", f"🚂{(user + step) % 9}", step) for user in range(12) for step in range(5)]
    pl.DataFrame(walks, schema=["user_id", "item_id", "timestamp"], orient="row").write_csv(data / "log.csv")
    titles = {"item_id": [f"🚂{i}" for i in range(9)], "title": [f"Amélie № {i} 🎬" for i in range(9)]}
    pl.DataFrame(titles).write_csv(data / "items.csv")
    read = [str(data / "log.csv"), "--catalog", str(data / "items.csv"), "--encoder", "none", "--dim", "8"]
    assert main(["fit", *read, "--heads", "2", "--epochs", "1", "--device", "cpu", "--out", str(folder / "run")]) == 0
    return folder


def recsys(*words: str, stdout: int | None = subprocess.PIPE, **environment: str) -> "subprocess.CompletedProcess[bytes]":
    own = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"} | environment
    command = [sys.executable, "-m", "recsys", *words]
    return subprocess.run(command, stdout=stdout, stderr=subprocess.PIPE, env=own, check=False, timeout=120)


def in_a_terminal(monkeypatch: pytest.MonkeyPatch, encoding: str, *words: str) -> tuple[int, bytes, bytes]:
    """Run a command in this process, with output and errors as bytes of an encoding."""
    streams = [io.BytesIO(), io.BytesIO()]
    with monkeypatch.context() as patch:
        for name, stream in zip(("stdout", "stderr"), streams, strict=True):
            patch.setattr(sys, name, io.TextIOWrapper(stream, encoding=encoding, write_through=True))
        code = main(words)
        found = [stream.getvalue() for stream in streams]
    return code, *found


def test_what_the_terminal_cannot_show_is_escaped(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["recommend", str(world / "run"), "--users", "ü1", "--k", "2"]
    done = recsys(*words, PYTHONIOENCODING="ascii")
    for code, out, err in ((done.returncode, done.stdout, done.stderr), in_a_terminal(monkeypatch, "cp1252", *words)):
        assert code == 0, err
        assert rb"\U0001f3ac" in out
        assert b"Traceback" not in err
    assert rb"Am\xe9lie" in done.stdout
    assert "Amélie".encode("cp1252") in out


def test_json_is_json_in_every_terminal(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["recommend", str(world / "run"), "--users", "ü1", "--k", "2", "--json"]
    code, out, err = in_a_terminal(monkeypatch, "ascii", *words)
    assert code == 0, err
    assert all("Amélie" in row["title"] and row["user_id"] == "ü1" for row in json.loads(out))


def test_an_id_is_utf8_even_where_the_terminal_is_not(world: Path) -> None:
    plain = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = recsys("recommend", os.path.relpath(world / "run"), "--users", "ü1", "--k", "2", "--json", **plain)
    assert b"Traceback" not in done.stderr
    if done.returncode == 0:  # the path is not ASCII either: then the one line says so
        assert {row["user_id"] for row in json.loads(done.stdout)} == {"ü1"}
    else:
        assert b"set LC_ALL=C.UTF-8" in done.stderr


def test_an_error_is_shown_in_every_terminal(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["recommend", str(world / "run"), "--users", "Zoë", "--k", "2"]
    code, out, err = in_a_terminal(monkeypatch, "ascii", *words)
    assert (code, out) == (2, b"")
    assert err.splitlines()[-1].startswith(rb"recsys: unknown user 'Zo\xeb'")


@pytest.mark.parametrize("words", [["recommend", "RUN", "--users", "ü1", "--k", "2"], ["recommend", "--help"]])
def test_a_reader_who_has_gone_is_no_error(world: Path, words: list[str]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = recsys(*[word.replace("RUN", str(world / "run")) for word in words], stdout=writing)
    finally:
        os.close(writing)
    assert done.returncode == 141
    assert done.stderr == b""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
@pytest.mark.parametrize("words", [["recommend", "--help"], ["--version"]])
def test_a_full_disk_is_an_error(words: list[str]) -> None:
    with Path("/dev/full").open("wb") as full:
        done = recsys(*words, stdout=full.fileno())
    assert done.returncode == 2
    assert done.stderr == b"recsys: standard output cannot be written: No space left on device\n"


def test_json_has_null_where_a_number_is_none() -> None:
    nan = float("nan")
    assert json.loads(as_json({"a": [nan, 1.5, -float("inf")], "b": {"c": nan}, 3: Path("x")})) == {
        "a": [None, 1.5, None],
        "b": {"c": None},
        "3": "x",
    }
