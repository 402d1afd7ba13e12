"""Progress bars on a terminal, plain log lines elsewhere."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from tqdm import tqdm

T = TypeVar("T")

logger = logging.getLogger("recsys")
_LINE_EVERY = 10.0
"""Seconds between two log lines of the same work."""


def on_terminal() -> bool:
    """Whether a person watches: standard error is a terminal."""
    return sys.stderr.isatty()


def log(message: str) -> None:
    """Tell what is going on, through the logger ``recsys`` at level INFO."""
    logger.info(message)


def track(work: Iterable[T], *, total: int, what: str, unit: str) -> Iterator[T]:
    """Pass ``work`` through, showing how far it has come.

    Parameters
    ----------
    work : iterable
    total : int
        Number of elements.
    what, unit : str
        The name of the work, and of one element.
    """
    if on_terminal():
        yield from tqdm(work, total=total, desc=what, unit=unit, leave=False)
        return
    begun = last = time.monotonic()
    for done, element in enumerate(work):
        yield element
        if time.monotonic() - last > _LINE_EVERY:
            last = time.monotonic()
            rate = (done + 1) / (last - begun)
            log(f"{what}: {done + 1:,}/{total:,} {unit}s, {rate:,.1f} a second, {(total - done - 1) / rate:,.0f} s left")
