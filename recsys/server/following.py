"""The transition memory follows what users do: events of the store go into its counts, without learning it again."""

from __future__ import annotations

from typing import Final
from weakref import ref

import numpy as np

from recsys.core.progress import log
from recsys.server.deltas import Delta, Row
from recsys.server.histories import Stored, with_new
from recsys.server.live import Live, Loaded
from recsys.server.store import EventStore
from recsys.transitions.memory import TransitionMemory

_LARGEST: Final = 10_000_000
"""Entries of a table up to which it is changed while requests run; a step takes time by all of them."""
_STEP: Final = 20_000
"""Events in one step."""


class Following:
    """Keeps the memory of the active bundle at what its own log and the events of the store would have taught it.

    That needs a memory of counts (:meth:`TransitionMemory.updated`) of at most ten million entries. Events that come late,
    with a time before the user's last one, change histories but not the memory. Where events were removed from the store,
    the memory begins anew from the bundle's own, so that it holds nothing of users who are forgotten.

    Parameters
    ----------
    live : Live
    store : EventStore
    """

    def __init__(self, live: Live, store: EventStore) -> None:
        self._live, self._store = live, store
        self._of: ref[Loaded] | None = None  # a bundle that was exchanged is not held
        self._position = self._generation = 0

    def step(self) -> int:
        """Take up the events since the last time, at most 20,000; returns how many there were.

        Raises
        ------
        StoreUnavailableError
            The database does not answer.
        """
        with self._live.changing() as loaded:
            own = loaded.memory
            if own is None or own.counted is None or own.table.nnz > _LARGEST:
                return 0
            same = self._of is not None and self._of() is loaded
            state, rows = self._store.newer(self._position if same else 0, _STEP)
            if not same or state.generation != self._generation:
                if self._position and same:
                    state, rows = self._store.newer(0, _STEP)
                _exchange(loaded, own.extended(len(loaded.model.items)))
                self._of, self._position, self._generation = ref(loaded), 0, state.generation
            if rows:
                self._take_up(loaded, rows)
                self._position = rows[-1].position
        return len(rows)

    def _take_up(self, loaded: Loaded, rows: list[Row]) -> None:
        model, memory = loaded.model, loaded.model.memory
        assert memory is not None  # noqa: S101 - it came with one
        names = list(dict.fromkeys(row.user_id for row in rows))
        last = rows[-1].position
        older, newer = dict[str, list[Row]](), dict[str, list[Row]]()
        for row in self._store.interactions_of(names):
            if row.position <= last:
                (older if row.position <= self._position else newer).setdefault(row.user_id, []).append(row)
        forgotten = zip(names, self._store.forgotten_at(names), strict=True)
        before = Stored(_deltas(older), {name: at for name, at in forgotten if at is not None})
        histories, new = with_new(model, model.users.find_rows(names), names, before, _deltas(newer))
        if new.any():
            some = np.flatnonzero(new)
            _exchange(loaded, memory.updated(histories.take(some), new[some]))
            log(f"the transition memory took up {int(new.sum()):,} events")


def _exchange(loaded: Loaded, memory: TransitionMemory) -> None:
    loaded.model = loaded.model.with_memory(memory)


def _deltas(rows: dict[str, list[Row]]) -> dict[str, Delta]:
    return {user: Delta.empty(user).extended(own) for user, own in rows.items()}
