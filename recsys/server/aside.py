"""A thread that waits for a database, so that others need not wait longer than they want."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

Done = TypeVar("Done")


class Aside:
    """Does one thing after another; a thread that hangs keeps no process from ending.

    Examples
    --------
    >>> aside = Aside("example")
    >>> aside.run(lambda: 6 * 7).result(timeout=1.0)
    42
    >>> aside.close()
    """

    def __init__(self, name: str) -> None:
        self._jobs: queue.SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = queue.SimpleQueue()
        threading.Thread(target=self._run, name=name, daemon=True).start()

    def run(self, work: Callable[[], Done]) -> Future[Done]:
        """Do this after what was handed in before; a future that is cancelled before its turn is left out."""
        future: Future[Done] = Future()
        self._jobs.put((future, work))
        return future

    def close(self) -> None:
        """End the thread after what was handed in."""
        self._jobs.put(None)

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            future, work = job
            if not future.set_running_or_notify_cancel():
                continue
            try:
                result = work()
            except Exception as error:
                future.set_exception(error)
            else:
                future.set_result(result)
