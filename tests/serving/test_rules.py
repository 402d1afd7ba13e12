"""Ranking rules: what they do to lists is what a reading of the file, one request and one item at a time, does."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.data.catalog import Catalog
from recsys.data.row_lists import Float32, RowLists
from recsys.errors import ConfigError, DataError, UnknownIdError
from recsys.models.topk import top_k
from recsys.recommender import Ranked
from recsys.serving.rules import Rules
from recsys.serving.rules_file import Boost, Cap, Diversity, Exclude, Freshness, Pin

DAY = 86_400
NOW = 1_000 * DAY
BRANDS = ["A", "A", "A", "B", "B", None, "C", "A", None, "B", "A", "C"]
GENRES = [["x", "y"], ["x"], ["y"], [], None, ["x", "z"], ["z"], ["y", "z"], ["x"], [None, "y"], ["y"], ["x", "y", "z"]]
PRICES = [5.0, 10.0, None, 20.0, 1.0, 30.0, 7.0, None, 9.0, 15.0, 25.0, 3.0]
AGES = [0, 30, None, 60, 400, -5, 1, 30, None, 90, 2, 10]
"""Days before NOW."""

ITEMS = pl.DataFrame(
    {
        "item_id": [f"i{row}" for row in range(12)],
        "brand": BRANDS,
        "genres": GENRES,
        "price": PRICES,
        "published": [None if age is None else NOW - age * DAY for age in AGES],
    }
)
CATALOG = Catalog.from_frame(ITEMS, text=[])
VECTORS: Float32 = np.random.default_rng(5).standard_normal((12, 4)).astype(np.float32)
VECTORS[3] = VECTORS[4] * 2
VECTORS[8] = 0.0

Candidates = list[tuple[int, float]]
Moves = list[tuple[int, int, str, float | None, int | None, int | None]]


def ranked_of(*requests: Candidates) -> Ranked:
    scores = [score for one in requests for _, score in one]
    return Ranked(RowLists.from_lists([[row for row, _ in one] for one in requests]), np.array(scores, dtype=np.float32))


def falling(*rows: int) -> Candidates:
    """Candidates whose scores fall from 1 in steps of a sixteenth, which float32 holds exactly."""
    return [(row, 1.0 - place / 16) for place, row in enumerate(rows)]


def apply(
    tables: dict[str, Any], *requests: Candidates, k: int = 5, exclude: list[list[int]] | None = None, now: int = NOW
) -> tuple[list[list[int]], list[list[float]], Moves]:
    hidden = None if exclude is None else RowLists.from_lists(exclude)
    ruled = Rules.of(tables).bind(CATALOG, VECTORS).apply(ranked_of(*requests), k, now=now, exclude=hidden)
    lists = ruled.ranked.lists
    scores = [ruled.ranked.scores[lists.offsets[i] : lists.offsets[i + 1]].tolist() for i in range(len(lists))]
    return lists.to_lists(), scores, ruled.moves.rows()


def test_no_rules_change_not_a_bit() -> None:
    generator = np.random.default_rng(0)
    given = Ranked(RowLists.from_lists([[3, 1, 7], [], [0, 2]]), np.sort(generator.random(5, dtype=np.float32))[::-1])
    bound = Rules.of({}).bind(CATALOG, VECTORS)
    ruled = bound.apply(given, 3, now=NOW)
    assert ruled.ranked.lists.offsets.tolist() == given.lists.offsets.tolist()
    assert ruled.ranked.lists.rows.tobytes() == given.lists.rows.tobytes()
    assert ruled.ranked.scores.tobytes() == given.scores.tobytes()
    assert ruled.moves.height == 0
    assert bound.eligible is None
    assert bound.pool(3) == 3


def test_moves_have_the_same_columns_whether_or_not_something_moved() -> None:
    schema = {
        "request": pl.Int64,
        "row": pl.Int32,
        "rule": pl.String,
        "change": pl.Float64,
        "rank_before": pl.Int32,
        "rank_after": pl.Int32,
    }
    for tables in ({}, {"boost": [{"items": ["i3"], "add": 1}]}, {"pin": [{"item": "i9", "position": 1}]}):
        moves = Rules.of(tables).bind(CATALOG, VECTORS).apply(ranked_of(falling(1, 2, 3)), 3, now=NOW).moves
        assert dict(moves.schema) == schema


def test_what_rules_exclude_nobody_gets() -> None:
    tables = {"exclude": [{"where": "price > 9"}, {"name": "recalled", "items": ["i8"]}]}
    bound = Rules.of(tables).bind(CATALOG, VECTORS)
    assert bound.eligible is not None
    assert np.flatnonzero(~bound.eligible).tolist() == [1, 3, 5, 8, 9, 10]
    lists, scores, moves = apply(tables, falling(0, 1, 2), falling(8, 6))
    assert lists == [[0, 2], [6]]
    assert scores == [[1.0, 0.875], [0.9375]]
    assert moves == [(0, 1, "exclude 1", None, 2, None), (1, 8, "recalled", None, 1, None)]


def test_an_added_boost_is_added() -> None:
    lists, scores, moves = apply({"boost": [{"where": 'brand == "B"', "add": 0.25}]}, falling(0, 1, 2, 3, 4))
    assert lists == [[3, 0, 4, 1, 2]]
    assert scores == [[1.0625, 1.0, 1.0, 0.9375, 0.875]]
    assert moves == [(0, 3, "boost 1", 0.25, 4, 1), (0, 4, "boost 1", 0.25, 5, 3)]


def test_a_boost_by_times_stretches_the_distance_above_the_lowest_candidate() -> None:
    tables = {"boost": [{"items": ["i2", "i4"], "times": 3}]}
    lists, scores, _ = apply(tables, [(0, -1.0), (2, -2.0), (3, -2.5), (4, -3.0)])
    assert lists == [[2, 0, 3, 4]]
    assert scores == [[0.0, -1.0, -2.5, -3.0]]
    lists, scores, _ = apply({"boost": [{"items": ["i0"], "times": 0}]}, [(0, -1.0), (2, -2.0), (3, -3.0)])
    assert lists == [[2, 0, 3]]
    assert scores == [[-2.0, -3.0, -3.0]]


@given(
    scores=st.lists(st.floats(-100, 100, width=32), min_size=2, max_size=8),
    times=st.floats(0, 10),
    chosen=st.integers(0, 7),
)
def test_times_above_one_never_lowers_and_below_one_never_raises(scores: list[float], times: float, chosen: int) -> None:
    candidates = list(enumerate(sorted(scores, reverse=True)))
    chosen %= len(scores)
    lists, after, _ = apply({"boost": [{"items": [f"i{chosen}"], "times": times}]}, candidates, k=8)
    new = dict(zip(lists[0], after[0], strict=True))
    if times >= 1:
        assert new.pop(chosen) >= dict(candidates)[chosen]
    else:
        assert new.pop(chosen) <= dict(candidates)[chosen]
    assert all(new[row] == score for row, score in candidates if row != chosen)


def test_boosts_act_one_after_the_other() -> None:
    tables = {"boost": [{"items": ["i1"], "add": 1.0}, {"items": ["i1"], "times": 2.0}]}
    assert apply(tables, [(0, 2.0), (1, 1.0), (2, 0.0)])[1] == [[4.0, 2.0, 0.0]]
    assert apply({"boost": tables["boost"][::-1]}, [(0, 2.0), (1, 1.0), (2, 0.0)])[1] == [[3.0, 2.0, 0.0]]


def test_a_boost_that_leaves_an_item_at_its_place_is_no_move() -> None:
    assert apply({"boost": [{"items": ["i0"], "add": 5.0}]}, falling(0, 1))[2] == []


def test_a_boost_reaches_an_item_below_the_kth_place() -> None:
    lists, _, moves = apply({"boost": [{"items": ["i9"], "add": 5.0}]}, falling(0, 1, 2, 9), k=2)
    assert lists == [[9, 0]]
    assert moves == [(0, 9, "boost 1", 5.0, 4, 1)]


def test_a_boost_that_fits_no_float_is_refused() -> None:
    with pytest.raises(ConfigError, match="beyond what 32 bits hold"):
        apply({"boost": [{"items": ["i0"], "add": 1e300}]}, falling(0, 1))


def test_freshness_halves_with_every_half_life() -> None:
    tables = {"freshness": {"column": "published", "half_life_days": 30, "weight": 0.5}}
    rows = [0, 1, 3, 9, 2, 5]  # ages 0, 30, 60, 90, unknown, and five days ahead
    lists, scores, moves = apply(tables, [(row, 0.0) for row in sorted(rows)], k=6)
    assert dict(zip(lists[0], scores[0], strict=True)) == {0: 0.5, 5: 0.5, 1: 0.25, 3: 0.125, 9: 0.0625, 2: 0.0}
    assert lists == [[0, 5, 1, 3, 9, 2]]
    assert (0, 5, "freshness", 0.5, 5, 2) in moves
    assert not [move for move in moves if move[1] == 2]


def test_freshness_reads_dates_as_it_reads_seconds() -> None:
    tables = {"freshness": {"column": "published", "half_life_days": 7.5, "weight": 2.0}}
    candidates = ranked_of([(row, 0.0) for row in range(12)])
    seconds = Rules.of(tables).bind(CATALOG, VECTORS).apply(candidates, 12, now=NOW).ranked
    for change in (
        pl.from_epoch(pl.col("published"), time_unit="s"),
        pl.from_epoch(pl.col("published"), time_unit="s").dt.strftime("%Y-%m-%dT%H:%M:%S"),
    ):
        other = Catalog.from_frame(ITEMS.with_columns(change.alias("published")), text=[])
        found = Rules.of(tables).bind(other, VECTORS).apply(candidates, 12, now=NOW).ranked
        assert found.lists.to_lists() == seconds.lists.to_lists()
        assert found.scores.tolist() == seconds.scores.tolist()


def test_a_pinned_item_stands_at_its_place_whether_or_not_it_was_found() -> None:
    tables = {"pin": [{"item": "i9", "position": 2}, {"name": "hero", "item": "i3", "position": 1}]}
    lists, scores, moves = apply(tables, falling(0, 1, 2, 3), k=4)
    assert lists == [[3, 9, 0, 1]]
    assert scores[0][0] == 1.0 - 3 / 16
    assert math.isnan(scores[0][1])
    assert moves == [(0, 3, "hero", None, 4, 1), (0, 9, "pin 1", None, None, 2)]


def test_a_pin_of_an_excluded_item_does_not_bring_it_back() -> None:
    pin = {"pin": [{"item": "i9", "position": 1}]}
    assert apply(pin | {"exclude": [{"items": ["i9"]}]}, falling(0, 1), falling(9, 0))[0] == [[0, 1], [0]]
    lists, _, moves = apply(pin, falling(0, 1), falling(0, 1), exclude=[[9, 4], []])
    assert lists == [[0, 1], [9, 0, 1]]
    assert moves == [(1, 9, "pin 1", None, None, 1)]


def test_a_short_list_has_the_pinned_item_last_and_no_gap() -> None:
    tables = {"pin": [{"item": "i9", "position": 5}, {"item": "i8", "position": 2}]}
    assert apply(tables, falling(0), [])[0] == [[0, 8, 9], [8, 9]]


def test_an_item_pinned_below_the_last_place_is_in_no_shorter_list() -> None:
    tables = {"pin": [{"item": "i1", "position": 4}]}
    candidates = falling(0, 1, 2, 3, 4)
    assert apply(tables, candidates, k=5)[0] == [[0, 2, 3, 1, 4]]
    lists, _, moves = apply(tables, candidates, k=3)
    assert lists == [[0, 2, 3]]
    assert moves == [(0, 1, "pin 1", None, 2, None)]
    assert Rules.of(tables).bind(CATALOG, VECTORS).pool(3) == 4


def test_a_cap_passes_over_what_there_is_enough_of() -> None:
    lists, _, moves = apply({"cap": [{"column": "brand", "at_most": 1}]}, falling(0, 1, 3, 2, 4, 6), k=3)
    assert lists == [[0, 3, 6]]
    assert moves == [(0, 1, "cap 1", None, 2, None)]  # items 2 and 4 were below the third place anyway


def test_items_without_a_value_are_not_capped() -> None:
    assert apply({"cap": [{"column": "brand", "at_most": 1}]}, falling(5, 8, 0, 1))[0] == [[5, 8, 0]]


def test_an_item_counts_for_each_of_its_values() -> None:
    assert apply({"cap": [{"column": "genres", "at_most": 1}]}, falling(0, 1, 7, 3, 4, 6), k=5)[0] == [[0, 3, 4, 6]]
    bars = ITEMS.with_columns(pl.col("genres").list.eval(pl.element().drop_nulls()).list.join(" | "))
    rules = Rules.of({"cap": [{"column": "genres", "at_most": 1}]}).bind(Catalog.from_frame(bars, text=[]), VECTORS)
    assert rules.apply(ranked_of(falling(0, 1, 7, 3, 4, 6)), 5, now=NOW).ranked.lists.to_lists() == [[0, 3, 4, 6]]


def test_lists_get_shorter_where_the_caps_leave_no_more() -> None:
    assert apply({"cap": [{"column": "brand", "at_most": 2}]}, falling(0, 1, 2, 7, 10), k=4)[0] == [[0, 1]]


def test_pinned_items_count_for_the_caps_and_stay() -> None:
    tables = {"cap": [{"column": "brand", "at_most": 1}], "pin": [{"item": "i7", "position": 3}]}
    assert apply(tables, falling(0, 1, 3, 6))[0] == [[3, 6, 7]]
    tables["pin"].append({"item": "i10", "position": 1})
    assert apply(tables, falling(0, 1, 3, 6))[0] == [[10, 3, 7, 6]]


def test_diversity_with_lambda_one_is_the_order_of_the_scores() -> None:
    lists, scores, moves = apply({"diversity": {"lambda": 1}}, falling(*range(12)), k=12)
    assert lists == [list(range(12))]
    assert scores == [[score for _, score in falling(*range(12))]]
    assert moves == []


def test_diversity_without_relevance_takes_twins_apart() -> None:
    lists, _, _ = apply({"diversity": {"lambda": 0.0}}, [(3, 1.0), (4, 0.9), (0, 0.1)], k=3)
    assert lists == [[3, 0, 4]]


def test_diversity_chooses_from_its_pool_alone() -> None:
    lists, _, _ = apply({"diversity": {"lambda": 0.0, "pool": 2}}, [(3, 1.0), (4, 0.9), (0, 0.1)], k=3)
    assert lists == [[3, 4, 0]]


PREDICATES: dict[str, Callable[[int], bool]] = {
    "price < 10": lambda row: PRICES[row] is not None and PRICES[row] < 10,
    'brand == "A"': lambda row: BRANDS[row] == "A",
    '"x" in genres': lambda row: GENRES[row] is not None and "x" in GENRES[row],
    "price is None": lambda row: PRICES[row] is None,
}
VALUES: dict[str, Callable[[int], set[str]]] = {
    "brand": lambda row: {BRANDS[row]} - {None},
    "genres": lambda row: set(GENRES[row] or ()) - {None},
}


def about(rule: dict[str, Any], row: int) -> bool:
    return PREDICATES[rule["where"]](row) if "where" in rule else f"i{row}" in rule["items"]


def cosine(one: int, two: int) -> float:
    a, b = VECTORS[one].astype(np.float64), VECTORS[two].astype(np.float64)
    return round(float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b))), 5) if a.any() and b.any() else 0.0


def naive_mmr(candidates: Candidates, trade: float, places: int) -> Candidates:
    low, high = min(score for _, score in candidates), max(score for _, score in candidates)
    left, picked = list(candidates), []
    while left and len(picked) < places:
        best, best_value = 0, -math.inf
        for place, (row, score) in enumerate(left):
            relevance = (score - low) / (high - low) if high > low else 0.0
            value = trade * relevance - (1 - trade) * max((cosine(row, other) for other, _ in picked), default=0.0)
            if value > best_value + 1e-9:
                best, best_value = place, value
        picked.append(left.pop(best))
    return picked + left


def naive(tables: dict[str, Any], given: Candidates, k: int, hidden: list[int]) -> tuple[Candidates, Moves]:
    """One request by the rules, read aloud."""
    candidates = [one for one in given if one[0] not in hidden]
    before = {row: place for place, (row, _) in enumerate(candidates, start=1)}
    acts: list[tuple[int, str, float | None]] = []
    gone = set(hidden)
    for number, rule in enumerate(tables.get("exclude", []), start=1):
        acts += [(row, f"exclude {number}", None) for row, _ in candidates if about(rule, row)]
        gone |= {row for row in range(12) if about(rule, row)}
    candidates = [one for one in candidates if one[0] not in gone]

    for number, rule in enumerate(tables.get("boost", []), start=1):
        low, changed = min((score for _, score in candidates), default=0.0), []
        for row, score in candidates:
            change = 0.0
            if about(rule, row):
                change = rule["add"] if "add" in rule else (rule["times"] - 1) * (score - low)
            if change:
                acts.append((row, f"boost {number}", change))
            changed.append((row, score + change))
        candidates = changed
    if "freshness" in tables:
        rule, changed = tables["freshness"], []
        for row, score in candidates:
            change = 0.0 if AGES[row] is None else rule["weight"] * 0.5 ** (max(AGES[row], 0) / rule["half_life_days"])
            if change:
                acts.append((row, "freshness", change))
            changed.append((row, score + change))
        candidates = changed
    candidates = sorted(((row, float(np.float32(score))) for row, score in candidates), key=lambda one: (-one[1], one[0]))

    if "diversity" in tables and candidates:
        rule = tables["diversity"]
        pool = rule.get("pool", 100)
        varied = naive_mmr(candidates[:pool], rule.get("lambda", 0.7), k) + candidates[pool:]
        acts += [(new[0], "diversity", None) for new, old in zip(varied, candidates, strict=True) if new[0] != old[0]]
        candidates = varied

    pins = {int(rule["item"][1:]): (rule["position"], f"pin {n}") for n, rule in enumerate(tables.get("pin", []), start=1)}
    acts += [(row, name, None) for row, (_, name) in pins.items() if row not in gone]
    held = {position: row for row, (position, _) in pins.items() if row not in gone and position <= k}
    counts = [
        Counter(value for row in held.values() for value in VALUES[cap["column"]](row)) for cap in tables.get("cap", [])
    ]
    others: list[int] = []
    for row, _ in candidates:
        if row in pins or len(others) == k - len(held):
            continue
        values = [VALUES[cap["column"]](row) for cap in tables.get("cap", [])]
        full = [
            number
            for number, cap in enumerate(tables.get("cap", []))
            if any(counts[number][value] >= cap["at_most"] for value in values[number])
        ]
        if full:
            acts.append((row, f"cap {full[0] + 1}", None))
            continue
        others.append(row)
        for number, mine in enumerate(values):
            counts[number].update(mine)
    final: list[int] = []
    for position in range(1, k + 1):
        if position in held:
            final.append(held[position])
        elif others:
            final.append(others.pop(0))
    after = {row: place for place, row in enumerate(final, start=1)}
    moves: Moves = [
        (0, row, name, change, before.get(row), after.get(row))
        for row, name, change in acts
        if before.get(row) != after.get(row) and (row in after or before[row] <= k)
    ]
    known = dict(candidates)
    return [(row, known.get(row, math.nan)) for row in final], moves


ids = st.lists(st.integers(0, 11).map("i{}".format), min_size=1, max_size=4, unique=True)
chosen = st.one_of(st.sampled_from(sorted(PREDICATES)).map(lambda text: {"where": text}), ids.map(lambda it: {"items": it}))
strengths = st.one_of(
    st.sampled_from([-0.5, 0.25, 1.0]).map(lambda x: {"add": x}),
    st.sampled_from([0.0, 0.5, 1.0, 2.0]).map(lambda x: {"times": x}),
)
boosts = st.builds(lambda a, b: a | b, chosen, strengths)
caps = st.builds(
    lambda column, most: {"column": column, "at_most": most}, st.sampled_from(sorted(VALUES)), st.integers(1, 3)
)
pins = st.builds(
    lambda items, places: [{"item": i, "position": p} for i, p in zip(items, places, strict=False)],
    ids,
    st.lists(st.integers(1, 9), max_size=4, unique=True),
)
diversities = st.builds(lambda t, p: {"lambda": t, "pool": p}, st.sampled_from([0.0, 0.3, 0.7, 1.0]), st.integers(1, 14))
freshnesses = st.sampled_from([{"column": "published", "half_life_days": 30, "weight": 0.5}])
rule_tables = st.fixed_dictionaries(
    {},
    optional={
        "exclude": st.lists(chosen, max_size=2),
        "boost": st.lists(boosts, max_size=3),
        "cap": st.lists(caps, max_size=2),
        "pin": pins,
        "diversity": diversities,
        "freshness": freshnesses,
    },
)


@st.composite
def requests(draw: st.DrawFn) -> tuple[Candidates, list[int]]:
    rows = draw(st.lists(st.integers(0, 11), max_size=12, unique=True))
    scores = draw(st.lists(st.integers(-8, 8), min_size=len(rows), max_size=len(rows)))
    found = sorted(((row, score / 4) for row, score in zip(rows, scores, strict=True)), key=lambda one: (-one[1], one[0]))
    return found, draw(st.lists(st.integers(0, 11), max_size=4, unique=True))


@settings(max_examples=200)
@given(tables=rule_tables, cases=st.lists(requests(), min_size=1, max_size=4), k=st.integers(1, 8))
def test_many_requests_at_once_get_what_a_naive_reading_gives_each(
    tables: dict[str, Any], cases: list[tuple[Candidates, list[int]]], k: int
) -> None:
    lists, scores, moves = apply(tables, *(found for found, _ in cases), k=k, exclude=[hidden for _, hidden in cases])
    for request, (found, hidden) in enumerate(cases):
        expected, expected_moves = naive(tables, found, k, hidden)
        assert lists[request] == [row for row, _ in expected]
        np.testing.assert_allclose(scores[request], [score for _, score in expected], rtol=1e-6, atol=1e-6)
        mine = sorted((move[1:] for move in moves if move[0] == request), key=str)
        theirs = sorted((move[1:] for move in expected_moves), key=str)
        assert [(row, rule, *ranks) for row, rule, _, *ranks in mine] == [(row, rule, *r) for row, rule, _, *r in theirs]
        changes = [[math.nan if change is None else change for _, _, change, *_ in side] for side in (mine, theirs)]
        np.testing.assert_allclose(changes[0], changes[1], rtol=1e-6, atol=1e-9)


def test_moves_come_request_by_request_in_the_order_of_the_new_list() -> None:
    tables = {"boost": [{"items": ["i4", "i3"], "add": 1}], "cap": [{"column": "brand", "at_most": 1}]}
    _, _, moves = apply(tables, falling(0, 1, 3, 4), falling(1, 0, 4), k=4)
    assert [(request, row, rule, after) for request, row, rule, _, _, after in moves] == [
        (0, 3, "boost 1", 1),
        (0, 1, "cap 1", None),
        (0, 4, "boost 1", None),
        (0, 4, "cap 1", None),
        (1, 4, "boost 1", 1),
        (1, 0, "cap 1", None),
    ]


def test_rules_leave_what_they_are_given_as_it_was() -> None:
    given, hidden = ranked_of(falling(0, 1, 3, 4), falling(2, 5)), RowLists.from_lists([[3], []])
    before = given.lists.rows.copy(), given.scores.copy()
    tables = {"boost": [{"items": ["i4"], "add": 1}], "diversity": {}, "pin": [{"item": "i2", "position": 1}]}
    Rules.of(tables).bind(CATALOG, VECTORS).apply(given, 3, now=NOW, exclude=hidden)
    assert given.lists.rows.tolist() == before[0].tolist()
    assert given.scores.tolist() == before[1].tolist()


def test_no_requests_get_no_lists() -> None:
    tables = {"diversity": {}, "cap": [{"column": "brand", "at_most": 1}], "pin": [{"item": "i2", "position": 1}]}
    ruled = Rules.of(tables).bind(CATALOG, VECTORS).apply(Ranked.nothing(), 3, now=NOW, exclude=RowLists.empty(0))
    assert len(ruled.ranked) == 0
    assert ruled.moves.height == 0


@pytest.mark.parametrize(
    ("tables", "pool"),
    [
        ({"pin": [{"item": "i1", "position": 1}]}, 3),
        ({"boost": [{"items": ["i1"], "add": 1}]}, 12),
        ({"pool": 6, "boost": [{"items": ["i1"], "add": 1}]}, 6),
        ({"pool": 2, "cap": [{"column": "brand", "at_most": 1}]}, 3),
        ({"pool": 6}, 3),
        ({"diversity": {"pool": 7}}, 7),
        ({"diversity": {"pool": 1}}, 3),
        ({"exclude": [{"where": "price is not None"}], "diversity": {}}, 2),
        ({"exclude": [{"where": "price is None or price is not None"}]}, 1),
    ],
)
def test_the_pool_is_what_the_rules_choose_from(tables: dict[str, Any], pool: int) -> None:
    assert Rules.of(tables).bind(CATALOG, VECTORS).pool(3) == pool


def test_boosts_choose_from_ten_candidates_for_each_place_and_a_hundred_at_least() -> None:
    frame = pl.DataFrame({"item_id": range(1000)})
    rules = Rules.of({"boost": [{"items": [3], "add": 1}]})
    bound = rules.bind(Catalog.from_frame(frame, text=[]), np.ones((1000, 2), dtype=np.float32))
    assert [bound.pool(k) for k in (3, 20, 500)] == [100, 200, 1000]


def test_ranking_the_eligible_alone_gives_what_ranking_all_of_them_gives() -> None:
    tables = {
        "exclude": [{"where": '"z" in genres'}],
        "boost": [{"where": "price < 10", "add": 0.5}],
        "cap": [{"column": "brand", "at_most": 2}],
    }
    bound = Rules.of(tables).bind(CATALOG, VECTORS)
    queries = np.random.default_rng(1).standard_normal((5, 4)).astype(np.float32)
    assert bound.eligible is not None
    eligible = np.flatnonzero(bound.eligible).astype(np.int32)
    among = top_k(torch.from_numpy(queries @ VECTORS.T), bound.pool(3), candidates=eligible)
    found = bound.apply(among, 3, now=NOW).ranked
    whole = bound.apply(top_k(torch.from_numpy(queries @ VECTORS.T), 12), 3, now=NOW).ranked
    assert found.lists.to_lists() == whole.lists.to_lists()
    assert found.lists.lengths.tolist() == [3] * 5


WHOLE = """
pool = 500

