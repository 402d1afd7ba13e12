"""``Client`` and ``AsyncClient``: the calls of :mod:`recsys.server.client.calls` over HTTP."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from copy import copy
from dataclasses import replace
from functools import wraps
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, Self, TypeVar

from recsys.server.client import calls
from recsys.server.client.calls import Call
from recsys.server.client.patience import Patience
from recsys.server.extras import require_client

if TYPE_CHECKING:
    import httpx2

Asked = ParamSpec("Asked")
Made = TypeVar("Made")


def _blocking(make: Callable[Asked, Call[Made]]) -> Callable[Concatenate[Client, Asked], Made]:
    """A method that sends a call and waits for the result."""

    @wraps(make)
    def method(self: Client, /, *given: Asked.args, **named: Asked.kwargs) -> Made:
        return self.send(make(*given, **named))

    return _signed(method, make)


def _awaited(make: Callable[Asked, Call[Made]]) -> Callable[Concatenate[AsyncClient, Asked], Awaitable[Made]]:
    """A method that sends a call and gives what can be awaited."""

    @wraps(make)
    async def method(self: AsyncClient, /, *given: Asked.args, **named: Asked.kwargs) -> Made:
        return await self.send(make(*given, **named))

    return _signed(method, make)


_Method = TypeVar("_Method", bound=Callable[..., Any])


def _signed(method: _Method, make: Callable[..., Any]) -> _Method:
    """For :func:`help`: the arguments of the call behind self."""
    plain = inspect.signature(make)
    me = inspect.Parameter("self", inspect.Parameter.POSITIONAL_ONLY)
    vars(method)["__signature__"] = plain.replace(parameters=[me, *plain.parameters.values()])
    return method


_Either = TypeVar("_Either", bound="Client | AsyncClient")


def _limited(client: _Either, seconds: float) -> _Either:
    made = copy(client)
    made._patience = replace(client._patience, within=seconds)
    return made


class Client:
    """Asks a recsys server, and waits for its answers; threads may share one.

    Whatever may be sent again without harm is sent again when the server cannot be reached, is overloaded (429) or cannot
    answer for the moment (503): after ``Retry-After`` and a little more, by chance, so that clients do not return together.
    Events count once however often they are sent, by their ``event_id``.

    Parameters
    ----------
    url : str
        Such as ``https://recommend.example``.
    key : str, optional
        As ``recsys keys create`` printed it; servers that were started with ``--open`` need none.
    timeout : float
        Seconds for one attempt to connect, and for the server to send something.
    retries : int
        Most further attempts.
    total_timeout : float
        Seconds after which no further attempt begins.
    transport : httpx2.BaseTransport, optional
        What carries the requests: certificates, proxies, or tests.

    Raises
    ------
    ConfigError
        The address is not one of HTTP, or a number is out of its range.

    Examples
    --------
    >>> with recsys.Client("http://127.0.0.1:9", retries=0) as client:
    ...     client.is_ready()
    False

    With a server that runs::

        client = recsys.Client("https://recommend.example", key="rk_...")
        answer = client.recommend("u1", k=10, where="price < 20")
        answer.to_frame()                                     # item_id, score, rank
        client.send_event(user_id="u1", item_id="i9", event="view")
        client.recommend("u1")                                # reads the event
    """

    def __init__(
        self, url: str, key: str | None = None, *, timeout: float = 5.0, retries: int = 3, total_timeout: float = 30.0,
        transport: httpx2.BaseTransport | None = None,
    ) -> None:  # fmt: skip
        require_client()
        from recsys.server.client.wire import Wire  # noqa: PLC0415 - needs the extra client

        self._patience = Patience(timeout, retries, total_timeout)
        self._wire = Wire(url, key, timeout, transport)

    def __repr__(self) -> str:
        return f"Client({self._wire.url!r})"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *ended: object) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections."""
        self._wire.close()

    def send(self, call: Call[Made]) -> Made:
        """Send a call until there is a result; the other methods make the calls."""
        return self._wire.send(call, self._patience)

    def is_ready(self) -> bool:
        """Whether the server can be reached and takes requests; asked once, without a key."""
        return self._wire.is_ready()

    def within(self, seconds: float) -> Self:
        """The same client, over the same connections, whose calls end after so many seconds, all attempts together.

        The server is told how many are left, and drops questions (recommend, similar, search, explain, score) that it
        cannot answer in time; they raise DeadlineError, or OverloadedError where the server knows at once.

        Parameters
        ----------
        seconds : float

        Raises
        ------
        ConfigError
            They are not from 0.001 to 600.
        """
        return _limited(self, seconds)

    recommend = _blocking(calls.recommend)
    recommend_batch = _blocking(calls.recommend_batch)
    similar = _blocking(calls.similar)
    search = _blocking(calls.search)
    explain = _blocking(calls.explain)
    score = _blocking(calls.score)
    send_events = _blocking(calls.send_events)
    send_event = _blocking(calls.send_event)
    user = _blocking(calls.user)
    forget = _blocking(calls.forget)
    put_item = _blocking(calls.put_item)
    patch_item = _blocking(calls.patch_item)
    delete_item = _blocking(calls.delete_item)
    bundles = _blocking(calls.bundles)
    load_bundle = _blocking(calls.load_bundle)
    activate = _blocking(calls.activate)
    roll_back = _blocking(calls.roll_back)
    unload = _blocking(calls.unload)
    shadow = _blocking(calls.shadow)
    start_shadow = _blocking(calls.start_shadow)
    stop_shadow = _blocking(calls.stop_shadow)


