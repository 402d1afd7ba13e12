"""Ranking rules at work: candidates in, final lists and an account of what moved out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl

from recsys.core.ragged import Bool, Float32, Int32, Int64, Ragged, contained
from recsys.core.ranking import Ranked, check_exclude, check_k
from recsys.core.schema import CHANGE, RANK_AFTER, RANK_BEFORE, REQUEST, ROW, RULE
from recsys.errors import ConfigError
from recsys.serving.rules.diversity import Float64, Members, first_under_caps, marginal_relevance
from recsys.serving.rules.spec import Rules

_DAY = 86_400
_SPARE = 10
_LEAST_POOL = 100


@dataclass(frozen=True, eq=False)
class Ruled:
    """Lists after the rules, and what the rules did.

    Attributes
    ----------
    ranked : Ranked (n)
        At most k items for each request, fewer where fewer are eligible. The scores are those after boosts and freshness;
        diversity, caps and pins move an item without changing its score, so that scores need not fall along a list. NaN
        for a pinned item that was not among the candidates: nobody has scored it.
    moves : DataFrame
        One row for each item and rule, where the rule changed the item's score, took it out or gave it another place, and
        its place in the first k is another than before: ``request`` (Int64, from 0), ``row`` (Int32), ``rule`` (its name),
        ``change`` (Float64, added to the score; null for rules that leave scores alone), ``rank_before`` (Int32, from 1;
        null where it was not among the candidates), ``rank_after`` (null where it fell out).
    """

    ranked: Ranked
    moves: pl.DataFrame


@dataclass(frozen=True, eq=False)
class BoundRules:
    """Rules and what they mean in a catalogue; made by :meth:`Rules.bind`.

    Attributes
    ----------
    rules : Rules
    eligible : bool (n_items,) or None
        What the exclude rules leave, for the index to search among; None where there is no such rule.
    masks : dict of bool (n_items,)
        The items that each exclude and boost is about, by the rule's name.
    born : float64 (n_items,) or None
        Seconds since 1970 for freshness; NaN where unknown.
    members : tuple of bool CSR (n_items, n_values)
        The values of each item, for each cap.
    pinned : int32 (n_pins,)
        The item row of each pin.
    vectors, norms : float32 (n_items, D), float32 (n_items,) or None
        For diversity.
    """

    rules: Rules
    eligible: Bool | None
    masks: Mapping[str, Bool]
    born: Float64 | None
    members: tuple[Members, ...]
    pinned: Int32
    vectors: Float32
    norms: Float32 | None

    def pool(self, k: int) -> int:
        """How many candidates :meth:`apply` needs for lists of k: at least 1, and at most the eligible items.

        Excludes and pins alone need no spare ones. Boosts, freshness and caps choose from ``rules.pool``, diversity from
        its own ``pool``; an item further down cannot be raised into a list, and a list that caps leave short although more
        items are eligible needs a larger pool.

        Raises
        ------
        ConfigError
            k is below 1.
        """
        check_k(k)
        rules = self.rules
        wanted = [k + sum(pin.position > k for pin in rules.pin)]
        if rules.boost or rules.cap or rules.freshness is not None:
            wanted.append(rules.pool if rules.pool is not None else max(_SPARE * k, _LEAST_POOL))
        if rules.diversity is not None:
            wanted.append(rules.diversity.pool)
        eligible = len(self.vectors) if self.eligible is None else int(self.eligible.sum())
        return max(1, min(max(wanted), eligible))

    def apply(self, ranked: Ranked, k: int, *, request_time: int, exclude: Ragged | None = None) -> Ruled:
        """Change ranked lists by the rules: exclude, boosts and freshness, diversity, caps, pins.

        Rules may carry an item across the k-th place, so ``ranked`` should hold :meth:`pool` candidates for each request.
        Among equal scores the lower row stands first.

        Parameters
        ----------
        ranked : Ranked (n)
            Candidates, best first.
        k : int
            Most items per list.
        request_time : int
            Seconds since 1970; only freshness reads it.
        exclude : Ragged (n), optional
            Item rows that must not be returned, request by request; pins heed it too.

        Returns
        -------
        Ruled

        Raises
        ------
        ConfigError
            k is below 1, there is not one list of exclusions for each request, or boosts carry a score beyond float32.
        """
        check_k(k)
        if exclude is not None:
            check_exclude(exclude, len(ranked))
            ranked = _only(ranked, ~contained(ranked.lists, exclude, len(self.vectors)))
        moves: list[pl.DataFrame] = []
        rows, scores = _padded(self._scored(self._eligible(ranked, moves), request_time, moves))
        rows, scores = self._varied(rows, scores, k, moves)
        final = self._placed(rows, scores, k, exclude, moves)
        return Ruled(final, _account(moves, ranked.lists, final.lists, k))

    def _eligible(self, ranked: Ranked, moves: list[pl.DataFrame]) -> Ranked:
        if self.eligible is None:
            return ranked
        owners, rows = ranked.lists.list_index(), ranked.lists.rows
        for rule in self.rules.exclude:
            gone = self.masks[rule.name][rows]
            moves.append(_moved(rule.name, owners[gone], rows[gone]))
        return _only(ranked, self.eligible[rows])

    def _scored(self, ranked: Ranked, request_time: int, moves: list[pl.DataFrame]) -> Ranked:
        """Boosts and freshness, and the order that follows from them."""
        rules, lists = self.rules, ranked.lists
        if not rules.boost and rules.freshness is None:
            return ranked
        owners, rows, scores = lists.list_index(), lists.rows, ranked.scores.astype(np.float64)
        changes: list[tuple[str, Float64]] = []
        for boost in rules.boost:
            chosen = self.masks[boost.name][rows]
            if boost.times is not None:
                low = np.full(len(lists), np.inf)
                np.minimum.at(low, owners, scores)
                change = np.where(chosen, (boost.times - 1.0) * (scores - low[owners]), 0.0)
            else:
                change = np.where(chosen, boost.add or 0.0, 0.0)
            scores = scores + change
            changes.append((boost.name, change))
        if rules.freshness is not None and self.born is not None:
            age = np.maximum(request_time - self.born[rows], 0.0) / _DAY
            change = rules.freshness.weight * np.nan_to_num(np.exp2(-age / rules.freshness.half_life_days), nan=0.0)
            scores = scores + change
            changes.append((rules.freshness.name, change))
        for name, change in changes:
            moves.append(_moved(name, owners[change != 0], rows[change != 0], change[change != 0]))
        if np.abs(scores).max(initial=0.0) > np.finfo(np.float32).max:
            raise ConfigError(f"{rules.source}: boosts carry a score beyond what 32 bits hold; take smaller ones")
        narrow = scores.astype(np.float32)
        order = np.lexsort((rows, -narrow, owners))
        return Ranked(Ragged(lists.offsets, rows[order]), narrow[order])

    def _varied(self, rows: Int32, scores: Float32, k: int, moves: list[pl.DataFrame]) -> tuple[Int32, Float32]:
        """Maximal marginal relevance among the best of each list."""
        rule = self.rules.diversity
        if rule is None or self.norms is None:
            return rows, scores
        best = slice(0, rule.pool)
        order = marginal_relevance(rows[:, best], scores[:, best], self.vectors, self.norms, rule.trade, k)
        varied, scored = rows.copy(), scores.copy()
        varied[:, best] = np.take_along_axis(rows[:, best], order, axis=1)
        scored[:, best] = np.take_along_axis(scores[:, best], order, axis=1)
        elsewhere = varied != rows
        moves.append(_moved(rule.name, np.nonzero(elsewhere)[0], varied[elsewhere]))
        return varied, scored

    def _placed(self, rows: Int32, scores: Float32, k: int, exclude: Ragged | None, moves: list[pl.DataFrame]) -> Ranked:
        """Choose under the caps and put pins at their places; what a pin names is nowhere else."""
        rules = self.rules
        positions = np.array([pin.position for pin in rules.pin], dtype=np.int64)
        allowed = self._may_be_pinned(len(rows), exclude)
        shown = allowed & (positions <= k)
        table = self._with_pins(rows, scores, shown)
        wanted = k - shown.sum(axis=1)
        taken, closed = first_under_caps(
            table.rows, table.fixed, table.free, wanted, self.members, [cap.at_most for cap in rules.cap]
        )
        passed = _passed_over(table.free, taken, wanted)
        for place, cap in enumerate(rules.cap):
            here = passed & (closed == place)
            moves.append(_moved(cap.name, np.nonzero(here)[0], table.rows[here]))
        for place, pin in enumerate(rules.pin):
            requests = np.flatnonzero(allowed[:, place])
            moves.append(_moved(pin.name, requests, np.full(len(requests), self.pinned[place])))
        target = _targets(taken, shown, positions, min(k, table.rows.shape[1]))
        return _in_order(table, target, (taken | table.fixed).sum(axis=1))

    def _with_pins(self, rows: Int32, scores: Float32, shown: Bool) -> _Columns:
        """Candidates, (n, P), behind a column for each pin, bool (n, n_pins), so that caps count pinned items too."""
        same = rows[:, None, :] == self.pinned[:, None]  # (n, n_pins, P)
        pin_scores = np.take_along_axis(scores, same.argmax(axis=2), axis=1)
        rows = np.hstack([np.where(shown, self.pinned, np.int32(-1)), rows])
        return _Columns(
            rows=rows,
            scores=np.hstack([np.where(same.any(axis=2), pin_scores, np.float32(np.nan)), scores]),
            fixed=np.hstack([shown, np.zeros((len(rows), same.shape[2]), dtype=np.bool_)]),
            free=(rows >= 0) & ~np.hstack([np.ones_like(shown), same.any(axis=1)]),
        )

    def _may_be_pinned(self, n: int, exclude: Ragged | None) -> Bool:
        """bool (n, n_pins): whether each request may get each pinned item."""
        allowed = np.ones((n, len(self.pinned)), dtype=np.bool_)
        if self.eligible is not None:
            allowed &= self.eligible[self.pinned]
        if exclude is not None:
            owners = exclude.list_index()
            for place, row in enumerate(self.pinned):
                allowed[owners[exclude.rows == row], place] = False
        return allowed


@dataclass(frozen=True, eq=False)
class _Columns:
    """The pins and then the candidates of each request, W columns in all.

    Attributes
    ----------
    rows : int32 (n, W)
        −1 where a list has ended, or a pin is not shown.
    scores : float32 (n, W)
        NaN for a pinned item that was not among the candidates.
    fixed, free : bool (n, W)
        What is in the list in any case; what may be chosen.
    """

    rows: Int32
    scores: Float32
    fixed: Bool
    free: Bool


def _passed_over(free: Bool, taken: Bool, wanted: Int64) -> Bool:
    """bool (n, W): what the caps kept out: free items before the last one taken, or any where too few were taken."""
    columns = np.arange(free.shape[1])
    last = np.where(taken, columns, -1).max(axis=1)
    short = taken.sum(axis=1) < wanted
    passed: Bool = free & ~taken & ((columns < last[:, None]) | short[:, None])
    return passed


def _targets(taken: Bool, shown: Bool, positions: Int64, width: int) -> Int64:
    """int64 (n, W): the place of each item in its list, from 0; the largest int64 for what is not in the list.

    Pins, the first columns, stand at their positions. The items taken fill the other places in order.
    """
    held = (shown[:, :, None] & (positions[:, None] - 1 == np.arange(width))).any(axis=1)
    places = np.argsort(held, axis=1, kind="stable")  # the places that no pin holds come first
    nth = np.clip(taken.cumsum(axis=1) - 1, 0, width - 1)
    target = np.where(taken, np.take_along_axis(places, nth, axis=1), np.iinfo(np.int64).max)
    target[:, : len(positions)][shown] = np.broadcast_to(positions - 1, shown.shape)[shown]
    return target


def _in_order(table: _Columns, target: Int64, lengths: Int64) -> Ranked:
    """Lists of these lengths, int64 (n,), in the order of the items' targets, int64 (n, W)."""
    order = np.argsort(target, axis=1, kind="stable")
    filled = np.arange(order.shape[1]) < lengths[:, None]
    rows = np.take_along_axis(table.rows, order, axis=1)[filled]
    return Ranked(Ragged.from_lengths(lengths, rows), np.take_along_axis(table.scores, order, axis=1)[filled])