[[exclude]]
where = "price is None"

[[boost]]
name = "own brand"
where = 'brand == "A" and price < 20'
times = 1.5

[[boost]]
items = ["i7", "i9"]
add = -1

[[pin]]
item = "i4"
position = 1

[[cap]]
column = "brand"
at_most = 2

[diversity]
lambda = 0.5
pool = 50

[freshness]
column = "published"
half_life_days = 30
weight = 0.5
"""


def written(folder: Path, text: str) -> Path:
    file = folder / "rules.toml"
    file.write_text(text)
    return file


def test_a_file_says_everything_that_rules_can_say(tmp_path: Path) -> None:
    file = written(tmp_path, WHOLE)
    assert Rules.read(file) == Rules(
        exclude=(Exclude(name="exclude 1", where="price is None"),),
        boost=(
            Boost(name="own brand", where='brand == "A" and price < 20', times=1.5),
            Boost(name="boost 2", items=("i7", "i9"), add=-1),
        ),
        pin=(Pin(name="pin 1", item="i4", position=1),),
        cap=(Cap(name="cap 1", column="brand", at_most=2),),
        diversity=Diversity(name="diversity", trade=0.5, pool=50),
        freshness=Freshness(name="freshness", column="published", half_life_days=30, weight=0.5),
        pool=500,
        source=str(file),
    )
    Rules.read(file).bind(CATALOG, VECTORS)


def test_an_empty_file_is_no_rules(tmp_path: Path) -> None:
    file = written(tmp_path, "")
    assert Rules.read(file) == Rules(source=str(file))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[[boots]]", ["'boots'", "did you mean boost?", "[[exclude]]", "[diversity]"]),
        ("pol = 3", ["'pol'", "[[pin]]"]),
        ("pool = 0", ["pool", "from 1", "0"]),
        ("pool = true", ["pool", "True"]),
        ("[boost]\nadd = 1", ["boost", "[[boost]]"]),
        ("[[diversity]]", ["diversity", "[diversity] once"]),
        ("boost = [3]", ["[[boost]] 1", "table", "3"]),
        ("[[boost]]\nadd = 1", ["[[boost]] 1", "where", "items"]),
        ('[[boost]]\nitems = ["a"]\nwhere = "x"\nadd = 1', ["[[boost]] 1", "either where"]),
        ('[[boost]]\nitems = ["a"]\nadd = 1\ntimes = 2', ["[[boost]] 1", "either add", "times"]),
        ('[[boost]]\nitems = ["a"]', ["[[boost]] 1", "either add", "times"]),
        ('[[boost]]\nitems = ["a"]\ntimes = -1', ["[[boost]] 1", "times must be at least 0, not -1"]),
        ('[[boost]]\nitems = ["a"]\nadd = "much"', ["[[boost]] 1", "add must be a finite number, not 'much'"]),
        ('[[boost]]\nitems = ["a"]\nadd = nan', ["add must be a finite number"]),
        ('[[boost]]\nitems = ["a"]\nadd = true', ["add must be a finite number, not True"]),
        ("[[boost]]\nitems = []\nadd = 1", ["items must be a list of ids, not empty"]),
        ("[[boost]]\nitems = [1.5]\nadd = 1", ["items must be a list of ids", "1.5"]),
        ('[[boost]]\nwhere = " "\nadd = 1', ["where must be a text that is not blank"]),
        (
            '[[exclude]]\nitems = ["a"]\n[[exclude]]\nitem = ["a"]',
            ["[[exclude]] 2", "'item'", "did you mean items?", "where"],
        ),
        ("[[pin]]\nposition = 1", ["[[pin]] 1 needs item"]),
        ('[[pin]]\nitem = "a"', ["[[pin]] 1 needs position: a whole number"]),
        ('[[pin]]\nitem = "a"\nposition = 0', ["[[pin]] 1", "position must be at least 1, not 0"]),
        ('[[pin]]\nitem = "a"\nposition = 1.0', ["position must be a whole number, not 1.0"]),
        ('[[pin]]\nitem = "a"\nposition = 1\n[[pin]]\nitem = "b"\nposition = 1', ["position 1", "move one"]),
        ('[[pin]]\nitem = "a"\nposition = 1\n[[pin]]\nitem = "a"\nposition = 2', ["'a' is pinned twice"]),
        ('[[cap]]\ncolumn = "brand"\nat_most = 0', ["[[cap]] 1", "at_most must be at least 1, not 0"]),
        ("[[cap]]\nat_most = 1", ["[[cap]] 1 needs column"]),
        ("[diversity]\nlambda = 1.5", ["[diversity]", "lambda must lie in [0, 1], not 1.5"]),
        ("[diversity]\ntrade = 0.5", ["[diversity]", "'trade'", "lambda, name, pool"]),
        ("[diversity]\npool = 0", ["[diversity]", "pool must be at least 1"]),
        (
            '[freshness]\ncolumn = "t"\nhalf_life_days = 0\nweight = 1',
            ["[freshness]", "half_life_days must be above 0, not 0"],
        ),
        ('[freshness]\ncolumn = "t"\nhalf_life_days = 3\nweight = -1', ["[freshness]", "weight must be above 0, not -1"]),
        ('[freshness]\ncolumn = "t"\nweight = 1', ["[freshness] needs half_life_days"]),
        ('[[cap]]\nname = "x"\ncolumn = "a"\nat_most = 1\n[diversity]\nname = "x"', ["two rules are called 'x'"]),
        ("[[boost]\n", ["not valid TOML"]),
    ],
)
def test_a_wrong_file_is_refused_by_file_rule_and_key(text: str, words: list[str], tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        Rules.read(written(tmp_path, text))
    for word in ["rules.toml", *words]:
        assert word in str(caught.value)


def test_a_file_that_is_not_there_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"absent\.toml cannot be read"):
        Rules.read(tmp_path / "absent.toml")


@pytest.mark.parametrize(
    ("tables", "error", "words"),
    [
        ({"boost": [{"where": "prize < 3", "add": 1}]}, ConfigError, ["'boost 1'", "'prize'", "did you mean price?"]),
        ({"exclude": [{"name": "old", "where": "price < 'x'"}]}, ConfigError, ["'old'", "'price' of type Float64", "'x'"]),
        ({"exclude": [{"items": ["i1", "nope"]}]}, UnknownIdError, ["'exclude 1'", "unknown item 'nope'"]),
        ({"pin": [{"item": "nope", "position": 1}]}, UnknownIdError, ["'pin 1'", "unknown item 'nope'"]),
        ({"cap": [{"column": "colour", "at_most": 1}]}, ConfigError, ["'cap 1'", "no column 'colour'", "brand"]),
        (
            {"freshness": {"column": "brand", "half_life_days": 1, "weight": 1}},
            DataError,
            ["'freshness'", "column 'brand'", "row 1 is 'A'", "seconds since 1970"],
        ),
        ({"freshness": {"column": "born", "half_life_days": 1, "weight": 1}}, ConfigError, ["no column 'born'"]),
    ],
)
def test_rules_that_do_not_fit_the_catalogue_are_refused_by_file_and_rule(
    tables: dict[str, Any], error: type[Exception], words: list[str]
) -> None:
    with pytest.raises(error) as caught:
        Rules.of(tables, "shop.toml").bind(CATALOG, VECTORS)
    for word in ["shop.toml: rule", *words]:
        assert word in str(caught.value)


def test_one_item_pinned_by_two_writings_of_its_id_is_refused() -> None:
    numbers = Catalog.from_frame(pl.DataFrame({"item_id": [1, 2]}), text=[])
    rules = Rules.of({"pin": [{"item": 2, "position": 1}, {"item": "2", "position": 2}]})
    with pytest.raises(ConfigError, match="pinned twice"):
        rules.bind(numbers, np.ones((2, 3), dtype=np.float32))


def test_a_cap_on_a_column_of_structures_is_refused_by_its_type() -> None:
    odd = Catalog.from_frame(pl.DataFrame({"item_id": [1], "size": [{"w": 1}]}), text=[])
    with pytest.raises(ConfigError, match="'size' is of type Struct"):
        Rules.of({"cap": [{"column": "size", "at_most": 1}]}).bind(odd, np.ones((1, 3), dtype=np.float32))


def test_vectors_of_another_catalogue_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"shape \(5, 4\) do not fit a catalogue of 12 items"):
        Rules.of({}).bind(CATALOG, VECTORS[:5])


def test_a_k_below_1_and_the_wrong_number_of_exclusions_are_refused() -> None:
    bound = Rules.of({}).bind(CATALOG, VECTORS)
    with pytest.raises(ConfigError, match="k must be at least 1"):
        bound.apply(ranked_of(falling(1)), 0, now=NOW)
    with pytest.raises(ConfigError, match="k must be at least 1"):
        bound.pool(0)
    with pytest.raises(ConfigError, match="2 lists for 1 requests"):
        bound.apply(ranked_of(falling(1)), 1, now=NOW, exclude=RowLists.empty(2))


def test_rules_cannot_be_changed_once_read() -> None:
    with pytest.raises(AttributeError):
        Rules.of({}).pool = 3  # type: ignore[misc]