class AsyncClient:
    """The same for programs with an event loop: each method of :class:`Client`, to be awaited.

    Parameters
    ----------
    url, key, timeout, retries, total_timeout, transport
        As of :class:`Client`; the transport is an ``httpx2.AsyncBaseTransport``.

    Examples
    --------
    >>> import asyncio
    >>> async def ask() -> bool:
    ...     async with recsys.AsyncClient("http://127.0.0.1:9", retries=0) as client:
    ...         return await client.is_ready()
    >>> asyncio.run(ask())
    False
    """

    def __init__(
        self, url: str, key: str | None = None, *, timeout: float = 5.0, retries: int = 3, total_timeout: float = 30.0,
        transport: httpx2.AsyncBaseTransport | None = None,
    ) -> None:  # fmt: skip
        require_client()
        from recsys.server.client.wire import AsyncWire  # noqa: PLC0415 - needs the extra client

        self._patience = Patience(timeout, retries, total_timeout)
        self._wire = AsyncWire(url, key, timeout, transport)

    def __repr__(self) -> str:
        return f"AsyncClient({self._wire.url!r})"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *ended: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close all connections."""
        await self._wire.close()

    async def send(self, call: Call[Made]) -> Made:
        """Send a call until there is a result; the other methods make the calls."""
        return await self._wire.send(call, self._patience)

    async def is_ready(self) -> bool:
        """Whether the server can be reached and takes requests; asked once, without a key."""
        return await self._wire.is_ready()

    def within(self, seconds: float) -> Self:
        """The same client with a time limit, as :meth:`Client.within`; this is not awaited, its calls are."""
        return _limited(self, seconds)

    recommend = _awaited(calls.recommend)
    recommend_batch = _awaited(calls.recommend_batch)
    similar = _awaited(calls.similar)
    search = _awaited(calls.search)
    explain = _awaited(calls.explain)
    score = _awaited(calls.score)
    send_events = _awaited(calls.send_events)
    send_event = _awaited(calls.send_event)
    user = _awaited(calls.user)
    forget = _awaited(calls.forget)
    put_item = _awaited(calls.put_item)
    patch_item = _awaited(calls.patch_item)
    delete_item = _awaited(calls.delete_item)
    bundles = _awaited(calls.bundles)
    load_bundle = _awaited(calls.load_bundle)
    activate = _awaited(calls.activate)
    roll_back = _awaited(calls.roll_back)
    unload = _awaited(calls.unload)
    shadow = _awaited(calls.shadow)
    start_shadow = _awaited(calls.start_shadow)
    stop_shadow = _awaited(calls.stop_shadow)