def _only(ranked: Ranked, keep: Bool) -> Ranked:
    return Ranked(ranked.lists.where(keep), ranked.scores[keep])


def _padded(ranked: Ranked) -> tuple[Int32, Float32]:
    """Rows and scores, int32 (n, P) and float32 (n, P), with −1 and 0 where a list has ended; P is at least 1."""
    lengths = ranked.lists.lengths
    filled = np.arange(max(1, lengths.max(initial=0))) < lengths[:, None]
    rows, scores = np.full(filled.shape, -1, dtype=np.int32), np.zeros(filled.shape, dtype=np.float32)
    rows[filled], scores[filled] = ranked.lists.rows, ranked.scores
    return rows, scores


def _moved(rule: str, requests: Int64, rows: Int32, change: Float64 | None = None) -> pl.DataFrame:
    """What one rule did to these items."""
    frame = pl.DataFrame({REQUEST: requests, ROW: rows}, schema={REQUEST: pl.Int64, ROW: pl.Int32})
    changes = pl.lit(None, dtype=pl.Float64) if change is None else pl.Series(change, dtype=pl.Float64)
    return frame.with_columns(pl.lit(rule).alias(RULE), changes.alias(CHANGE))


def _account(moves: list[pl.DataFrame], before: Ragged, after: Ragged, k: int) -> pl.DataFrame:
    """The moves that show in the first k places, with the ranks around them."""
    nothing = _moved("", np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int32), np.empty(0))
    frame = pl.concat([nothing, *moves])
    for name, lists in ((RANK_BEFORE, before), (RANK_AFTER, after)):
        ranks = np.arange(len(lists.rows)) - np.repeat(lists.offsets[:-1], lists.lengths) + 1
        table = pl.DataFrame({REQUEST: lists.list_index(), ROW: lists.rows, name: ranks.astype(np.int32)})
        frame = frame.join(table, on=[REQUEST, ROW], how="left", maintain_order="left")
    old, new = pl.col(RANK_BEFORE), pl.col(RANK_AFTER)
    shown = frame.filter(old.ne_missing(new) & ((old <= k).fill_null(False) | new.is_not_null()))
    return shown.sort(REQUEST, RANK_AFTER, RANK_BEFORE, nulls_last=True, maintain_order=True)
