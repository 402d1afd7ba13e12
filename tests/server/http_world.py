"""A whole server without a socket: the tiny bundle, a store, keys of each role, and what it logs."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import structlog
from httpx2 import Response
from starlette.testclient import TestClient

from recsys.server.access import Access
from recsys.server.app import create_app
from recsys.server.audit import Audit
from recsys.server.database import open_database
from recsys.server.engine import Engine
from recsys.server.item_changes import ItemChanges
from recsys.server.keys import Keys, Role
from recsys.server.live import Live, open_bundle
from recsys.server.logs import begin_logs
from recsys.server.metrics import Metrics
from recsys.server.quality import Quality
from recsys.server.served import Served
from recsys.server.settings import Settings
from recsys.server.store import EventStore
from recsys.server.watcher import Watch


@dataclass
class World:
    """A running server, and a client with a key of each role."""

    client: TestClient
    keys: Keys
    secrets: dict[Role, str]
    served: Served
    logged: io.BytesIO

    def ask(self, method: str, path: str, role: Role | None = "admin", **request: Any) -> Response:
        headers = {"authorization": f"Bearer {self.secrets[role]}"} if role else {}
        headers |= request.pop("headers", {})
        return self.client.request(method, path, headers=headers, **request)

    def post(self, path: str, body: object, role: Role | None = "admin", **request: Any) -> Response:
        return self.ask("POST", path, role, json=body, **request)

    def recommended(self, **body: object) -> dict[str, Any]:
        answer = self.post("/v1/recommend", body, "read")
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def items_of(self, **body: object) -> list[str]:
        """Ids of the items that are recommended."""
        return [one["item_id"] for one in self.recommended(**body)["items"]]

    def log(self) -> str:
        return self.logged.getvalue().decode()


@contextmanager
def world_of(run: Path, folder: Path, **tables: dict[str, Any]) -> Iterator[World]:
    """A server over a database in a folder."""
    settings = Settings.read(None, {"storage": {"db": f"sqlite:///{folder}/server.db"}, **tables}, run)
    logged = io.BytesIO()
    with logs_as_before():
        begin_logs(settings.logs, logged)
        yield from _world(settings, run, logged)


@contextmanager
def logs_as_before() -> Iterator[None]:
    """The logs of this process, which other tests read, go elsewhere meanwhile."""
    loggers = [logging.getLogger(name) for name in ("recsys", "uvicorn", "uvicorn.access")]
    before = [(one.handlers, one.propagate, one.level, one.disabled) for one in loggers]
    try:
        yield
    finally:
        for one, (handlers, propagate, level, disabled) in zip(loggers, before, strict=True):
            one.handlers, one.propagate, one.disabled = handlers, propagate, disabled
            one.setLevel(level)
        structlog.reset_defaults()


def _world(settings: Settings, run: Path, logged: io.BytesIO) -> Iterator[World]:
    database = open_database(settings.storage.db)
    metrics = Metrics()
    quality = Quality(metrics)
    store = EventStore(database, on_commit=metrics.committed)
    engine = Engine(Live(open_bundle(run)), store, ItemChanges(database), watcher=Watch(metrics, quality))
    engine.warm_up(4)
    keys = Keys(database)
    secrets = {role: keys.create(role)[1] for role in get_args(Role)}
    audit = Audit(Path(settings.logs.audit_file)) if settings.logs.audit_file else None
    served = Served(engine, store, Access(keys, settings.access), settings, audit, metrics)
    try:
        yield World(TestClient(create_app(served)), keys, secrets, served, logged)
    finally:
        engine.drain(5.0)
        quality.close()
        store.close()
        database.close()
        if audit:
            audit.close()
