"""How much memory this process may still take, and how it returns what it no longer needs."""

from __future__ import annotations

import ctypes
import gc
import sys
from collections.abc import Iterator
from pathlib import Path

from recsys.core.control_groups import control_groups

_ARENA_MAX = -8
"""``M_ARENA_MAX`` of glibc's ``malloc.h``."""


def available_memory(root: Path = Path("/")) -> int | None:
    """Bytes that the system, and each control group around this process, have left; None where they do not tell.

    Parameters
    ----------
    root : Path
        Where ``proc`` and ``sys`` lie.
    """
    return min([*_of_system(root), *_of_groups(root)], default=None)


def _of_system(root: Path) -> Iterator[int]:
    try:
        lines = (root / "proc/meminfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return
    for line in lines:
        name, _, rest = line.partition(":")
        if name == "MemAvailable":
            yield int(rest.split()[0]) * 1024


def _of_groups(root: Path) -> Iterator[int]:
    for group, version in control_groups(root, "memory"):
        yield from _left(group, *(("limit_in_bytes", "usage_in_bytes") if version == 1 else ("max", "current")))


def _left(group: Path, limit: str, used: str) -> Iterator[int]:
    try:
        most, now = (int((group / f"memory.{name}").read_text(encoding="utf-8")) for name in (limit, used))
        cache = next(
            int(line.split()[1])
            for line in (group / "memory.stat").read_text(encoding="utf-8").splitlines()
            if line.startswith(("inactive_file ", "total_inactive_file "))
        )
    except (OSError, ValueError, StopIteration):  # none there, or "max": no limit
        return
    yield max(0, most - now + cache)


def few_arenas() -> None:
    """Let all threads share two pools of memory, where the C library is glibc; call it before threads begin.

    By default up to eight for each processor grow side by side. What a thread allocates while a model is loaded lies among
    blocks of others that stay, so that each exchange of a model left some megabytes behind.
    """
    if sys.platform == "linux":
        library = ctypes.CDLL(None)
        if hasattr(library, "malloc_trim"):  # glibc
            library.mallopt(_ARENA_MAX, 2)


def give_back() -> None:
    """Return memory that nothing holds any longer to the system, where the C library can: glibc keeps freed blocks."""
    gc.collect()
    if sys.platform == "linux":
        library = ctypes.CDLL(None)
        if hasattr(library, "malloc_trim"):
            library.malloc_trim(0)
