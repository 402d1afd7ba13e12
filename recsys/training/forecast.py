"""What a training will cost, measured before it starts."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import lightning as L
import torch
from torch import Tensor

from recsys.core.memory import available_memory
from recsys.errors import ConfigError
from recsys.training.next_item_loss import NextItemLoss
from recsys.training.windows import Batch, WindowBatches

_TIMED = 3


@dataclass(frozen=True)
class Forecast:
    """Expected cost of a training.

    Attributes
    ----------
    seconds : float
        Per epoch, without validation.
    memory : int
        Bytes at the peak of a step beyond what the process held before: what the largest batch keeps for its backward
        pass, and the copies of the weights (gradients, optimiser states, average, best).
    free : int
        Bytes that are free on the device.
    parameters, steps : int
        Trained parameters, and steps per epoch.
    """

    seconds: float
    memory: int
    free: int
    parameters: int
    steps: int

    def __str__(self) -> str:
        return (
            f"expected: {self.seconds:,.1f} s per epoch ({self.steps:,} steps), {self.memory / 2**30:.2f} GiB of memory "
            f"({self.free / 2**30:.1f} GiB free), {self.parameters:,} trained parameters"
        )


def forecast(fabric: L.Fabric, loss: NextItemLoss, batches: WindowBatches, *, copies: float) -> Forecast:
    """Measure a few steps without changing weights or random states.

    Parameters
    ----------
    fabric : Fabric
        Launched; gives the device.
    loss : NextItemLoss
    batches : WindowBatches
    copies : float
        How many more copies of the trained weights training holds.

    Raises
    ------
    ConfigError
        More memory is needed than is free.
    """
    loss = loss.to(fabric.device)
    trained = loss.weights().values()
    free = free_memory(fabric.device)
    with loss.restored():
        kept = kept_memory(loss, widest_batch(batches).to(fabric.device))
    memory = int(kept + copies * sum(p.numel() * p.element_size() for p in trained))
    if memory > free:
        raise ConfigError(
            f"training would need about {memory / 2**30:.1f} GiB, but only {free / 2**30:.1f} GiB is free; "
            f"lower batch_tokens (now {batches.tokens}), dim or max_length, or use loss='sampled'"
        )
    with loss.restored():
        seconds = list(_timed(loss, islice(batches.epoch(0), _TIMED + 1), fabric.device))
    timed = seconds[1:] or seconds  # the first step warms up
    return Forecast(
        seconds=sum(timed) / len(timed) * batches.steps,
        memory=memory,
        free=free,
        parameters=sum(p.numel() for p in trained),
        steps=batches.steps,
    )


def _timed(loss: NextItemLoss, batches: Iterator[Batch], device: torch.device) -> Iterator[float]:
    """Seconds of a forward and a backward pass over each batch."""
    for batch in batches:
        begun = time.perf_counter()
        loss(batch.to(device)).backward()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        yield time.perf_counter() - begun


def widest_batch(batches: WindowBatches) -> Batch:
    """The largest batch of the first epoch: the one with the longest windows, and most of them."""
    (_, _, sizes), plan = batches.plan(0)
    place = max(range(len(plan)), key=lambda place: (int(sizes[plan[place][0]]), len(plan[place])))
    return next(batches.epoch(0, place))


def kept_memory(loss: NextItemLoss, batch: Batch) -> int:
    """Bytes that a batch keeps for its backward pass.

    Extrapolated from an eighth and a quarter of its windows: at a given length, memory grows linearly with their number.
    So a batch that would not fit is never run.
    """
    windows = len(batch.inputs)
    few, more = max(1, windows // 8), max(1, windows // 4)
    first = _kept(loss, _head(batch, few))
    if few == windows:
        return first
    if few == more:
        more = few + 1
    slope = (_kept(loss, _head(batch, more)) - first) / (more - few)
    return int(first + slope * (windows - few))


def _head(batch: Batch, windows: int) -> Batch:
    """The first windows of a batch, with the targets of all of it to draw negatives for."""
    inputs = batch.inputs[:windows]
    mine = batch.positions < inputs.numel()
    return replace(
        batch,
        inputs=inputs,
        targets=batch.targets[mine],
        positions=batch.positions[mine],
        weights=None if batch.weights is None else batch.weights[mine],
        context=None if batch.context is None else batch.context.rows(torch.arange(windows, device=inputs.device)),
    )


def _kept(loss: NextItemLoss, batch: Batch) -> int:
    """Bytes kept between forward and backward pass, counted tensor by tensor: an allocator may hold more by chance."""
    owned = {tensor.untyped_storage().data_ptr() for tensor in (*loss.parameters(), *loss.buffers())}
    held: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in owned:
            held[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        value = loss(batch)
    value.backward()
    loss.zero_grad(set_to_none=True)
    return sum(held.values())


def free_memory(device: torch.device, root: Path = Path("/")) -> int:
    """Bytes that are still free on a device: on a CPU, the smaller of the machine's and the container's.

    ``root`` is where ``proc`` and ``sys`` lie.
    """
    if device.type == "cuda":
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)  # PyTorch keeps what it got
        return int(torch.cuda.mem_get_info(device)[0]) + unused
    free = available_memory(root)
    if free is None:  # not Linux: the whole memory, since the free part is not known
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return free
