"""Training batches: windows of histories, grouped by length so that next to nothing is padding."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import IterableDataset

from recsys.data.row_lists import Int64, RowLists, ragged_positions


@dataclass(frozen=True)
class Batch:
    """Some windows of histories.

    Attributes
    ----------
    inputs : int64 (B, T)
        Item rows in time order, padded on the right with row 0.
    targets : int64 (N,)
        The next item of every real position, row by row.
    positions : int64 (N,)
        Where those positions lie in the flattened (B · T) inputs.
    """

    inputs: Tensor
    targets: Tensor
    positions: Tensor

    def to(self, device: torch.device | str) -> Batch:
        """The same batch on another device."""
        return Batch(self.inputs.to(device), self.targets.to(device), self.positions.to(device))


def cut_windows(lengths: Int64, length: int, generator: np.random.Generator) -> tuple[Int64, Int64, Int64]:
    """Cut each history into windows of at most ``length`` inputs so that every event but the first is a target once.

    The first cut of a history longer than a window falls anywhere, so that over the epochs each event is predicted from
    contexts of every length.

    Parameters
    ----------
    lengths : int64 (U,)
        Events per history; those with fewer than two give no window.
    length : int
        Longest window, in inputs.
    generator : numpy Generator

    Returns
    -------
    owners, starts, sizes : int64 (W,)
        History, first event and number of inputs of each window; window ``w`` reads events
        ``starts[w] .. starts[w] + sizes[w]`` of its history and predicts each one's successor.
    """
    targets = np.maximum(lengths - 1, 0)
    first = np.where(targets > length, generator.integers(1, length + 1, len(lengths)), targets)
    rest = targets - first
    count = (targets > 0) + -(-rest // length)
    owners = np.repeat(np.arange(len(lengths), dtype=np.int64), count)
    nth = ragged_positions(np.zeros_like(count), count)
    starts = np.where(nth == 0, 0, first[owners] + (nth - 1) * length)
    sizes = np.where(nth == 0, first[owners], np.minimum(length, targets[owners] - starts))
    return owners, starts, sizes


class WindowBatches(IterableDataset[Batch]):
    """An endless supply of epochs of batches, each epoch cut and shuffled anew from the seed and its number.

    Parameters
    ----------
    histories : RowLists
        Training histories.
    length : int
        Longest window, in inputs.
    tokens : int
        Padded positions per batch, at most (one window at least).
    seed : int

    Attributes
    ----------
    steps : int
        Batches of the first epoch; later ones differ by a few, as each cuts the histories elsewhere. There is no length,
        lest a trainer stop at it and leave the last batches of an epoch out.
    """

    def __init__(self, histories: RowLists, *, length: int, tokens: int, seed: int) -> None:
        self.histories = histories
        self.length = length
        self.tokens = max(tokens, length)
        self.seed = seed
        self.epoch = 0
        self.steps = len(self._plan(0)[1])

    def _plan(self, epoch: int) -> tuple[tuple[Int64, Int64, Int64], list[Int64]]:
        """Windows of an epoch and, batch by batch, which of them belong together."""
        generator = np.random.default_rng((self.seed, epoch))
        owners, starts, sizes = cut_windows(self.histories.lengths, self.length, generator)
        order = generator.permutation(len(sizes))
        order = order[np.argsort(-sizes[order], kind="stable")]  # longest first, random among equals
        batches = []
        begin = 0
        while begin < len(order):
            end = min(len(order), begin + max(1, self.tokens // int(sizes[order[begin]])))
            batches.append(order[begin:end])
            begin = end
        return (owners, starts, sizes), [batches[i] for i in generator.permutation(len(batches))]

    def __iter__(self) -> Iterator[Batch]:
        windows, plan = self._plan(self.epoch)
        self.epoch += 1
        for chosen in plan:
            yield self._batch(*(part[chosen] for part in windows))

    def _batch(self, owners: Int64, starts: Int64, sizes: Int64) -> Batch:
        first = self.histories.offsets[owners] + starts
        events = self.histories.rows[ragged_positions(first, sizes)]
        following = self.histories.rows[ragged_positions(first + 1, sizes)]
        width = int(sizes.max())
        places = ragged_positions(np.arange(len(sizes), dtype=np.int64) * width, sizes)
        inputs = np.zeros(len(sizes) * width, dtype=np.int64)
        inputs[places] = events
        return Batch(
            inputs=torch.from_numpy(inputs.reshape(len(sizes), width)),
            targets=torch.from_numpy(following.astype(np.int64)),
            positions=torch.from_numpy(places),
        )
