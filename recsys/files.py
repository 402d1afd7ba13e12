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

from recsys.errors import DamagedError, DataError

_MARK = ".writing-"
_SEAL = b"\nrecsys sha256 %064x %020d\n"
_SEALED = len(_SEAL % (0, 0))


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
    >>> with digested_file(folder / "state.safetensors") as file:  # doctest: +SKIP
    ...     save_file(tensors, file)
    >>> tensors = safetensors.torch.load(read_digested(folder / "state.safetensors"))  # doctest: +SKIP

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
    """:func:`atomic_file` for a file that other programs read too: its digest goes into ``<name>.sha256`` beside it.

    The digest is written first: a kill between the two leaves a file that :func:`check_beside` refuses, never one that it
    wrongly passes. So it is for what can be made again, such as a batch's shards; a checkpoint is one sealed file.

    Raises
    ------
    DataError, OSError
        As :func:`atomic_file`.
    """
    with atomic_file(target) as temporary:
        yield temporary
        with atomic_file(_beside(target)) as beside:
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
        told = _beside(file).read_bytes()
    except FileNotFoundError as error:
        raise DamagedError(
            f"{file} has no digest beside it ({_beside(file).name}): nothing proves that it is whole"
        ) from error
    if told != expected:
        raise DamagedError(f"{file} is damaged: it is not what was written (its sha256 differs from {_beside(file).name})")


def _beside(file: Path) -> Path:
    return file.with_name(f"{file.name}.sha256")


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
