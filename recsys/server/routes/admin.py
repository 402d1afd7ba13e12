"""``/admin/bundles``: load a bundle beside the active one, activate it, and go back."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from fastapi import Request, Response

from recsys.server.live import Version
from recsys.server.problems import Problem, of_field
from recsys.server.routes.guarded import bytes_of, needs, recorded, router
from recsys.server.schemas import ActivateBody, LoadBody, ShadowAnswer, ShadowBody, VersionsAnswer
from recsys.server.served import served_by
from recsys.server.settings import Settings
from recsys.server.shadow import ShadowReport

routes = router("admin")


@routes.get("/admin/bundles", response_model=VersionsAnswer, openapi_extra=needs("admin"))
async def bundles(request: Request) -> Response:
    """List the bundles in memory, the active one first."""
    return _versions(request, served_by(request).engine.versions())


@routes.post("/admin/bundles", response_model=VersionsAnswer, openapi_extra=needs("admin"))
async def load(body: LoadBody, request: Request) -> Response:
    """Load and verify a bundle beside the active one, which goes on answering."""
    served = served_by(request)
    folder = allowed_folder(body.path, served.settings)
    await recorded(request, "load", folder=str(folder))
    await asyncio.to_thread(served.engine.load_bundle, str(folder))
    return _versions(request, served.engine.versions())


@routes.post("/admin/bundles/{digest}/activate", response_model=VersionsAnswer, openapi_extra=needs("admin"))
async def activate(digest: str, body: ActivateBody, request: Request) -> Response:
    """Warm a loaded bundle and let it answer from now on; requests that have begun end with the one before.

    One that lacks items which can be recommended now, or has ids of another type, is refused.
    """
    engine = served_by(request).engine
    await recorded(request, "activate", bundle=digest, force=body.force)
    await asyncio.to_thread(engine.activate, digest, force=body.force)
    return _versions(request, engine.versions())


@routes.post("/admin/rollback", response_model=VersionsAnswer, openapi_extra=needs("admin"))
async def roll_back(request: Request) -> Response:
    """Let the bundle that was active before answer again."""
    engine = served_by(request).engine
    await recorded(request, "roll back")
    await asyncio.to_thread(engine.roll_back)
    return _versions(request, engine.versions())


@routes.delete("/admin/bundles/{digest}", response_model=VersionsAnswer, openapi_extra=needs("admin"))
async def unload(digest: str, request: Request) -> Response:
    """Free a bundle that is loaded beside the active one."""
    engine = served_by(request).engine
    await recorded(request, "unload", bundle=digest)
    await asyncio.to_thread(engine.live.unload, digest)
    return _versions(request, engine.versions())


@routes.get("/admin/shadow", response_model=ShadowAnswer, openapi_extra=needs("admin"))
async def shadow(request: Request) -> Response:
    """Tell what the shadow has shown so far."""
    return _shown(request, served_by(request).engine.shadow())


@routes.post("/admin/shadow", response_model=ShadowAnswer, openapi_extra=needs("admin"))
async def start_shadow(body: ShadowBody, request: Request) -> Response:
    """Let a loaded bundle answer a share of the requests too, unseen, to compare it with the active one."""
    served = served_by(request)
    share = served.settings.answering.shadow_share if body.share is None else float(body.share)
    await recorded(request, "shadow", bundle=body.digest)
    return _shown(request, await asyncio.to_thread(served.engine.start_shadow, body.digest, share))


@routes.delete("/admin/shadow", response_model=ShadowAnswer, openapi_extra=needs("admin"))
async def stop_shadow(request: Request) -> Response:
    """End the shadow, whose bundle stays loaded, and tell what it has shown."""
    await recorded(request, "end shadow")
    return _shown(request, await asyncio.to_thread(served_by(request).engine.stop_shadow))


def _shown(request: Request, report: ShadowReport | None) -> Response:
    if report is None:
        raise Problem(
            404, "no-shadow", "There is no shadow", "start one with POST /admin/shadow and the digest of a bundle"
        )
    return bytes_of({**asdict(report), "request_id": request.state.request_id})


def allowed_folder(path: str, settings: Settings) -> Path:
    """The folder of a bundle, if it stands in a folder from which bundles may be loaded.

    Raises
    ------
    Problem
        It does not.
    """
    roots = [Path(one).resolve() for one in settings.answering.bundle_folders]
    if settings.bundle is not None:
        roots.insert(0, settings.bundle.resolve().parent)
    for root in roots:
        folder = (root / path).resolve()
        if folder.is_relative_to(root) and folder != root:
            return folder
    raise of_field("body.path", "bundles are loaded from bundle_folders and the folder that holds RUN; this is elsewhere")


def _versions(request: Request, found: Sequence[Version]) -> Response:
    return bytes_of({"bundles": [asdict(one) for one in found], "request_id": request.state.request_id})
