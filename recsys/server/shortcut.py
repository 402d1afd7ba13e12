"""The short way to hot routes, past what the framework does for routes in general; everything else goes its way."""

from __future__ import annotations

from collections.abc import Sequence

from fastapi import Request
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from recsys.server.routes.guarded import HotRoute


class Shortcut:
    """Answers the hot routes; a body that is not valid goes on to the framework, which says why.

    Parameters
    ----------
    app : ASGI application
    routes : sequence of routes
        The hot ones among them are answered, by POST.
    """

    def __init__(self, app: ASGIApp, routes: Sequence[BaseRoute]) -> None:
        self.app = app
        self._hot = {one.path: one for one in routes if isinstance(one, HotRoute)}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        route = self._hot.get(scope["path"]) if scope["type"] == "http" and scope["method"] == "POST" else None
        if route is None:
            await self.app(scope, receive, send)
            return
        scope["route"] = route
        request = await route.admitted(Request(scope, receive, send))
        response = await route.hot(request)
        if response is not None:
            await response(scope, receive, send)
            return
        unread = [await request.body()]

        async def once_more() -> Message:
            if unread:
                return {"type": "http.request", "body": unread.pop(), "more_body": False}
            return await receive()

        await self.app(scope, once_more, send)
