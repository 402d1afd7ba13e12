"""While a database cannot be reached, a single thread asks whether it is back, and other threads do not wait for it."""

from __future__ import annotations

import threading
from collections.abc import Callable

from recsys.errors import StoreUnavailableError


class Outage:
    """Whether a database can be reached.

    Parameters
    ----------
    probe : function
        Raises StoreUnavailableError while it cannot.
    every : float
        Seconds between two probes.
    """

    def __init__(self, probe: Callable[[], None], every: float = 0.5) -> None:
        self._probe, self._every = probe, every
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._closed = threading.Event()
        self._over.set()

    @property
    def now(self) -> bool:
        """Whether it was found to be out of reach, and not yet back."""
        return not self._over.is_set()

    def begin(self) -> None:
        """Take note that it cannot be reached."""
        with self._lock:
            if self._over.is_set() and not self._closed.is_set():
                self._over.clear()
                threading.Thread(target=self._wait, name="recsys-outage", daemon=True).start()

    def close(self) -> None:
        """Ask no more."""
        self._closed.set()

    def _wait(self) -> None:
        while not self._closed.wait(self._every):
            try:
                self._probe()
            except StoreUnavailableError:
                continue
            self._over.set()
            return
