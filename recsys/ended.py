"""Signals that ask a command to end: as Ctrl-C does, with a word on what is left and how to go on."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

_AGAIN = {
    "fit": "add --resume to go on from the last checkpoint, if there is one",
    "recommend": "the same command goes on with the shards that are missing, where --out is a folder",
    "tune": "the same command goes on with the study",
}


class Ended(KeyboardInterrupt):
    """The process was asked to end by a signal."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


@contextmanager
def listening() -> Iterator[None]:
    """Let SIGTERM and SIGHUP raise :class:`Ended` in the block; one that is ignored (nohup) stays so."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(number: int, frame: FrameType | None) -> NoReturn:
        raise Ended(number)

    before = {}
    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is signal.SIG_DFL:
            before[number] = signal.signal(number, end)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def farewell(command: str, reason: KeyboardInterrupt) -> tuple[str, int]:
    """What to say of an interrupted command, and its exit code (128 and the signal's number)."""
    number = reason.number if isinstance(reason, Ended) else signal.SIGINT
    how = f"ended by {reason}" if isinstance(reason, Ended) else "interrupted"
    again = f"; {_AGAIN[command]}" if command in _AGAIN else ""
    return f"{how}; nothing half-written is left{again}", 128 + int(number)
