"""Floors of exposure: factors of groups of items, fitted on validation, by which each gets its share of the lists."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

import numpy as np
import torch

from recsys.bundle.exposure import exposure_sentence, reached
from recsys.config.floors import read_floors
from recsys.config.training import Training
from recsys.core.progress import log as say
from recsys.core.progress import warn
from recsys.core.ragged import Bool
from recsys.data.catalog import Catalog
from recsys.data.split import Holdout
from recsys.errors import ConfigError
from recsys.evaluation.evaluate import evaluate
from recsys.index.exact.table import VectorTable
from recsys.models.group_factors import GroupFactors, members_of
from recsys.models.towers import TwoTowerModel, rank_vectors
from recsys.training.tower_ranker import TowerRanker
from recsys.training.transitions import asked_of
from recsys.transitions.memory import TransitionMemory

_STEP: Final = 1.02
_STEPS: Final = 233
"""Factors are powers of 1.02 up to 100."""
_ROUNDS: Final = 8
_USERS: Final = 3000
"""Validation users at most."""
_LOWEST: Final = 1e-9


def check_floors(training: Training, catalog: Catalog | None, validation: Holdout | None) -> None:
    """Refuse floors that no factors can reach, before anything is trained.

    A group of n items fills n places of a list of k at most, so that no share above n / k can be promised; of groups that
    share no item the floors together stay below 1.

    Raises
    ------
    ConfigError
        There is no catalogue or no validation, the catalogue has no such column or group, or a floor is out of reach.
    """
    if not training.exposure_floors:
        return
    column, floors = read_floors(training.exposure_floors, training.exposure_k)
    if catalog is None:
        raise ConfigError("exposure_floors (--exposure-floors) names groups of a catalogue, and there is none (--catalog)")
    if validation is None:
        raise ConfigError(
            "exposure_floors (--exposure-floors) are fitted on validation, and nothing is held out for it; give a "
            "validation set (another --split than none)"
        )
    names = catalog.memberships(column)[1]
    for group in floors:
        if group not in names:
            some = ", ".join(map(repr, names[:12])) + (", ..." if len(names) > 12 else "")
            raise ConfigError(
                f"exposure_floors (--exposure-floors): no item of the catalogue has {group!r} in the column {column!r}, "
                f"which has {some or 'no value'}"
            )
    members, k = members_of(catalog, column, list(floors)), training.exposure_k
    for (group, floor), inside in zip(floors.items(), members, strict=True):
        if floor * k > (n := int(inside.sum())):
            raise ConfigError(
                f"exposure_floors (--exposure-floors): the group {group!r} of the column {column!r} has {n} items, which "
                f"fill at most {n / k:.1%} of lists of {k}, and {floor:.1%} are asked for; lower its floor"
            )
    apart = int(np.sum(members, axis=0).max()) <= 1
    if apart and sum(floors.values()) >= 1.0:
        raise ConfigError(
            f"exposure_floors (--exposure-floors): {sum(floors.values()):.1%} of all places are asked for by groups that "
            "share no item; lower them to less than all together"
        )


def with_floors(
    towers: TwoTowerModel, memory: TransitionMemory | None, catalog: Catalog, validation: Holdout, training: Training
) -> tuple[TwoTowerModel, dict[str, Any] | None]:
    """Raise the scores of groups of items by the smallest factors by which each reaches its floor on validation.

    The exposure of a group is its share of all places in the lists of k, as reports count it; a floor bounds it from below,
    as in Singh and Joachims, "Fairness of exposure in rankings" (KDD 2018, arXiv 1802.07281), on average over users
    rather than in each list (Steck, "Calibrated recommendations", RecSys 2018, calibrates each list to its user). There the
    constraint has a multiplier for each group that is added to the scores; here it multiplies the towers' scores, which
    near the top of lists of positive scores does the same, so that it is part of the item vectors: every index, batch,
    server and export ranks by it. Exposure of a group grows with its own factor and falls with those of others. So factors
    are raised in turn, each to the least power of 1.02 that reaches its floor beside the others, until all floors hold.

    Parameters
    ----------
    towers : TwoTowerModel
        Trained and calibrated.
    memory : TransitionMemory or None
        Beside them; what it adds is not multiplied.
    catalog : Catalog
        In the towers' rows.
    validation : Holdout
    training : Training
        With ``exposure_floors``, ``exposure_k`` and ``keep_seen``.

    Returns
    -------
    TwoTowerModel
        With the factors in its vectors.
    dict or None
        What it cost, as a training log keeps it: ``column``, ``k``, ``users``, ``groups`` (``group``, ``floor``,
        ``factor``, ``before``, ``after``) and ``figures`` (``name``, ``before``, ``after``). None: without floors.
    """
    if not training.exposure_floors:
        return towers, None
    column, floors = read_floors(training.exposure_floors, training.exposure_k)
    members, k = members_of(catalog, column, list(floors)), training.exposure_k
    asked = asked_of(towers, validation, filter_seen=not training.keep_seen)
    queries = torch.from_numpy(asked.queries).to(towers.device)
    seen = asked.histories.without_events() if asked.filter_seen else None
    sparse = None if memory is None else memory.scores(asked.histories)
    wanted = np.array(list(floors.values()))

    def shares(steps: list[int]) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        scale = torch.from_numpy(_scale(steps, members)).to(towers.device)
        table = VectorTable.of((towers.item_vectors * scale[:, None]).contiguous())
        places = np.bincount(rank_vectors(queries, table, k, seen, None, sparse).lists.rows, minlength=len(scale))
        return np.array([places[one].sum() / max(1, places.sum()) for one in members], dtype=np.float64)

    steps = [0] * len(floors)
    for _ in range(_ROUNDS):
        short = np.flatnonzero(shares(steps) < wanted - _LOWEST)
        if not len(short) or all(steps[at] == _STEPS for at in short):
            break
        for at in short:
            low, high = steps[at], _STEPS
            while low < high:
                middle = (low + high) // 2
                enough = shares([*steps[:at], middle, *steps[at + 1 :]])[at] >= wanted[at] - _LOWEST
                low, high = (low, middle) if enough else (middle + 1, high)
            steps[at] = low
    found = GroupFactors(column, tuple((name, round(_STEP**step, 6)) for name, step in zip(floors, steps, strict=True)))
    before = _judged(towers, memory, validation, members, training)
    made = replace(towers, group_factors=found)
    found.set_on(made.net, catalog)
    after = _judged(made, memory, validation, members, training)
    told = _told(column, floors, found, before, after, training)
    say(exposure_sentence(told))
    if missed := [one["group"] for one in told["groups"] if not reached(one)]:
        warn(
            f"the exposure floor of {', '.join(map(repr, missed))} is not reached on validation, by no factor up to 100; "
            "the model keeps those that come nearest: lower the floor, or weigh these items in training (--item-groups)"
        )
    return made, told


def _scale(steps: list[int], members: list[Bool]) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    """float32 (n_items,): the largest factor of each item's groups."""
    scale = np.ones(len(members[0]), dtype=np.float32)
    for step, inside in zip(steps, members, strict=True):
        scale[inside] = np.maximum(scale[inside], np.float32(round(_STEP**step, 6)))
    return scale


