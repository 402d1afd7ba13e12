"""More items, and other texts of items, for towers that are trained: the item tower makes their vectors from content."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from recsys.core.growing import GrowingTensor
from recsys.core.id_map import IdMap
from recsys.core.ragged import Float32, Int32
from recsys.data.catalog import Catalog
from recsys.errors import UnsupportedError
from recsys.models.feature_encoder import FeatureEncoder
from recsys.models.items_of_nothing import tell_items_of_nothing
from recsys.models.networks.content import ItemContent, TokenBags
from recsys.models.networks.item_tower import ItemTower, TokenEmbedding
from recsys.models.towers import ItemTables, TwoTowerModel, numpy_of

_IDS_ALONE = "this model knows items by their ids alone; fit it with text, words, categories or numbers"


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
        The towers know items by their ids alone, or were saved without the image encoder that they read pictures with.
    """
    tower = towers.net.items
    if not tower.has_content:
        raise UnsupportedError(_IDS_ALONE)
    where = torch.from_numpy(rows.astype(np.int64)).to(tower.has_id.device)
    before = towers.tables or ItemTables.of(towers.table, towers.item_vectors)
    tables = _Grown(where, tower.n_items, before.inputs, {})
    few = _taken(catalog, rows)
    net = towers.net.with_items(_with_content(tower, towers, few, tables, reader)).eval()
    if towers.group_factors is not None and towers.net.group_scale is not None:
        net.group_scale = towers.group_factors.extended(towers.net.group_scale, where, few)
    with torch.inference_mode():
        made = net.items(where.to(towers.device)).float()
        compared = net.compared(made, where.to(towers.device))
    grown = ItemTables(
        tables.placed(before.table, made), tables.placed(before.item_vectors, compared.contiguous()), tables.after
    )
    return replace(towers, net=net, items=catalog.items, tables=grown)


@dataclass(frozen=True)
class _Grown:
    """Tables by item that get values for some rows, old ones or new ones at the end.

    Attributes
    ----------
    where : int64 (m,)
        The rows.
    n_before : int
    before, after : dict of GrowingTensor
        The tables as they were, where they grew before, and as they become.
    """

    where: Tensor
    n_before: int
    before: dict[str, GrowingTensor]
    after: dict[str, GrowingTensor]

    @property
    def new(self) -> Tensor:
        """bool (m,): the rows that were not there."""
        return self.where >= self.n_before

    def placed(self, table: GrowingTensor, values: Tensor) -> GrowingTensor:
        """The table with values (m, ...) in the rows; without a copy if all rows are new."""
        new = self.new.to(values.device)
        if not bool(new.all()):
            table = table.replaced(self.where[~self.new], values[~new])
        return table.appended(values[new]) if bool(new.any()) else table

    def held(self, name: str, table: Tensor) -> GrowingTensor:
        """A table of the tower, in the room where it grew if it did."""
        held = self.before.get(name)
        same = held is not None and len(held) == len(table) and held.rows.data_ptr() == table.data_ptr()
        return held if same and held is not None else GrowingTensor.of(table)

    def table(self, name: str, table: Tensor, values: Tensor | None) -> Tensor:
        """A table of the tower with values (m, ...) in the rows; None: zeros in new rows, old ones as they are."""
        grown = self.held(name, table)
        if values is None:
            count = int(self.new.sum())
            grown = grown.appended(table.new_zeros(count, *table.shape[1:])) if count else grown
        else:
            grown = self.placed(grown, values)
        return self.kept(name, grown)

    def kept(self, name: str, grown: GrowingTensor) -> Tensor:
        """Remember where a table can grow on."""
        self.after[name] = grown
        return grown.rows


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
    content = ItemContent(
        text=None if tower.project is None else tower.text[own],
        images=None if tower.project_images is None else tower.images[own],
        numbers=None if tower.project_numbers is None else tower.numbers[own],
        bags=None if tower.bags is None else _some_bags(tower.bags, own),
    )
    ids = None if tower.id is None else tower.id.weight.detach()[own]
    net = towers.net.with_items(tower.with_rows(content, tower.has_id[own], ids)).eval()
    net.group_scale = None if towers.net.group_scale is None else towers.net.group_scale[own]
    tables = ItemTables.of(towers.table[own], towers.item_vectors[own].contiguous())
    return replace(towers, net=net, items=items, tables=tables, moments=None)


def _some_bags(bags: TokenEmbedding, where: Tensor) -> TokenBags:
    lengths = bags.offsets.diff()
    kept = torch.zeros(len(lengths), dtype=torch.bool, device=lengths.device)
    kept[where] = True
    tokens = torch.repeat_interleave(kept, lengths)
    offsets = torch.cat([lengths.new_zeros(1), lengths[where].cumsum(0)])
    return TokenBags(offsets, bags.tokens[tokens], bags.weights[tokens], bags.vectors.num_embeddings)


def _taken(catalog: Catalog, rows: Int32) -> Catalog:
    items = type(catalog.items)(catalog.items.to_ids(rows), catalog.items.kind)
    return catalog.aligned(items)


