"""Similar items, free-text search and explanations: what is asked of the retriever beside recommendations."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import TypeAlias, cast

import numpy as np
import polars as pl

from recsys.core.ranking import check_k
from recsys.core.schema import CONTRIBUTION, ITEM, PLACE, SCORE, SIMILAR, TITLE
from recsys.errors import DataError, RecsysError
from recsys.server.answering import State
from recsys.server.asks import ExplainAsk, Explained, Listed, Reason, SearchAsk, SimilarAsk
from recsys.server.histories import Stored
from recsys.server.persons import persons_of
from recsys.serving.request_arguments import RawId, known_rows, single

Found: TypeAlias = Listed | Explained | RecsysError


def similar(state: State, asks: Sequence[SimilarAsk]) -> list[Listed | RecsysError]:
    """The items most like each of some, all with the same k, predicate and kind: one search for all.

    Errors are those of :meth:`recsys.serving.retriever.Retriever.similar_items`.
    """
    model, one = state.model, asks[0]
    rows = model.items.find_rows([ask.item for ask in asks])
    known = model.items.to_ids(np.unique(rows[rows >= 0]))
    try:
        if not len(known):  # says which is unknown
            known_rows(single(one.item, "item"), model.items, "item")
        lists = _lists(state, model.similar(known, check_k(one.k), one.where, one.by), SIMILAR)
    except RecsysError as error:
        return [_unknown(state, ask) or error for ask in asks]
    names = iter(model.items.to_ids(rows[rows >= 0]).to_list())
    return [
        lists.get(next(names), _empty(state)) if row >= 0 else cast("RecsysError", _unknown(state, ask))
        for row, ask in zip(rows, asks, strict=True)
    ]


def _unknown(state: State, ask: SimilarAsk) -> RecsysError | None:
    try:
        known_rows(single(ask.item, "item"), state.model.items, "item")
    except RecsysError as error:
        return error
    return None


def searched(state: State, asks: Sequence[SearchAsk]) -> list[Listed | RecsysError]:
    """Items by free texts, all with the same k and predicate: one search for all.

    Errors are those of :meth:`recsys.serving.retriever.Retriever.search`.
    """
    texts = list(dict.fromkeys(ask.text for ask in asks if ask.text.strip()))
    try:
        frame = state.model.found(texts or [asks[0].text], check_k(asks[0].k), asks[0].where)
    except RecsysError as error:
        return [error] * len(asks)
    lists, blank = _lists(state, frame, ITEM), DataError("a search text is blank")
    return [lists.get(ask.text, _empty(state)) if ask.text.strip() else blank for ask in asks]


def _lists(state: State, frame: pl.DataFrame, column: str) -> dict[RawId, Listed]:
    """The lists of a frame by their owners, which its first column names."""
    found = dict[RawId, Listed]()
    for owner, item, score in zip(*(frame[name].to_list() for name in (frame.columns[0], column, SCORE)), strict=True):
        listed = found.setdefault(owner, _empty(state))
        listed.item_ids.append(item)
        listed.scores.append(score)
    return found


def _empty(state: State) -> Listed:
    return Listed([], [], "model", state.digest)


def why(state: State, ask: ExplainAsk, stored: Stored) -> Explained:
    """Which events of a history, and which parts of an item, make its score.

    Raises
    ------
    RecsysError
        As :meth:`recsys.serving.retriever.Retriever.explain`.
    """
    model = state.model
    persons = persons_of(model, [ask], stored, [False])
    if (error := persons.errors[0]) is not None:
        raise error
    if not persons.histories.lengths[0]:
        raise DataError("there is nothing to explain: no event of the history can be read")
    item = known_rows(single(ask.item, "item"), model.items, "item")[0]
    at = None if ask.request_time is None else int(persons.request_times[0])
    frame, parts = model.why(persons.people(np.zeros(1, dtype=np.int64)), item, at, persons.target_events[0])
    columns = (frame[name].to_list() for name in (ITEM, TITLE, CONTRIBUTION, PLACE))
    reasons = [Reason(*values) for values in zip(*columns, strict=True)]
    return Explained(reasons, parts, state.digest)


def looked_up(state: State, asks: Sequence[SimilarAsk | SearchAsk | ExplainAsk], stored: Stored) -> list[Found]:
    """The answer to each, or its error; what is alike is asked at once."""
    found = dict[int, Found]()
    alike = defaultdict[tuple[object, ...], list[int]](list)
    for i, ask in enumerate(asks):
        if isinstance(ask, ExplainAsk):
            try:
                found[i] = why(state, ask, stored)
            except RecsysError as error:
                found[i] = error
        else:
            by = ask.by if isinstance(ask, SimilarAsk) else None
            alike[type(ask), ask.k, ask.where, by].append(i)
    for (kind, *_), places in alike.items():
        some = [asks[i] for i in places]
        if kind is SimilarAsk:
            lists = similar(state, cast("list[SimilarAsk]", some))
        else:
            lists = searched(state, cast("list[SearchAsk]", some))
        found |= zip(places, lists, strict=True)
    return [found[i] for i in range(len(asks))]
