"""What a server consists of, within reach of every route."""

from __future__ import annotations

from dataclasses import dataclass, field

from starlette.requests import Request

from recsys.server.access import Access
from recsys.server.audit import Audit
from recsys.server.engine import Engine
from recsys.server.metrics import Metrics
from recsys.server.settings import Settings
from recsys.server.store import EventStore


@dataclass(frozen=True)
class Served:
    """The parts of a running server.

    Attributes
    ----------
    engine : Engine
        Answers from the bundle and the events.
    store : EventStore
    access : Access
    settings : Settings
    audit : Audit or None
        None: among the other lines of the log.
    metrics : Metrics
    """

    engine: Engine
    store: EventStore
    access: Access
    settings: Settings
    audit: Audit | None = None
    metrics: Metrics = field(default_factory=Metrics)


def served_by(request: Request) -> Served:
    """The parts of the server that a request came to."""
    found = request.app.state.served
    assert isinstance(found, Served)  # noqa: S101 - create_app puts it there
    return found
