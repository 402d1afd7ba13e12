"""The event loop and the thread of the model take turns: Python lets only one of them work at a time.

Left to themselves they would tear the interpreter from each other after every operation of the model, and a batch would
begin with the first request of many that have come together.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from concurrent.futures import Future
from typing import Any, Final, Protocol, TypeVar

Found = TypeVar("Found")
_TURN: Final = 0.02
"""Seconds that the event loop lets the model work undisturbed, at most: so long a new connection may wait."""
_GATHER: Final = 0.01
"""Seconds after the first request in which the model begins, also if each look at the connections still brings more."""


class Turned(Protocol):
    """What takes turns with the event loop; see :class:`recsys.server.model_queue.ModelQueue`."""

    def wake(self) -> None:
        """Begin with what waits."""

    def rest(self, seconds: float) -> None:
        """Wait until what has begun is done, at most so long."""


class Turns:
    """The event loop's side: one wake for all requests that it has read, one message for all that were answered.

    Parameters
    ----------
    loop : event loop
    model : Turned
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, model: Turned) -> None:
        self._loop, self._model, self._thread = loop, model, threading.get_ident()
        self._done: deque[tuple[asyncio.Future[Any], Future[Any]]] = deque()
        self._begins = self._more = self._rests = self._told = False
        self._until = 0.0

    def soon(self) -> None:
        """Let the model begin once the loop has read what has come."""
        if threading.get_ident() != self._thread:
            self._model.wake()
        elif self._begins:
            self._more = True
        else:
            self._begins = self._more = True
            self._until = time.monotonic() + _GATHER
            self._loop.call_soon(self._begin)

    def awaited(self, future: Future[Found]) -> asyncio.Future[Found]:
        """The same future for the event loop that asks, which alone may cancel it."""
        if asyncio.get_running_loop() is not self._loop:
            return asyncio.wrap_future(future)
        waiting: asyncio.Future[Found] = self._loop.create_future()
        future.add_done_callback(lambda done: self._add(waiting, done))
        return waiting

    def _add(self, waiting: asyncio.Future[Any], future: Future[Any]) -> None:
        self._done.append((waiting, future))
        if self._rests or self._told:  # the loop looks anyway
            return
        self._told = True
        self._loop.call_soon_threadsafe(self._deliver)

    def _begin(self) -> None:
        if self._more and time.monotonic() < self._until:
            self._more = False
            self._loop.call_soon(self._begin)  # after one more look at the connections
            return
        self._begins, self._rests = False, True
        try:
            self._model.wake()
            self._model.rest(_TURN)
        finally:
            self._rests = False
        self._deliver()

    def _deliver(self) -> None:
        self._told = False
        while self._done:
            waiting, future = self._done.popleft()
            if waiting.done():
                continue
            if future.cancelled():
                waiting.cancel()
            elif (error := future.exception()) is not None:
                waiting.set_exception(error)
            else:
                waiting.set_result(future.result())
