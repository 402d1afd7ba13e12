"""How a route is reached: the key first, then the body within limits, then the route; answers are bytes."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import Future
from typing import Any, Final, TypeVar

import orjson
from fastapi import APIRouter, Request, Response
from fastapi.routing import APIRoute
from starlette.requests import ClientDisconnect

from recsys.server.access import check_role
from recsys.server.keys import Role
from recsys.server.limits import LimitedRequest
from recsys.server.schemas import ProblemAnswer
from recsys.server.served import served_by

Found = TypeVar("Found")
SCHEME: Final = "key"
"""The security scheme's name in the OpenAPI schema."""
_PROBLEM: Final = f"#/components/schemas/{ProblemAnswer.__name__}"
PROBLEMS: Final[dict[int | str, dict[str, Any]]] = {
    status: {"description": words, "content": {"application/problem+json": {"schema": {"$ref": _PROBLEM}}}}
    for status, words in {
        400: "The body cannot be read.",
        401: "There is no key, or not a good one.",
        403: "The key has another role.",
        404: "There is no such user or item.",
        409: "This bundle cannot answer that.",
        408: "The body came too slowly.",
        413: "The request is too large.",
        414: "Path and query are too long.",
        415: "The body is not JSON.",
        422: "A field is not valid; the answer names it.",
        431: "The headers are too long.",
        429: "Too much to do, or the key's rate is spent; Retry-After says when to come again.",
        503: "The database does not answer, or the answer would come too late; Retry-After says when to come again.",
    }.items()
}
"""What every route may answer beside its own."""


class GuardedRoute(APIRoute):
    """A route with a role: without a key of that role, nothing of the body is read.

    Raises
    ------
    ConfigError
        It was declared without a role (:func:`needs`).
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The framework's handler behind access and limits."""
        handle, role = super().get_route_handler(), _role_of(self.openapi_extra)

        async def guarded(request: Request) -> Response:
            served = served_by(request)
            request.state.caller = await served.access.admit(request, role)
            return await handle(LimitedRequest.of(request, served.settings.limits, served.settings.listen.body_seconds))

        return guarded


def router(tag: str) -> APIRouter:
    """A router of guarded routes."""
    return APIRouter(route_class=GuardedRoute, tags=[tag], responses=PROBLEMS)


def needs(role: Role) -> dict[str, Any]:
    """What a route says of itself (``openapi_extra``): the role that a key must have."""
    return {"security": [{SCHEME: [role]}]}


def _role_of(extra: dict[str, Any] | None) -> Role:
    (one,) = (extra or {}).get("security", [{SCHEME: ["none"]}])
    return check_role(one[SCHEME][0])


def bytes_of(content: Any, status: int = 200) -> Response:
    """An answer in JSON; values that are not numbers become null."""
    return Response(orjson.dumps(content), status, media_type="application/json")


async def outcome(request: Request, future: Future[Found]) -> Found:
    """Wait for the engine; if the client goes away, the work is cancelled.

    Raises
    ------
    ClientDisconnect
        It went away.
    Exception
        Whatever the work raised.
    """
    waiting, gone = asyncio.wrap_future(future), asyncio.ensure_future(request.receive())
    try:
        await asyncio.wait((waiting, gone), return_when=asyncio.FIRST_COMPLETED)
        if not waiting.done():
            raise ClientDisconnect
        return await waiting
    finally:
        gone.cancel()
        if not waiting.done():
            waiting.cancel()


def all_of(futures: Sequence[Future[Found]]) -> Future[None]:
    """Done once all are, however they ended; if it is cancelled, so are they."""
    done, left, lock = Future[None](), len(futures), threading.Lock()

    def one_less(_: Future[Found]) -> None:
        nonlocal left
        with lock:
            left -= 1
            if left == 0 and done.set_running_or_notify_cancel():
                done.set_result(None)

    def cancelled(whole: Future[None]) -> None:
        if whole.cancelled():
            for future in futures:
                future.cancel()

    done.add_done_callback(cancelled)
    for future in futures:
        future.add_done_callback(one_less)
    return done
