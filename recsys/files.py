"""Write files and folders so that a reader never meets half of one."""

from __future__ import annotations

import hashlib
import os
import shutil
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
