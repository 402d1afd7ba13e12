"""A command that is stopped says what is left and how to go on, by exit codes that shells know."""

import os
import signal
import subprocess
import sys
import threading
import time
from argparse import Namespace
from pathlib import Path

import pytest

from recsys.cli import interrupted
from recsys.cli.interrupted import StoppedError, stoppable, what_is_left
from recsys.cli.parser import build_parser, main
from tests.conftest import make_events

ROOT = Path(__file__).parents[1]


@pytest.fixture
def log(tmp_path: Path) -> Path:
    make_events().write_csv(tmp_path / "log.csv")
    return tmp_path / "log.csv"


def fit_words(log: Path) -> list[str]:
    model = ["--encoder", "none", "--dim", "16", "--max-length", "6", "--batch-tokens", "64", "--device", "cpu"]
    return ["fit", str(log), "--out", str(log.parent / "run"), "--checkpoint-steps", "1", *model]


def start(words: list[str], **how: object) -> subprocess.Popen[str]:
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-m", "recsys", *words],
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        **how,  # type: ignore[call-overload]
    )


ENDLESS = ["--epochs", "100000", "--patience", "0"]


def wait_for(state: Path) -> None:
    end = time.monotonic() + 120
    while not state.exists() and time.monotonic() < end:
        time.sleep(0.05)


def stopped_process(words: list[str], state: Path, number: signal.Signals) -> tuple[int, str]:
    """Stop a process of its own."""

    def usual() -> None:
        signal.signal(number, signal.SIG_DFL)  # under nohup a hangup is ignored, and by all children

    with start(words, preexec_fn=usual) as process:
        wait_for(state)
        process.send_signal(number)
        _, err = process.communicate(timeout=60)
    return process.returncode, err


def stopped_here(
    words: list[str], state: Path, number: signal.Signals, capsys: pytest.CaptureFixture[str]
) -> tuple[int, str]:
    """Stop the command in this process, which gets the signal as any other would."""

    def stop() -> None:
        wait_for(state)
        os.kill(os.getpid(), number)

    before = signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    stopping = threading.Thread(target=stop)
    stopping.start()
    try:
        code = main(words)
    finally:
        stopping.join()
        signal.signal(number, before)
    return code, capsys.readouterr().err


@pytest.mark.parametrize(
    ("number", "code", "says"),
    [
        (signal.SIGTERM, 143, "ended by SIGTERM"),
        (signal.SIGHUP, 129, "ended by SIGHUP"),
        (signal.SIGINT, 130, "interrupted"),
    ],
)
def test_a_fit_that_is_stopped_says_that_resume_goes_on(
    number: signal.Signals, code: int, says: str, log: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = log.parent / "checkpoints" / "run" / "state.safetensors"
    words = [*fit_words(log), *ENDLESS]
    own = number == signal.SIGTERM
    found, err = stopped_process(words, state, number) if own else stopped_here(words, state, number, capsys)
    assert found == code, err
    last = err.strip().splitlines()[-1]
    assert last.startswith(f"recsys: {says}; nothing half-written is left, and the run's last checkpoint is in ")
    assert "the same command with --resume goes on" in last
    assert "Traceback" not in err
    assert sorted(one.name for one in state.parent.iterdir()) == [state.name]
    assert {one.name for one in log.parent.iterdir()} - {"logs"} == {"checkpoints", "log.csv"}
    assert main([*fit_words(log), *ENDLESS]) == 2
    assert "holds the checkpoint of an earlier run" in capsys.readouterr().err


def test_a_hangup_that_is_ignored_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stoppable():
            signal.raise_signal(signal.SIGHUP)
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_an_error_of_tidying_up_after_a_stop_is_the_stop() -> None:
    def closing() -> None:
        try:
            signal.raise_signal(signal.SIGTERM)
        finally:
            os.close(2**20)  # what a file does that was being closed

    with pytest.raises(StoppedError) as caught, stoppable():
        closing()
    assert isinstance(caught.value.__cause__, OSError)
    with pytest.raises(OSError, match="Bad file"), stoppable():
        os.close(2**20)


def test_handlers_are_put_back_and_those_of_others_left_alone() -> None:
    def own(*_: object) -> None:
        """An application's."""

    before = signal.getsignal(signal.SIGTERM)
    try:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        with stoppable():
            with pytest.raises(StoppedError) as caught:
                signal.raise_signal(signal.SIGTERM)
            assert caught.value.signal == signal.SIGTERM
        assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
        signal.signal(signal.SIGTERM, own)
        with stoppable():
            assert signal.getsignal(signal.SIGTERM) is own
    finally:
        signal.signal(signal.SIGTERM, before)


def parsed(*words: str) -> Namespace:
    return build_parser().parse_args(words)


def test_what_is_left_is_told_for_each_command(tmp_path: Path) -> None:
    run, out = str(tmp_path / "run"), str(tmp_path / "out")
    fit = parsed("fit", "log.csv", "--out", run)
    assert what_is_left(fit).startswith("; there was no checkpoint yet")
    assert what_is_left(parsed("fit", "log.csv", "--out", run, "--dry-run")) == ""
    assert what_is_left(parsed("inspect", "log.csv")) == ""
    tune = ["tune", "log.csv", "--space", "s.toml", "--out", out]
    assert what_is_left(parsed(*tune)) == ""
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "study.db").touch()
    assert "in " + out + "/study.db: the same command goes on with the search" in what_is_left(parsed(*tune))
    (tmp_path / "own.db").touch()
    assert f"{tmp_path / 'own.db'}: the" in what_is_left(parsed(*tune, "--storage", str(tmp_path / "own.db")))
    for place, folder in ((f"{out}/recs", f"{out}/recs"), (f"{out}/recs.parquet", f"{out}/recs.parquet.shards")):
        recommend = parsed("recommend", run, "--out", place)
        assert what_is_left(recommend) == ""
        Path(folder).mkdir()
        (Path(folder) / "_plan.json").touch()
        assert f"stay in {folder}: the same command goes on with the others" in what_is_left(recommend)


def test_a_terminal_that_is_gone_costs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(*_: object, **__: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("builtins.print", gone)
    assert interrupted.tell(StoppedError(signal.SIGHUP), parsed("inspect", "log.csv")) == 129
