"""What a training will cost, told before it starts."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

import lightning as L
import torch
from torch import Tensor

from recsys.errors import ConfigError
from recsys.training.batches import Batch, WindowBatches
from recsys.training.module import NextItemLoss

_TIMED = 3
_STATES = 5
"""Copies of the weights that training holds: they themselves, gradients, AdamW's two moments, the best so far."""


@dataclass(frozen=True)
class Forecast:
    """Expected cost of a training.

    Attributes
    ----------
    seconds : float
        Per epoch, without validation.
    memory : int
        Bytes beyond what the process held before, at the peak of a step.
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

    def check(self, batch_tokens: int) -> None:
        """Refuse a training that would run out of memory.

        Raises
        ------
        ConfigError
            More is needed than is free.
        """
        if self.memory > self.free:
            raise ConfigError(
                f"training would need about {self.memory / 2**30:.1f} GiB and {self.free / 2**30:.1f} GiB are free; "
                f"lower batch_tokens (now {batch_tokens}), dim or max_length, or take loss='sampled'"
            )


def forecast(fabric: L.Fabric, loss: NextItemLoss, batches: WindowBatches) -> Forecast:
    """Measure a few steps without changing weights or random states.

    Memory is what one step keeps for its backward pass, counted tensor by tensor, and not what the allocator happens to
    hold; the largest batch is not run but told from two smaller ones, as the need grows in a straight line.

    Parameters
    ----------
    fabric : Fabric
        Launched; gives the device and the precision.
    loss : NextItemLoss
    batches : WindowBatches
    """
    draws, loss = loss.draws.get_state(), loss.to(fabric.device)
    parameters = sum(p.numel() * p.element_size() for p in loss.parameters() if p.requires_grad)
    found = []
    with torch.random.fork_rng(enabled=True):
        for batch in batches.epoch(0):
            found.append(_measure(fabric, loss, batch.to(fabric.device)))
            if len(found) == _TIMED + 1:
                break
    loss.draws.set_state(draws)
    loss.zero_grad(set_to_none=True)
    tokens, seconds, kept = zip(*found, strict=True)
    widest = max(batches.tokens, batches.length)
    (low, low_kept), (high, high_kept) = min(zip(tokens, kept, strict=True)), max(zip(tokens, kept, strict=True))
    slope = max(0.0, (high_kept - low_kept) / max(1, high - low))
    peak = max(kept) + slope * max(0, widest - high) if high > low else max(kept) * max(1.0, widest / high)
    timed = seconds[1:] or seconds  # the first step warms up
    return Forecast(
        seconds=sum(timed) / len(timed) * batches.steps,
        memory=int(peak) + _STATES * parameters,
        free=free_memory(fabric.device),
        parameters=sum(p.numel() for p in loss.parameters() if p.requires_grad),
        steps=batches.steps,
    )


def _measure(fabric: L.Fabric, loss: NextItemLoss, batch: Batch) -> tuple[int, float, int]:
    """Padded tokens, seconds of forward and backward, and bytes kept in between."""
    held: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        held[storage.data_ptr()] = storage.nbytes()
        return tensor

    begun = time.perf_counter()
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        value = loss(batch)
    value.backward()
    if fabric.device.type == "cuda":
        torch.cuda.synchronize(fabric.device)
    return batch.inputs.numel(), time.perf_counter() - begun, sum(held.values())


def free_memory(device: torch.device) -> int:
    """Bytes that can still be taken on a device: on a CPU, the lesser of the machine's and the container's."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    if not Path("/proc/meminfo").is_file():  # not Linux: all there is, as what is free cannot be told
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    lines = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
    free = int(lines["MemAvailable"].split()[0]) * 1024
    limit, used = Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")
    if limit.is_file() and used.is_file() and (ceiling := limit.read_text().strip()) != "max":
        free = min(free, int(ceiling) - int(used.read_text()))
    return free
