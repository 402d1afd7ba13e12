"""How a route is reached: the key first, then the body within limits, then the route; answers are bytes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from json import JSONDecodeError
from typing import Any, Final, TypeAlias, TypeVar, get_type_hints

import orjson
from fastapi import APIRouter, Request, Response
from fastapi.routing import APIRoute
from pydantic import BaseModel, ValidationError
from starlette.requests import ClientDisconnect

from recsys.errors import DeadlineError
from recsys.server.access import check_role
from recsys.server.keys import Role
from recsys.server.limits import LimitedRequest
from recsys.server.logs import log
from recsys.server.problems import Problem
from recsys.server.protocol import LEAVING
from recsys.server.schemas import ProblemAnswer
from recsys.server.served import served_by
from recsys.server.stages import stage
from recsys.server.time_limit import PARAMETER, own_seconds

Found = TypeVar("Found")
Handler: TypeAlias = Callable[[Request], Coroutine[Any, Any, Response]]
CALLER: Final = "caller"
"""Under which the state of a request has who asks."""
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
_FIRST: Final = asyncio.FIRST_COMPLETED


class GuardedRoute(APIRoute):
    """A route with a role: without a key of that role, nothing of the body is read.

    Raises
    ------
    ConfigError
        It was declared without a role (:func:`needs`).
    """

    def get_route_handler(self) -> Handler:
        """The framework's handler behind access and limits."""
        handle, self._role = super().get_route_handler(), _role_of(self.openapi_extra)

        async def guarded(request: Request) -> Response:
            return await handle(await self.admitted(request))

        return guarded

    async def admitted(self, request: Request) -> LimitedRequest:
        """The request within limits, if whoever asks may.

        Raises
        ------
        Problem
            401, 403 or 429.
        """
        served, role = served_by(request), self._role
        state = request.scope["state"]
        if CALLER not in state:  # else it comes from the shortcut
            with stage("auth"):
                state[CALLER] = await served.access.admit(request)
        caller = state[CALLER]
        if caller.role not in (role, "admin"):
            await recorded(request, self.path_format, allowed=False)
            detail = f"this needs a key of the role {role}, not {caller.role}"
            raise Problem(403, "role", "The key has another role", detail)
        return LimitedRequest.of(request, served.settings.limits, served.settings.listen.body_seconds)


class HotRoute(GuardedRoute):
    """A route whose function takes a body and the request alone; :class:`recsys.server.shortcut.Shortcut` calls it."""

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        super().__init__(path, endpoint, **options)
        self._model: type[BaseModel] = get_type_hints(endpoint)["body"]

    async def hot(self, request: LimitedRequest) -> Response | None:
        """The answer; None for a body that is not valid.

        Raises
        ------
        OverloadedError
            There is too much to do, so that the body was not even read.
        """
        served_by(request).engine.check(seconds_left(request))
        try:
            body = self._model.model_validate(await request.json())
        except (ValidationError, JSONDecodeError):
            return None
        answer: Response = await self.endpoint(body, request)
        return answer


def router(tag: str, route: type[GuardedRoute] = GuardedRoute) -> APIRouter:
    """A router of guarded routes."""
    return APIRouter(route_class=route, tags=[tag], responses=PROBLEMS)


def needs(role: Role) -> dict[str, Any]:
    """What a route says of itself (``openapi_extra``): the role that a key must have."""
    return {"security": [{SCHEME: [role]}]}


def asks_model(role: Role) -> dict[str, Any]:
    """What a route that asks the model says of itself: the role, and that a request may bring a time limit."""
    return needs(role) | {"parameters": [PARAMETER]}


def _role_of(extra: dict[str, Any] | None) -> Role:
    (one,) = (extra or {}).get("security", [{SCHEME: ["none"]}])
    return check_role(one[SCHEME][0])


async def recorded(request: Request, action: str, *, allowed: bool = True, **facts: str | int | bool | None) -> None:
    """Write who does what to the audit log, before it is done; a denied request is written too.

    Raises
    ------
    StoreUnavailableError
        The file of the audit log cannot be written, so that nothing should be done.
    """
    audit, caller = served_by(request).audit, request.state.caller
    who = {"key_id": caller.key_id, "role": caller.role, "request_id": request.state.request_id}
    if audit is None:
        log().info("audit", action=action, allowed=allowed, key_id=caller.key_id, role=caller.role, **facts)
    else:
        await asyncio.to_thread(audit.write, action, allowed=allowed, facts=facts, durable=allowed, **who)


def bytes_of(content: Any, status: int = 200) -> Response:
    """An answer in JSON; values that are not numbers become null."""
    with stage("encode"):
        return Response(orjson.dumps(content), status, media_type="application/json")


def seconds_left(request: Request) -> float:
    """Until the deadline, which begins with the request: the server's, or an earlier one that the request brings.

    Raises
    ------
    Problem
        It brings one that cannot be.
    """
    own, longest = own_seconds(request.scope), served_by(request).engine.deadline
    passed: float = time.perf_counter() - request.state.started
    return (longest if own is None else min(own, longest)) - passed


async def outcome(request: Request, future: Future[Found]) -> Found:
    """Wait for the engine; if the client goes away, or its own time limit is over, the work is cancelled.

    Raises
    ------
    ClientDisconnect
        It went away.
    DeadlineError
        The limit that the request brought is over. Without one, work that has begun is answered even if it comes late.
    Exception
        Whatever the work raised.
    """
    engine, leaving = served_by(request).engine, request.scope["state"].get(LEAVING)
    waiting = asyncio.wrap_future(future) if engine.turns is None else engine.turns.awaited(future)
    seconds = None if own_seconds(request.scope) is None else max(0.0, seconds_left(request))
    gone = None if leaving is not None else asyncio.ensure_future(request.receive())

    def leave() -> None:
        if not waiting.done():
            waiting.set_exception(ClientDisconnect())

    try:
        if leaving is not None:  # whoever closes the connection calls what is in it
            leaving.add(leave)
        if seconds is None and gone is None:
            return await waiting
        both: list[asyncio.Future[Any]] = [waiting] if gone is None else [waiting, gone]
        await asyncio.wait(both, timeout=seconds, return_when=_FIRST)
        if gone is not None and gone.done() and not waiting.done():
            raise ClientDisconnect
        if not waiting.done():
            engine.expire()  # if it still waits, it hears so
        if not (waiting.done() or future.done()):
            raise DeadlineError("the request was being computed when its time limit was over; ask again, or allow it more")
        return await waiting
    finally:
        if leaving is not None:
            leaving.discard(leave)
        if gone is not None:
            gone.cancel()
        if not waiting.done():
            waiting.cancel()
        future.cancel()
