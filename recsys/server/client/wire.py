"""Calls over HTTP, with connections that are kept."""

from __future__ import annotations

import asyncio
import time
from typing import Final, TypeVar
from urllib.parse import urlsplit

import httpx2

from recsys.core.version import __version__
from recsys.errors import ConfigError
from recsys.server.client.calls import Call
from recsys.server.client.patience import Patience
from recsys.server.client.sending import Attempts, Failure

Made = TypeVar("Made")
_READY: Final = "/readyz"
_CONNECTIONS: Final = httpx2.Limits(max_connections=100, max_keepalive_connections=20, keepalive_expiry=5.0)
"""An idle connection is closed here before the server (after ``keep_alive_seconds``) or a proxy closes it."""


class Wire:
    """Sends calls and waits; threads may share one.

    Parameters
    ----------
    url : str
    key : str, optional
    timeout : float
        As of :class:`Patience`, of what is asked beside calls.
    transport : httpx2.BaseTransport, optional

    Raises
    ------
    ConfigError
        The address or the key cannot be.
    """

    def __init__(self, url: str, key: str | None, timeout: float, transport: httpx2.BaseTransport | None) -> None:
        self.url, self._timeout = _checked(url), timeout
        self._http = httpx2.Client(base_url=self.url, headers=_headers(key), limits=_CONNECTIONS, transport=transport)

    def send(self, call: Call[Made], patience: Patience) -> Made:
        """Send a call until there is a result, or no further attempt."""
        attempts = Attempts(call, patience)
        while True:
            try:
                response = self._http.send(attempts.request(self._http))
            except httpx2.RequestError as error:
                result: Made | Failure = attempts.unreached(error, self.url)
            else:
                result = attempts.result(response)
            if not isinstance(result, Failure):
                return result
            time.sleep(attempts.pause(result))

    def is_ready(self) -> bool:
        """Whether the server can be reached and takes requests."""
        try:
            return self._http.get(_READY, timeout=self._timeout).is_success
        except httpx2.RequestError:
            return False

    def close(self) -> None:
        """Close all connections."""
        self._http.close()


class AsyncWire:
    """The same with an event loop; takes and raises what :class:`Wire` does."""

    def __init__(self, url: str, key: str | None, timeout: float, transport: httpx2.AsyncBaseTransport | None) -> None:
        self.url, self._timeout = _checked(url), timeout
        self._http = httpx2.AsyncClient(base_url=self.url, headers=_headers(key), limits=_CONNECTIONS, transport=transport)

    async def send(self, call: Call[Made], patience: Patience) -> Made:
        """Send a call until there is a result, or no further attempt."""
        attempts = Attempts(call, patience)
        while True:
            try:
                response = await self._http.send(attempts.request(self._http))
            except httpx2.RequestError as error:
                result: Made | Failure = attempts.unreached(error, self.url)
            else:
                result = attempts.result(response)
            if not isinstance(result, Failure):
                return result
            await asyncio.sleep(attempts.pause(result))

    async def is_ready(self) -> bool:
        """Whether the server can be reached and takes requests."""
        try:
            return (await self._http.get(_READY, timeout=self._timeout)).is_success
        except httpx2.RequestError:
            return False

    async def close(self) -> None:
        """Close all connections."""
        await self._http.aclose()


def _checked(url: str) -> str:
    try:
        parts = urlsplit(url)
        good = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        good = False
    if not good or parts.query or parts.username is not None:
        raise ConfigError("url must be the address of a server, such as https://recommend.example, without user and query")
    return url.rstrip("/")


def _headers(key: str | None) -> dict[str, str]:
    if key is not None and not (key.isascii() and key.isprintable() and key.strip() == key and key):
        raise ConfigError("key must be as recsys keys create printed it, rk_..., without spaces or line breaks")
    return {"user-agent": f"recsys/{__version__}"} | ({} if key is None else {"authorization": f"Bearer {key}"})
