"""What is killed: each job runs in a process of its own, which is a fork of a server that has imported everything."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from recsys.cli.parser import main

_PRELOADED = [
    "torch",
    "polars",
    "recsys.bundle.io",
    "recsys.two_tower",
    "recsys.tuning.search",
    "recsys.serving.batch.run",
    "faiss",
]
_PRELOADED += ["recsys.report", "recsys.training.trainer", "tests.faults.jobs"]


def command(words: list[str]) -> None:
    """A command line; its exit code is that of the process."""
    with Path(os.devnull).open("w") as nowhere:
        sys.stdout = sys.stderr = nowhere
        code = main(words)
    os._exit(code)  # the server's threads are none of ours


def save_in_turn(place: str, sources: list[str]) -> None:
    """Save one bundle and the other over a path, for ever."""
    import recsys

    models = [recsys.load(source, device="cpu") for source in sources]
    Path(place).with_name("begun").touch()
    while True:
        for model in models:
            model.save(place, overwrite=True)


def forking() -> Any:
    """Where jobs are forked from."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_PRELOADED)
    return context


def run_whole(context: Any, job: Callable[..., None], *arguments: Any) -> tuple[int, float]:
    """Exit code and seconds of a job that nobody kills."""
    process, begun = context.Process(target=job, args=arguments), time.monotonic()
    process.start()
    process.join(300)
    return (process.exitcode if process.exitcode is not None else -1), time.monotonic() - begun


def run_killed(context: Any, seconds: float, job: Callable[..., None], *arguments: Any) -> bool:
    """Whether a job was still at work when it was killed, after so long."""
    process = context.Process(target=job, args=arguments)
    process.start()
    process.join(seconds)
    if process.exitcode is not None:
        return False
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    return True
