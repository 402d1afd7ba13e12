"""``GET /metrics``: what Prometheus reads."""

from __future__ import annotations

from typing import Any, Final

from fastapi import APIRouter, Request, Response

from recsys.server.metrics import CONTENT_TYPE
from recsys.server.routes.guarded import needs, router
from recsys.server.served import Served, served_by

_TEXT: Final = {"text/plain": {"schema": {"type": "string"}}}
_ANSWER: Final[dict[int | str, dict[str, Any]]] = {200: {"description": "Prometheus's text format.", "content": _TEXT}}


def routes(*, key: bool) -> APIRouter:
    """The route.

    Parameters
    ----------
    key : bool
        Whether a key with the role read is needed.
    """
    made = router("metrics") if key else APIRouter(tags=["metrics"])
    extra = needs("read") if key else None
    made.get("/metrics", response_class=Response, responses=_ANSWER, openapi_extra=extra)(metrics)
    return made


async def metrics(request: Request) -> Response:
    """Answer every measurement of this server."""
    served = served_by(request)
    look(served)
    return Response(served.metrics.text(), media_type=CONTENT_TYPE)


def look(served: Served) -> None:
    """Set what is not counted as it happens."""
    engine, store = served.engine, served.store
    active = engine.live.active
    served.metrics.now(
        ready=engine.ready,
        stale=store.stale,
        events_waiting=store.waiting,
        digest=active.digest,
        items=int(active.model.alive.sum()),
    )
    shadow = engine.shadow()
    served.metrics.shadow(float("nan") if shadow is None else shadow.overlap)