def _judged(
    towers: TwoTowerModel,
    memory: TransitionMemory | None,
    validation: Holdout,
    members: list[Bool],
    training: Training,
) -> tuple[dict[str, float], list[float], int]:
    """Recall and NDCG, the share of each group, and the users of a judgement as every evaluation makes it."""
    held = validation.sample(_USERS)
    k = training.exposure_k
    report = evaluate(TowerRanker(replace(towers), memory), held, k, filter_seen=not training.keep_seen)
    places = report.exposure[k]
    shares = [float(places[one].sum() / max(1, places.sum())) for one in members]
    return {name: float(report[name]) for name in (f"recall@{k}", f"ndcg@{k}")}, shares, report.n_users


def _told(
    column: str,
    floors: dict[str, float],
    found: GroupFactors,
    before: tuple[dict[str, float], list[float], int],
    after: tuple[dict[str, float], list[float], int],
    training: Training,
) -> dict[str, Any]:
    groups = [
        {"group": name, "floor": floors[name], "factor": factor, "before": old, "after": new}
        for (name, factor), old, new in zip(found.factors, before[1], after[1], strict=True)
    ]
    figures = [{"name": name, "before": old, "after": after[0][name]} for name, old in before[0].items()]
    return {"column": column, "k": training.exposure_k, "users": before[2], "groups": groups, "figures": figures}
