"""Learn a transition memory beside trained towers."""

from __future__ import annotations

import numpy as np

from recsys.config.model import ModelConfig
from recsys.core.progress import log as say
from recsys.core.ragged import Int64
from recsys.data.interactions import Interactions
from recsys.data.split import Holdout
from recsys.index.item_index import ItemIndex
from recsys.models.towers import TwoTowerModel, numpy_of
from recsys.transitions.choose import Asked, Choice, choose

_USERS = 3000
"""Validation users at most."""


def learn_transitions(
    towers: TwoTowerModel, log: Interactions, validation: Holdout, config: ModelConfig, *, keep_seen: bool
) -> Choice:
    """Learn tables from the training log, weigh them beside the towers on validation, and keep the best.

    Parameters
    ----------
    towers : TwoTowerModel
        Trained.
    log : Interactions
        What they were trained on, in their item rows.
    validation : Holdout
    config : ModelConfig
        Whose ``transitions`` is not ``"none"``.
    keep_seen : bool
        Whether items of the history stay in the ranking.

    Returns
    -------
    Choice
        Without a memory if the towers alone are as good.
    """
    asked = _asked(towers, validation, filter_seen=not keep_seen)
    found = choose(
        log.histories.without_events(),
        len(log.items),
        asked,
        kind=config.transitions,
        ordered=log.ordered,
        entries=config.transition_entries,
    )
    figures = (
        f"validation NDCG@100 of {len(asked.targets):,} users {found.towers_ndcg:.4f} without, {found.ndcg:.4f} with it"
    )
    if found.memory is None:
        say(
            f"transition memory: none of {len(found.tried)} forms is better than the towers alone ({found.towers_ndcg:.4f})"
        )
    else:
        form = found.memory.form
        order = "order-free" if np.isinf(form.decay) else f"decay {form.decay:g} events, window {form.window}"
        strength = f", regularisation {form.regularisation:g}" if form.kind == "ridge" else ""
        say(
            f"transition memory: {form.kind}, {order}{strength}, weight {found.memory.weight:.3g}, "
            f"{found.memory.table.nnz:,} entries; {figures}"
        )
    return found


def _asked(towers: TwoTowerModel, validation: Holdout, *, filter_seen: bool) -> Asked:
    """Validation users with a history that the towers can read, in the towers' rows."""
    place = towers.items.find_rows(validation.items.ids)
    histories, targets = validation.histories.remap(place), validation.targets.remap(place)
    if validation.event_names and towers.event_names:
        histories = histories.recoded(validation.event_names, towers.event_names)
    histories, targets = histories.where(histories.rows >= 0), targets.where(targets.rows >= 0)
    chosen = np.flatnonzero((histories.lengths > 0) & (targets.lengths > 0))
    if len(chosen) > _USERS:
        chosen = np.sort(np.random.default_rng(0).choice(chosen, _USERS, replace=False))
    users = towers.users.find_rows(validation.users.to_ids(validation.user_rows[chosen]))
    times: Int64 | None = None
    if towers.reads_request_time and validation.times is not None:
        times = validation.times[validation.targets.offsets[:-1]][chosen]
    read = histories.take(chosen)
    queries = numpy_of(towers.user_vectors(read, users, times))
    return Asked(read, targets.take(chosen), queries, ItemIndex.build(towers.vectors), filter_seen)
