"""Who did what, and what was denied: JSON lines, without ids of users and without keys."""

from __future__ import annotations

import errno
import json
import os
import stat
import threading
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from recsys.core.destination import prove_file
from recsys.errors import ConfigError, StoreUnavailableError

_ENOUGH: Final = 200
"""Most characters of a value; clients may send long texts."""


class Audit:
    """An append-only file; a line is on disk before the action it tells of is answered.

    The file may be renamed while the server runs (logrotate): the next line begins a new file.

    Parameters
    ----------
    file : Path
        Readable by its owner alone when it is made here.

    Raises
    ------
    ConfigError
        It cannot be written.

    Examples
    --------
    >>> audit = Audit(Path("audit.jsonl"))
    >>> audit.write("forget", allowed=True, key_id="3f0c1d2e4a5b", role="admin", request_id="r1", facts={"receipt": "77e1"})
    >>> '"action": "forget", "allowed": true' in Path("audit.jsonl").read_text()
    True
    >>> audit.close()
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._lock = threading.Lock()
        if not file.exists():
            prove_file(file, option="audit_file")
        try:
            file.absolute().parent.mkdir(parents=True, exist_ok=True)
            self._handle = self._open()
        except OSError as error:
            raise ConfigError(f"audit_file {file} cannot be written: {error.strerror}; name another file") from error

    def write(
        self,
        action: str,
        *,
        allowed: bool,
        key_id: str | None,
        role: str | None,
        request_id: str | None,
        facts: Mapping[str, str | int | float | bool | None] | None = None,
        durable: bool = True,
    ) -> None:
        """Add a line.

        Parameters
        ----------
        action : str
            Such as forget, or the route of a request that was denied.
        allowed : bool
        key_id, role, request_id : str or None
            Of the request; None where no key was given.
        facts : mapping, optional
            More, such as the receipt of a forgotten user; no ids of users and no keys.
        durable : bool
            Wait until it is on disk.

        Raises
        ------
        StoreUnavailableError
            It cannot be written; the action should be refused.
        """
        at = datetime.now(UTC).isoformat(timespec="milliseconds")
        line = {"time": at, "action": action, "allowed": allowed, "key_id": key_id, "role": role, "request_id": request_id}
        short = {
            name: value[:_ENOUGH] if isinstance(value, str) else value for name, value in {**line, **(facts or {})}.items()
        }
        written = (json.dumps(short) + "\n").encode()
        with self._lock:
            try:
                self._follow()
                start = os.fstat(self._handle).st_size
                if (count := os.write(self._handle, written)) < len(written):  # a disk that has just become full
                    os.ftruncate(self._handle, start)
                    raise OSError(errno.ENOSPC, f"only {count} of {len(written)} bytes could be written")
                if durable:
                    os.fsync(self._handle)
            except OSError as error:
                raise StoreUnavailableError(
                    f"audit_file {self._file} cannot be written ({error.strerror}), and what is not recorded is not done: "
                    "make room, or let this process write it"
                ) from error

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            os.close(self._handle)

    def _open(self) -> int:
        handle = os.open(self._file, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
        facts = os.fstat(handle)
        if not stat.S_ISREG(facts.st_mode):
            os.close(handle)
            raise OSError(errno.EINVAL, "it is not an ordinary file")
        if facts.st_size and os.pread(handle, 1, facts.st_size - 1) != b"\n":
            os.write(handle, b"\n")  # a process that was killed has left half a line
        return handle

    def _follow(self) -> None:
        """Open the file anew where somebody has moved it away."""
        try:
            named = os.stat(self._file)
        except FileNotFoundError:
            named = None
        if named is None or not os.path.samestat(named, os.fstat(self._handle)):
            before, self._handle = self._handle, self._open()
            os.close(before)
