"""Files that are opened once: what their path leads to afterwards changes nothing of what is read."""

from __future__ import annotations

import hashlib
import mmap
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

from recsys.errors import DamagedError

_CHUNK = 1 << 22


@dataclass(eq=False)
class OpenedFile:
    """A file that is held open, and the digest that its bytes must have whenever they are read.

    It lasts as long as this object, also where it is replaced or removed meanwhile. It can be pickled: with its bytes.

    Attributes
    ----------
    path : Path
        Where it was, for messages.
    handle : binary file
    sha256 : str
    size : int
    proven : bool
        Whether all bytes have been read and were the right ones.
    """

    path: Path
    handle: BinaryIO
    sha256: str
    size: int
    proven: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    @classmethod
    def of(cls, path: Path) -> OpenedFile:
        """Open a file whose bytes, as they are now, are what it is to hold.

        Raises
        ------
        OSError
            It cannot be opened or read.
        """
        handle = path.open("rb")
        size = os.fstat(handle.fileno()).st_size
        return cls(path, handle, hashlib.file_digest(handle, "sha256").hexdigest(), size)

    def chunks(self) -> Iterator[bytes]:
        """The bytes, in order; the last step proves that they were the right ones.

        Raises
        ------
        DamagedError
            They are not: drop what was read.
        """
        digest, place = hashlib.sha256(), 0
        while chunk := self._at(place):
            place += len(chunk)
            digest.update(chunk)
            yield chunk
        if place != self.size or digest.hexdigest() != self.sha256:
            raise DamagedError(f"{self.path} is damaged: it is not what was saved (sha256 differs)")
        self.proven = True

    def _at(self, place: int) -> bytes:
        with self._lock:  # a handle has one position; threads share it
            self.handle.seek(place)
            return self.handle.read(_CHUNK)

    def check(self) -> None:
        """Prove that the bytes are the right ones.

        Raises
        ------
        DamagedError
        """
        for _ in self.chunks():
            pass

    def read(self) -> bytes:
        """All bytes, verified.

        Raises
        ------
        DamagedError
        """
        return b"".join(self.chunks())

    def mapped(self) -> memoryview:
        """All bytes, verified, read-only: in memory as far as they are looked at, and shared by processes.

        Raises
        ------
        DamagedError
        """
        self.check()
        if isinstance(self.handle, BytesIO):
            return self.handle.getbuffer().toreadonly()
        return memoryview(mmap.mmap(self.handle.fileno(), 0, access=mmap.ACCESS_READ) if self.size else b"")

    def copy(self, target: Path) -> None:
        """Write the bytes, verified, into a new file; its folder is made.

        Raises
        ------
        DamagedError, OSError
        """
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("wb") as stream:
            for chunk in self.chunks():
                stream.write(chunk)

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path, "content": self.read(), "sha256": self.sha256}

    def __setstate__(self, state: dict[str, Any]) -> None:
        content = state["content"]
        self.path, self.handle, self.sha256, self.size = state["path"], BytesIO(content), state["sha256"], len(content)
        self.proven = True
        self._lock = threading.Lock()


@dataclass(frozen=True, eq=False)
class Source:
    """Where the parts of a bundle are read from: files that were all opened at one moment, by name.

    Attributes
    ----------
    folder : Path
        Where they were, for messages.
    files : dict of OpenedFile
    """

    folder: Path
    files: Mapping[str, OpenedFile]

    @classmethod
    def of(cls, folder: Path) -> Source:
        """The files that lie loose in a folder, as they are now."""
        return cls(folder, {file.name: OpenedFile.of(file) for file in folder.iterdir() if file.is_file()})

    def __contains__(self, name: str) -> bool:
        return name in self.files

    def read(self, name: str) -> bytes:
        """A file's bytes, verified.

        Raises
        ------
        DamagedError
            They are not what was written.
        FileNotFoundError
            There is none of that name.
        """
        return self._file(name).read()

    def mapped(self, name: str) -> memoryview:
        """A file's bytes, verified and mapped; see :meth:`OpenedFile.mapped`. Raises as :meth:`read`."""
        return self._file(name).mapped()

    def _file(self, name: str) -> OpenedFile:
        if name not in self.files:
            raise FileNotFoundError(f"{self.folder / name} is missing")
        return self.files[name]

    def close(self, keep: Callable[[str], bool] = lambda name: False) -> None:
        """Let go of the files, save for some."""
        for name, file in self.files.items():
            if not keep(name):
                file.handle.close()


def is_inside(name: object) -> bool:
    """Whether a name leads to a file within a folder, and nowhere else."""
    if not isinstance(name, str) or not name or "\\" in name or "\0" in name:
        return False
    parts = PurePosixPath(name)
    return not parts.is_absolute() and ".." not in parts.parts and parts.as_posix() == name
