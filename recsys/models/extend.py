"""More items, and other texts of items, for towers that are trained: the item tower makes their vectors from content."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from recsys.core.id_map import IdMap
from recsys.core.ragged import Int32
from recsys.data.catalog import Catalog
from recsys.errors import UnsupportedError
from recsys.models.feature_encoder import FeatureEncoder
from recsys.models.features import TokenVocabulary
from recsys.models.networks.item_tower import ItemTower, TokenEmbedding
from recsys.models.towers import TwoTowerModel


def extended(towers: TwoTowerModel, catalog: Catalog, rows: Int32, reader: FeatureEncoder) -> TwoTowerModel:
    """Towers that know what a catalogue says of some items, new ones or old ones.

    The towers that are given stay as they are. A new item has no id of its own: it is served by its content alone, like
    every item without interactions in training.

    Parameters
    ----------
    towers : TwoTowerModel
    catalog : Catalog
        All items, those that the towers know first and in their order.
    rows : int32 (m,)
        The items to read: all new ones, and those of the old ones whose content has changed.
    reader : FeatureEncoder

    Returns
    -------
    TwoTowerModel

    Raises
    ------
    UnsupportedError
        The towers know items by their ids alone, or read images.
    """
    tower = towers.net.items
    if not tower.has_content:
        raise UnsupportedError("this model knows items by their ids alone; fit it with text, words, categories or numbers")
    if tower.project_images is not None:
        raise UnsupportedError("this model reads images; new items need another fit")
    where = torch.from_numpy(rows.astype(np.int64))
    of_rows = _taken(catalog, rows)
    net = copy.copy(towers.net)
    net._modules = dict(towers.net._modules)
    net.items = _with_content(tower, towers, of_rows, where, len(catalog), reader)
    new = replace(towers, net=net, items=catalog.items)
    net.eval()
    with torch.inference_mode():
        made = net.items(where.to(towers.device)).float()
        table = _grown(towers.table, len(catalog))
        table[where] = made
        compared = _grown(towers.item_vectors, len(catalog))
        compared[where] = net.for_score(made)
    new.__dict__ |= {"table": table, "item_vectors": compared.contiguous()}  # what was known need not be made again
    return new


def shortened(towers: TwoTowerModel, rows: Int32, items: IdMap) -> TwoTowerModel:
    """Towers that know some of their items alone, in this order; the towers that are given stay as they are.

    Parameters
    ----------
    towers : TwoTowerModel
    rows : int32 (m,)
        Ascending.
    items : IdMap
        Their ids.
    """
    where = torch.from_numpy(rows.astype(np.int64))
    tower = towers.net.items
    own = where.to(tower.has_id.device)
    net, new = copy.copy(towers.net), copy.copy(tower)
    net._modules = dict(towers.net._modules)
    new._parameters, new._buffers, new._modules = dict(tower._parameters), dict(tower._buffers), dict(tower._modules)
    new.n_items = len(rows)
    new.has_id = tower.has_id[own]
    if tower.id is not None:
        new.id = nn.Embedding(len(rows), tower.id.embedding_dim, _weight=tower.id.weight.detach()[own])
    new.text, new.numbers, new.images = (one[own] if len(one) else one for one in (tower.text, tower.numbers, tower.images))
    if tower.bags is not None:
        new.bags = _some_bags(tower.bags, own)
    net.items = new
    net.eval()
    few = replace(towers, net=net, items=items)
    few.__dict__ |= {"table": towers.table[own], "item_vectors": towers.item_vectors[own].contiguous()}
    return few


def _some_bags(bags: TokenEmbedding, where: Tensor) -> TokenEmbedding:
    lengths = bags.offsets.diff()
    kept = torch.zeros(len(lengths), dtype=torch.bool, device=lengths.device)
    kept[where] = True
    tokens = torch.repeat_interleave(kept, lengths)
    new = copy.copy(bags)
    new._parameters, new._buffers, new._modules = dict(bags._parameters), dict(bags._buffers), dict(bags._modules)
    new.offsets = torch.cat([lengths.new_zeros(1), lengths[where].cumsum(0)])
    new.tokens, new.weights = bags.tokens[tokens], bags.weights[tokens]
    return new


def _taken(catalog: Catalog, rows: Int32) -> Catalog:
    items = type(catalog.items)(catalog.items.to_ids(rows), catalog.items.kind)
    return catalog.aligned(items)


def _grown(table: Tensor, n: int) -> Tensor:
    """A copy with rows of zeros after it."""
    return torch.cat([table, table.new_zeros(n - len(table), *table.shape[1:])])


def _with_content(
    tower: ItemTower, towers: TwoTowerModel, few: Catalog, where: Tensor, n: int, reader: FeatureEncoder
) -> ItemTower:
    """A copy of the item tower that shares all that is trained, save for the table of ids, which grows."""
    new = copy.copy(tower)
    new._parameters, new._buffers, new._modules = dict(tower._parameters), dict(tower._buffers), dict(tower._modules)
    new.n_items = n
    new.has_id = _grown(tower.has_id, n)
    if tower.id is not None:
        new.id = nn.Embedding(n, tower.id.embedding_dim, _weight=_grown(tower.id.weight.detach(), n))
    new.text, new.numbers, new.images = (_grown(one, n) for one in (tower.text, tower.numbers, tower.images))
    if tower.project is not None:
        new.text[where] = _whitened(towers, few).to(new.text)
    if tower.project_numbers is not None:
        assert reader.scales is not None  # noqa: S101 - read from the same options
        new.numbers[where] = reader.scales.table(few).to(new.numbers)
    if tower.bags is not None:
        assert reader.tokens is not None  # noqa: S101 - read from the same options
        new.bags = _with_bags(tower.bags, reader.tokens, few, where, n)
    return new


def _whitened(towers: TwoTowerModel, few: Catalog) -> Tensor:
    """Text vectors of the items of a small catalogue; zeros without a text."""
    assert towers.whitening is not None  # noqa: S101 - a tower that projects text has one
    known = few.texts.is_not_null()
    texts = few.texts.filter(known).to_list()
    vectors = towers.encoder.encode(texts) if texts else np.empty((0, len(towers.whitening.mean)), dtype=np.float32)
    return torch.from_numpy(towers.whitening.table(vectors, known.to_numpy()))


def _with_bags(bags: TokenEmbedding, tokens: TokenVocabulary, few: Catalog, where: Tensor, n: int) -> TokenEmbedding:
    made = tokens.bags(few)
    lengths = torch.zeros(n, dtype=torch.int64, device=bags.offsets.device)
    lengths[: len(bags.offsets) - 1] = bags.offsets.diff()
    where = where.to(lengths.device)
    kept = torch.ones(n, dtype=torch.bool, device=lengths.device)
    kept[where] = False
    owners = torch.repeat_interleave(torch.arange(len(bags.offsets) - 1, device=lengths.device), bags.offsets.diff())
    lengths[where] = made.offsets.diff().to(lengths.device)
    fresh = torch.repeat_interleave(where, made.offsets.diff().to(lengths.device))
    order = torch.argsort(torch.cat([owners[kept[owners]], fresh]), stable=True)
    new = copy.copy(bags)
    new._parameters, new._buffers, new._modules = dict(bags._parameters), dict(bags._buffers), dict(bags._modules)
    new.offsets = torch.cat([lengths.new_zeros(1), lengths.cumsum(0)])
    new.tokens = torch.cat([bags.tokens[kept[owners]], made.tokens.to(bags.tokens.device)])[order]
    new.weights = torch.cat([bags.weights[kept[owners]], made.weights.to(bags.weights.device)])[order]
    return new
