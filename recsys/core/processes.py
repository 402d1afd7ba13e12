"""Forked processes: the threads of polars, torch and FAISS do not live on in them, and waiting for these has no end."""

from __future__ import annotations

import os

from recsys.errors import ForkError

_begun = False
"""Whether this process has used what begins threads."""
_forked_from: int | None = None
"""The process whose threads this one lacks."""


def begin_threads() -> None:
    """Note that this process begins threads, so that one forked from it is told instead of hanging.

    Raises
    ------
    ForkError
        This process was itself forked from one that had begun them.
    """
    check_process()
    note_threads()


def note_threads() -> None:
    """:func:`begin_threads` without the check."""
    global _begun  # noqa: PLW0603 - a fact of the process
    _begun = True


def check_process() -> None:
    """Refuse to work where threads are missing.

    Raises
    ------
    ForkError
        This process was forked from one that had begun them.
    """
    if _forked_from is not None:
        raise ForkError(
            f"process {os.getpid()} was forked from process {_forked_from} after recsys had begun its threads there, which "
            "do not live on: begin workers with multiprocessing.get_context('spawn'), or load the bundle in each worker "
            "and not before the fork (gunicorn without --preload)"
        )


def _in_child() -> None:
    global _forked_from  # noqa: PLW0603
    if _begun and _forked_from is None:
        _forked_from = os.getppid()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)
