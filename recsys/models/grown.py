"""Trained towers for more items, words and event types: tables grow at their ends, and nothing is renumbered."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from recsys.config.model import ModelConfig
from recsys.core.ragged import Bool, Int32
from recsys.data.catalog import Catalog
from recsys.data.user_table import UserFeature
from recsys.errors import UnsupportedError
from recsys.index.item_index import ItemIndex
from recsys.models.build import network_like, popularity_network
from recsys.models.extend import whitened_texts
from recsys.models.feature_encoder import FeatureEncoder
from recsys.models.items_of_nothing import tell_items_of_nothing
from recsys.models.networks.content import ItemContent, TokenBags
from recsys.models.networks.item_tower import ID, ItemTower
from recsys.models.towers import TwoTowerModel

_NEIGHBOURS = 5


@dataclass(frozen=True, eq=False)
class Growth:
    """What towers grow by.

    Attributes
    ----------
    catalog : Catalog
        All items, those that the towers know first and in their order.
    read : int32 (m,)
        The items whose texts are to be encoded: all new ones, and old ones whose text has changed.
    events : int64 (n_items,)
        How many events each item has.
    event_names : tuple of str
        The event types, those that the towers know first and in their order.
    user_features : tuple of UserFeature
        With the categories that the towers know, and more behind them.
    reader : FeatureEncoder
        With the words, categories and scales that the towers know, and more behind them.
    """

    catalog: Catalog
    read: Int32
    events: np.ndarray[tuple[int], np.dtype[np.int64]]
    event_names: tuple[str, ...]
    reader: FeatureEncoder
    user_features: tuple[UserFeature, ...] = ()


def grown(towers: TwoTowerModel, config: ModelConfig, growth: Growth) -> TwoTowerModel:
    """Towers of their own, with copies of all weights, that know more items, words and event types.

    An item without an event before, which had no vector of its own, gets one to start from: the mean of those of the items
    whose content is nearest, or of all items where nothing is known of it. Vectors of new words and of new categories of
    users start at zero, those of new event types at the mean of the others.

    Parameters
    ----------
    towers : TwoTowerModel
        They stay as they are.
    config : ModelConfig
        What they were made with.
    growth : Growth

    Raises
    ------
    UnsupportedError
        There are new items, and the towers read pictures with an encoder that their bundle does not hold.
    """
    items, device = growth.catalog.items, towers.device
    if towers.fast:
        popularity = torch.from_numpy(growth.events).float().log1p()[:, None]
        net = popularity_network(popularity).to(device).eval()
        return replace(towers, net=net, items=items, event_names=growth.event_names, tables=None)
    tower, n_new = towers.net.items, len(items) - len(towers.items)
    check_growth(towers, n_new)
    state = {name: value.detach().cpu().clone() for name, value in towers.net.state_dict().items()}
    _grow_content(state, towers, growth)
    known = state["items.has_id"]
    hot = torch.from_numpy(growth.events > 0)
    state["items.has_id"] = _longer(known, n_new) | hot
    if tower.id is not None:
        state["items.id.weight"] = _longer(state["items.id.weight"], n_new)
    for name in list(state):
        more = len(growth.event_names) - len(towers.event_names)
        if more and name.endswith(".side.events.weight"):
            mean = state[name].mean(0, keepdim=True)
            state[name] = torch.cat([state[name], mean.expand(more, -1)])
        elif more and name.endswith((".event_heads.gain", ".event_heads.offset")):
            state[name] = _longer(state[name], more)
        for place, feature in enumerate(growth.user_features):
            if name.endswith(f".side.features.{place}.weight"):
                state[name] = _longer(state[name], feature.cardinality - len(state[name]))
    with torch.random.fork_rng():
        net = network_like(config, state)
    net.load_state_dict(state)
    net.cold_scale.copy_(towers.net.cold_scale)
    if towers.group_factors is not None:
        towers.group_factors.set_on(net, growth.catalog)
    net = net.to(device).eval()
    fresh = net.items.has_id.clone()
    fresh[: len(known)] &= ~known.to(device)
    if net.items.id is not None and bool(fresh.any()):
        net.items.id.weight.data[fresh] = started(net.items, fresh, net.items.has_id & ~fresh)
    names = growth.event_names if net.users.event_types else towers.event_names
    features = growth.user_features or towers.user_features
    return replace(
        towers, net=net, items=items, event_names=names, reader=growth.reader, tables=None, user_features=features
    )


def check_growth(towers: TwoTowerModel, n_new: int) -> None:
    """Refuse new items of a model that reads pictures with an encoder that its bundle does not hold.

    Raises
    ------
    UnsupportedError
        It is one.
    """
    if n_new and not towers.fast and towers.net.items.project_images is not None and towers.pictures is None:
        raise UnsupportedError(
            f"this model reads images, its bundle holds no image encoder, and {n_new:,} items of the new log or catalogue "
            "are new to it; fit again with them"
        )


def started(tower: ItemTower, fresh: Tensor, known: Tensor) -> Tensor:
    """Vectors for the ids of items without events before, from their content.

    Parameters
    ----------
    tower : ItemTower
        In evaluation mode.
    fresh : bool (n_items,)
        The items.
    known : bool (n_items,)
        Items with a trained vector.

    Returns
    -------
    float32 (m, D)
    """
    assert tower.id is not None  # noqa: S101 - asked by the caller
    where, donors = fresh.nonzero()[:, 0], known.nonzero()[:, 0]
    vectors = tower.id.weight.detach()
    if not len(donors):
        return torch.zeros_like(vectors[where])
    begun = vectors[donors].mean(0).expand(len(where), -1).clone()
    if not tower.has_content:
        return begun
    with torch.inference_mode():
        wanted, held = (_content(tower, rows) for rows in (where, donors))
    told = wanted.any(1)
    if bool(told.any()):
        index = ItemIndex.build(held.cpu().numpy())
        found = index.search(wanted[told].cpu().numpy(), min(_NEIGHBOURS, len(donors)))
        near = torch.from_numpy(found.lists.rows.reshape(int(told.sum()), -1).astype(np.int64)).to(donors.device)
        cubes = torch.from_numpy(found.scores).reshape(near.shape).clamp(min=0).to(donors.device) ** 3
        shares = (cubes + 1e-9) / (cubes + 1e-9).sum(1, keepdim=True)
        begun[told] = (shares[:, :, None] * vectors[donors[near]]).sum(1)
    return begun


def _content(tower: ItemTower, rows: Tensor) -> Tensor:
    """float (m, D): the part of item vectors that their content makes, of unit length; zeros of items without content."""
    parts = [part for name, part in tower.parts(rows).items() if name != ID]
    return torch.nn.functional.normalize(torch.stack(parts).sum(0).float(), dim=1)


def _longer(table: Tensor, more: int) -> Tensor:
    return torch.cat([table, table.new_zeros(more, *table.shape[1:])])


def _grow_content(state: dict[str, Tensor], towers: TwoTowerModel, growth: Growth) -> None:
    """What is known of the items, read by the words and scales that the towers know, with new words behind them."""
    tower, catalog, reader = towers.net.items, growth.catalog, growth.reader
    n_new, bags = len(catalog) - tower.n_items, None
    read = torch.from_numpy(growth.read.astype(np.int64))
    if tower.project is not None:
        state["items.text"] = _longer(state["items.text"], n_new)
        few = catalog.aligned(type(catalog.items)(catalog.items.to_ids(growth.read), catalog.items.kind))
        state["items.text"][read] = whitened_texts(towers, few)
    else:
        state["items.text"] = torch.empty(len(catalog), 0)
    if tower.project_images is not None:
        state["items.images"] = _longer(state["items.images"], n_new)
        if n_new:
            fresh = catalog.items.to_ids(np.arange(tower.n_items, len(catalog), dtype=np.int32))
            made = catalog.aligned(type(catalog.items)(fresh, catalog.items.kind))
            state["items.images"][tower.n_items :] = towers.readable_pictures().table(made, towers.device)
    if tower.project_numbers is not None:
        assert reader.scales is not None  # noqa: S101 - read from the same options
        state["items.numbers"] = reader.scales.table(catalog)
    if tower.bags is not None:
        assert reader.tokens is not None  # noqa: S101 - read from the same options
        bags = reader.tokens.bags(catalog)
        state |= {f"items.bags.{name}": getattr(bags, name) for name in ("offsets", "tokens", "weights")}
        vectors = state["items.bags.vectors.weight"]
        state["items.bags.vectors.weight"] = _longer(vectors, len(reader.tokens) - len(vectors))
    if n_new:
        _tell(state, tower, bags, growth)


def _tell(state: dict[str, Tensor], tower: ItemTower, bags: TokenBags | None, growth: Growth) -> None:
    content = ItemContent(
        text=None if tower.project is None else state["items.text"],
        images=None if tower.project_images is None else state["items.images"],
        numbers=None if tower.project_numbers is None else state["items.numbers"],
        bags=bags,
    )
    tell_items_of_nothing(content, torch.from_numpy(growth.events > 0) & (tower.id is not None), growth.catalog.items.ids)


def hot_items(towers: TwoTowerModel) -> Bool:
    """bool (n_items,): the items that the towers were trained on."""
    known: Bool = towers.net.items.has_id.cpu().numpy()
    return known
