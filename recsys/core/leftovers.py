"""Names of half-written files and folders: each tells who writes it, so that what a dead writer left can be removed."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import secrets
import shutil
import socket
import time
from functools import lru_cache
from pathlib import Path

WRITING, OLD = "writing", "old"
_NAME = re.compile(r"(?P<stem>.+)\.(?P<kind>writing|old)-(?P<place>[0-9a-f]{8})-(?P<process>\d+)-[0-9a-f]{8}", re.DOTALL)
_LONGEST = 200
_LONG_AGO = 86_400.0
"""Seconds without a change after which what another machine began is nobody's."""


def name_beside(target: Path, kind: str) -> Path:
    """A new name beside ``target`` that tells of this process: ``run.writing-<place>-<process>-<random>``."""
    return target.with_name(f"{_stem(target)}.{kind}-{_place()}-{os.getpid()}-{secrets.token_hex(4)}")


def sweep(folder: Path) -> None:
    """Remove what dead writers left half-written in a folder; what a living one is at, or may be, stays.

    A writer is dead where its process was of this machine (and container) and is there no more. Of other machines nothing
    is known: what they began is nobody's when it did not change for a day.
    """
    for entry, found in _leftovers(folder):
        if found["kind"] == OLD and not entry.with_name(found["stem"]).exists():
            continue  # the only whole one: see restore
        if _is_nobodys(entry, found):
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry, ignore_errors=True)
            else:
                entry.unlink(missing_ok=True)


def restore(target: Path) -> None:
    """Give a folder its name back that a writer moved aside and died, where the system knows no exchange of names."""
    if target.exists():
        return
    for entry, found in _leftovers(target.parent):
        if found["kind"] == OLD and found["stem"] == _stem(target) and _is_nobodys(entry, found):
            entry.replace(target)
            return


def moved_aside(target: Path) -> Path | None:
    """What :func:`restore` would give its name back, whoever owns it."""
    stem = _stem(target)
    return next(
        (entry for entry, found in _leftovers(target.parent) if found["kind"] == OLD and found["stem"] == stem), None
    )


def _leftovers(folder: Path) -> list[tuple[Path, re.Match[str]]]:
    try:
        with os.scandir(folder) as entries:
            return [(folder / entry.name, found) for entry in entries if (found := _NAME.fullmatch(entry.name))]
    except OSError:
        return []


def _is_nobodys(entry: Path, found: re.Match[str]) -> bool:
    if found["place"] == _place() and os.name == "posix":
        return not _lives(int(found["process"]))
    try:
        changed = max(one.stat().st_mtime for one in (entry, *entry.rglob("*")))
    except OSError:  # somebody is at it
        return False
    return time.time() - changed > _LONG_AGO


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True


def _stem(target: Path) -> str:
    """The name, or its digest where it is so long that nothing could be put behind it."""
    encoded = os.fsencode(target.name)
    return target.name if len(encoded) <= _LONGEST else hashlib.sha256(encoded).hexdigest()


@lru_cache(maxsize=1)
def _place() -> str:
    """Where numbers of processes mean something: this start of this machine, and in it this container."""
    told = [socket.gethostname()]
    with contextlib.suppress(OSError):  # not Linux
        told += [Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8"), os.readlink("/proc/self/ns/pid")]
    return hashlib.sha256("\n".join(told).encode()).hexdigest()[:8]
