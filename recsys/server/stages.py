"""The stages of a request: how long each takes is told to whoever listens around it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from typing import Final

from recsys.server.metrics import Stage, Timed
from recsys.server.traces import configured, stage_span

_TOLD: Final[ContextVar[tuple[Timed | None, bool]]] = ContextVar("recsys_stages", default=(None, False))
"""Who listens, and whether there are traces."""


@contextmanager
def listening(listener: Timed) -> Iterator[bool]:
    """Within the block, ``listener`` gets the seconds of each stage; gives whether there are traces.

    Examples
    --------
    >>> heard = []
    >>> with listening(lambda name, seconds: heard.append(name)), stage("search"):
    ...     pass
    >>> heard
    ['search']
    """
    traced = configured()
    token = _TOLD.set((listener, traced))
    try:
        yield traced
    finally:
        _TOLD.reset(token)


class stage:  # noqa: N801 - it is used as a function
    """Time the block, and make it a span of the trace."""

    __slots__ = ("_name", "_span", "_started")

    def __init__(self, name: Stage) -> None:
        self._name = name
        self._span: AbstractContextManager[None] | None = None

    def __enter__(self) -> None:
        if _TOLD.get()[1]:
            self._span = stage_span(self._name)
            self._span.__enter__()
        self._started = time.perf_counter()

    def __exit__(self, *raised: object) -> None:
        listener, seconds = _TOLD.get()[0], time.perf_counter() - self._started
        if self._span is not None:
            self._span.__exit__(*raised)  # type: ignore[arg-type]
        if listener is not None:
            listener(self._name, seconds)
