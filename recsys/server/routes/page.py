"""``/``: the page; it holds nothing by itself, and asks with the key that is typed into it."""

from __future__ import annotations

import asyncio
from typing import Annotated

from fastapi import APIRouter, Path, Request, Response

from recsys.server.limits import check_model
from recsys.server.page.finding import facts, find_titles
from recsys.server.page.shell import ASSETS, HEADERS, asset, shell
from recsys.server.problems import Problem
from recsys.server.routes.guarded import bytes_of, needs, router
from recsys.server.schemas import TitlesBody
from recsys.server.served import Served, served_by

routes = APIRouter(include_in_schema=False)
guarded = router("page")
_K = 8


@routes.get("/")
async def page(request: Request) -> Response:
    """Answer the page."""
    access = _shown(request).settings.access
    return Response(shell(is_open=access.open), media_type="text/html", headers=HEADERS)


@routes.get("/page/{name}")
async def part(name: Annotated[str, Path(max_length=40)], request: Request) -> Response:
    """Answer a style or a script of the page."""
    _shown(request)
    if name not in ASSETS:
        raise _absent()
    content, media_type = asset(name)
    return Response(content, media_type=media_type, headers=HEADERS)


@guarded.post("/page/facts", openapi_extra=needs("read"), include_in_schema=False)
async def begin(request: Request) -> Response:
    """Tell what can be asked of the bundle; a few ids of users are for admins alone."""
    engine, role = _shown(request).engine, request.state.caller.role
    with engine.live.lease() as lease:
        found = await asyncio.to_thread(facts, lease.state, with_users=role == "admin")
    return bytes_of(found | {"role": role})


@guarded.post("/page/titles", openapi_extra=needs("read"), include_in_schema=False)
async def titles(body: TitlesBody, request: Request) -> Response:
    """Find items by a part of their title."""
    served = _shown(request)
    check_model(body, served.settings.limits)
    with served.engine.live.lease() as lease:
        found = await asyncio.to_thread(find_titles, lease.state, body.text, _K)
    return bytes_of({"items": [{"item_id": item, "title": title} for item, title in found]})


def _shown(request: Request) -> Served:
    """The server, if it has a page.

    Raises
    ------
    Problem
        404: its settings say that it has none.
    """
    served = served_by(request)
    if not served.settings.access.page:
        raise _absent()
    return served


def _absent() -> Problem:
    return Problem(
        404, "no-route", "The request cannot be answered", "there is no such route; /openapi.json lists the routes"
    )
