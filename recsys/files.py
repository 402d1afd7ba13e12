"""Write files and folders so that a reader never meets half of one."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from recsys.errors import DataError

_MARK = ".writing-"


def sha256_of(file: Path) -> str:
    """Hexadecimal sha256 of a file's bytes."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def atomic_file(target: Path) -> Iterator[Path]:
    """A temporary path beside ``target`` that replaces it when the block ends well; otherwise nothing changes.

    Raises
    ------
    DataError
        ``target`` is a folder.
    """
    if target.is_dir():
        raise DataError(f"{target} is a folder; name a file")
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=target.name + _MARK, dir=target.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        _sync(temporary)
        temporary.chmod(0o644)
        temporary.replace(target)
        _sync(target.parent)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def exclusive(target: Path, lock: Path | None = None) -> Iterator[None]:
    """Keep other writers away from a target until the block ends, however this process ends.

    The lock is the kernel's (flock), which a dead process cannot hold; the lock file says who has it.

    Parameters
    ----------
    target : Path
        What is about to be written.
    lock : Path, optional
        The lock file; by default beside the target.

    Raises
    ------
    DataError
        Another writer is at it.
    """
    lock = lock or target.parent / f".{target.name}.lock"
    lock.parent.mkdir(parents=True, exist_ok=True)
    handle = _locked(lock, target)
    try:
        os.ftruncate(handle, 0)
        os.write(handle, f"process {os.getpid()} on {socket.gethostname()}".encode())
        yield
    finally:
        lock.unlink(missing_ok=True)
        os.close(handle)


def _locked(lock: Path, target: Path) -> int:
    while True:
        handle = os.open(lock, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if lock.exists() and os.fstat(handle).st_ino == lock.stat().st_ino:
                return handle
        except BlockingIOError as error:
            writer = os.read(handle, 1000).decode() or "another process"
            os.close(handle)
            raise DataError(f"{target} is being written by {writer}; wait for it, or name another") from error
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)  # its owner ended, and removed the name, between our opening and our locking: once more


@contextmanager
def atomic_folder(target: Path, *, replace: bool = False) -> Iterator[Path]:
    """A temporary folder beside ``target`` that takes its name when the block ends well; otherwise nothing changes.

    Parameters
    ----------
    target : Path
        The folder to come into being.
    replace : bool
        Whether an existing folder may be replaced; the old one is moved aside and deleted only after the new one
        has its name.

    Raises
    ------
    DataError
        ``target`` is a file, or a folder with something in it and ``replace`` is false.
    """
    if target.exists() and not target.is_dir():
        raise DataError(f"{target} is a file; name a folder that is not there yet")
    occupied = target.is_dir() and any(target.iterdir())
    if occupied and not replace:
        raise DataError(
            f"{target} already holds something; name a new folder, or ask for it to be overwritten (--overwrite)"
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=target.name + _MARK, dir=target.parent))
    try:
        yield temporary
        for file in temporary.rglob("*"):
            _sync(file)
        _sync(temporary)
        temporary.chmod(0o755)
        if occupied:
            retired = Path(tempfile.mkdtemp(prefix=target.name + ".old-", dir=target.parent))
            target.replace(retired / "old")
            try:
                temporary.replace(target)
            except OSError:
                (retired / "old").replace(target)
                retired.rmdir()
                raise
            shutil.rmtree(retired)
        else:
            temporary.replace(target)
        _sync(target.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
