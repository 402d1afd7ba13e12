"""What surrounds every request: its id, how many there may be, its line in the log, and an answer whatever happens."""

from __future__ import annotations

import random
import re
import time
from typing import Final

import structlog
from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from recsys.server.limits import check_target
from recsys.server.logs import frames_of, log
from recsys.server.metrics import Metrics
from recsys.server.problems import PROBLEM, Problem, problem_of
from recsys.server.protocol import ARRIVED, CROWDED
from recsys.server.stages import listening
from recsys.server.traces import answered, request_span

REQUEST_ID: Final = "x-request-id"
_ID_HEADER: Final = REQUEST_ID.encode()
_NO_SNIFFING: Final = (b"x-content-type-options", b"nosniff")
_NO_STORE: Final = (b"cache-control", b"no-store")
_GOOD_ID: Final = re.compile(r"[A-Za-z0-9._:-]{1,64}")
_HEALTH: Final = frozenset({"/healthz", "/readyz"})
_IDS: Final = random.Random()  # noqa: S311 - names for requests; the system's own source would let go of the interpreter
_GONE: Final = 499
"""The status of a request whose client went away, which nobody reads."""
UNMATCHED: Final = "unmatched"


class Gate:
    """The outermost layer of the server.

    Parameters
    ----------
    app : ASGI application
    in_flight : int
        Requests at once; more get 429. Health answers all the same.
    metrics : Metrics
    logs : bool
        Whether each request is worth a line.
    """

    def __init__(self, app: ASGIApp, in_flight: int, metrics: Metrics, logs: bool = True) -> None:
        self.app, self._most, self._metrics, self._logs, self._now = app, in_flight, metrics, logs, 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        state, given = scope.setdefault("state", {}), Headers(scope=scope)
        started = state.get(ARRIVED) or time.perf_counter()
        request_id = given.get(REQUEST_ID, "")
        if not _GOOD_ID.fullmatch(request_id):
            request_id = f"{_IDS.getrandbits(128):032x}"
        state.update(request_id=request_id, started=started)
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(request_id=request_id)
        status, own = 0, [(_ID_HEADER, request_id.encode()), _NO_SNIFFING]

        async def named(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = [*message["headers"], *own]
                if all(name != b"cache-control" for name, _ in headers):
                    headers.append(_NO_STORE)
                message["headers"] = headers
            await send(message)

        self._now += 1
        try:
            check_target(scope)
            if (connections := state.get(CROWDED)) and scope["path"] not in _HEALTH:
                detail = f"{connections:,} connections are open; close some, or ask another server"
                closed = {"connection": "close"}
                raise Problem(503, "crowded", "There are too many connections", detail, retry_after=1, headers=closed)
            if self._now > self._most and scope["path"] not in _HEALTH:
                detail = f"{self._most:,} requests are in flight; send it again later"
                raise Problem(429, "overloaded", "The server has too much to do", detail, retry_after=1)
            with listening(self._metrics.stage) as traced:
                if not traced:
                    await self.app(scope, receive, named)
                else:
                    with request_span(scope["method"], given) as span:
                        try:
                            await self.app(scope, receive, named)
                        finally:
                            answered(span, scope["method"], route_of(scope), status or 500)
        except ClientDisconnect:
            status = _GONE
        except Exception as error:  # the last place where a request can get an answer
            problem = problem_of(error)
            scope["state"][PROBLEM] = problem.kind
            if problem.status_code == 500:
                log().error("failed", error=type(error).__name__, frames=frames_of(error), route=route_of(scope))
            if status == 0:
                await problem.response(request_id)(scope, receive, named)
        finally:
            self._now -= 1
            seconds, route = time.perf_counter() - started, route_of(scope)
            self._metrics.request(route, status, seconds, scope["state"].get(PROBLEM))
            caller = scope["state"].get("caller")
            if self._logs:
                who = {} if caller is None else {"key_id": caller.key_id}
                took = round(seconds * 1e3, 2)
                log().info("request", method=scope["method"], route=route, status=status, milliseconds=took, **who)


def route_of(scope: Scope) -> str:
    """The route's own path, such as ``/v1/users/{user_id}``: the request's path names users."""
    route = scope.get("route")
    return UNMATCHED if route is None else str(route.path_format)
