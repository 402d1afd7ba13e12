"""The bundle that answers: one slot, exchanged while requests run, each of which ends with what it began with."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from weakref import ref

from recsys.bundle.contents import Bundle
from recsys.bundle.manifest import read_manifest
from recsys.core.memory import available_memory, give_back
from recsys.core.progress import log
from recsys.core.pseudonym_key import checked_key, read_key
from recsys.errors import BundleError
from recsys.server.answering import State
from recsys.server.popular import Popularity
from recsys.serving.load import load
from recsys.serving.retriever import Retriever
from recsys.transitions.memory import TransitionMemory

_SHORT = 16
"""Digits of a digest that are shown."""
_GROWTH = 1.3
"""Memory of a loaded bundle for each byte of its files: texts and tables take more than on disk."""
_LAST_REQUEST = 0.5
"""Seconds to wait for the last request of the bundle before."""
_FREED = 3.0
"""Seconds to wait until nothing holds the bundle before: an answer of it may be looked at, or reported to the shadow."""


@dataclass(eq=False)
class Loaded:
    """A bundle in memory, whole and verified.

    Attributes
    ----------
    retriever : Retriever
        Changes with the living corpus.
    path : Path
        Where it was loaded from.
    digest : str
        Of its manifest, and so of every file.
    loaded_at : float
        Seconds since 1970.
    memory : TransitionMemory or None
        As it was saved.
    """

    retriever: Retriever
    path: Path
    digest: str
    loaded_at: float = field(default_factory=time.time)
    leases: int = 0
    memory: TransitionMemory | None = field(init=False)
    _made: tuple[Bundle, State] | None = None
    _popularity: Popularity | None = None

    def __post_init__(self) -> None:
        self.memory = self.retriever.bundle.corpus.transitions

    def state(self) -> State:
        """What it answers from at this moment."""
        bundle, made = self.retriever.bundle, self._made
        if made is not None and made[0] is bundle:
            return made[1]
        if self._popularity is None:
            self._popularity = Popularity(bundle.histories)
        state = State(bundle, self.digest, self._popularity)
        self._made = (bundle, state)
        return state


@dataclass(frozen=True, eq=False)
class Lease:
    """A bundle, held for as long as a request runs.

    Attributes
    ----------
    loaded : Loaded
    state : State
        The corpus as it was when the lease began; nothing changes it.
    """

    loaded: Loaded
    state: State

    @property
    def bundle(self) -> Bundle:
        """The bundle."""
        return self.state.bundle

    @property
    def digest(self) -> str:
        """Which bundle it is."""
        return self.loaded.digest

    @property
    def retriever(self) -> Retriever:
        """A retriever of this very state."""
        return Retriever(self.state.bundle)


@dataclass(frozen=True)
class Version:
    """A bundle as admins see it.

    Attributes
    ----------
    path : str
    digest : str
    loaded_at : float
        Seconds since 1970.
    users, items : int
    active : bool
    leases : int
        Requests that it answers at this moment.
    """

    path: str
    digest: str
    loaded_at: float
    users: int
    items: int
    active: bool
    leases: int


def digest_of(folder: Path) -> str:
    """The digest of a bundle on disk, which only another bundle changes.

    Raises
    ------
    BundleError
        There is none, or its manifest is damaged.
    """
    manifest = read_manifest(folder)
    found: str = manifest["sha256"]
    return found[:_SHORT]


def open_bundle(
    folder: str | Path, *, device: str = "auto", available: int | None = None, pseudonym_key: str | None = None
) -> Loaded:
    """Load and verify a bundle, if it fits in memory.

    Parameters
    ----------
    folder : path
    device : str
    available : int, optional
        Bytes of memory that may be used; by default what the system has left.
    pseudonym_key : str, optional
        File of the key of its users' pseudonyms; by default what the environment holds.

    Raises
    ------
    BundleError
        It is damaged, or would not fit.
    ConfigError
        Its users are pseudonyms under another key, or there is none.
    """
    folder = Path(folder)
    manifest = read_manifest(folder)
    file = None if pseudonym_key is None else Path(pseudonym_key)
    checked_key(read_key(file, option="pseudonym_key_file"), manifest["data"].get("pseudonym_key"), str(folder))
    need = int(_GROWTH * sum(entry["bytes"] for entry in manifest["files"].values()))
    free = available_memory() if available is None else available
    if free is not None and need > free:
        raise BundleError(
            f"{folder} needs about {need / 2**20:,.0f} MiB of memory, and {free / 2**20:,.0f} MiB are left; "
            "give the server more, or serve a smaller bundle"
        )
    for _ in range(3):
        digest = digest_of(folder)
        retriever = load(folder, device=device, pseudonym_key=pseudonym_key)
        if digest_of(folder) == digest:  # nobody saved over it meanwhile
            return Loaded(retriever, folder, digest)
    raise BundleError(f"{folder} is being replaced again and again; load it once its writers have ended")


class Live:
    """The one slot of the active bundle, the one before it by name, and how they change.

    Parameters
    ----------
    active : Loaded
    device : str
        Where further bundles are loaded.
    pseudonym_key : str, optional
        As of :func:`open_bundle`.
    """

    def __init__(self, active: Loaded, *, device: str = "auto", pseudonym_key: str | None = None) -> None:
        self._active = active
        self._pseudonym_key = pseudonym_key
        self._device = device
        self._previous: tuple[Path, str] | None = None
        self._candidates: dict[str, Loaded] = {}
        self._slot = threading.Lock()
        self._returned = threading.Condition(self._slot)
        self._changing = threading.Lock()
        self._loading = threading.Lock()

    @property
    def active(self) -> Loaded:
        """The bundle that answers."""
        return self._active

    @contextmanager
    def lease(self) -> Iterator[Lease]:
        """Hold the active bundle, as it is now, within the block."""
        with self._slot:
            loaded = self._active
            loaded.leases += 1
        try:
            yield Lease(loaded, loaded.state())
        finally:
            with self._slot:
                loaded.leases -= 1
                if loaded is not self._active and not loaded.leases:
                    self._returned.notify_all()

    def load(self, folder: str | Path) -> Loaded:
        """Load and verify a bundle beside the active one.

        Raises
        ------
        BundleError
            It is damaged, or would not fit in memory.
        """
        with self._loading:
            found = open_bundle(folder, device=self._device, pseudonym_key=self._pseudonym_key)
            self._candidates[found.digest] = found
            return found

    def candidate(self, digest: str) -> Loaded:
        """A bundle that was loaded and is not active.

        Raises
        ------
        BundleError
            There is none of this digest.
        """
        found = self._candidates.get(digest)
        if found is None:
            known = ", ".join(self._candidates) or "none"
            raise BundleError(f"no loaded bundle has the digest {digest!r} (there is {known}); load it first")
        return found

    def unload(self, digest: str) -> None:
        """Let go of a bundle that is not active; raises as :meth:`candidate`."""
        self.candidate(digest)
        self._candidates.pop(digest, None)
        give_back()

    def activate(self, digest: str, prepare: Callable[[Loaded], None] = lambda loaded: None) -> Loaded:
        """Make a loaded bundle the active one; the one before is freed when its last request ends.

        Parameters
        ----------
        digest : str
        prepare : function
            Checks and warms the candidate; if it raises, the active bundle stays.

        Raises
        ------
        BundleError
            No loaded bundle has this digest, or it has ids of another type.
        """
        found, is_held = self._exchanged(digest, prepare)
        end = time.monotonic() + _FREED
        while is_held() and time.monotonic() < end:  # what is freed after it was given back would stay with the process
            time.sleep(0.01)
        give_back()
        return found

    def _exchanged(self, digest: str, prepare: Callable[[Loaded], None]) -> tuple[Loaded, Callable[[], bool]]:
        """The bundle that has become active, and what tells whether anything holds the one before."""
        with self._changing:
            candidate = self.candidate(digest)
            _check_ids(self._active.retriever.bundle, candidate)
            prepare(candidate)
            with self._slot:
                before, self._active = self._active, candidate
                self._previous = (before.path, before.digest)
                del self._candidates[digest]
        log(f"bundle {candidate.digest} answers instead of {before.digest}")
        with self._slot:
            self._returned.wait_for(lambda: not before.leases, _LAST_REQUEST)
        model = ref(before.retriever.bundle.towers.net)  # all states of a living corpus share it
        return candidate, lambda: model() is not None

    def roll_back(self, prepare: Callable[[Loaded], None] = lambda loaded: None) -> Loaded:
        """Load the bundle before this one again and make it the active one.

        Raises
        ------
        BundleError
            There was none, or its folder holds another bundle by now.
        """
        if self._previous is None:
            raise BundleError("no bundle was active before this one, so that there is none to roll back to")
        path, digest = self._previous
        if digest not in self._candidates:
            now = digest_of(path)
            if now != digest:
                raise BundleError(
                    f"{path} holds the bundle {now} by now, not {digest}; load the one that you want by its path"
                )
            self.load(path)
        return self.activate(digest, prepare)

    @contextmanager
    def changing(self) -> Iterator[Loaded]:
        """The active bundle, whose items the block may change; changes wait for each other, and for an activation."""
        with self._changing:
            yield self._active

    def versions(self) -> list[Version]:
        """The active bundle, then those that are loaded beside it."""
        with self._slot:
            known = [self._active, *self._candidates.values()]
        return [self.version_of(one) for one in known]

    def version_of(self, loaded: Loaded) -> Version:
        """A bundle as admins see it."""
        bundle = loaded.retriever.bundle
        sizes = len(bundle.users), int(bundle.index.alive.sum())
        active = loaded is self._active
        return Version(str(loaded.path), loaded.digest, loaded.loaded_at, *sizes, active, loaded.leases)


def _check_ids(active: Bundle, candidate: Loaded) -> None:
    """Refuse a bundle whose ids are of another type, of which no request of today's clients would be right."""
    other = candidate.retriever.bundle
    for name, one, two in (("users", active.users, other.users), ("items", active.items, other.items)):
        if one.ids.dtype != two.ids.dtype:
            raise BundleError(
                f"the ids of {name} in {candidate.path} are {two.ids.dtype}, and {one.ids.dtype} in the active bundle; "
                "fit it on a log with the same ids"
            )