def _with_content(
    tower: ItemTower, towers: TwoTowerModel, few: Catalog, tables: _Grown, reader: FeatureEncoder
) -> ItemTower:
    """The item tower of more rows, which shares all that is trained, save for the table of ids, which grows."""
    made = _content_of(tower, towers, few, reader)
    old = torch.zeros(len(few), dtype=torch.bool)
    old[~tables.new.cpu()] = tower.has_id[tables.where[~tables.new]].cpu()
    tell_items_of_nothing(made, old, few.items.ids)
    text = None if made.text is None else tables.table("text", tower.text, made.text)
    numbers = None if made.numbers is None else tables.table("numbers", tower.numbers, made.numbers)
    bags = None if made.bags is None or tower.bags is None else _with_bags(tower.bags, made.bags, tables)
    ids = None if tower.id is None else tables.table("id", tower.id.weight.detach(), None)
    images = None if made.images is None else tables.table("images", tower.images, made.images)
    has_id = tables.table("has_id", tower.has_id, None)
    return tower.with_rows(ItemContent(text=text, images=images, numbers=numbers, bags=bags), has_id, ids)


def _content_of(
    tower: ItemTower, towers: TwoTowerModel, few: Catalog, reader: FeatureEncoder, texts: Tensor | None = None
) -> ItemContent:
    """What the tower reads of the items of a small catalogue; ``texts`` are vectors of their texts, if these were read."""
    text = images = numbers = bags = None
    if tower.project is not None:
        text = whitened_texts(towers, few) if texts is None else texts
    if tower.project_images is not None:
        images = towers.readable_pictures().table(few, towers.device)
    if tower.project_numbers is not None:
        assert reader.scales is not None  # noqa: S101 - read from the same options
        numbers = reader.scales.table(few)
    if tower.bags is not None:
        assert reader.tokens is not None  # noqa: S101 - read from the same options
        bags = reader.tokens.bags(few)
    return ItemContent(text=text, images=images, numbers=numbers, bags=bags)


def texts_as_new(towers: TwoTowerModel, catalog: Catalog, rows: Int32) -> Tensor:
    """Whitened vectors of the texts of some items, float32 (m, T), read anew; zeros without a text."""
    return whitened_texts(towers, _taken(catalog, rows))


def vectors_as_new(towers: TwoTowerModel, catalog: Catalog, rows: Int32, texts: Tensor) -> Float32:
    """What the vectors of some items would be, were these added now: read anew, and without ids.

    Parameters
    ----------
    towers : TwoTowerModel
    catalog : Catalog
        All their items.
    rows : int32 (m,)
    texts : float32 (m, T)
        As :func:`texts_as_new` gives them.

    Returns
    -------
    float32 (m, D)
        As they are compared and indexed.

    Raises
    ------
    UnsupportedError
        The towers know items by their ids alone, or have lost an encoder that they read with.
    """
    tower = towers.net.items
    if not tower.has_content:
        raise UnsupportedError(_IDS_ALONE)
    content = _content_of(tower, towers, _taken(catalog, rows), towers.reader, texts)
    ids = None if tower.id is None else torch.zeros(len(rows), tower.id.embedding_dim)
    new = tower.with_rows(content, torch.zeros(len(rows), dtype=torch.bool), ids)
    net = towers.net.with_items(new).to(towers.device).eval()
    with torch.inference_mode():
        return numpy_of(net.compared(net.items().float()))


def whitened_texts(towers: TwoTowerModel, few: Catalog) -> Tensor:
    """Text vectors of the items of a small catalogue; zeros without a text."""
    assert towers.whitening is not None  # noqa: S101 - a tower that projects text has one
    known = few.texts.is_not_null()
    texts = few.texts.filter(known).to_list()
    vectors = towers.encoder.encode(texts) if texts else np.empty((0, len(towers.whitening.mean)), dtype=np.float32)
    return torch.from_numpy(towers.whitening.table(vectors, known.to_numpy()))


def _with_bags(bags: TokenEmbedding, made: TokenBags, tables: _Grown) -> TokenBags:
    """The bags of all items, with those just made in their rows."""
    device, size = bags.offsets.device, bags.vectors.num_embeddings
    if bool(tables.new.all()):
        offsets = tables.held("offsets", bags.offsets).appended(bags.offsets[-1] + made.offsets[1:].to(device))
        tokens = tables.held("tokens", bags.tokens).appended(made.tokens)
        weights = tables.held("weights", bags.weights).appended(made.weights)
        return TokenBags(
            tables.kept("offsets", offsets), tables.kept("tokens", tokens), tables.kept("weights", weights), size
        )
    n_before = len(bags.offsets) - 1
    lengths = torch.zeros(n_before + int(tables.new.sum()), dtype=torch.int64, device=device)
    lengths[:n_before] = bags.offsets.diff()
    kept = torch.ones(len(lengths), dtype=torch.bool, device=device)
    kept[tables.where] = False
    owners = torch.repeat_interleave(torch.arange(n_before, device=device), bags.offsets.diff())
    lengths[tables.where] = made.offsets.diff().to(device)
    fresh = torch.repeat_interleave(tables.where, made.offsets.diff().to(device))
    order = torch.argsort(torch.cat([owners[kept[owners]], fresh]), stable=True)
    return TokenBags(
        offsets=torch.cat([lengths.new_zeros(1), lengths.cumsum(0)]),
        tokens=torch.cat([bags.tokens[kept[owners]], made.tokens.to(device)])[order],
        weights=torch.cat([bags.weights[kept[owners]], made.weights.to(device)])[order],
        size=size,
    )
