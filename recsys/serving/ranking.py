"""Where histories become scores and ranks: user tower, then index, then rules."""

from __future__ import annotations

from functools import partial
from threading import Lock
from weakref import WeakKeyDictionary

import numpy as np
import polars as pl

from recsys.bundle.corpus import Corpus
from recsys.core.ragged import Bool, Float32, Int32, Int64, Ragged
from recsys.core.ranking import Ranked
from recsys.models.towers import numpy_of
from recsys.serving.request import Request
from recsys.serving.rules.apply import BoundRules
from recsys.serving.rules.bind import bind
from recsys.serving.rules.lists import lists_by
from recsys.serving.rules.spec import Rules

_BLOCK = 4096
_REMEMBERED = 64


def rank(
    corpus: Corpus,
    histories: Ragged,
    k: int,
    *,
    exclude: Ragged | None,
    users: Int32 | None,
    request_times: Int64 | None,
    target_event: int | None,
    eligible: Bool | None,
) -> Ranked:
    """The k best items of each history, some thousand histories at a time.

    Takes what :meth:`recsys.evaluation.protocol.Ranker.recommend_rows` takes, and the code of an event type.
    """
    parts = []
    for start in range(0, len(histories), _BLOCK):
        part, stop = slice(start, start + _BLOCK), start + _BLOCK
        read = histories.block(start, stop)
        vectors = corpus.towers.user_vectors(
            read,
            None if users is None else users[part],
            None if request_times is None else request_times[part],
            target_event,
        )
        own = None if exclude is None else exclude.block(start, stop)
        parts.append(search(corpus, numpy_of(vectors), read, k, exclude=own, eligible=eligible))
    return Ranked.joined(parts)


def search(
    corpus: Corpus, vectors: Float32, histories: Ragged, k: int, *, exclude: Ragged | None, eligible: Bool | None
) -> Ranked:
    """The k best items of each user vector, float32 (n, D), with what the transition memory adds for the history."""
    return corpus.index.search(vectors, k, exclude, eligible=eligible, added=corpus.added_scores(histories))


def score(request: Request, items: Int32) -> Float32:
    """float32 (n · m,): the scores of items, int32 (m,), for each person of a request, person by person."""
    corpus, people, n = request.bundle.corpus, request.people, len(request.people.users)
    if n == 0:
        return np.empty(0, dtype=np.float32)
    times = np.full(n, request.request_time, dtype=np.int64)
    vectors = corpus.towers.user_vectors(people.histories, people.users, times, request.target_event)
    owners, rows = np.repeat(np.arange(n), len(items)), np.tile(items, n).astype(np.int64)
    return pair_scores(corpus, numpy_of(vectors), people.histories, owners, rows)


def pair_scores(corpus: Corpus, vectors: Float32, histories: Ragged, owners: Int64, rows: Int64) -> Float32:
    """float32 (m,): the score of item ``rows[i]`` for person ``owners[i]``, of vectors (n, D) and histories (n)."""
    scores = corpus.index.scores(vectors, owners, rows)
    if corpus.transitions is not None:
        scores += corpus.transitions.pair_scores(histories, owners, rows.astype(np.int32))
    return scores


def ranked(request: Request) -> tuple[Ranked, pl.DataFrame | None]:
    """The lists of a request whose people all have a history, and what its rules moved (None: it has no rules)."""
    if request.rules is None:
        return _ranked(request, request.k, request.eligible), None
    corpus = request.bundle.corpus
    ruled = lists_by(
        bound(corpus, request.rules), partial(_ranked, request), request.k, request_time=request.request_time,
        exclude=request.exclude, eligible=request.eligible, alive=corpus.index.alive,
    )  # fmt: skip
    return ruled.ranked, ruled.moves


def _ranked(request: Request, k: int, eligible: Bool | None) -> Ranked:
    people = request.people
    return rank(
        request.bundle.corpus,
        people.histories,
        k,
        exclude=request.exclude,
        users=people.users,
        request_times=np.full(len(people.users), request.request_time, dtype=np.int64),
        target_event=request.target_event,
        eligible=eligible,
    )


_BOUND: WeakKeyDictionary[Corpus, dict[Rules, BoundRules]] = WeakKeyDictionary()
_BINDING = Lock()


def bound(corpus: Corpus, rules: Rules) -> BoundRules:
    """Rules with their items and columns looked up in a corpus; remembered as long as the corpus lives."""
    with _BINDING:
        known = _BOUND.setdefault(corpus, {})
        found = known.get(rules)
    if found is None:
        if rules.diversity:
            corpus.towers.check_vectors(f"{rules.source}: diversity")
        found = bind(rules, corpus.typed, corpus.towers.vectors)
        with _BINDING:
            if len(known) >= _REMEMBERED:
                known.clear()
            known[rules] = found
    return found
