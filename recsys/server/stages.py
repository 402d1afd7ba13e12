"""The stages of a request: how long each takes is told to whoever listens around it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final

from recsys.server.metrics import Stage, Timed
from recsys.server.traces import stage_span

_TOLD: Final[ContextVar[Timed | None]] = ContextVar("recsys_stages", default=None)


@contextmanager
def listening(listener: Timed) -> Iterator[None]:
    """Within the block, ``listener`` gets the seconds of each stage.

    Examples
    --------
    >>> heard = []
    >>> with listening(lambda name, seconds: heard.append(name)), stage("search"):
    ...     pass
    >>> heard
    ['search']
    """
    token = _TOLD.set(listener)
    try:
        yield
    finally:
        _TOLD.reset(token)


@contextmanager
def stage(name: Stage) -> Iterator[None]:
    """Time the block, and make it a span of the trace."""
    listener, started = _TOLD.get(), time.perf_counter()
    try:
        with stage_span(name):
            yield
    finally:
        if listener is not None:
            listener(name, time.perf_counter() - started)
