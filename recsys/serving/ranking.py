"""One request against one corpus: who asks, what they may get, and by which rules."""

from __future__ import annotations

from dataclasses import dataclass
from threading import Lock
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import polars as pl

from recsys.bundle.contents import Bundle
from recsys.bundle.corpus import Corpus
from recsys.core.arguments import flag, instance
from recsys.core.progress import warn
from recsys.core.ragged import Bool, Int32, Int64, Ragged, overlap
from recsys.core.ranking import Ranked, check_k
from recsys.core.schema import CHANGE, ITEM, RANK_AFTER, RANK_BEFORE, REQUEST, ROW, RULE, SCORE
from recsys.data.times.request_time import Instant, clock
from recsys.models.towers import numpy_of
from recsys.serving.answer import Answered, filled_by_popularity, frame_of, spread
from recsys.serving.context import event_code
from recsys.serving.request import Asked, LeftOut, Unknown, known_rows, repeated
from recsys.serving.request_arguments import RawIds, check_where
from recsys.serving.rules.apply import BoundRules, Ruled
from recsys.serving.rules.bind import bind
from recsys.serving.rules.spec import Rules

_BLOCK = 4096
_REMEMBERED = 64


@dataclass(frozen=True, eq=False)
class Request:
    """What is asked of a corpus.

    Attributes
    ----------
    asked : Asked (n)
    hidden : Ragged (n)
        What each must not get.
    eligible : bool (n_items,) or None
        What anybody may get.
    k, clock : int
    target_event : int or None
        Code of the event to come.
    rules : Rules or None
    left_out : LeftOut
        What was passed over in histories and filters.
    """

    asked: Asked
    hidden: Ragged
    eligible: Bool | None
    k: int
    clock: int
    target_event: int | None
    rules: Rules | None
    left_out: LeftOut

    @classmethod
    def of(
        cls,
        corpus: Corpus,
        asked: Asked,
        event_names: tuple[str, ...],
        *,
        k: int,
        filter_seen: bool = True,
        exclude: RawIds | None = None,
        eligible: RawIds | None = None,
        where: str | pl.Expr | None = None,
        request_time: Instant | None = None,
        target_event: str | None = None,
        rules: Rules | None = None,
        unknown: Unknown = "error",
    ) -> Request:
        """From raw ids and words; raises what :meth:`recsys.serving.retriever.Retriever.recommend` does."""
        hidden = (
            asked.histories.without_events() if flag(filter_seen, "filter_seen") else Ragged.empty(len(asked.histories))
        )
        passed = asked.left_out
        if exclude is not None:
            never, missed = known_rows(exclude, corpus.items, "exclude", unknown)
            hidden, passed = hidden.merged(repeated(never, len(hidden))), passed + LeftOut(unknown_items=missed)
        mask, missed = eligible_items(corpus, eligible, where, unknown)
        if rules is not None:
            instance(rules, Rules, "rules", "read a file with recsys.Rules.read, or a mapping with recsys.Rules.of")
        return cls(
            asked,
            hidden,
            mask,
            min(check_k(k), len(corpus.items)),
            clock(request_time),
            None if target_event is None else event_code(target_event, corpus.towers.net.users, event_names),
            rules,
            passed + LeftOut(unknown_items=missed),
        )

    def answer(self, corpus: Corpus, able: Int64) -> tuple[Ranked, pl.DataFrame | None]:
        """Lists for those of the people, int64 (m,), who have a history, and what the rules moved."""
        hidden = self.hidden.take(able)
        if self.rules is None:
            return self._ranked(corpus, able, self.k, hidden, self.eligible), None
        ruled = self._ruled(corpus, able, hidden, bound(corpus, self.rules))
        return ruled.ranked, ruled.moves

    def there(self, corpus: Corpus) -> Bool:
        """bool (n_items,): what anybody may get and is not removed."""
        return corpus.index.alive if self.eligible is None else corpus.index.alive & self.eligible

    def _ranked(self, corpus: Corpus, able: Int64, k: int, hidden: Ragged, eligible: Bool | None) -> Ranked:
        clocks = np.full(len(able), self.clock, dtype=np.int64)
        read, users = self.asked.histories.take(able), self.asked.users[able]
        return rank(
            corpus, read, k, hidden=hidden, users=users, clocks=clocks, target_event=self.target_event, eligible=eligible
        )

    def _ruled(self, corpus: Corpus, able: Int64, hidden: Ragged, bound: BoundRules) -> Ruled:
        """By the rules, from ever more candidates while caps leave lists short that could be longer."""
        eligible = overlap(self.eligible, bound.eligible)
        there = self.there(corpus) if bound.eligible is None else self.there(corpus) & bound.eligible
        never = bound.pinned[~there[bound.pinned]]
        most = max(1, int(there.sum()))
        pool = min(bound.pool(self.k), most)
        while True:
            ranked = self._ranked(corpus, able, pool, hidden, eligible)
            ruled = bound.apply(ranked, self.k, now=self.clock, exclude=hidden.merged(repeated(never, len(hidden))))
            short = ruled.ranked.lists.lengths < np.minimum(self.k, ranked.lists.lengths)
            if pool >= most or not short.any():
                return ruled
            pool = min(most, 8 * pool)


