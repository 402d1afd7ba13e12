"""A member of an ensemble as a model of its own."""

from __future__ import annotations

from dataclasses import replace

import torch

from recsys.config.model import ModelConfig
from recsys.models.build import network_like
from recsys.models.towers import TwoTowerModel

_COLUMNS = ("items.id.weight", "items.bags.vectors.weight")
_ROWS = (
    "items.project.weight",
    "items.project_images.weight",
    "items.project_numbers.weight",
    "items.norm.weight",
    "items.norm.bias",
)
"""Weights of the item tower that members share out: by their columns, and by their rows."""


def member(towers: TwoTowerModel, config: ModelConfig, number: int) -> TwoTowerModel:
    """The weights of one user tower, and its directions of the item tower's weights, copied.

    Parameters
    ----------
    towers : TwoTowerModel
        Of several members, with an encoder that is settled.
    config : ModelConfig
        What they were made with.
    number : int
        Of the member, from 0.

    Returns
    -------
    TwoTowerModel
        Of one member, whose scores rank as that member's do in the ensemble.
    """
    own, prefix = slice(number * config.dim, (number + 1) * config.dim), f"users.towers.{number}."
    state: dict[str, torch.Tensor] = {}
    for name, value in towers.net.state_dict().items():
        if name in _COLUMNS:
            state[name] = value[:, own]
        elif name in _ROWS:
            state[name] = value[own]
        elif name.startswith(prefix):
            state[f"users.{name.removeprefix(prefix)}"] = value
        elif not name.startswith("users.towers."):
            state[name] = value
    state = {name: value.clone() for name, value in state.items()}
    net = network_like(replace(config, ensemble_size=1), state).to(towers.device)
    net.load_state_dict(state)
    net.cold_scale, net.group_scale = towers.net.cold_scale.clone(), towers.net.group_scale
    return replace(towers, net=net, tables=None, moments=None)
