"""``PUT``, ``PATCH`` and ``DELETE /v1/items/{item_id}``: the living corpus."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any, TypeAlias

from fastapi import Body, Path, Request, Response

from recsys.server.item_changes import Change
from recsys.server.routes import id_path  # noqa: F401 - how ids are read from paths
from recsys.server.routes.guarded import bytes_of, needs, recorded, router
from recsys.server.schemas import LONGEST_ID, Columns, ItemAnswer
from recsys.server.served import served_by

routes = router("items")
ItemId: TypeAlias = Annotated[str, Path(min_length=1, max_length=LONGEST_ID, pattern=r"^[^\x00]*$")]


@routes.put("/v1/items/{item_id:id}", response_model=ItemAnswer, openapi_extra=needs("items"))
async def put(item_id: ItemId, body: Annotated[Columns, Body()], request: Request) -> Response:
    """Add an item, or replace all that is known of it."""
    return await _changed(request, item_id, "put", body)


@routes.patch("/v1/items/{item_id:id}", response_model=ItemAnswer, openapi_extra=needs("items"))
async def patch(item_id: ItemId, body: Annotated[Columns, Body()], request: Request) -> Response:
    """Replace some of what is known of an item."""
    return await _changed(request, item_id, "patch", body)


@routes.delete("/v1/items/{item_id:id}", response_model=ItemAnswer, openapi_extra=needs("items"))
async def delete(item_id: ItemId, request: Request) -> Response:
    """Remove an item: no answer has it from now on. Histories keep it, and the model still reads them."""
    return await _changed(request, item_id, "delete", {})


async def _changed(request: Request, item_id: str, change: Change, columns: dict[str, Any]) -> Response:
    await recorded(request, "item", change=change)
    found = await asyncio.to_thread(served_by(request).engine.change_item, item_id, change, columns)
    return bytes_of(
        {
            "item_id": found.item_id,
            "change": found.change,
            "columns": dict(found.columns),
            "request_id": request.state.request_id,
        }
    )
