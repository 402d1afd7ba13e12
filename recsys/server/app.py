"""The application: routes, what surrounds them, and the OpenAPI schema."""

from __future__ import annotations

from fastapi import FastAPI
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware

from recsys.core.version import __version__
from recsys.server import problems
from recsys.server.gate import Gate
from recsys.server.routes import admin, events, health, items, look_up, metrics, page, recommend, schema, users
from recsys.server.served import Served
from recsys.server.shortcut import Shortcut
from recsys.server.time_limit import HEADER


def create_app(served: Served) -> FastAPI:
    """The application of a running server.

    Parameters
    ----------
    served : Served
    """
    settings = served.settings
    around = [Middleware(Gate, settings.limits.in_flight, served.metrics, settings.logs.log_level in ("debug", "info"))]
    if settings.access.cors_origins:
        around.append(Middleware(CORSMiddleware, allow_origins=settings.access.cors_origins, allow_methods=["GET", "POST"],
                                 allow_headers=["authorization", "content-type", HEADER],
                                 expose_headers=["x-request-id", "retry-after"]))  # fmt: skip
    around.append(Middleware(Shortcut, recommend.routes.routes))
    app = FastAPI(
        title="recsys",
        version=__version__,
        description="Ranked items from a bundle and from the events that followed it.",
        openapi_url=None,  # routes.schema answers it, to those who have a key
        redirect_slashes=False,
        telemetry={"tracing": False, "metrics": False, "logs": False, "auto_configure": False},  # its spans have paths: ids
        middleware=around,
    )
    app.state.served = served
    problems.install(app)
    for one in (recommend, look_up, events, users, items, admin, health, schema):
        app.include_router(one.routes)
    app.include_router(metrics.routes(key=settings.watching.metrics_key))
    app.include_router(page.guarded)
    app.include_router(page.routes)
    return app
