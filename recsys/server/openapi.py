"""The OpenAPI schema, with the limits that this server was given."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from recsys.server.limits import documented
from recsys.server.routes.guarded import SCHEME
from recsys.server.settings import Limits


def openapi_of(app: FastAPI, limits: Limits) -> dict[str, Any]:
    """The schema of an application, made once."""
    if app.openapi_schema is None:
        plain = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
        schemes = plain.setdefault("components", {}).setdefault("securitySchemes", {})
        schemes[SCHEME] = {"type": "http", "scheme": "bearer", "description": "recsys keys create --role ROLE"}
        app.openapi_schema = documented(plain, limits)
    return app.openapi_schema