def answer(bundle: Bundle, asked: Asked, *, k: int, unknown: Unknown, popularity: Int64 | None, **filters: Any) -> Answered:
    """The answer to one request, with what was left out and what the rules did.

    Parameters
    ----------
    bundle : Bundle
    asked : Asked (n)
        Who asks.
    k : int
    unknown : {"error", "skip"}
    popularity : int64 (m,) or None
        Interactions of the first m items, to fill the lists of people without a history; None: their lists stay empty.
    **filters
        As :meth:`Request.of` takes them.
    """
    corpus = bundle.corpus
    request = Request.of(corpus, asked, bundle.event_names, k=k, unknown=unknown, **filters)
    able, source, n = np.flatnonzero(asked.readable), None, len(asked.owners)
    ranked, effects = request.answer(corpus, able)
    if popularity is not None:
        counts = np.pad(popularity, (0, len(corpus.items) - len(popularity)))
        ranked, source = filled_by_popularity(ranked, able, counts, request.there(corpus), request.hidden, request.k)
    elif len(able) < n:
        ranked = spread(ranked, able, n)
    frame = frame_of(ranked, asked.owners, corpus.items, ITEM)
    if source is not None:
        frame = frame.with_columns(source.gather(pl.Series(ranked.lists.list_index(), dtype=pl.UInt32)))
    nothing = (ranked.lists.lengths == 0) & (asked.readable | (popularity is not None))
    return Answered(
        frame,
        ranked.lists.lengths,
        request.left_out + LeftOut(nothing_left=int(nothing.sum())),
        None if effects is None else _in_raw_ids(corpus, asked, able, effects),
    )


def _in_raw_ids(corpus: Corpus, asked: Asked, able: Int64, effects: pl.DataFrame) -> pl.DataFrame:
    """What the rules did, by raw ids instead of rows."""
    return effects.select(
        asked.owners.gather(pl.Series(able[effects[REQUEST].to_numpy()], dtype=pl.UInt32)),
        corpus.items.to_ids(effects[ROW].to_numpy()).alias(ITEM),
        *(effects[name] for name in (RULE, CHANGE, RANK_BEFORE, RANK_AFTER)),
    )


def scores(
    bundle: Bundle,
    asked: Asked,
    items: RawIds,
    *,
    request_time: Instant | None,
    target_event: str | None,
    unknown: Unknown,
) -> pl.DataFrame:
    """The score of each item for each of the people who have a history; see :meth:`Retriever.score`."""
    corpus = bundle.corpus
    rows, missed = known_rows(items, corpus.items, "items", unknown)
    able = np.flatnonzero(asked.readable)
    n, m = len(able), len(rows)
    times = np.full(n, clock(request_time), dtype=np.int64)
    code = None if target_event is None else event_code(target_event, corpus.towers.net.users, bundle.event_names)
    vectors = corpus.towers.vectors[:0]
    if n:
        vectors = numpy_of(corpus.towers.user_vectors(asked.histories.take(able), asked.users[able], times, code))
    if sentence := (asked.left_out + LeftOut(unknown_items=missed)).sentence(len(asked.owners)):
        warn(sentence)
    owners = np.repeat(np.arange(n), m)
    return pl.DataFrame(
        {
            asked.owners.name: asked.owners.gather(pl.Series(able[owners], dtype=pl.UInt32)),
            ITEM: corpus.items.to_ids(np.tile(rows, n)),
            SCORE: corpus.index.scores(vectors, owners, np.tile(rows, n).astype(np.int64)),
        }
    )


def rank(
    corpus: Corpus,
    histories: Ragged,
    k: int,
    *,
    hidden: Ragged | None,
    users: Int32 | None,
    clocks: Int64 | None,
    target_event: int | None,
    eligible: Bool | None,
) -> Ranked:
    """Through user tower and index, some thousand histories at a time; see :meth:`recsys.evaluation.protocol.Ranker`."""
    parts = []
    for start in range(0, len(histories), _BLOCK):
        part, stop = slice(start, start + _BLOCK), start + _BLOCK
        known, asked = None if users is None else users[part], None if clocks is None else clocks[part]
        vectors = corpus.towers.user_vectors(histories.block(start, stop), known, asked, target_event)
        own = None if hidden is None else hidden.block(start, stop)
        parts.append(corpus.index.search(numpy_of(vectors), k, own, eligible=eligible))
    return Ranked.joined(parts)


def eligible_items(
    corpus: Corpus, eligible: RawIds | None, where: str | pl.Expr | None, unknown: Unknown = "error"
) -> tuple[Bool | None, int]:
    """bool (n_items,): what a list of ids and a predicate leave (None: everything), and how many ids are unknown."""
    check_where(where)
    allowed, missed = None, 0
    if eligible is not None:
        rows, missed = known_rows(eligible, corpus.items, "eligible", unknown)
        allowed = corpus.mask_of(rows)
    return overlap(allowed, None if where is None else corpus.matching(where)), missed


_BOUND: WeakKeyDictionary[Corpus, dict[Rules, BoundRules]] = WeakKeyDictionary()
_BINDING = Lock()


def bound(corpus: Corpus, rules: Rules) -> BoundRules:
    """Rules with their items and columns looked up in a corpus; remembered as long as the corpus lives."""
    with _BINDING:
        known = _BOUND.setdefault(corpus, {})
        found = known.get(rules)
    if found is None:
        found = bind(rules, corpus.typed, corpus.towers.vectors)
        with _BINDING:
            if len(known) >= _REMEMBERED:
                known.clear()
            known[rules] = found
    return found
