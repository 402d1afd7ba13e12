"""The manifest of a store: what lies in the folder, of what kind, and with which digests."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Final, get_args

import numpy as np

from recsys.core.id_hash import NAME
from recsys.core.opened import is_inside
from recsys.core.sealed import sealed
from recsys.data.order import Ties
from recsys.errors import DamagedError, DataError

FORMAT: Final = "recsys-store"
FORMAT_VERSION: Final = 1
FILE: Final = "manifest.json"
MOST_EVENT_TYPES: Final = 127
"""A code of an event type is one byte."""
RUNS: Final = "runs"
"""The folder of appended parts."""
DTYPES: Final[dict[str, np.dtype[Any]]] = {
    "offsets": np.dtype("<i8"), "owners": np.dtype("<i4"), "rows": np.dtype("<i4"), "times": np.dtype("<i8"),
    "weights": np.dtype("<f4"), "events": np.dtype("i1"), "hashes": np.dtype("<u8"),
}  # fmt: skip
"""The arrays of a part; ``hashes`` and the rows behind them belong to ids."""


@dataclass(frozen=True)
class Ids:
    """The ids that a part brings.

    Attributes
    ----------
    count : int
        How many there are; those of earlier parts are not among them.
    text : bool
        Whether they are text; else whole numbers.
    """

    count: int
    text: bool


@dataclass(frozen=True)
class Part:
    """What one import wrote: the whole log at first, a run afterwards.

    Attributes
    ----------
    folder : str
        Within the store; empty for the first part.
    events : int
        Number of events.
    histories : int
        Number of users whose histories it holds; of a run, those that it adds to.
    users, items : Ids
        New ones.
    times, weights : bool
        Whether events have them.
    event_names : tuple of str
        What the codes of the event types stand for; empty without types.
    """

    folder: str
    events: int
    histories: int
    users: Ids
    items: Ids
    times: bool
    weights: bool
    event_names: tuple[str, ...]

    def file(self, name: str) -> str:
        """The name of one of its files within the store."""
        return f"{self.folder}/{name}" if self.folder else name

    def arrays(self) -> dict[str, int]:
        """Name → length of its arrays of events."""
        found = {"offsets": self.histories + 1, "rows": self.events}
        if self.folder:
            found["owners"] = self.histories
        if self.times:
            found["times"] = self.events
        if self.weights:
            found["weights"] = self.events
        if self.event_names:
            found["events"] = self.events
        return found

    def files(self) -> set[str]:
        """The names of its files within the store."""
        names = {f"{name}.npy" for name in self.arrays()}
        for kind, ids in (("users", self.users), ("items", self.items)):
            if ids.count:
                names |= {f"{kind}.parquet", f"{kind}.hashes.npy", f"{kind}.rows.npy"}
        return {self.file(name) for name in names}


@dataclass(frozen=True)
class Import:
    """What one import brought, kept also where its part was merged into the first one.

    Attributes
    ----------
    source : tuple of str
        Names of the files, or what else the events came from.
    events, users, items : int
        How many it added.
    late : int
        Events that took place before the last known one of their user.
    fingerprint : str
        Of the store after it: the sha256 over that before it and the digests of the files that it wrote.
    """

    source: tuple[str, ...]
    events: int
    users: int
    items: int
    late: int
    fingerprint: str


@dataclass(frozen=True)
class Manifest:
    """What a store holds.

    Attributes
    ----------
    ordered, order_column, ties
        As of :class:`~recsys.data.interactions.Interactions`.
    by_time : bool
        Whether times never fall within a history, so that a later event finds its place by its time.
    parts : tuple of Part
        In the order in which they were written.
    imports : tuple of Import
        What the store was made from, in order.
    waterfall : tuple of dict
        What rules left out, in their order.
    files : dict
        Name → (sha256, bytes) of every file.
    pseudonym_key : str or None
        As of :class:`~recsys.data.interactions.Interactions`.
    """

    ordered: bool
    order_column: str | None
    ties: Ties
    by_time: bool
    parts: tuple[Part, ...]
    imports: tuple[Import, ...]
    waterfall: tuple[dict[str, Any], ...]
    files: dict[str, tuple[str, int]]
    pseudonym_key: str | None = None

    @property
    def fingerprint(self) -> str:
        """Of the whole store: every append changes it, merging the parts does not."""
        return self.imports[-1].fingerprint

    @property
    def events(self) -> int:
        """Number of events in all parts."""
        return sum(part.events for part in self.parts)

    def to_json(self) -> bytes:
        """The content of its file."""
        told = {"format": FORMAT, "format_version": FORMAT_VERSION, "hash": NAME} | asdict(self)
        return (json.dumps(sealed(told), indent=1) + "\n").encode()


def parsed(folder: Path, content: bytes) -> Manifest:
    """Read and check the content of a manifest.

    Raises
    ------
    DataError
        It is that of something else, or of a later version.
    DamagedError
        It is not what was written.
    """
    file = folder / FILE
    try:
        told = json.loads(content)
        kind, version = told["format"], told["format_version"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise DamagedError(f"{file} is damaged, or is no manifest of a store: {type(error).__name__}: {error}") from error
    if kind != FORMAT:
        raise DataError(f"{folder} is not a store: its {FILE} describes a {kind!r}")
    if type(version) is int and version > FORMAT_VERSION:
        raise DataError(
            f"{folder} is a store of version {version}; this recsys reads up to {FORMAT_VERSION}: upgrade recsys, "
            f"or import the log again"
        )
    if told.get("sha256") != sealed(told)["sha256"]:
        raise DamagedError(f"{file} is damaged: it is not what was written (its own sha256 differs)")
    try:
        return _manifest(told)
    except (KeyError, TypeError, ValueError) as error:
        raise DamagedError(f"{file} is damaged: {type(error).__name__}: {error}") from error


def _manifest(told: dict[str, Any]) -> Manifest:
    if told["hash"] != NAME:
        raise ValueError(f"it names the hash {told['hash']!r}, and this version computes {NAME!r}")
    parts = []
    for one in told["parts"]:
        values = {field.name: one[field.name] for field in fields(Part)}
        values |= {kind: Ids(**one[kind]) for kind in ("users", "items")}
        parts.append(Part(**values | {"event_names": tuple(one["event_names"])}))
    files = {name: (str(digest), int(size)) for name, (digest, size) in told["files"].items()}
    if not parts or set(files) != set().union(*(part.files() for part in parts)) or not all(map(is_inside, files)):
        raise ValueError("its files are not those of its parts")
    imports = tuple(Import(**one | {"source": tuple(one["source"])}) for one in told["imports"])
    if not imports:
        raise ValueError("it tells of no import")
    if told["ties"] not in get_args(Ties):
        raise ValueError(f"there is no order of ties {told['ties']!r}")
    return Manifest(
        ordered=told["ordered"],
        order_column=told["order_column"],
        ties=told["ties"],
        by_time=told["by_time"],
        parts=tuple(parts),
        imports=imports,
        waterfall=tuple(told["waterfall"]),
        files=files,
        pseudonym_key=told.get("pseudonym_key"),  # stores of older versions have none
    )


def chained(before: str, files: dict[str, tuple[str, int]]) -> str:
    """The fingerprint of a store to which files were added: sha256 over the one before and their digests, by name."""
    digest = hashlib.sha256(before.encode())
    for name in sorted(files):
        digest.update(f"|{name} {files[name][0]}".encode())
    return digest.hexdigest()


def is_store(folder: Path) -> bool:
    """Whether a folder claims to be a store, whole or damaged: its manifest tells of one."""
    try:
        return bool(json.loads((folder / FILE).read_bytes())["format"] == FORMAT)
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return all(os.path.isfile(folder / name) for name in ("rows.npy", "offsets.npy"))  # no error for a name too long
