"""Write files and folders so that a reader never meets half of one."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from recsys.core.exchange import exchange
from recsys.core.leftovers import OLD, WRITING, name_beside, restore, sweep
from recsys.core.place_checks import refuse_place
from recsys.errors import DamagedError, DataError

_GONE = 0.3
"""Seconds to wait for a lock: its last owner may have removed the name between our opening and our locking."""
_SEAL = b"\nrecsys sha256 %064x %020d\n"
_SEALED = len(_SEAL % (0, 0))


def sha256_of(file: Path) -> str:
    """Hexadecimal sha256 of a file's bytes."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def sync(path: Path) -> None:
    """Have the system write to the disk what it holds back of a file, or of the names in a folder."""
    if os.name != "posix" and path.is_dir():  # nothing else can open a folder
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def followed(target: Path) -> Path:
    """Where a path leads to: a symbolic link is written through, and stays.

    Raises
    ------
    DataError
        The link leads to nothing or in a circle, or the path is the root of all files.
    """
    if target.name in ("", ".."):  # "." has no name, beside which something could be written
        target = target.resolve()
    if not target.name:
        raise DataError(f"{target} cannot be written; name a file or folder in it")
    if not target.is_symlink():
        return target
    try:
        return target.resolve(strict=True)
    except (OSError, RuntimeError) as error:
        raise DataError(
            f"{target} is a symbolic link to {os.readlink(target)}, which is not there; remove the link, or make its target"
        ) from error


@lru_cache(maxsize=1000)
def _sweep_once(folder: Path) -> None:
    """A folder may hold very many files, and many of them be written one by one."""
    sweep(folder)


@contextmanager
def atomic_file(target: Path) -> Iterator[Path]:
    """A temporary path beside ``target`` that replaces it when the block ends well; otherwise nothing changes.

    Others may read the file as the umask says. A symbolic link is written through.

    Raises
    ------
    DataError
        ``target`` is a folder or a device, or a symbolic link to nothing.
    """
    target = followed(target)
    if target.is_dir():
        raise DataError(f"{target} is a folder; name a file")
    if target.exists() and not target.is_file():
        raise DataError(f"{target} is no ordinary file; name one that can be replaced")
    target.parent.mkdir(parents=True, exist_ok=True)
    _sweep_once(target.parent.absolute())
    temporary = name_beside(target, WRITING)
    handle = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
    mode = os.fstat(handle).st_mode & 0o777  # the umask's word
    os.close(handle)
    try:
        yield temporary
        sync(temporary)
        temporary.chmod(mode)
        temporary.replace(target)
        sync(target.parent)
    finally:
        temporary.unlink(missing_ok=True)


def _seal(sha256: str, size: int) -> bytes:
    return _SEAL % (int(sha256, 16), size)


@contextmanager
def digested_file(target: Path) -> Iterator[Path]:
    """:func:`atomic_file` for a file that :func:`read_digested` is to read again: its digest is put behind its bytes.

    A seal of 100 bytes follows what the block wrote: the sha256 and the number of the bytes before it. File and digest are
    one file, so that no kill can part them. Programs that read to the end of a file, as Parquet's and SQLite's do, cannot
    read it; for these see :func:`digest_beside`.

    Examples
    --------
    >>> with digested_file(Path("state")) as file:
    ...     file.write_bytes(b"weights")
    7
    >>> read_digested(Path("state"))
    b'weights'

    Raises
    ------
    DataError
        ``target`` is a folder.
    OSError
        It cannot be written; what was there before stays.
    """
    with atomic_file(target) as temporary:
        yield temporary
        seal = _seal(sha256_of(temporary), temporary.stat().st_size)
        with temporary.open("ab") as stream:
            stream.write(seal)


def write_digested(target: Path, payload: bytes) -> None:
    """Write bytes whole or not at all, in the form that :func:`read_digested` verifies; see :func:`digested_file`.

    Parameters
    ----------
    target : Path
        Its folder is made where it is missing.
    payload : bytes

    Raises
    ------
    DataError, OSError
        As :func:`digested_file`.
    """
    with digested_file(target) as temporary:
        temporary.write_bytes(payload)


def read_digested(file: Path) -> bytes:
    """The bytes that :func:`write_digested` or :func:`digested_file` wrote, read once and verified.

    Use these bytes; reading the file again by its name may meet other ones.

    Parameters
    ----------
    file : Path

    Returns
    -------
    bytes
        Without the seal.

    Raises
    ------
    DamagedError
        A byte is missing, added or changed, or nobody sealed the file.
    FileNotFoundError
        There is no such file.
    OSError
        It cannot be read.
    """
    with file.open("rb") as stream:
        payload = stream.read(max(0, os.fstat(stream.fileno()).st_size - _SEALED))
        seal = stream.read()
    if seal != _seal(hashlib.sha256(payload).hexdigest(), len(payload)):
        raise DamagedError(f"{file} is damaged: it is not what was written (its sha256 differs, or its end is missing)")
    return payload


@contextmanager
def digest_beside(target: Path) -> Iterator[Path]:
    """:func:`atomic_file` for a file that other programs read too: its digest goes into ``.<name>.sha256`` beside it.

    The digest is written first: a kill between the two leaves a file that :func:`check_beside` refuses, never one that it
    wrongly passes. So it is for what can be made again, such as a batch's shards; a checkpoint is one sealed file.

    Raises
    ------
    DataError, OSError
        As :func:`atomic_file`.
    """
    with atomic_file(target) as temporary:
        yield temporary
        with atomic_file(beside_of(target)) as beside:
            beside.write_text(f"{sha256_of(temporary)}  {target.name}\n", encoding="utf-8")


