"""Weights that are split over processes (PyTorch's FSDP2), and functions for tensors that may be split."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor


def split(module: nn.Module, mesh: DeviceMesh) -> nn.Module:
    """Split a module's weights, gradients and whatever an optimiser makes of them over the processes of a mesh.

    Each forward pass gathers all weights at once, as the loss reads the whole item table anyway; what is saved is
    gradients between steps, optimiser states, averages and the best weights. Single numbers stay whole in each process.
    """
    fully_shard(module, mesh=mesh["data_parallel"], ignored_params=set(single_numbers(module)))
    return module


def single_numbers(module: nn.Module) -> list[nn.Parameter]:
    """Trained parameters without a dimension, such as the temperature: FSDP2 neither splits nor averages them."""
    return [p for p in module.parameters() if p.dim() == 0 and p.requires_grad]


def whole(tensor: Tensor) -> Tensor:
    """The tensor itself, or gathered from all processes, which must all call this."""
    if isinstance(tensor, DTensor):
        gathered: Tensor = tensor.full_tensor()
        return gathered
    return tensor


def like(value: Tensor, pattern: Tensor) -> Tensor:
    """``value``, whole in every process, on the device of ``pattern`` and split as that is."""
    value = value.to(pattern.device)
    if isinstance(pattern, DTensor):
        return distribute_tensor(value, pattern.device_mesh, pattern.placements)
    return value


@torch.no_grad()
def fill(targets: dict[str, Tensor], values: dict[str, Tensor]) -> None:
    """Copy values (whole, or split like their targets) into the targets of the same names."""
    for name, target in targets.items():
        value = values[name]
        target.copy_(value if isinstance(value, DTensor) else like(value, target))


@contextmanager
def gathered(module: nn.Module) -> Iterator[None]:
    """Make the module's weights whole in each process in the block, so that one process alone can compute with them."""
    if not isinstance(module, FSDPModule):
        yield
        return
    module.unshard()
    try:
        yield
    finally:
        module.reshard()


def unsplit(module: nn.Module) -> None:
    """Give every submodule ordinary, whole weights again; the module cannot be trained after this."""
    for owner in list(module.modules()):
        for name, p in list(owner.named_parameters(recurse=False)):
            if isinstance(p, DTensor):
                setattr(owner, name, nn.Parameter(whole(p.detach()), requires_grad=p.requires_grad))
