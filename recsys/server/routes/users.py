"""``GET`` and ``DELETE /v1/users/{user_id}``: what is known of a user, and how to forget it."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from typing import Annotated, TypeAlias

from fastapi import Path, Query, Request, Response

from recsys.errors import UnknownIdError
from recsys.server.routes import id_path  # noqa: F401 - how ids are read from paths
from recsys.server.routes.guarded import bytes_of, needs, recorded, router
from recsys.server.schemas import LONGEST_ID, ForgottenAnswer, UserAnswer
from recsys.server.served import served_by

routes = router("users")
UserId: TypeAlias = Annotated[str, Path(min_length=1, max_length=LONGEST_ID, pattern=r"^[^\x00]*$")]


@routes.get("/v1/users/{user_id:id}", response_model=UserAnswer, openapi_extra=needs("read"))
async def history(
    user_id: UserId,
    request: Request,
    last: Annotated[int, Query(ge=1, le=10_000, description="How many events to show.")] = 100,
) -> Response:
    """Tell what is known of a user: the history of the bundle and the events that followed, oldest first."""
    events = await asyncio.to_thread(served_by(request).engine.history, user_id)
    if not events:
        raise UnknownIdError("nothing is known of this user: neither the bundle nor the store has an event")
    shown = [asdict(one) for one in events[-last:]]
    return bytes_of({"user_id": user_id, "history": shown, "length": len(events), "request_id": request.state.request_id})


@routes.delete("/v1/users/{user_id:id}", response_model=ForgottenAnswer, openapi_extra=needs("admin"))
async def forget(user_id: UserId, request: Request) -> Response:
    """Forget a user: their events are removed from the store, and what the bundle holds counts no longer.

    The answer is a receipt. Somebody unknown is forgotten too, so that a repetition does no harm.
    """
    served = served_by(request)
    person = await asyncio.to_thread(served.store.pseudonym, user_id)
    await recorded(request, "forget", person=person)
    found = await asyncio.to_thread(served.engine.forget, user_id)
    await recorded(
        request, "forgotten", person=person, receipt=found.receipt, interactions=found.interactions,
        impressions=found.impressions,
    )  # fmt: skip
    return bytes_of({**found.to_dict(), "request_id": request.state.request_id})
