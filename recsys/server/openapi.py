"""The OpenAPI schema, with the limits that this server was given."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from recsys.server.limits import documented
from recsys.server.routes.guarded import SCHEME
from recsys.server.settings import Settings


def openapi_of(app: FastAPI, settings: Settings) -> dict[str, Any]:
    """The schema of an application, made once; of an open one, without keys."""
    if app.openapi_schema is None:
        plain = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
        if settings.access.open:
            for operation in (one for methods in plain["paths"].values() for one in methods.values()):
                operation.pop("security", None)
        else:
            scheme = {"type": "http", "scheme": "bearer", "description": "recsys keys create --role ROLE"}
            plain.setdefault("components", {})["securitySchemes"] = {SCHEME: scheme}
        app.openapi_schema = documented(plain, settings.limits)
    return app.openapi_schema
