"""What stands beside trained towers: the transition memory, and how high items without events may score."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from recsys.core.progress import log as say
from recsys.core.ragged import Int32
from recsys.data.interactions import Interactions
from recsys.data.relations import ItemRelations
from recsys.data.split import Holdout
from recsys.evaluation.evaluate import evaluate
from recsys.models.towers import TwoTowerModel
from recsys.training.plan.options import Options
from recsys.training.tower_ranker import TowerRanker
from recsys.training.transitions import learn_transitions, related_memory
from recsys.transitions.memory import TransitionMemory

_SCALES = np.arange(50, 4, -1) / 50
"""From 1, as trained, down to a tenth."""
_USERS = 3000
"""Validation users at most."""
_FIGURES = ("recall@10", "ndcg@10")


def completed(
    towers: TwoTowerModel,
    log: Interactions,
    validation: Holdout,
    options: Options,
    relations: ItemRelations | None = None,
) -> tuple[TwoTowerModel, TransitionMemory | None]:
    """Learn a transition memory beside trained towers if one is wanted, then calibrate cold items.

    Parameters
    ----------
    towers : TwoTowerModel
        Trained.
    log : Interactions
        What they were trained on, in their item rows.
    validation : Holdout
    options : Options
        What they were trained with.
    relations : ItemRelations, optional
        Between items, weighed beside towers and memory.

    Returns
    -------
    TwoTowerModel, TransitionMemory or None
    """
    memory, keep_seen = None, options.training.keep_seen
    if options.model.transitions != "none":
        memory = learn_transitions(towers, log, validation, options.model, keep_seen=keep_seen)
    if relations is not None:
        memory = related_memory(memory, towers, relations, validation, options.model, log, keep_seen=keep_seen)
    return calibrated(towers, memory, validation, options.training.cold_price, keep_seen=keep_seen), memory


def calibrated(
    towers: TwoTowerModel, memory: TransitionMemory | None, validation: Holdout, price: float, *, keep_seen: bool
) -> TwoTowerModel:
    """Lower the scores of items without events in training, as far as their price on validation asks for it.

    Such an item was never a negative: nothing has told the towers how seldom it is chosen. Where a catalogue has many of
    them, they push items with events out of the lists. Their price is what recall@10 and NDCG@10 of validation lose beside
    a ranking of items with events alone; targets among them count for them. Their scores are multiplied by the largest
    factor, 1 at most, by which the price is as asked for or lower, so that they neither crowd out the others nor vanish.

    Parameters
    ----------
    towers : TwoTowerModel
    memory : TransitionMemory or None
        Beside them.
    validation : Holdout
    price : float
        In [0, 1], the share of either figure; 1: leave scores as they are.
    keep_seen : bool
        Whether items of the history stay in the ranking.
    """
    known = towers.net.items.has_id.cpu().numpy()
    if price >= 1.0 or known.all() or not known.any():
        return towers
    judged = validation.sample(_USERS)
    rows = judged.items.find_rows(towers.items.to_ids(np.flatnonzero(known).astype(np.int32)))

    def figures(scale: float, eligible: Int32 | None = None) -> list[float]:
        towers.net.cold_scale.fill_(scale)
        ranker = TowerRanker(replace(towers), memory)  # a copy, which has cached no vectors yet
        found = evaluate(ranker, judged, 10, filter_seen=not keep_seen, eligible=eligible)
        return [found[name] for name in _FIGURES]

    alone = figures(1.0, np.sort(rows[rows >= 0]).astype(np.int32))
    paid = {1.0: figures(1.0)}

    def cheap(scale: float) -> bool:
        if scale not in paid:
            paid[scale] = figures(scale)
        return all(one >= (1 - price) * other for one, other in zip(paid[scale], alone, strict=True))

    low, high = 0, 0 if cheap(1.0) else len(_SCALES) - 1
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if cheap(float(_SCALES[middle])) else (middle + 1, high)
    scale = float(_SCALES[low])
    towers.net.cold_scale.fill_(scale)
    before = _price(alone, paid[1.0])
    lowered = f"; scores times {scale:g}: {_price(alone, paid.get(scale) or figures(scale))}" if scale < 1 else ""
    say(f"{int((~known).sum()):,} items without events in training cost {before} of validation{lowered}")
    return replace(towers)


def _price(alone: list[float], paid: list[float]) -> str:
    lost = (1 - one / other if other else 0.0 for one, other in zip(paid, alone, strict=True))
    return " and ".join(f"{share:.1%} {name}" for share, name in zip(lost, _FIGURES, strict=True))
