"""Answer a request in raw ids."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from recsys.core.ragged import Int32, Int64, Ragged
from recsys.core.ranking import Ranked, distinct_eligible
from recsys.core.schema import CHANGE, ITEM, RANK_AFTER, RANK_BEFORE, REQUEST, ROW, RULE, SCORE, SOURCE
from recsys.serving.frames import frame_of
from recsys.serving.people import LeftOut
from recsys.serving.ranking import ranked, score
from recsys.serving.request import Request


@dataclass(frozen=True, eq=False)
class Answered:
    """An answer, with what was left out and what the rules did.

    Attributes
    ----------
    frame : DataFrame
        One row per item.
    lengths : int64 (n,)
        Rows of each person, in the order of the request.
    left_out : LeftOut
        What was passed over, in numbers.
    rule_effects : DataFrame or None
        What the rules moved.
    """

    frame: pl.DataFrame
    lengths: Int64
    left_out: LeftOut
    rule_effects: pl.DataFrame | None


def answer(request: Request, popularity: Int64 | None) -> Answered:
    """The answer to a request.

    Parameters
    ----------
    request : Request
    popularity : int64 (m,) or None
        Interactions of the first m items, to fill the lists of people without a history; None: their lists stay empty.
    """
    items, owners = request.bundle.corpus.items, request.people.owners
    readable, n = request.readable, len(owners)
    asking = request if len(readable) == n else request.of_readable()
    lists, moves = ranked(asking)
    effects = None if moves is None else _in_raw_ids(asking, moves)
    source = None
    if popularity is not None:
        counts = np.pad(popularity, (0, len(items) - len(popularity)))
        lists, source = _filled_by_popularity(lists, request, counts)
    elif len(readable) < n:
        lists = _spread(lists, readable, n)
    frame, lengths = frame_of(lists, owners, items, ITEM), lists.lists.lengths
    if source is not None:
        frame = frame.with_columns(source.gather(pl.Series(lists.lists.list_index(), dtype=pl.UInt32)))
    empty = int((lengths == 0).sum() if popularity is not None else (lengths[readable] == 0).sum())
    return Answered(frame, lengths, replace(request.left_out, nothing_left=empty), effects)


def scored(request: Request, items: Int32) -> pl.DataFrame:
    """One row for each person who has a history and each item, int32 (m,): the owner, the item, ``score``."""
    asking = request.of_readable()
    owners = asking.people.owners
    return pl.DataFrame(
        {
            owners.name: owners.gather(pl.Series(np.repeat(np.arange(len(owners)), len(items)), dtype=pl.UInt32)),
            ITEM: request.bundle.items.to_ids(np.tile(items, len(owners))),
            SCORE: score(asking, items),
        }
    )


def _spread(ranked: Ranked, readable: Int64, n: int) -> Ranked:
    """The lists of the readable people, int64 (m,), as lists of all n: empty for the others."""
    lengths = np.zeros(n, dtype=np.int64)
    lengths[readable] = ranked.lists.lengths
    return Ranked(Ragged.from_lengths(lengths, ranked.lists.rows), ranked.scores)


def _filled_by_popularity(ranked: Ranked, request: Request, counts: Int64) -> tuple[Ranked, pl.Series]:
    """The model's lists, and the most popular items for everybody who has none; with the source of each list.

    Parameters
    ----------
    ranked : Ranked (m)
        Of the people with a history.
    request : Request
        Of n people.
    counts : int64 (n_items,)
        Interactions of each item.

    Returns
    -------
    Ranked (n)
    Series (n,)
        ``"model"`` or ``"popular"``.
    """
    n, n_items, readable = len(request.people.users), len(counts), request.readable
    rest = np.setdiff1d(np.arange(n), readable)
    if len(rest) == 0:  # nothing to sort the catalogue for
        return ranked, pl.Series(SOURCE, ["model"] * n, dtype=pl.String)
    exclude = request.exclude.take(rest)
    longest = int(distinct_eligible(exclude, None, n_items).max(initial=0))
    order = np.lexsort((np.arange(n_items), -counts))
    best = order[request.candidates[order]][: request.k + longest].astype(np.int32)
    keys = np.repeat(np.arange(len(rest)), len(best)) * n_items + np.tile(best, len(rest))
    kept = ~np.isin(keys, exclude.list_index() * n_items + exclude.rows)
    lists = Ragged.from_lengths(np.full(len(rest), len(best), dtype=np.int64), np.tile(best, len(rest)))
    lists = lists.where(kept).head(np.full(len(rest), request.k))
    popular = Ranked(lists, counts[lists.rows].astype(np.float32))
    place = np.empty(n, dtype=np.int64)
    place[readable], place[rest] = np.arange(len(readable)), len(readable) + np.arange(len(rest))
    both = Ranked.joined([ranked, popular]).take(place)
    by_model = np.zeros(n, dtype=np.bool_)
    by_model[readable] = True
    return both, pl.Series(SOURCE, np.where(by_model, "model", "popular"))


def _in_raw_ids(request: Request, moves: pl.DataFrame) -> pl.DataFrame:
    """What the rules did, by raw ids instead of rows."""
    return moves.select(
        request.people.owners.gather(pl.Series(moves[REQUEST], dtype=pl.UInt32)),
        request.bundle.items.to_ids(moves[ROW].to_numpy()).alias(ITEM),
        *(moves[name] for name in (RULE, CHANGE, RANK_BEFORE, RANK_AFTER)),
    )
