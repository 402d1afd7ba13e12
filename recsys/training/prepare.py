"""Make what a training works on: untrained towers, and the data in their rows."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from recsys.config.augment import Augment
from recsys.config.model import ModelConfig
from recsys.config.training import Training
from recsys.core.arguments import instance, instance_or_none
from recsys.core.device import pick_device
from recsys.core.progress import log as say
from recsys.core.ragged import Int32, Int64
from recsys.data.catalog import Catalog
from recsys.data.interactions import Interactions
from recsys.data.join import check_join
from recsys.data.user_table import UserTable
from recsys.models.build import fresh_towers
from recsys.models.towers import TwoTowerModel
from recsys.training.neighbours import nearest_by_text


@dataclass(frozen=True, eq=False, kw_only=True)
class Inputs:
    """What a training works on.

    Attributes
    ----------
    towers : TwoTowerModel
        Freshly initialised; training changes their network in place.
    log : Interactions
        In the towers' item rows.
    catalog : Catalog
        In the towers' item rows; without texts if none was given.
    features : int64 (n_users, F) or None
        Codes of user features, in the log's user rows.
    neighbours : int32 (n_items, m) or None
        Items near each item, for substitution.
    identity : dict
        Facts that a checkpoint must agree on, besides the options of training.
    """

    towers: TwoTowerModel
    log: Interactions
    catalog: Catalog
    features: Int64 | None = None
    neighbours: Int32 | None = None
    identity: dict[str, Any] = field(default_factory=dict)


def prepare(
    model: ModelConfig,
    log: Interactions,
    catalog: Catalog | None = None,
    *,
    training: Training | None = None,
    augment: Augment | None = None,
    users: UserTable | None = None,
    public: bool = False,
) -> Inputs:
    """Build untrained towers for this data, initialised from the seed, and bring the data into their rows.

    With ``public``, the towers do not know which items have events: all have an id.

    Raises
    ------
    ConfigError
        An argument is of another type, or an option does not fit the data.
    DataError, EncoderError
        The options need something that is missing.
    """
    instance(log, Interactions, "train")
    instance_or_none(catalog, Catalog, "catalog")
    instance_or_none(augment, Augment, "augment")
    instance_or_none(users, UserTable, "users")
    training = instance_or_none(training, Training, "training") or Training()
    if catalog is not None:
        touched = log.items.to_ids(np.flatnonzero(log.item_counts).astype(np.int32))
        check_join(touched, catalog.items, "the catalogue")
        log = log.with_items(catalog.items.ids)
        catalog = catalog.aligned(log.items)
    else:
        catalog = Catalog.without_text(log.items)
    if users is not None:
        check_join(log.users.ids, users.users, "the table of users")
    known = np.ones(len(log.items), dtype=np.bool_) if public else log.item_counts > 0
    towers = fresh_towers(model, log, catalog, users, pick_device(training.device), training.seed, known=known)
    items = towers.net.items
    neighbours = substitutes(towers, model, augment)
    trained = sum(p.numel() for p in towers.net.parameters() if p.requires_grad)
    say(
        f"training on {len(log):,} interactions, {len(log.users):,} users, {len(log.items):,} items; "
        f"{'no towers' if model.fast else f'{trained:,} parameters'}"
    )
    return Inputs(
        towers=towers,
        log=log,
        catalog=catalog,
        features=None if towers.user_codes is None else towers.user_codes.astype(np.int64),
        neighbours=neighbours,
        identity={
            "model": model.to_dict(),
            "text_dimensions": items.text.shape[1],
            "content": items.content_digest(),
        },
    )


def substitutes(towers: TwoTowerModel, model: ModelConfig, augment: Augment | None) -> Int32 | None:
    """int32 (n_items, m): items near each item by text, for substitution; None where nothing is substituted."""
    if augment is None or augment.substitute == 0 or model.encoder is None:
        return None
    text = towers.net.items.text.cpu().numpy()
    return nearest_by_text(text, np.asarray(text.any(axis=1)), augment.neighbours)
