"""Similar items, free-text search and explanations: what is asked of the retriever beside recommendations."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import polars as pl

from recsys.core.ranking import check_k
from recsys.core.schema import CONTRIBUTION, ITEM, PLACE, SCORE, SIMILAR, TITLE
from recsys.errors import DataError, RecsysError
from recsys.server.answering import State
from recsys.server.asks import ExplainAsk, Explained, Listed, Reason, SearchAsk, SimilarAsk
from recsys.server.histories import Stored
from recsys.server.persons import persons_of
from recsys.serving.explain import broken_down, explained
from recsys.serving.nearest import items_like, nearest_items
from recsys.serving.people import LeftOut
from recsys.serving.request import Request
from recsys.serving.request_arguments import known_rows, single

Found: TypeAlias = Listed | Explained | RecsysError


def similar(state: State, ask: SimilarAsk) -> Listed:
    """The items most like one; raises as :meth:`recsys.serving.retriever.Retriever.similar_items`."""
    frame = nearest_items(state.bundle, single(ask.item, "item"), check_k(ask.k), ask.where, "error", ask.by)
    return _listed(state, frame, SIMILAR)


def searched(state: State, ask: SearchAsk) -> Listed:
    """Items by free text; raises as :meth:`recsys.serving.retriever.Retriever.search`."""
    return _listed(state, items_like(state.bundle, ask.text, check_k(ask.k), ask.where), ITEM)


def _listed(state: State, frame: pl.DataFrame, column: str) -> Listed:
    return Listed(frame[column].to_list(), frame[SCORE].to_list(), "model", state.digest)


def why(state: State, ask: ExplainAsk, stored: Stored) -> Explained:
    """Which events of a history, and which parts of an item, make its score.

    Raises
    ------
    RecsysError
        As :meth:`recsys.serving.retriever.Retriever.explain`.
    """
    bundle = state.bundle
    persons = persons_of(bundle, [ask], stored, [False])
    if (error := persons.errors[0]) is not None:
        raise error
    if not persons.histories.lengths[0]:
        raise DataError("there is nothing to explain: no event of the history can be read")
    item = known_rows(single(ask.item, "item"), bundle.items, "item")[0]
    at = int(persons.request_times[0])
    rows = np.zeros(1, dtype=np.int64)
    request = Request(
        bundle, persons.people(rows), rows, persons.histories.without_events(), None, 1, at, persons.target_events[0], None,
        LeftOut(),
    )  # fmt: skip
    asked = None if ask.request_time is None else at
    frame = explained(request, item, asked)
    columns = (frame[name].to_list() for name in (ITEM, TITLE, CONTRIBUTION, PLACE))
    reasons = [Reason(*values) for values in zip(*columns, strict=True)]
    return Explained(reasons, broken_down(request, item, asked), state.digest)


def looked_up(state: State, ask: SimilarAsk | SearchAsk | ExplainAsk, stored: Stored) -> Found:
    """The answer to any of these, or its error."""
    try:
        if isinstance(ask, SimilarAsk):
            return similar(state, ask)
        return searched(state, ask) if isinstance(ask, SearchAsk) else why(state, ask, stored)
    except RecsysError as error:
        return error
