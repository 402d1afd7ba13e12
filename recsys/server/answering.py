"""A batch of requests becomes lists: one call of the user tower, one search for each distinct set of filters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TypeAlias

import numpy as np
import polars as pl

from recsys.core.ragged import Bool, Float32, Int32, Int64, Ragged, overlap
from recsys.core.ranking import Ranked, check_k
from recsys.core.schema import CHANGE, RANK_AFTER, RANK_BEFORE, REQUEST, ROW, RULE
from recsys.errors import ConfigError, RecsysError
from recsys.server.asks import Listed, Passed, RecommendAsk, RuleEffect, ScoreAsk, Source
from recsys.server.histories import Stored
from recsys.server.model import Model
from recsys.server.persons import Persons, persons_of
from recsys.server.popular import Popularity
from recsys.server.stages import stage
from recsys.serving.request_arguments import RawId, Unknown, known_rows
from recsys.serving.rules.lists import lists_by
from recsys.serving.rules.spec import Rules

Answer: TypeAlias = Listed | RecsysError


@dataclass(frozen=True, slots=True)
class _Filters:
    """What must be equal for requests to be searched together.

    Attributes
    ----------
    k : int
    where : str or None
    eligible : tuple of ids, or None
    unknown : {"error", "skip"}
    target_event : int or None
    rules : Rules or None
    request_time : int
        0 without rules, which alone read one clock for all.
    rule_effects : bool
    """

    k: int
    where: str | None
    eligible: tuple[RawId, ...] | None
    unknown: Unknown
    target_event: int | None
    rules: Rules | None
    request_time: int
    rule_effects: bool


@dataclass(frozen=True, eq=False)
class State:
    """What a batch is answered from.

    Attributes
    ----------
    model : Model
    digest : str
    popularity : Popularity
    """

    model: Model
    digest: str
    popularity: Popularity


def answers(state: State, asks: Sequence[RecommendAsk | ScoreAsk], stored: Stored) -> list[Answer]:
    """One answer or error for each request; those of others change none.

    Lists and scores are those that :meth:`recsys.serving.retriever.Retriever.recommend` gives for the same people together.

    Parameters
    ----------
    state : State
    asks : sequence (n)
    stored : Stored
        What the store knows of the users.
    """
    model = state.model
    cold = [isinstance(ask, RecommendAsk) and ask.fallback == "popular" for ask in asks]
    with stage("history"):
        persons = persons_of(model, asks, stored, cold)
    found: list[Answer | None] = list(persons.errors)
    with stage("tower"):
        vectors = _vectors(model, persons)
    groups: dict[_Filters, list[int]] = {}
    for i, ask in enumerate(asks):
        if found[i] is not None:
            continue
        try:
            if isinstance(ask, ScoreAsk):
                found[i] = _scored(state, persons, vectors, i, ask)
            else:
                groups.setdefault(_filters(model, persons, i, ask), []).append(i)
        except RecsysError as error:
            found[i] = error
    for filters, members in groups.items():
        for i, one in zip(members, _answered(state, persons, vectors, filters, members, asks, cold), strict=True):
            found[i] = one
    return found  # type: ignore[return-value] # none is left


def _vectors(model: Model, persons: Persons) -> Float32:
    """float32 (n, D): user vectors; zeros for people without a history, and for whom there is an error."""
    vectors = np.zeros((len(persons.users), model.dim), dtype=np.float32)
    asked: dict[int | None, list[int]] = {}
    for i in np.flatnonzero(persons.histories.lengths).tolist():
        if persons.errors[i] is None:
            asked.setdefault(persons.target_events[i], []).append(i)
    for code, members in asked.items():
        rows = np.array(members, dtype=np.int64)
        read = persons.histories.take(rows)
        vectors[rows] = model.user_vectors(read, persons.users[rows], persons.request_times[rows], code)
    return vectors


def _filters(model: Model, persons: Persons, i: int, ask: RecommendAsk) -> _Filters:
    k = min(check_k(ask.k), len(model.items))
    eligible = None if ask.eligible is None else tuple(ask.eligible)
    at = 0 if ask.rules is None else int(persons.request_times[i])
    return _Filters(k, ask.where, eligible, ask.unknown, persons.target_events[i], ask.rules, at, ask.rule_effects)


def _answered(
    state: State,
    persons: Persons,
    vectors: Float32,
    filters: _Filters,
    members: list[int],
    asks: Sequence[RecommendAsk | ScoreAsk],
    cold: Sequence[bool],
) -> list[Answer]:
    """The lists of requests with equal filters."""
    model = state.model
    try:
        chosen, missed = None, 0
        if filters.eligible is not None:
            chosen, missed = known_rows(filters.eligible, model.items, "eligible", filters.unknown)
        mask = model.mask(chosen, filters.where)
    except RecsysError as error:
        return [error] * len(members)
    found: dict[int, Answer] = {}
    excluded: dict[int, Int32] = {}
    skipped: dict[int, int] = {}
    for i in members:
        ask = asks[i]
        assert isinstance(ask, RecommendAsk)  # noqa: S101 - the groups hold no others
        try:
            excluded[i], skipped[i] = _excluded(model, persons, i, ask)
        except RecsysError as error:
            found[i] = error
    readable = [i for i in excluded if persons.histories.lengths[i] > 0]
    if readable:
        rows = np.array(readable, dtype=np.int64)
        try:
            lists, moves = _ranked(
                state, persons, vectors, filters, rows, mask, Ragged.from_lists([excluded[i] for i in readable])
            )
        except RecsysError as error:
            return [error] * len(members)
        effects = _effects(model, moves if filters.rule_effects else None, len(readable))
        for i, items, scores, moved in zip(readable, *_in_raw_ids(model, lists), effects, strict=True):
            found[i] = replace(_listed(state, persons, i, items, scores, "model", missed + skipped[i]), rule_effects=moved)
    candidates = overlap(model.alive, mask)
    assert candidates is not None  # noqa: S101 - one of the two is a mask
    for i in excluded.keys() - found.keys():
        if not cold[i]:
            found[i] = _listed(state, persons, i, [], [], "model", missed + skipped[i])
            continue
        popular = state.popularity.best(filters.k, candidates, excluded[i])
        for items, scores in zip(*_in_raw_ids(model, popular), strict=True):
            found[i] = _listed(state, persons, i, items, scores, "popular", missed + skipped[i])
    return [found[i] for i in members]


def _excluded(model: Model, persons: Persons, i: int, ask: RecommendAsk) -> tuple[Int32, int]:
    """Rows of items that one person must not get, int32 (m,), and how many unknown ones were passed over."""
    seen = persons.histories[i] if ask.filter_seen else np.empty(0, dtype=np.int32)
    if ask.exclude is None:
        return seen, 0
    never, missed = known_rows(ask.exclude, model.items, "exclude", ask.unknown)
    return np.concatenate([seen, never]), missed


def _ranked(
    state: State, persons: Persons, vectors: Float32, filters: _Filters, rows: Int64, mask: Bool | None, exclude: Ragged
) -> tuple[Ranked, pl.DataFrame | None]:
    model, read = state.model, persons.histories.take(rows)

    def search(k: int, eligible: Bool | None) -> Ranked:
        return model.search(vectors[rows], read, k, exclude=exclude, eligible=eligible)

    if filters.rules is None:
        with stage("search"):
            return search(filters.k, mask), None
    with stage("rules"):
        ruled = lists_by(
            model.bound(filters.rules),
            search,
            filters.k,
            request_time=filters.request_time,
            exclude=exclude,
            eligible=mask,
            alive=model.alive,
        )
    return ruled.ranked, ruled.moves


def _effects(model: Model, moves: pl.DataFrame | None, n: int) -> list[tuple[RuleEffect, ...]]:
    """What the rules did to each of n lists."""
    if moves is None:
        return [()] * n
    found: list[list[RuleEffect]] = [[] for _ in range(n)]
    items = model.items.to_ids(moves[ROW].to_numpy()).to_list()
    told = moves.select(REQUEST, RULE, CHANGE, RANK_BEFORE, RANK_AFTER).iter_rows()
    for item, (request, *values) in zip(items, told, strict=True):
        found[request].append(RuleEffect(item, *values))
    return [tuple(one) for one in found]


def _in_raw_ids(model: Model, lists: Ranked) -> tuple[list[list[RawId]], list[list[float | None]]]:
    """The items and scores of each list."""
    items = model.items.to_ids(lists.lists.rows).to_list()
    scores: list[float | None] = lists.scores.tolist()
    if np.isnan(lists.scores).any():
        scores = [None if one != one else one for one in scores]  # noqa: PLR0124 - NaN alone differs from itself
    ends = lists.lists.offsets.tolist()
    return [items[a:b] for a, b in pairwise(ends)], [scores[a:b] for a, b in pairwise(ends)]


def _listed(
    state: State, persons: Persons, i: int, items: list[RawId], scores: list[float | None], source: Source, missed: int
) -> Listed:
    passed = Passed(int(persons.unknown_items[i]) + missed, int(persons.unreadable[i]))
    length = int(persons.histories.offsets[i + 1] - persons.histories.offsets[i])
    return Listed(items, scores, source, state.digest, length, int(persons.fresh[i]), passed)


def _scored(state: State, persons: Persons, vectors: Float32, i: int, ask: ScoreAsk) -> Listed:
    """The scores of some items for one person, in the order of the request."""
    model = state.model
    rows, missed = known_rows(ask.items, model.items, "items", ask.unknown)
    if not len(rows) and not missed:
        raise ConfigError("there is nothing to score: items is empty")
    if persons.histories.lengths[i] == 0:
        return _listed(state, persons, i, [], [], "model", missed)
    owners = np.zeros(len(rows), dtype=np.int64)
    history = persons.histories.block(i, i + 1)
    scores = model.pair_scores(vectors[i : i + 1], history, owners, rows.astype(np.int64))
    items: list[RawId] = model.items.to_ids(rows).to_list()
    return _listed(state, persons, i, items, scores.tolist(), "model", missed)
