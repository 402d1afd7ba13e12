"""A connection whose head is bounded: uvicorn's keeps any number of headers in memory, for any length of time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

_MOST_BYTES: Final = 65_536
"""Of a request line and headers; :func:`recsys.server.limits.check_target` is stricter, and says what is too long."""
_SECONDS: Final = 10.0
"""For a head to arrive."""
LEAVING: Final = "leaving"
"""Under which the state of a request has what is to be called when its client goes away."""
ARRIVED: Final = "arrived"
"""Under which the state of a request has the time of its first byte, by ``time.perf_counter``."""
CROWDED: Final = "crowded"
"""Under which the state of a request has how many connections there may be, if its own is one too many."""
WHOLE: Final = "whole"
"""Under which the state of a request has true once all of its body is there."""
_REFUSED: Final = b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"


class BoundedProtocol(HttpToolsProtocol):
    """Closes a connection whose request line and headers are too long, or do not come in time.

    It tells requests when their client goes away, so that none needs a task that waits for it.

    Attributes
    ----------
    most : int
        Open connections; :class:`recsys.server.gate.Gate` refuses the requests of further ones.
    """

    most = 4096

    _bytes = 0
    _in_head = True
    _clock: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._leaving = set[Callable[[], Any]]()
        self._crowded = len(self.connections) > self.most
        if len(self.connections) > 2 * self.most:
            transport.abort()
        self._clock = self.loop.call_later(_SECONDS, transport.close)

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_clock()
        super().connection_lost(exc)
        for leave in self._leaving.copy():
            leave()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._in_head:
            self._bytes += len(data)
            if self._bytes > _MOST_BYTES and not self.transport.is_closing():
                self.transport.write(_REFUSED)
                self.transport.close()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["state"].update({ARRIVED: time.perf_counter(), LEAVING: self._leaving})
        if self._crowded:
            self.scope["state"][CROWDED] = self.most
        self._in_head, self._bytes = True, 0
        if self._clock is None:
            self._clock = self.loop.call_later(_SECONDS, self.transport.close)

    def on_message_complete(self) -> None:
        self.scope["state"][WHOLE] = True
        super().on_message_complete()

    def on_headers_complete(self) -> None:
        self._in_head = False
        self._stop_clock()
        super().on_headers_complete()

    def _stop_clock(self) -> None:
        if self._clock is not None:
            self._clock.cancel()
            self._clock = None


def protocol_of(connections: int) -> type[BoundedProtocol]:
    """The protocol of a server that may have so many open connections."""
    return type("ServedProtocol", (BoundedProtocol,), {"most": connections})
