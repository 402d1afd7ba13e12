"""How many threads compute a batch: for a small one, waking the second costs more than it does."""

from __future__ import annotations

from typing import Final
from weakref import WeakKeyDictionary

import torch

from recsys.bundle.contents import Bundle

_WORK: Final = 200e6
"""Multiplications of a batch from which all threads compute: 64 short histories, or one search among a million items."""
_READ: Final = 4
"""A vector that is read from memory costs as much as so many multiplications for each of its numbers."""


class ModelThreads:
    """Chooses between one thread and as many as PyTorch had when this was made; for the calling thread alone."""

    def __init__(self) -> None:
        self._most = torch.get_num_threads()
        self._weights: WeakKeyDictionary[Bundle, int] = WeakKeyDictionary()

    def fit(self, bundle: Bundle, requests: int, positions: int) -> None:
        """Choose for a batch.

        Parameters
        ----------
        bundle : Bundle
        requests, positions : int
            How many requests it has, and how many events of histories are read for them.
        """
        if self._most == 1:
            return
        weights = self._weights.get(bundle)
        if weights is None:
            weights = sum(one.numel() for one in bundle.towers.net.users.parameters())
            self._weights[bundle] = weights
        work = positions * weights + _READ * requests * len(bundle.items) * bundle.index.dim
        wanted = 1 if work < _WORK else self._most
        if torch.get_num_threads() != wanted:
            torch.set_num_threads(wanted)
