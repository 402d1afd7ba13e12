"""``/healthz`` and ``/readyz``: the only routes that answer without a key."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from recsys.server.routes.guarded import bytes_of
from recsys.server.schemas import HealthAnswer
from recsys.server.served import served_by

routes = APIRouter(tags=["health"])


@routes.get("/healthz", response_model=HealthAnswer, responses={503: {"model": HealthAnswer}})
async def alive(request: Request) -> Response:
    """Tell whether the process can answer at all; if not, restart it."""
    lives = served_by(request).engine.alive
    return bytes_of({"status": "alive" if lives else "the thread of the model has ended"}, 200 if lives else 503)


@routes.get("/readyz", response_model=HealthAnswer, responses={503: {"model": HealthAnswer}})
async def ready(request: Request) -> Response:
    """Tell whether requests should be sent here: after the warm-up, until the server is stopped."""
    is_ready = served_by(request).engine.ready
    return bytes_of({"status": "ready" if is_ready else "not ready"}, 200 if is_ready else 503)
