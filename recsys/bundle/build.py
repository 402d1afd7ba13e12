"""From fitted towers and a log to what answers requests."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from recsys.bundle.contents import Bundle
from recsys.bundle.corpus import Corpus
from recsys.config.augment import Augment
from recsys.config.model import ModelConfig
from recsys.config.training import Objective, Training
from recsys.core.id_map import IdMap
from recsys.core.ragged import Int64, Ragged, contained
from recsys.data.catalog import Catalog
from recsys.data.interactions import Interactions
from recsys.data.split import Holdout
from recsys.errors import DataError
from recsys.index.item_index import ItemIndex
from recsys.index.spec import IndexSpec
from recsys.models.towers import TwoTowerModel
from recsys.transitions.memory import TransitionMemory


def build(
    towers: TwoTowerModel,
    catalog: Catalog,
    log: Interactions,
    *,
    config: ModelConfig,
    objective: Objective | None = None,
    augment: Augment | None = None,
    training: Training | None = None,
    record: dict[str, Any] | None = None,
    holdout: Holdout | None = None,
    train: Interactions | None = None,
    transitions: TransitionMemory | None = None,
    index: IndexSpec | None = None,
) -> Bundle:
    """Index the towers' item vectors and take over the histories of ``log``.

    Raises
    ------
    DataError
        The log, or the holdout, has items, users or event types that the model does not know.
    UnsupportedError
        The index is an approximate one, and the model has no vectors.
    """
    if index is not None and index.kind != "exact":
        towers.check_vectors("an approximate index")
    new_rows = towers.items.find_rows(log.items.ids)
    unknown = np.flatnonzero((new_rows < 0) & (log.item_counts > 0))
    if len(unknown):
        raise DataError(
            f"{len(unknown)} items of the log are unknown to the model, such as {log.items.ids[int(unknown[0])]!r}"
        )
    named = (towers, train, log, holdout)  # what the towers were trained on comes first
    names = next((one.event_names for one in named if one is not None and one.event_names), ())
    if towers.user_codes is not None:
        towers = replace(towers, users=log.users, user_codes=towers.codes_for(log.users))
    histories = log.histories.remap(new_rows).recoded(log.event_names, names)
    if train is not None and not log.ordered:
        histories = _trained_first(histories, train, log.users, len(towers.items))
    vectors = ItemIndex.build(towers.vectors, index, device=towers.device)
    return Bundle(
        corpus=Corpus(towers, vectors, catalog, len(towers.items), towers.reader, transitions),
        users=log.users,
        histories=histories,
        config=config,
        objective=objective,
        augment=augment,
        training=training,
        record=record or {},
        holdout=None if holdout is None else _in_rows_of(holdout, log.users, towers.items, names),
        data={
            "fingerprint": log.fingerprint,
            "interactions": len(log),
            "users": len(log.users),
            "items": len(towers.items),
            "ordered": log.ordered,
            "order": log.ordered_by,
        }
        | ({} if log.pseudonym_key is None else {"pseudonym_key": log.pseudonym_key}),
        trained=None if train is None else _prefix_lengths(train, log.users, histories),
        event_names=names,
    )


def _in_rows_of(holdout: Holdout, users: IdMap, items: IdMap, event_names: tuple[str, ...]) -> Holdout:
    """The holdout in other rows and event types; ids and types that these do not know are refused."""
    place = items.find_rows(holdout.items.ids)
    needed = np.unique(np.concatenate([holdout.histories.rows, holdout.targets.rows]))
    items.to_rows(holdout.items.to_ids(needed))
    return replace(
        holdout,
        users=users,
        items=items,
        user_rows=users.to_rows(holdout.users.to_ids(holdout.user_rows)),
        histories=holdout.histories.remap(place).recoded(holdout.event_names, event_names),
        targets=holdout.targets.remap(place),
        event_names=() if holdout.histories.events is None else event_names,
    )


def _trained_first(histories: Ragged, train: Interactions, users: IdMap, n_items: int) -> Ragged:
    """Histories without order, what was trained on first; as they are where ``train`` is of other users."""
    if not users.same(train.users):
        return histories
    inside = contained(histories, train.histories, n_items)
    return histories.where(inside).merged(histories.where(~inside))


def _prefix_lengths(train: Interactions, users: IdMap, histories: Ragged) -> Int64 | None:
    """How long a start of each history is what was trained on; None where some history does not start with it.

    ``train`` is in the same item rows as ``histories``.
    """
    rows = users.find_rows(train.users.ids)
    if (rows < 0).any():
        return None
    lengths = np.zeros(len(users), dtype=np.int64)
    lengths[rows] = train.histories.lengths
    same = np.array_equal(histories.take(rows).head(train.histories.lengths).rows, train.histories.rows)
    return lengths if same else None
