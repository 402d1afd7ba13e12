"""A command that is asked to end says what is left, and how to go on."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from recsys import ended
from tests.conftest import make_events

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_fit_that_is_ended_tells_how_to_go_on(tmp_path: Path, number: signal.Signals) -> None:
    make_events().write_csv(tmp_path / "log.csv")
    words = ["fit", str(tmp_path / "log.csv"), "--encoder", "none", "--dim", "8", "--heads", "2", "--epochs", "100000"]
    words += ["--checkpoint-steps", "1", "--device", "cpu", "--out", str(tmp_path / "run"), "--patience", "100000"]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        [sys.executable, "-m", "recsys", *words], stderr=subprocess.PIPE, stdout=subprocess.PIPE, env=environment
    ) as process:
        for _ in range(6000):
            if process.poll() is not None or list((tmp_path / "checkpoints").rglob("state.safetensors")):
                break
            time.sleep(0.01)
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
    last = err.decode().strip().splitlines()[-1]
    assert process.returncode == 128 + number, err
    assert out == b""
    assert "nothing half-written is left; add --resume to go on" in last
    assert ("interrupted" if number == signal.SIGINT else number.name) in last
    assert b"Traceback" not in err
    assert {one.name for one in tmp_path.iterdir()} <= {"log.csv", "logs", "checkpoints"}


def test_a_signal_that_is_ignored_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with ended.listening():
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
            assert signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    finally:
        signal.signal(signal.SIGHUP, before)
