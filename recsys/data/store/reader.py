"""Open a store: read its manifest, map its arrays, read nothing else."""

from __future__ import annotations

import contextlib
import hashlib
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from recsys.core.id_map import IdMap
from recsys.core.leftovers import moved_aside
from recsys.core.ragged import Float32, Int32, Int64, Ragged
from recsys.data.store import arrays
from recsys.data.store.ids import IdFile, StoredIds
from recsys.data.store.manifest import DTYPES, FILE, Ids, Manifest, Part, parsed
from recsys.errors import DamagedError, DataError

_PATIENCE = 5.0
"""Seconds for which a reader tries again while a writer replaces what it reads."""


@dataclass(frozen=True, eq=False)
class OpenedPart:
    """The arrays of a part, mapped.

    Attributes
    ----------
    histories : Ragged
        Of the users of the part.
    weights : float32 (n,) or None
    event_names : tuple of str
    owners : int32 or None
        The user row of each history of a run, ascending; None: all users, in order.
    """

    histories: Ragged
    weights: Float32 | None
    event_names: tuple[str, ...]
    owners: Int32 | None = None


@dataclass(frozen=True, eq=False)
class OpenedStore:
    """A store as it is at one moment; what takes its name later changes nothing of it.

    Attributes
    ----------
    folder : Path
    manifest : Manifest
    users, items : IdMap
    parts : tuple of OpenedPart
    """

    folder: Path
    manifest: Manifest
    users: IdMap
    items: IdMap
    parts: tuple[OpenedPart, ...]


def read_store(folder: Path, *, verify: bool) -> OpenedStore:
    """Open a store.

    Parameters
    ----------
    folder : Path
    verify : bool
        Whether to read every file and compare its digest; else only sizes, headers and the manifest are checked.

    Raises
    ------
    DataError
        There is no store, or one of a later version.
    DamagedError
        A file is missing, or is not what was written.
    """
    begun = time.monotonic()
    while True:
        content = _manifest_of(folder)
        manifest = parsed(folder, content)
        try:
            opened: OpenedStore | DamagedError = _opened(folder, manifest, verify=verify)
        except DamagedError as error:
            opened = error
        with contextlib.suppress(DataError):
            if _manifest_of(folder) == content:  # what was opened was of one store: it is the same after all
                if isinstance(opened, DamagedError):
                    raise opened
                return opened
        if time.monotonic() - begun > _PATIENCE:
            raise DamagedError(f"{folder} cannot be read: it is replaced again and again, or a file of it is missing")


def _manifest_of(folder: Path) -> bytes:
    begun = time.monotonic()
    while True:
        try:
            return (folder / FILE).read_bytes()
        except (FileNotFoundError, NotADirectoryError) as error:
            if moved_aside(folder) is None or time.monotonic() - begun > _PATIENCE:
                what = f"there is no {FILE} in it" if folder.is_dir() else "there is no such folder"
                old = (folder / "events.parquet").is_file() and (folder / "users.parquet").is_file()
                remedy = "; it was saved by an older version: read the log again, and save or import it" if old else ""
                raise DataError(f"{folder} is not a store: {what}{remedy}") from error
            time.sleep(0.01)  # a writer on a system without exchange is between its two steps


def _opened(folder: Path, manifest: Manifest, *, verify: bool) -> OpenedStore:
    ids: dict[str, list[IdFile]] = {"users": [], "items": []}
    parts = []
    with contextlib.ExitStack() as stack:
        for part in manifest.parts:
            parts.append(_part(folder, manifest, part, verify=verify))
            for kind, told in (("users", part.users), ("items", part.items)):
                if told.count:
                    ids[kind].append(_id_file(folder, manifest, part, kind, told, verify=verify))
                    stack.callback(ids[kind][-1].handle.close)
        maps = {
            kind: IdMap.stored(StoredIds(files, text=_are_text(manifest, kind)), kind.removesuffix("s"))
            for kind, files in ids.items()
        }
        stack.pop_all()
    return OpenedStore(folder, manifest, maps["users"], maps["items"], tuple(parts))


def _are_text(manifest: Manifest, kind: str) -> bool:
    told = [part.users if kind == "users" else part.items for part in manifest.parts]
    return any(one.text for one in told if one.count) or (not any(one.count for one in told) and told[0].text)


def _open(folder: Path, manifest: Manifest, name: str, *, verify: bool) -> BinaryIO:
    digest, size = manifest.files[name]
    try:
        handle = (folder / name).open("rb")
    except FileNotFoundError as error:
        raise DamagedError(f"{folder / name} is missing") from error
    try:
        if (found := handle.seek(0, 2)) != size:
            raise DamagedError(f"{folder / name} is damaged: it has {found:,} bytes, and {size:,} were written")
        handle.seek(0)
        if verify and hashlib.file_digest(handle, "sha256").hexdigest() != digest:
            raise DamagedError(f"{folder / name} is damaged: it is not what was written (its sha256 differs)")
        handle.seek(0)
    except BaseException:
        handle.close()
        raise
    return handle


def _array(folder: Path, manifest: Manifest, name: str, kind: str, length: int, *, verify: bool) -> Any:
    with _open(folder, manifest, name, verify=verify) as handle:
        return arrays.mapped(handle, folder / name, DTYPES[kind], length)


def _part(folder: Path, manifest: Manifest, part: Part, *, verify: bool) -> OpenedPart:
    found = {
        name: _array(folder, manifest, part.file(f"{name}.npy"), name, length, verify=verify)
        for name, length in part.arrays().items()
    }
    offsets: Int64 = found["offsets"]
    if offsets[0] != 0 or offsets[-1] != part.events:
        raise DamagedError(f"{folder / part.file('offsets.npy')} is damaged: its ends are not those that were written")
    histories = Ragged(offsets, found["rows"], found.get("times"), found.get("events"))
    return OpenedPart(histories, found.get("weights"), part.event_names, found.get("owners"))


def _id_file(folder: Path, manifest: Manifest, part: Part, kind: str, told: Ids, *, verify: bool) -> IdFile:
    names = {name: part.file(f"{kind}.{name}") for name in ("parquet", "hashes.npy", "rows.npy")}
    hashes = _array(folder, manifest, names["hashes.npy"], "hashes", told.count, verify=verify)
    order = _array(folder, manifest, names["rows.npy"], "rows", told.count, verify=verify)
    handle = _open(folder, manifest, names["parquet"], verify=verify)
    return IdFile(folder / names["parquet"], handle, told, hashes, order, threading.Lock())
