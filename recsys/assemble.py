"""From options and data to untrained towers: the one place that knows both."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl
import torch

from recsys.data.catalog import Catalog
from recsys.data.interactions import Interactions
from recsys.data.row_lists import Bool, Float32, Int64
from recsys.data.user_table import UserTable
from recsys.errors import ConfigError, DataError
from recsys.models.encoder import ImageEncoder, TextEncoder, resolve_encoder
from recsys.models.item_content import Bags, ItemContent, make_bags, make_numbers
from recsys.models.item_tower import ItemTower
from recsys.models.network import TwoTowerNet
from recsys.models.text_tower import TextTower
from recsys.models.towers import Towers
from recsys.models.user_tower import UserTower
from recsys.models.whiten import Whitening

if TYPE_CHECKING:
    from recsys.two_tower import TwoTower


@dataclass(frozen=True)
class Shape:
    """What the data decide about a user tower.

    Attributes
    ----------
    event_types : int
        0: types are not read.
    user_features : tuple of int
        Codes of each feature.
    """

    event_types: int = 0
    user_features: tuple[int, ...] = ()


def network(
    options: TwoTower,
    content: ItemContent,
    has_id: torch.Tensor,
    shape: Shape,
    encoder: TextTower | None = None,
) -> TwoTowerNet:
    """The untrained network.

    Parameters
    ----------
    options : TwoTower
    content : ItemContent
    has_id : bool (n_items,)
    shape : Shape
    encoder : TextTower, optional
        Where the text encoder trains along.
    """
    items = ItemTower(
        len(has_id),
        options.dim,
        content,
        has_id,
        use_id=options.use_ids,
        id_dropout=options.id_dropout,
        word_dropout=options.word_dropout,
        encoder=encoder,
    )
    users = UserTower(
        options.dim,
        options.blocks,
        options.heads,
        options.max_length,
        options.dropout,
        positions=options.positions,
        time_bias=options.time_bias,
        event_types=shape.event_types,
        event_heads=options.event_heads,
        user_features=shape.user_features,
        depth_dropout=options.depth_dropout,
        attention_dropout=options.attention_dropout,
    )
    net = TwoTowerNet(items, users, cosine=options.score == "cosine", temperature=options.temperature)
    net.log_scale.requires_grad_(options.score == "cosine" and options.learn_temperature)
    return net


def network_like(options: TwoTower, state: dict[str, torch.Tensor]) -> TwoTowerNet:
    """A network into which a saved state fits.

    Parameters
    ----------
    options : TwoTower
    state : dict of Tensor
        Its own ``state_dict``, whose shapes tell what the data decided.
    """

    def content(name: str, weights: str) -> torch.Tensor | None:
        return torch.zeros_like(state[f"items.{name}"]) if f"items.{weights}.weight" in state else None

    bags = None
    if "items.bags.offsets" in state:
        offsets, tokens, weights = (
            torch.zeros_like(state[f"items.bags.{name}"]) for name in ("offsets", "tokens", "weights")
        )
        bags = Bags(offsets, tokens, weights, size=len(state["items.bags.vectors.weight"]))
    known = ItemContent(
        content("text", "project"), content("images", "project_images"), content("numbers", "project_numbers"), bags
    )
    features: list[int] = []
    while (name := f"users.side.features.{len(features)}.weight") in state:
        features.append(len(state[name]))
    types = state.get("users.side.events.weight")
    shape = Shape(event_types=0 if types is None else len(types), user_features=tuple(features))
    return network(options, known, torch.zeros_like(state["items.has_id"]), shape)


def fresh_towers(
    options: TwoTower, train: Interactions, catalog: Catalog, users: UserTable | None, device: str, seed: int
) -> Towers:
    """Untrained towers for this data, initialised from the seed.

    Raises
    ------
    DataError, ConfigError, EncoderError
        What the options ask for and the data lack.
    """
    if options.time_bias != "none" and train.histories.times is None:
        raise DataError(f"time_bias={options.time_bias!r} reads timestamps, and the log has none (--timestamp)")
    if options.event_heads and train.histories.events is None:
        raise DataError("event_heads=True reads event types, and the log has none (--event)")
    content, whitening, folder, encoder = item_content(options, catalog, device)
    codes = None if users is None else users.codes_for(train.users)
    shape = Shape(
        event_types=len(train.event_names) if train.histories.events is not None else 0,
        user_features=() if users is None else users.cardinalities,
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        net = network(options, content, torch.from_numpy(train.item_counts > 0), shape, encoder)
    return Towers(net, train.users, train.items, whitening, folder, device, event_names=train.event_names, user_codes=codes)


def item_content(
    options: TwoTower, catalog: Catalog, device: str
) -> tuple[ItemContent, Whitening | None, Path | None, TextTower | None]:
    """What the item tower reads; with the whitening, folder and trained copy of the text encoder where there is one."""
    text = whitening = folder = encoder = images = None
    if options.encoder is not None:
        known = catalog.texts.is_not_null()
        if not known.any():
            raise DataError(
                "no item has a text to encode: pass a catalogue with text columns (--catalog, --text), "
                "or train on ids alone with encoder=None (--encoder none)"
            )
        folder = resolve_encoder(options.encoder)
        texts = catalog.texts.filter(known)
        whitening, table = whitened(
            TextEncoder(folder, device).encode_cached(texts), distinct_rows(texts), known.to_numpy(), options.text_dim
        )
        text = torch.from_numpy(table)
        if options.encoder_mode != "frozen":
            encoder = TextTower(
                folder,
                catalog.texts.to_list(),
                whitening,
                mode=options.encoder_mode,
                layers=options.trained_layers,
                live=options.live_texts,
                device=device,
            )
    if options.images is not None:
        if options.image_encoder is None:
            raise ConfigError(f"images={options.images!r} needs an image_encoder, a sentence-transformers CLIP model")
        files = image_files(catalog, options.images)
        known = files.is_not_null()
        vectors = ImageEncoder(resolve_encoder(options.image_encoder), device).encode_cached(files.filter(known))
        _, table = whitened(vectors, distinct_rows(files.filter(known)), known.to_numpy(), options.text_dim)
        images = torch.from_numpy(table)
    numbers = make_numbers(catalog, options.numbers) if options.numbers else None
    bags = make_bags(catalog, options.categories, words=options.words) if options.categories or options.words else None
    return ItemContent(text, images, numbers, bags), whitening, folder, encoder


def distinct_rows(values: pl.Series) -> Int64:
    """Where each distinct value first stands; int (d,)."""
    frame = values.to_frame("value").with_row_index().unique("value", keep="first", maintain_order=True)
    return frame["index"].cast(pl.Int64).to_numpy()


def whitened(vectors: Float32, distinct: Int64, known: Bool, dim: int) -> tuple[Whitening, Float32]:
    """A whitening learned from distinct vectors, and the table of all items."""
    whitening = Whitening.fit(vectors[distinct], dim)
    return whitening, whitening.table(vectors, known)


def image_files(catalog: Catalog, column: str) -> pl.Series:
    """Paths of image files from a column of the catalogue.

    Raises
    ------
    DataError
        There is no such column, or a file that it names is not there.
    """
    if column not in catalog.columns.columns:
        raise DataError(f"the catalogue has no column {column!r}; it has {', '.join(catalog.columns.columns)}")
    files = catalog.columns[column].cast(pl.String)
    absent = [file for file in files.drop_nulls().to_list() if not Path(file).is_file()]
    if absent:
        raise DataError(f"{len(absent)} files of the catalogue's column {column!r} are not there, such as {absent[0]}")
    return files
