"""Learn a transition memory beside trained towers."""

from __future__ import annotations

import numpy as np

from recsys.config.model import ModelConfig
from recsys.core.progress import log as say
from recsys.core.progress import warn
from recsys.data.interactions import Interactions
from recsys.data.relations import ItemRelations
from recsys.data.split import Holdout
from recsys.errors import DataError, RecsysError
from recsys.evaluation.evaluate import in_rows_of, request_times_of
from recsys.index.item_index import ItemIndex
from recsys.models.towers import TwoTowerModel, numpy_of
from recsys.training.tower_ranker import TowerRanker
from recsys.transitions.borrow import MOST_ITEMS, Alike
from recsys.transitions.choose import choose
from recsys.transitions.learn import default_form
from recsys.transitions.memory import TransitionMemory
from recsys.transitions.related import related_tables
from recsys.transitions.weigh import Asked
from recsys.transitions.weigh_relations import weigh_relations

_USERS = 3000
"""Validation users at most."""


def learn_transitions(
    towers: TwoTowerModel, log: Interactions, validation: Holdout, config: ModelConfig, *, keep_seen: bool
) -> TransitionMemory | None:
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
    TransitionMemory or None
        None if the towers alone are as good or, with a warning, if none could be learned: the trained towers are not lost
        for it.
    """
    try:
        return chosen_memory(towers, log, validation, config, keep_seen=keep_seen)
    except (RecsysError, RuntimeError, MemoryError) as error:
        warn(f"no transition memory could be learned ({type(error).__name__}: {error}); the model is the towers alone")
        return None


def chosen_memory(
    towers: TwoTowerModel,
    log: Interactions,
    validation: Holdout,
    config: ModelConfig,
    *,
    keep_seen: bool,
    weight: float | None = None,
) -> TransitionMemory | None:
    """As :func:`learn_transitions`, of a given weight or the best one; it raises what goes wrong."""
    asked = asked_of(towers, validation, filter_seen=not keep_seen)
    found = choose(
        log.histories.without_events(),
        len(log.items),
        asked,
        kind=config.transitions,
        ordered=log.ordered,
        entries=config.transition_entries,
        weight=weight,
        alike=alike_of(towers),
    )
    alone = "popularity" if config.fast else "the towers"
    figures = (
        f"validation NDCG@100 of {len(asked.targets):,} users {found.towers_ndcg:.4f} without, {found.ndcg:.4f} with it"
    )
    if found.memory is None:
        say(f"transition memory: none of {len(found.tried)} forms is better than {alone} alone ({found.towers_ndcg:.4f})")
    else:
        form = found.memory.form
        order = "order-free" if np.isinf(form.decay) else f"decay {form.decay:g} events, window {form.window}"
        strength = f", regularisation {form.regularisation:g}" if form.kind == "ridge" else ""
        lighter = f", columns by their items' events to the power of {-form.debias:g}" if form.debias else ""
        texts = f", items with few events borrow from like texts (half at {form.borrow:g} events)" if form.borrow else ""
        say(
            f"transition memory: {form.kind}, {order}{strength}{lighter}{texts}, weight {found.memory.weight:.3g}, "
            f"{found.memory.table.nnz:,} entries; {figures}"
        )
    return found.memory


def related_memory(
    memory: TransitionMemory | None,
    towers: TwoTowerModel,
    relations: ItemRelations,
    validation: Holdout,
    config: ModelConfig,
    log: Interactions,
    *,
    keep_seen: bool,
) -> TransitionMemory | None:
    """The memory with what relations between items add to it, each weighed on validation beside the towers.

    Parameters
    ----------
    memory : TransitionMemory or None
        None: relations stand alone.
    towers : TwoTowerModel
        Trained.
    relations : ItemRelations
    validation : Holdout
    config : ModelConfig
    log : Interactions
        What the towers were trained on.
    keep_seen : bool
        Whether items of the history stay in the ranking.

    Raises
    ------
    DataError
        The towers know none of the related items.
    """
    pairs = relations.rows(towers.items)
    if not pairs:
        warn("no pair of related items is known to the model; it has no relations")
        return memory
    asked = asked_of(towers, validation, filter_seen=not keep_seen)
    form = default_form(config.transitions, config.transition_entries, ordered=log.ordered)
    return weigh_relations(memory, related_tables(pairs, len(towers.items)), asked, form).memory


def alike_of(towers: TwoTowerModel) -> Alike | None:
    """The items of nearest text; None where the towers read no text, or there are too few or too many items to compare."""
    if towers.whitening is None or not 2 <= len(towers.items) <= MOST_ITEMS:
        return None
    return Alike.of(towers.text_vectors)


def asked_of(towers: TwoTowerModel, validation: Holdout, *, filter_seen: bool) -> Asked:
    """Validation users with a history that the towers can read, in the towers' rows."""
    held, _ = in_rows_of(TowerRanker(towers), validation)
    known = held.targets.rows < len(towers.items)
    found = np.bincount(held.targets.list_index()[known], minlength=len(held)) > 0
    held = held.where((held.histories.lengths > 0) & found).sample(_USERS)
    if len(held) == 0:
        raise DataError("no validation user has a history and a target among the items of training; fit without validation")
    times = request_times_of(held) if towers.reads_request_time else None
    queries = numpy_of(towers.user_vectors(held.histories, held.user_rows, times))
    targets = held.targets.where(held.targets.rows < len(towers.items))
    return Asked(held.histories, targets, queries, ItemIndex.build(towers.vectors), filter_seen)
