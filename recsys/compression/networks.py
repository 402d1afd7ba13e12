"""Smaller towers: tables and weights in fewer bits, shorter histories, fewer members."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Final

import torch

from recsys.bundle.contents import Bundle
from recsys.compression.step import Step
from recsys.config.model import ModelConfig
from recsys.core.coded import Bits, rounded
from recsys.index.exact.storage import Precision
from recsys.index.item_index import ItemIndex
from recsys.models.build import network_like
from recsys.models.members import member
from recsys.models.networks.two_tower import TwoTowerNetwork
from recsys.models.towers import TwoTowerModel

_ITEMS = ("items.id.weight", "items.text", "items.images", "items.bags.vectors.weight")
"""Tables with a row for each item or word."""
MEMBERS: Final = "members"
_SHORTEST = 10
"""Events that a user tower reads in any case."""


def network_steps(bundle: Bundle) -> Iterator[Step]:
    """The steps that towers allow; none in a fast model, which has none."""
    towers = bundle.towers
    if towers.fast:
        return
    size, longest = towers.net.users.ensemble_size, towers.net.users.max_length
    for number in range(size if size > 1 else 0):
        yield Step(MEMBERS, f"member {number + 1} of {size} alone", _alone(number))
    for bits in (8, 4):
        yield Step("tables and weights", _WIDTHS[bits], _rounding(bits))
    for events in (longest // 2, longest // 4, longest // 8):
        if events >= _SHORTEST:
            yield Step("history", f"last {events} events", _reading(events))


_WIDTHS: dict[Bits, str] = {8: "8 bits", 4: "items in 4 bits, weights in 8"}


def with_towers(bundle: Bundle, towers: TwoTowerModel, config: ModelConfig | None = None) -> Bundle:
    """A bundle with other towers of the same items, and the index made anew of their vectors."""
    changed = replace(bundle, corpus=replace(bundle.corpus, towers=towers), config=config or bundle.config)
    return changed.with_index(rebuilt(changed, bundle.index, bundle.index.spec.precision))


def rebuilt(bundle: Bundle, index: ItemIndex, precision: Precision) -> ItemIndex:
    """The index of a bundle's vectors, of the kind of another one and without the items that it lacks."""
    gone = (~index.alive).nonzero()[0].astype("int32")
    built = ItemIndex.build(bundle.vectors, replace(index.spec, precision=precision), device=bundle.towers.device)
    return built.removed(gone) if len(gone) else built


def _alone(number: int) -> Callable[[Bundle], Bundle]:
    def change(bundle: Bundle) -> Bundle:
        one = member(bundle.towers, bundle.config, number)
        return with_towers(bundle, one, replace(bundle.config, ensemble_size=1))

    return change


def _rounding(bits: Bits) -> Callable[[Bundle], Bundle]:
    def change(bundle: Bundle) -> Bundle:
        net = copy.deepcopy(bundle.towers.net)
        for name, value in net.state_dict().items():  # views of what the network reads
            if value.dtype == torch.float32 and value.ndim == 2 and value.numel():
                value.copy_(torch.from_numpy(rounded(value.cpu().numpy(), bits if name in _ITEMS else 8)))
        return with_towers(bundle, replace(bundle.towers, net=net, tables=None))

    return change


def _reading(events: int) -> Callable[[Bundle], Bundle]:
    def change(bundle: Bundle) -> Bundle:
        towers, config = bundle.towers, replace(bundle.config, max_length=events)
        net = _shorter(towers.net, config, towers.device)
        changed = replace(bundle.corpus, towers=replace(towers, net=net, moments=None))
        return replace(bundle, corpus=changed, config=config)

    return change


def _shorter(net: TwoTowerNetwork, config: ModelConfig, device: str) -> TwoTowerNetwork:
    """A network that reads the last events alone; it counts their positions from 0, as those of a short history."""
    state = net.state_dict()
    made = network_like(config, state)
    for name, value in made.state_dict().items():
        value.copy_(state[name][tuple(slice(0, size) for size in value.shape)])
    made.cold_scale, made.group_scale = net.cold_scale.clone(), net.group_scale
    return made.to(device).eval()
