"""From options and data to untrained towers: the one place that knows both."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import polars as pl
import torch

from recsys.config.model import ModelConfig
from recsys.core.progress import log
from recsys.core.ragged import Bool, Float32
from recsys.data.catalog import Catalog
from recsys.data.interactions import Interactions
from recsys.data.user_table import UserTable
from recsys.errors import ConfigError, DataError
from recsys.models.encoders.finetuned import TextTower
from recsys.models.encoders.held import HeldEncoder
from recsys.models.encoders.pretrained import TextEncoder, open_encoder
from recsys.models.encoders.proof import prove_vectors
from recsys.models.encoders.whitening import Whitening
from recsys.models.feature_encoder import FeatureEncoder
from recsys.models.features import recurring
from recsys.models.items_of_nothing import tell_items_of_nothing
from recsys.models.networks.content import ItemContent, LiveText, TokenBags
from recsys.models.networks.ensemble import UserEnsemble
from recsys.models.networks.item_tower import ItemTower
from recsys.models.networks.popularity import Everybody, PopularityTower
from recsys.models.networks.two_tower import TwoTowerNetwork
from recsys.models.networks.user_tower import UserTower
from recsys.models.pictures import picture_part
from recsys.models.towers import TwoTowerModel


@dataclass(frozen=True)
class Shape:
    """What the data decide about a user tower.

    Attributes
    ----------
    event_types : int
        0: types are not read.
    user_features : tuple of int
        Codes of each feature.
    ordered : bool
        Whether ``positions="auto"`` means learned ones.
    """

    event_types: int = 0
    user_features: tuple[int, ...] = ()
    ordered: bool = True


def network(
    options: ModelConfig,
    content: ItemContent,
    has_id: torch.Tensor,
    shape: Shape,
    encoder: LiveText | None = None,
) -> TwoTowerNetwork:
    """The untrained network.

    Parameters
    ----------
    options : ModelConfig
    content : ItemContent
    has_id : bool (n_items,)
    shape : Shape
    encoder : LiveText, optional
        Where the text encoder trains along.
    """
    items = ItemTower(
        len(has_id),
        options.ensemble_size * options.dim,
        content,
        has_id,
        use_id=options.use_ids,
        id_dropout=options.id_dropout,
        word_dropout=options.word_dropout,
        encoder=encoder,
        ensemble_size=options.ensemble_size,
    )
    positions = options.positions
    if positions == "auto":
        positions = "learned" if shape.ordered else "none"
    towers = [
        UserTower(
            options.dim,
            options.blocks,
            options.heads,
            options.max_length,
            options.dropout,
            positions=positions,
            time_bias=options.time_bias,
            event_types=shape.event_types,
            event_heads=options.event_heads,
            user_features=shape.user_features,
            stochastic_depth=options.stochastic_depth,
            attention_dropout=options.attention_dropout,
            filter_length=options.filter_length,
        )
        for _ in range(options.ensemble_size)
    ]
    users = towers[0] if options.ensemble_size == 1 else UserEnsemble(towers)
    net = TwoTowerNetwork(items, users, cosine=options.score == "cosine", temperature=options.temperature)
    net.log_scale.requires_grad_(options.score == "cosine" and options.learn_temperature)
    return net


def popularity_network(popularity: torch.Tensor) -> TwoTowerNetwork:
    """What stands where towers would in a fast model; ``popularity`` float32 (n_items, 1)."""
    net = TwoTowerNetwork(PopularityTower(popularity), Everybody(), cosine=False)
    return net.requires_grad_(False)


def network_like(options: ModelConfig, state: dict[str, torch.Tensor]) -> TwoTowerNetwork:
    """A network into which a saved state fits.

    Parameters
    ----------
    options : ModelConfig
    state : dict of Tensor
        Its own ``state_dict``, whose shapes tell what the data decided.
    """
    if options.fast:
        return popularity_network(torch.zeros_like(state["items.id.weight"]))

    def content(name: str, weights: str) -> torch.Tensor | None:
        return torch.zeros_like(state[f"items.{name}"]) if f"items.{weights}.weight" in state else None

    bags = None
    if "items.bags.offsets" in state:
        offsets, tokens, weights = (
            torch.zeros_like(state[f"items.bags.{name}"]) for name in ("offsets", "tokens", "weights")
        )
        bags = TokenBags(offsets, tokens, weights, size=len(state["items.bags.vectors.weight"]))
    known = ItemContent(
        content("text", "project"), content("images", "project_images"), content("numbers", "project_numbers"), bags
    )
    tower = "users" if options.ensemble_size == 1 else "users.towers.0"
    features: list[int] = []
    while (name := f"{tower}.side.features.{len(features)}.weight") in state:
        features.append(len(state[name]))
    types = state.get(f"{tower}.side.events.weight")
    shape = Shape(
        event_types=0 if types is None else len(types),
        user_features=tuple(features),
        ordered=f"{tower}.position" in state,
    )
    return network(options, known, torch.zeros_like(state["items.has_id"]), shape)


def fresh_towers(
    options: ModelConfig,
    train: Interactions,
    catalog: Catalog,
    users: UserTable | None,
    device: str,
    seed: int,
    *,
    known: Bool,
) -> TwoTowerModel:
    """Untrained towers for this data, initialised from the seed; ``known``, bool (n_items,), tells which items have an id.

    Raises
    ------
    DataError, ConfigError, EncoderError
        What the options ask for and the data lack.
    """
    if options.fast:
        popularity = torch.from_numpy(train.item_counts).float().log1p()[:, None]
        net = popularity_network(popularity).to(device)
        return TwoTowerModel(net, train.users, train.items, None, None, device, event_names=train.event_names)
    if options.time_bias != "none" and train.histories.times is None:
        raise DataError(
            f"time_bias={options.time_bias!r} reads timestamps, and the log has none; name their column, timestamp= "
            f"(--timestamp), or leave time_bias (--time-bias) out"
        )
    if not train.ordered and options.positions not in ("auto", "none"):
        raise ConfigError(
            f"positions={options.positions!r} reads the order of events, and the log has none (--unordered); "
            f"set positions='none' (--positions none), or leave it out"
        )
    if not train.ordered and options.filter_length:
        raise ConfigError(
            f"filter_length={options.filter_length} blends each event with those before it, and the log has no order "
            "(--unordered); leave it out"
        )
    if options.event_heads and train.histories.events is None:
        raise DataError("event_heads=True reads event types, and the log has none; name their column, event= (--event)")
    codes = None if users is None else users.codes_for(train.users)
    shape = Shape(
        event_types=len(train.event_names) if train.histories.events is not None else 0,
        user_features=() if users is None else users.cardinalities,
        ordered=train.ordered,
    )
    with torch.random.fork_rng():
        text = None if options.encoder is None else text_part(options, catalog, device)
        reader = feature_reader(options, catalog)
        seen = None
        if options.images is not None and options.image_encoder is not None:
            seen = picture_part(options.images, options.image_encoder, catalog, options.text_dim, device)
        content = item_content(
            catalog, reader, None if text is None else text.vectors, None if seen is None else seen.vectors
        )
        tell_items_of_nothing(content, torch.from_numpy(known & options.use_ids), catalog.items.ids)
        torch.manual_seed(seed)
        trained = None if text is None else text_tower(options, catalog, text, device)
        torch.manual_seed(seed)
        net = network(options, content, torch.from_numpy(known), shape, trained)
    return TwoTowerModel(
        net,
        train.users,
        train.items,
        None if text is None else text.whitening,
        None if text is None else text.held,
        device,
        event_names=train.event_names,
        user_codes=codes,
        reader=reader,
        user_features=() if users is None else users.features,
        pictures=None if seen is None else seen.pictures,
    )


@dataclass(frozen=True, eq=False)
class TextPart:
    """What a frozen encoder makes of the items' texts.

    Attributes
    ----------
    folder : Path
        The encoder.
    held : HeldEncoder
        Its files, opened before any text was encoded.
    whitening : Whitening
    vectors : float32 (n_items, T)
        Zeros without a text.
    """

    folder: Path
    held: HeldEncoder
    whitening: Whitening
    vectors: torch.Tensor


def text_part(options: ModelConfig, catalog: Catalog, device: str) -> TextPart:
    """Encode the catalogue's texts.

    Raises
    ------
    DataError
        No item has a text, or all have the same.
    EncoderError
        The encoder cannot be found or loaded, or its vectors tell nothing of the texts.
    """
    assert options.encoder is not None  # noqa: S101 - asked by the caller
    if not catalog.texts.is_not_null().any():
        raise DataError(
            "no item has a text to encode: pass a catalogue with text columns (--catalog, --text), "
            "or train on ids alone with encoder=None (--encoder none)"
        )
    texts = catalog.texts.drop_nulls()
    if texts.n_unique() < 2:
        raise DataError(
            f"all items with a text have the same, {str(texts[0])[:80]!r}: it tells nothing apart; choose other columns "
            "(--text) or train on ids alone with encoder=None (--encoder none)"
        )
    folder = open_encoder(options.encoder, options.query_prompt, options.document_prompt)
    held = HeldEncoder.of(folder)
    encoded = TextEncoder(folder, device).encode_cached(texts)
    prove_vectors(texts, encoded)
    return TextPart(folder, held, *whitened(encoded, catalog.texts, options.text_dim))


def text_tower(options: ModelConfig, catalog: Catalog, text: TextPart, device: str) -> TextTower | None:
    """The encoder again, to be trained along; None where it stays frozen."""
    if options.encoder_mode == "frozen":
        return None
    return TextTower(
        text.folder,
        catalog.texts,
        text.whitening,
        mode=options.encoder_mode,
        layers=options.trainable_layers,
        live=options.texts_per_step,
        device=device,
    )


def feature_reader(options: ModelConfig, catalog: Catalog) -> FeatureEncoder:
    """What reads words, categories and numbers, fitted to the catalogue; no words if none recurs, unless asked for."""
    words = options.wants_words
    if words and not options.categories and options.word_features == "auto" and not recurring(catalog):
        log("no word occurs in the texts of two items: the encoder alone reads them")
        words = False
    return FeatureEncoder.of(catalog, options.categories, options.numbers, words=words, paths=options.category_paths)


def item_content(
    catalog: Catalog, reader: FeatureEncoder, text: torch.Tensor | None, images: torch.Tensor | None
) -> ItemContent:
    """What the item tower reads beside ids.

    Parameters
    ----------
    catalog : Catalog
    reader : FeatureEncoder
    text : float32 (n_items, T) or None
        As :func:`text_part` gives it.
    images : float32 (n_items, I) or None
        As :func:`recsys.models.pictures.picture_part` gives it.
    """
    return ItemContent(
        text=text,
        images=images,
        numbers=None if reader.scales is None else reader.scales.table(catalog),
        bags=None if reader.tokens is None else reader.tokens.bags(catalog),
    )


def whitened(encoded: Float32, values: pl.Series, dim: int) -> tuple[Whitening, torch.Tensor]:
    """A whitening learned from the vectors of distinct values, and the table of all items.

    Parameters
    ----------
    encoded : float32 (n, E)
        Vectors of the values that are not null, in item order.
    values : Series (n_items,)
    dim : int
        Directions to keep.

    Returns
    -------
    Whitening
    float32 (n_items, T)
        Zeros where the value is null.
    """
    known = values.drop_nulls()
    whitening = Whitening.fit(encoded[known.is_first_distinct().to_numpy()], dim)
    return whitening, torch.from_numpy(whitening.table(encoded, values.is_not_null().to_numpy()))
