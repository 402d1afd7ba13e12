"""What people type: numbers and ids in one word, and answers that nobody is left for."""

import shlex
from pathlib import Path

import pytest

from recsys.cli.screen import show
from tests.cli.test_cli import answer
from tests.cli.test_ids import stopped
from tests.cli.test_refusals import world  # noqa: F401 - a fixture


@pytest.mark.parametrize("words", ["evaluate RUN --k 10,20", "compare RUN --baselines ease --k 10,20"])
def test_numbers_in_one_word_are_written_apart(words: str, world: Path, capsys: pytest.CaptureFixture[str]) -> None:  # noqa: F811
    said = stopped(capsys, *shlex.split(words.replace("RUN", str(world / "run"))))
    assert "--k must be a whole number, not '10,20'; write numbers apart: 10 20" in said


def test_ids_in_one_word_are_written_apart(world: Path, capsys: pytest.CaptureFixture[str]) -> None:  # noqa: F811
    code, _, err = answer(capsys, "recommend", str(world / "run"), "--users", "u1,u2")
    assert code == 2
    assert "unknown user 'u1,u2'" in err
    assert "write several ids apart: u1 u2" in err
    code, _, err = answer(capsys, "similar", str(world / "run"), "i1, ghost")
    assert (code, "apart" in err) == (2, False)


def test_an_answer_for_nobody_blames_no_filter(world: Path, capsys: pytest.CaptureFixture[str]) -> None:  # noqa: F811
    run = str(world / "run")
    for who in (["--users", "ghost"], ["--history", "ghost"]):
        code, out, _ = answer(capsys, "recommend", run, *who, "--unknown", "skip")
        assert (code, out.strip()) == (0, "nobody is left to answer: all are unknown, or have no history to read")
    code, out, _ = answer(capsys, "similar", run, "i1", "--where", "price > 1000")
    assert (code, out.strip()) == (0, "no item is left: the filters leave none")


def test_a_page_is_not_written_into_a_bundle(world: Path, capsys: pytest.CaptureFixture[str]) -> None:  # noqa: F811
    run = world / "run"
    for words in (["index", str(run), "--out"], ["report", str(run), "--out"]):
        code, _, err = answer(capsys, *words, str(run / "report.html"))
        assert (code, f"lies in the bundle {run}" in err) == (2, True)
    assert not (run / "report.html").exists()


def test_titles_do_not_steer_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    assert show("a\x1b[31m\x07\x9b\tb\nü") == 0
    assert capsys.readouterr().out == "a\\x1b[31m\\x07\\x9b\tb\nü\n"
