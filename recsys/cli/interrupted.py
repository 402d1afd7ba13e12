"""A command that is stopped from outside says what is left and how to go on: Ctrl-C, SIGTERM and SIGHUP alike."""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import NoReturn

from recsys.core.destination import FitPlaces

_SIGNALS = ("SIGTERM", "SIGHUP")


class StoppedError(KeyboardInterrupt):
    """A signal that asks the process to end; what tidies up after Ctrl-C does so after it.

    Attributes
    ----------
    signal : Signals
    """

    def __init__(self, number: int) -> None:
        self.signal = signal.Signals(number)
        super().__init__(self.signal.name)


def _stop(number: int, _: FrameType | None) -> NoReturn:
    raise StoppedError(number)


@contextmanager
def stoppable() -> Iterator[None]:
    """Within the block SIGTERM and SIGHUP raise :class:`StoppedError`; what is ignored (nohup) or handled stays so.

    A stop that comes while a file is closed may end in another error, such as a bad file descriptor: the stop that it began
    with is raised instead.
    """
    names = [name for name in _SIGNALS if hasattr(signal, name)]
    ours = [getattr(signal, name) for name in names if signal.getsignal(getattr(signal, name)) == signal.SIG_DFL]
    if threading.current_thread() is not threading.main_thread():
        ours = []
    for number in ours:
        signal.signal(number, _stop)
    try:
        yield
    except Exception as error:
        if (stopped := _stop_behind(error)) is not None:
            raise stopped from error
        raise
    finally:
        for number in ours:
            signal.signal(number, signal.SIG_DFL)


def _stop_behind(error: BaseException) -> KeyboardInterrupt | None:
    """The stop during whose handling an error was raised; None if there was none."""
    behind = error.__context__
    while behind is not None and not isinstance(behind, KeyboardInterrupt):
        behind = behind.__context__
    return behind


def tell(stopped: KeyboardInterrupt, arguments: Namespace) -> int:
    """Print one line on standard error.

    Returns
    -------
    int
        The exit code that shells know the signal by.
    """
    number = stopped.signal if isinstance(stopped, StoppedError) else signal.SIGINT
    how = f"ended by {number.name}" if isinstance(stopped, StoppedError) else "interrupted"
    with contextlib.suppress(OSError):  # after SIGHUP the terminal may be gone
        print(f"recsys: {how}; nothing half-written is left{what_is_left(arguments)}", file=sys.stderr, flush=True)
    return 128 + number


def what_is_left(arguments: Namespace) -> str:
    """How to go on with a command that was stopped; nothing if it must start over."""
    out, command = getattr(arguments, "out", None), arguments.command
    if out is None:
        return ""
    if command == "fit" and not (arguments.dry_run or arguments.find_rate):
        places = FitPlaces.of(out)
        if places.state.is_file():
            return (
                f", and the run's last checkpoint is in {places.checkpoint}: the same command with --resume goes on from it"
            )
        return "; there was no checkpoint yet (one is written after each epoch, or every --checkpoint-steps steps)"
    if command == "tune":
        storage = Path(arguments.storage or Path(out) / "study.db")
        if storage.is_file():
            return f", and the trials that came to an end are in {storage}: the same command goes on with the search"
    if command == "recommend":
        folder = Path(f"{out}.shards") if out.endswith(".parquet") else Path(out)
        if (folder / "_plan.json").is_file():
            return f", and the shards that are whole stay in {folder}: the same command goes on with the others"
    return ""
