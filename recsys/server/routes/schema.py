"""``GET /openapi.json``: the schema, for those who have a key."""

from __future__ import annotations

from fastapi import Request, Response

from recsys.server.openapi import openapi_of
from recsys.server.routes.guarded import bytes_of, needs, router
from recsys.server.served import served_by

routes = router("schema")


@routes.get("/openapi.json", openapi_extra=needs("read"), include_in_schema=False)
async def schema(request: Request) -> Response:
    """Answer the OpenAPI schema of this server."""
    return bytes_of(openapi_of(request.app, served_by(request).settings))
