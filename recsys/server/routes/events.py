"""``POST /v1/events``: what users did, and what they were shown; on disk before it is acknowledged."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from dataclasses import asdict

from fastapi import Request, Response

from recsys.errors import StoreUnavailableError
from recsys.server.events import Event, new_event_id
from recsys.server.limits import check_model
from recsys.server.routes.guarded import bytes_of, needs, router
from recsys.server.schemas import EventBody, EventsAnswer, EventsBody
from recsys.server.served import served_by
from recsys.server.store import LONGEST_COMMIT, UNSURE

routes = router("events")


@routes.post("/v1/events", response_model=EventsAnswer, openapi_extra=needs("events"))
async def append(body: EventsBody, request: Request) -> Response:
    """Store events; each is accepted, a duplicate of an earlier one of the same event_id, or refused with the reason.

    What is accepted is on disk, and in the next answer to that user.
    """
    served = served_by(request)
    check_model(body, served.settings.limits)
    now = int(time.time())
    events = [_event(one, now) for one in body.events]
    stored = asyncio.wrap_future(served.store.submit(events))
    try:
        receipts = await asyncio.wait_for(stored, LONGEST_COMMIT)
    except TimeoutError as error:
        raise StoreUnavailableError(UNSURE) from error
    served.metrics.events(events, receipts)
    counts = Counter(one.result for one in receipts)
    return bytes_of(
        {
            "accepted": counts["accepted"],
            "duplicates": counts["duplicate"],
            "refused": counts["refused"],
            "receipts": [asdict(one) for one in receipts],
            "request_id": request.state.request_id,
        }
    )


def _event(body: EventBody, now: int) -> Event:
    return Event(
        event_id=body.event_id or new_event_id(),
        user_id=str(body.user_id),
        item_id=str(body.item_id),
        timestamp=now if body.timestamp is None else body.timestamp,
        event=body.event,
        weight=body.weight,
        kind=body.kind,
        request_id=body.request_id,
    )
