"""Training batches: windows of histories, grouped by length so that almost nothing is padding."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from recsys.config.augment import Augment
from recsys.core.ragged import Int32, Int64, Ragged, ragged_positions
from recsys.data.interactions import Interactions
from recsys.models.networks.context import Context, Padding, collate
from recsys.training.augment import augment


@dataclass(frozen=True)
class Batch:
    """Some windows of histories: the share that one process has of a step.

    Attributes
    ----------
    inputs : int64 (B, T)
        Item rows in time order, padded on the right with row 0.
    targets : int64 (N,)
        The next item of every real position, row by row.
    positions : int64 (N,)
        Where those positions lie in the flattened (B · T) inputs.
    all_targets : int64 (N',)
        The targets of all processes' shares.
    weights, all_weights : float32 (N,), float32 (N',), or None
        Weight of each target in the log.
    context : Context or None
        Times, event types and user features besides the inputs, where there are any.
    processes : int
        How many shares there are.
    replayed : bool (N,) or None
        In an update: which targets were trained on before.
    """

    inputs: Tensor
    targets: Tensor
    positions: Tensor
    all_targets: Tensor
    weights: Tensor | None = None
    all_weights: Tensor | None = None
    context: Context | None = None
    processes: int = 1
    replayed: Tensor | None = None

    def share(self, *, weighted: bool = False) -> float:
        """Factor on the mean over this share: with it, the mean over processes is the mean over all positions."""
        if weighted and self.weights is not None and self.all_weights is not None:
            return self.processes * float(self.weights.sum() / self.all_weights.sum())
        return self.processes * len(self.targets) / len(self.all_targets)

    def to(self, device: torch.device | str) -> Batch:
        """The same batch on another device."""
        return replace(
            self,
            inputs=self.inputs.to(device),
            targets=self.targets.to(device),
            positions=self.positions.to(device),
            all_targets=self.all_targets.to(device),
            weights=None if self.weights is None else self.weights.to(device),
            all_weights=None if self.all_weights is None else self.all_weights.to(device),
            context=None if self.context is None else self.context.to(device),
            replayed=None if self.replayed is None else self.replayed.to(device),
        )


def cut_windows(lengths: Int64, length: int, generator: np.random.Generator) -> tuple[Int64, Int64, Int64]:
    """Cut each history into windows of at most ``length`` inputs so that every event but the first is a target once.

    A history longer than a window is first cut at a random place, so that over the epochs each event is predicted from
    contexts of every length.

    Parameters
    ----------
    lengths : int64 (U,)
        Events per history; a history of fewer than two events gives no window.
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


@dataclass(eq=False)
class WindowBatches:
    """Epochs of batches; each epoch is cut, grouped and augmented from the seed and its number.

    Every process can make any batch of any epoch from these two numbers and the batch's place. So a killed run continues
    exactly, and processes share a batch without communication.

    Parameters
    ----------
    log : Interactions
    length : int
        Longest window, in inputs.
    tokens : int
        Most padded positions per batch, over all processes; a batch has at least one window per process.
    seed : int
    options : Augment
    neighbours : int32 (n_items, m), optional
        Nearest items of each item, for substitution.
    features : int64 (n_users, F), optional
        Codes of the user features that the tower reads.
    target_event : bool
        Whether to give the tower the type of the next event at each position.
    processes, process : int
        How many processes share each batch, and the number of this one.
    """

    log: Interactions
    length: int
    tokens: int
    seed: int
    options: Augment = Augment()  # noqa: RUF009 - frozen
    neighbours: Int32 | None = None
    features: Int64 | None = None
    target_event: bool = False
    processes: int = 1
    process: int = 0
    _shuffle: tuple[int, Int64] | None = field(default=None, init=False, repr=False)

    @cached_property
    def steps(self) -> int:
        """Batches of the first epoch; later epochs have a few more or fewer, since each cuts the histories elsewhere."""
        return len(self.plan(0)[1])

    @property
    def reshuffled(self) -> bool:
        """Whether each epoch reads histories in another order: a log that has none must not teach the one it is kept in."""
        return not self.log.ordered

    def plan(self, epoch: int) -> tuple[tuple[Int64, Int64, Int64], list[Int64]]:
        """Windows of an epoch, and the windows of each of its batches."""
        generator = np.random.default_rng((self.seed, epoch))
        owners, starts, sizes = self.windows(generator)
        order = generator.permutation(len(sizes))
        order = order[np.argsort(-sizes[order], kind="stable")]  # longest first, random among equals
        tokens = max(self.tokens, self.length)
        batches = []
        begin = 0
        while begin < len(order):
            end = min(len(order), begin + max(self.processes, tokens // int(sizes[order[begin]])))
            batches.append(order[begin:end])
            begin = end
        return (owners, starts, sizes), [batches[i] for i in generator.permutation(len(batches))]

    def windows(self, generator: np.random.Generator) -> tuple[Int64, Int64, Int64]:
        """History, first event and number of inputs of each window of an epoch; see :func:`cut_windows`."""
        return cut_windows(self.log.histories.lengths, self.length, generator)

    def epoch(self, number: int, first: int = 0) -> Iterator[Batch]:
        """The batches of epoch ``number``, from the ``first``-th on."""
        windows, plan = self.plan(number)
        for place in range(first, len(plan)):
            owners, starts, sizes = (part[plan[place]] for part in windows)
            yield self.batch(owners, starts, sizes, key=(self.seed, number, place))[0]

    def batch(self, owners: Int64, starts: Int64, sizes: Int64, key: tuple[int, int, int]) -> tuple[Batch, Int64]:
        """A batch of some windows, and the places in the log of its targets, int64 (N,)."""
        log = self.log
        flat = ragged_positions(log.histories.offsets[owners] + starts, sizes + 1)  # the windows' events in the log
        if self.reshuffled:
            flat = self._shuffled(key[1])[flat]
        windows = Ragged.from_lengths(sizes + 1, log.histories.rows[flat])
        varied = augment(windows, self.options, np.random.default_rng(key), self.neighbours)
        mine = np.arange(self.process, len(owners), self.processes)
        lengths = varied.inputs.lengths[mine]
        own = ragged_positions(varied.inputs.offsets[mine], lengths)  # this process's inputs, and their targets
        padding = Padding.of(lengths)
        weights = all_weights = None
        if log.weights is not None:
            all_weights = torch.from_numpy(log.weights[flat[varied.target_events]])
            weights = all_weights[own]
        all_targets = torch.from_numpy(varied.targets.rows.astype(np.int64))
        predicted = flat[varied.target_events[own]]
        made = Batch(
            inputs=padding.pad(varied.inputs.rows[own]),
            targets=all_targets[own],
            positions=torch.from_numpy(padding.positions),
            all_targets=all_targets,
            weights=weights,
            all_weights=all_weights,
            context=self._context(owners[mine], flat[varied.input_events[own]], predicted, padding),
            processes=self.processes,
        )
        return made, predicted

    def _shuffled(self, epoch: int) -> Int64:
        """int64 (len(log),): the events of the log, each history's in the order of this epoch."""
        if self._shuffle is None or self._shuffle[0] != epoch:
            random = np.random.default_rng((self.seed, epoch, 1)).random(len(self.log.histories.rows))
            self._shuffle = epoch, np.argsort(self.log.histories.list_index() + random)
        return self._shuffle[1]

    def _context(self, owners: Int64, read: Int64, predicted: Int64, padding: Padding) -> Context | None:
        """Times and types of the events read, and of the events predicted from them; features of the windows' users."""
        times, events = self.log.histories.times, self.log.histories.events
        if times is None and events is None and self.features is None:
            return None
        return collate(
            padding,
            times=None if times is None else times[read],
            request=None if times is None else times[predicted],
            events=None if events is None else events[read],
            target_event=events[predicted] if self.target_event and events is not None else None,
            features=None if self.features is None else self.features[owners],
        )
