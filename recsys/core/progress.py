"""Progress bars on a terminal, plain log lines elsewhere."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from tqdm import tqdm

T = TypeVar("T")

logger = logging.getLogger("recsys")
_LINE_EVERY = 10.0
"""Seconds between two log lines of the same work."""
_said: list[bool] = []
_muted: ContextVar[bool] = ContextVar("muted", default=False)
_names: ContextVar[tuple[str, str] | None] = ContextVar("names", default=None)


def in_notebook() -> bool:
    """Whether this process is the kernel of a notebook."""
    shell = sys.modules.get("IPython")
    return shell is not None and type(shell.get_ipython()).__name__ == "ZMQInteractiveShell"


def on_terminal() -> bool:
    """Whether a person watches: standard error is a terminal, or a notebook."""
    return sys.stderr.isatty() or in_notebook()


def bar(**how: Any) -> tqdm[Any]:
    """A progress bar, as tqdm makes it: of text on a terminal, and a widget in a notebook that has ``ipywidgets``."""
    if in_notebook() and find_spec("ipywidgets"):
        from tqdm.notebook import tqdm as widget  # noqa: PLC0415 - notebooks alone

        return widget(**how)
    from tqdm import tqdm as plain  # noqa: PLC0415 - who shows no bar needs it not

    return plain(**how)


def log(message: str) -> None:
    """Tell what is going on, through the logger ``recsys`` at level INFO."""
    if not _muted.get():
        logger.info(_named(message))


@contextmanager
def naming(temporary: str, name: str) -> Iterator[None]:
    """Write ``name`` in place of ``temporary`` in what :func:`log` and :func:`warn` tell within the block."""
    before = _names.set((temporary, name))
    try:
        yield
    finally:
        _names.reset(before)


def _named(message: str) -> str:
    return message if (names := _names.get()) is None else message.replace(*names)


@contextmanager
def muted() -> Iterator[None]:
    """Leave out what :func:`log` and :func:`warn` would tell within the block: a rehearsal of work that will tell it."""
    before = _muted.set(True)
    try:
        yield
    finally:
        _muted.reset(before)


def warn(message: str) -> None:
    """Tell what may be wrong, through the logger ``recsys`` at level WARNING, which Python shows even without a handler."""
    if not _muted.get():
        logger.warning(_named(message))


def say_where() -> None:
    """Say once where progress goes, if nothing shows the lines of the logger ``recsys`` at level INFO."""
    if not _said and not (logger.isEnabledFor(logging.INFO) and logger.hasHandlers()):
        _said.append(True)
        warn(
            "progress goes to the logger 'recsys' at level INFO, which is not shown; to see it: "
            "logging.basicConfig(level=logging.INFO, format='%(message)s')"
        )


@contextmanager
def counting(total: int | None, *, what: str, unit: str) -> Iterator[Callable[[int], None]]:
    """A function to call with how many more are done; shows how far the work has come, how fast, and the time left.

    Parameters
    ----------
    total : int or None
        How many there are in all; None: nobody knows.
    what, unit : str
        The name of the work, and of one element.
    """
    if on_terminal():
        with bar(total=total, desc=what, unit=unit, leave=False) as shown:

            def move(more: int) -> None:
                shown.update(more)

            yield move
        return
    begun = last = time.monotonic()
    done = 0

    def tell(more: int) -> None:
        nonlocal last, done
        done += more
        if time.monotonic() - last > _LINE_EVERY:
            last = time.monotonic()
            rate = done / (last - begun)
            left = "" if total is None else f", {(total - done) / rate:,.0f} s left"
            log(f"{what}: {done:,}{'' if total is None else f'/{total:,}'} {unit}s, {rate:,.1f} a second{left}")

    yield tell


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
    with counting(total, what=what, unit=unit) as advance:
        for element in work:
            yield element
            advance(1)