def check_beside(file: Path) -> None:
    """Prove that a file is what :func:`digest_beside` wrote.

    Raises
    ------
    DamagedError
        It is not, or its digest is missing or damaged.
    FileNotFoundError
        There is no such file.
    OSError
        It cannot be read.
    """
    expected = f"{sha256_of(file)}  {file.name}\n".encode()
    try:
        told = beside_of(file).read_bytes()
    except FileNotFoundError as error:
        raise DamagedError(
            f"{file} has no digest beside it ({beside_of(file).name}): nothing proves that it is whole"
        ) from error
    if told != expected:
        raise DamagedError(
            f"{file} is damaged: it is not what was written (its sha256 differs from {beside_of(file).name})"
        )


def beside_of(file: Path) -> Path:
    """Where the digest of a file lies; readers of whole folders, as those of Parquet, skip a name with a point in front."""
    return file.with_name(f".{file.name}.sha256")


@dataclass(frozen=True)
class Held:
    """A lock that is held.

    Attributes
    ----------
    target : Path
        What nobody else may write meanwhile.
    """

    target: Path


@contextmanager
def exclusive(target: Path, lock: Path | None = None, *, wait: float = 0.0) -> Iterator[Held]:
    """Keep other writers away from a target until the block ends, however this process ends.

    The lock is the kernel's (by the package filelock), which a dead process cannot hold; the lock file says who has it.

    Parameters
    ----------
    target : Path
        What is about to be written; a symbolic link and what it leads to have one lock.
    lock : Path, optional
        The lock file; by default beside the target.
    wait : float
        Seconds to wait for another writer.

    Raises
    ------
    DataError
        Another writer is at it, or ``target`` is a symbolic link to nothing or lies in a bundle.
    """
    from filelock import FileLock, Timeout  # noqa: PLC0415 - it brings asyncio

    refuse_place(target)
    target = followed(target)
    lock = lock or target.absolute().parent / f".{target.name}.lock"
    lock.parent.mkdir(parents=True, exist_ok=True)
    owned = FileLock(lock)
    try:
        owned.acquire(timeout=max(wait, _GONE))
    except Timeout as error:
        raise DataError(f"{target} is being written by {_owner(lock)}; wait for it, or name another") from error
    try:
        with contextlib.suppress(OSError):  # a courtesy; the lock holds without it
            lock.write_text(f"process {os.getpid()} on {socket.gethostname()}", encoding="utf-8")
        yield Held(target)
    finally:
        with contextlib.suppress(OSError):  # Windows keeps the name of an open file
            lock.unlink(missing_ok=True)
        owned.release()


def _owner(lock: Path) -> str:
    try:
        return lock.read_text(encoding="utf-8") or "another process"
    except (OSError, ValueError):
        return "another process"


@contextmanager
def atomic_folder(target: Path, *, replace: bool = False) -> Iterator[Path]:
    """A temporary folder beside ``target`` that takes its name when the block ends well; otherwise nothing changes.

    An older folder is replaced by :func:`recsys.core.exchange.exchange`: at every moment the path holds
    the old one or the new one, whole. Where the system or the file system knows no exchange (Windows, some network file
    systems), the old one is moved aside first: for a moment the path holds nothing, and who is killed in it leaves
    ``<name>.old-…``, which the next writer gives its name back.

    Others may read the files as the umask says; a folder that is replaced keeps its mode. A symbolic link is written
    through. What dead writers left in the folder above is removed.

    Parameters
    ----------
    target : Path
        The folder to come into being.
    replace : bool
        Whether an existing folder may be replaced.

    Raises
    ------
    DataError
        ``target`` is a file, a symbolic link to nothing, lies in a bundle, or is a folder with something in it and
        ``replace`` is false.
    """
    refuse_place(target)
    target = followed(target)
    if target.exists() and not target.is_dir():
        raise DataError(f"{target} is a file; name a folder that is not there yet")
    target.parent.mkdir(parents=True, exist_ok=True)
    restore(target)
    occupied = target.is_dir() and any(target.iterdir())
    if occupied and not replace:
        raise DataError(
            f"{target} already holds something; name a new folder, or ask for it to be overwritten (--overwrite)"
        )
    sweep(target.absolute().parent)
    temporary = name_beside(target, WRITING)
    temporary.mkdir()
    readable = temporary.stat().st_mode & 0o666  # the umask's word
    try:
        yield temporary
        for file in temporary.rglob("*"):
            if not file.is_dir():
                file.chmod(readable)
            sync(file)
        sync(temporary)
        if occupied:
            shutil.copymode(target, temporary)
            _replace(temporary, target)
        else:
            temporary.replace(target)
        sync(target.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _replace(new: Path, old: Path) -> None:
    """Give ``new`` the name ``old``, and afterwards remove what had it."""
    if exchange(new, old):
        return  # what was replaced now has the temporary name, and goes with it
    retired = name_beside(old, OLD)
    old.replace(retired)
    try:
        new.replace(old)
    except OSError:
        retired.replace(old)
        raise
    shutil.rmtree(retired, ignore_errors=True)
