"""The lowest layers of a text encoder, run once for all texts: from then on what they gave stands in for them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from recsys.errors import ConfigError, EncoderError

STORED = torch.bfloat16
"""Type in which outputs of frozen layers are kept."""


@dataclass(eq=False)
class Memory:
    """What the highest frozen layer gave for each token of each text.

    Attributes
    ----------
    values : STORED (tokens, E)
        All texts one after the other.
    spots : int64 (n, T)
        Tokens of the texts that are being read; padding points anywhere.
    as_tuple : bool
        Whether layers of this encoder give a tuple whose first member is meant.
    """

    values: Tensor
    spots: Tensor
    as_tuple: bool = False

    def read(self) -> Tensor:
        """STORED (n, T, E) of the texts that are being read."""
        return self.values[self.spots]


class StandIn(nn.Module):
    """In the place of a frozen layer: the highest one gives what is remembered, those below nothing new.

    Parameters
    ----------
    layer : Module
        What it stands for, and whose attributes it shows: some encoders ask their layers what kind they are.
    memory : Memory
    highest : bool
    """

    def __init__(self, layer: nn.Module, memory: Memory, *, highest: bool) -> None:
        super().__init__()
        self._layer = [layer]  # in a list: neither trained nor part of the state
        self.memory = memory
        self.highest = highest

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(self._layer[0], name)

    @property
    def layer(self) -> nn.Module:
        """What it stands for."""
        return self._layer[0]

    def __deepcopy__(self, memo: dict[int, Any]) -> StandIn:
        return self

    def forward(self, hidden: Tensor, *args: Any, **kwargs: Any) -> Any:
        out = self.memory.read().to(hidden.dtype) if self.highest else hidden
        return (out,) if self.memory.as_tuple else out


def divide(backbone: nn.Module, trained: int) -> tuple[nn.ModuleList, int]:
    """Where to divide a transformer: its stack of layers, and how many of them lie below the ``trained`` topmost ones.

    Raises
    ------
    EncoderError
        The model has no stack of layers.
    ConfigError
        More layers are asked for than there are.
    """
    stacks = [
        module
        for name, module in backbone.named_modules()
        if isinstance(module, nn.ModuleList) and name.rpartition(".")[2] in ("layer", "layers", "block", "blocks", "h")
    ]
    if not stacks:
        raise EncoderError(f"{type(backbone).__name__} has no stack of layers to divide; use trainable_layers=0, all of it")
    stack = max(stacks, key=lambda one: sum(p.numel() for p in one.parameters()))
    if trained > len(stack):
        raise ConfigError(f"trainable_layers is {trained}, but the encoder has {len(stack)} layers; 0 means all")
    return stack, len(stack) - trained


def replace_lowest(stack: nn.ModuleList, count: int, memory: Memory) -> None:
    """Put stand-ins into the places of the lowest layers; the others keep their numbers."""
    for place in range(count):
        stack[place] = StandIn(stack[place], memory, highest=place == count - 1)


def put_back(backbone: nn.Module) -> None:
    """Undo :func:`replace_lowest`."""
    for owner in list(backbone.modules()):
        for name, child in list(owner.named_children()):
            if isinstance(child, StandIn):
                setattr(owner, name, child.layer)


def hidden_of(out: Any) -> Tensor:
    """The hidden states among what a layer gives."""
    hidden: Tensor = out[0] if isinstance(out, tuple) else out
    return hidden
