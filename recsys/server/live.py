"""The bundle that answers: one slot, exchanged while requests run, each of which ends with what it began with."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from weakref import ref

from recsys.core.memory import give_back
from recsys.core.progress import log
from recsys.errors import BundleError
from recsys.server.answering import State
from recsys.server.model import Model
from recsys.server.opening import digest_of, open_model
from recsys.server.popular import Popularity
from recsys.transitions.memory import TransitionMemory

_LAST_REQUEST = 0.5
"""Seconds to wait for the last request of the bundle before."""
_FREED = 3.0
"""Seconds to wait until nothing holds the bundle before: an answer of it may be looked at, or reported to the shadow."""


@dataclass(eq=False)
class Loaded:
    """A bundle, or an export of one, in memory, whole and verified.

    Attributes
    ----------
    model : Model
        Another one with each change of the living corpus.
    path : Path
        Where it was loaded from.
    digest : str
        Of its manifest, and so of every file.
    loaded_at : float
        Seconds since 1970.
    memory : TransitionMemory or None
        As it was saved.
    """

    model: Model
    path: Path
    digest: str
    loaded_at: float = field(default_factory=time.time)
    leases: int = 0
    memory: TransitionMemory | None = field(init=False)
    _made: State | None = None
    _popularity: Popularity | None = None

    def __post_init__(self) -> None:
        self.memory = self.model.memory

    def state(self) -> State:
        """What it answers from at this moment."""
        model, made = self.model, self._made
        if made is not None and made.model is model:
            return made
        if self._popularity is None:
            self._popularity = Popularity(model.histories)
        self._made = made = State(model, self.digest, self._popularity)
        return made


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
    def digest(self) -> str:
        """Which bundle it is."""
        return self.loaded.digest


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


def open_bundle(
    folder: str | Path,
    *,
    device: str = "auto",
    threads: int | None = None,
    available: int | None = None,
    pseudonym_key: str | None = None,
) -> Loaded:
    """Load and verify a bundle, or an export of one; takes and raises what :func:`open_model` does."""
    folder = Path(folder)
    model, digest = open_model(folder, device=device, threads=threads, available=available, pseudonym_key=pseudonym_key)
    return Loaded(model, folder, digest)


class Live:
    """The one slot of the active bundle, the one before it by name, and how they change.

    Parameters
    ----------
    active : Loaded
    device : str
        Where further bundles are loaded.
    threads, pseudonym_key : optional
        As of :func:`open_bundle`.
    """

    def __init__(
        self, active: Loaded, *, device: str = "auto", threads: int | None = None, pseudonym_key: str | None = None
    ) -> None:
        self._active = active
        self._threads = threads
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
            found = open_bundle(folder, device=self._device, threads=self._threads, pseudonym_key=self._pseudonym_key)
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
            _check_ids(self._active.model, candidate)
            prepare(candidate)
            with self._slot:
                before, self._active = self._active, candidate
                self._previous = (before.path, before.digest)
                del self._candidates[digest]
        log(f"bundle {candidate.digest} answers instead of {before.digest}")
        with self._slot:
            self._returned.wait_for(lambda: not before.leases, _LAST_REQUEST)
        weights = ref(before.model.weights)
        return candidate, lambda: weights() is not None

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
        sizes = len(loaded.model.users), int(loaded.model.alive.sum())
        active = loaded is self._active
        return Version(str(loaded.path), loaded.digest, loaded.loaded_at, *sizes, active, loaded.leases)


def _check_ids(active: Model, candidate: Loaded) -> None:
    """Refuse a bundle whose ids are of another type, of which no request of today's clients would be right."""
    other = candidate.model
    for name, one, two in (("users", active.users, other.users), ("items", active.items, other.items)):
        if one.ids.dtype != two.ids.dtype:
            raise BundleError(
                f"the ids of {name} in {candidate.path} are {two.ids.dtype}, and {one.ids.dtype} in the active bundle; "
                "fit it on a log with the same ids"
            )
