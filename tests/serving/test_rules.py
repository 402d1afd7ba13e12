"""Ranking rules, one by one: what each does to lists worked out by hand, and which moves it tells of."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from recsys.core.ragged import Float32, Ragged
from recsys.core.ranking import Ranked
from recsys.data.catalog import Catalog
from recsys.errors import ConfigError
from recsys.index.exact.topk import top_k
from recsys.serving.rules.bind import bind
from recsys.serving.rules.spec import Rules

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
    return Ranked(Ragged.from_lists([[row for row, _ in one] for one in requests]), np.array(scores, dtype=np.float32))


def falling(*rows: int) -> Candidates:
    """Candidates whose scores fall from 1 in steps of a sixteenth, which float32 holds exactly."""
    return [(row, 1.0 - place / 16) for place, row in enumerate(rows)]


def apply(
    tables: dict[str, Any], *requests: Candidates, k: int = 5, exclude: list[list[int]] | None = None, now: int = NOW
) -> tuple[list[list[int]], list[list[float]], Moves]:
    hidden = None if exclude is None else Ragged.from_lists(exclude)
    ruled = bind(Rules.of(tables), CATALOG, VECTORS).apply(ranked_of(*requests), k, request_time=now, exclude=hidden)
    lists = ruled.ranked.lists
    scores = [ruled.ranked.scores[lists.offsets[i] : lists.offsets[i + 1]].tolist() for i in range(len(lists))]
    return lists.to_lists(), scores, ruled.moves.rows()


def test_no_rules_change_not_a_bit() -> None:
    generator = np.random.default_rng(0)
    given = Ranked(Ragged.from_lists([[3, 1, 7], [], [0, 2]]), np.sort(generator.random(5, dtype=np.float32))[::-1])
    bound = bind(Rules.of({}), CATALOG, VECTORS)
    ruled = bound.apply(given, 3, request_time=NOW)
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
        moves = bind(Rules.of(tables), CATALOG, VECTORS).apply(ranked_of(falling(1, 2, 3)), 3, request_time=NOW).moves
        assert dict(moves.schema) == schema


def test_what_rules_exclude_nobody_gets() -> None:
    tables = {"exclude": [{"where": "price > 9"}, {"name": "recalled", "items": ["i8"]}]}
    bound = bind(Rules.of(tables), CATALOG, VECTORS)
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
    seconds = bind(Rules.of(tables), CATALOG, VECTORS).apply(candidates, 12, request_time=NOW).ranked
    for change in (
        pl.from_epoch(pl.col("published"), time_unit="s"),
        pl.from_epoch(pl.col("published"), time_unit="s").dt.strftime("%Y-%m-%dT%H:%M:%S"),
    ):
        other = Catalog.from_frame(ITEMS.with_columns(change.alias("published")), text=[])
        found = bind(Rules.of(tables), other, VECTORS).apply(candidates, 12, request_time=NOW).ranked
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
    assert bind(Rules.of(tables), CATALOG, VECTORS).pool(3) == 4


def test_a_cap_passes_over_what_there_is_enough_of() -> None:
    lists, _, moves = apply({"cap": [{"column": "brand", "at_most": 1}]}, falling(0, 1, 3, 2, 4, 6), k=3)
    assert lists == [[0, 3, 6]]
    assert moves == [(0, 1, "cap 1", None, 2, None)]  # items 2 and 4 were below the third place anyway


def test_items_without_a_value_are_not_capped() -> None:
    assert apply({"cap": [{"column": "brand", "at_most": 1}]}, falling(5, 8, 0, 1))[0] == [[5, 8, 0]]


def test_an_item_counts_for_each_of_its_values() -> None:
    assert apply({"cap": [{"column": "genres", "at_most": 1}]}, falling(0, 1, 7, 3, 4, 6), k=5)[0] == [[0, 3, 4, 6]]
    bars = ITEMS.with_columns(pl.col("genres").list.eval(pl.element().drop_nulls()).list.join(" | "))
    rules = bind(Rules.of({"cap": [{"column": "genres", "at_most": 1}]}), Catalog.from_frame(bars, text=[]), VECTORS)
    assert rules.apply(ranked_of(falling(0, 1, 7, 3, 4, 6)), 5, request_time=NOW).ranked.lists.to_lists() == [[0, 3, 4, 6]]


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
    given, hidden = ranked_of(falling(0, 1, 3, 4), falling(2, 5)), Ragged.from_lists([[3], []])
    before = given.lists.rows.copy(), given.scores.copy()
    tables = {"boost": [{"items": ["i4"], "add": 1}], "diversity": {}, "pin": [{"item": "i2", "position": 1}]}
    bind(Rules.of(tables), CATALOG, VECTORS).apply(given, 3, request_time=NOW, exclude=hidden)
    assert given.lists.rows.tolist() == before[0].tolist()
    assert given.scores.tolist() == before[1].tolist()


def test_no_requests_get_no_lists() -> None:
    tables = {"diversity": {}, "cap": [{"column": "brand", "at_most": 1}], "pin": [{"item": "i2", "position": 1}]}
    ruled = bind(Rules.of(tables), CATALOG, VECTORS).apply(Ranked.nothing(), 3, request_time=NOW, exclude=Ragged.empty(0))
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
    assert bind(Rules.of(tables), CATALOG, VECTORS).pool(3) == pool


def test_boosts_choose_from_ten_candidates_for_each_place_and_a_hundred_at_least() -> None:
    frame = pl.DataFrame({"item_id": range(1000)})
    rules = Rules.of({"boost": [{"items": [3], "add": 1}]})
    bound = bind(rules, Catalog.from_frame(frame, text=[]), np.ones((1000, 2), dtype=np.float32))
    assert [bound.pool(k) for k in (3, 20, 500)] == [100, 200, 1000]


def test_ranking_the_eligible_alone_gives_what_ranking_all_of_them_gives() -> None:
    tables = {
        "exclude": [{"where": '"z" in genres'}],
        "boost": [{"where": "price < 10", "add": 0.5}],
        "cap": [{"column": "brand", "at_most": 2}],
    }
    bound = bind(Rules.of(tables), CATALOG, VECTORS)
    queries = np.random.default_rng(1).standard_normal((5, 4)).astype(np.float32)
    among = top_k(torch.from_numpy(queries @ VECTORS.T), bound.pool(3), eligible=bound.eligible)
    found = bound.apply(among, 3, request_time=NOW).ranked
    whole = bound.apply(top_k(torch.from_numpy(queries @ VECTORS.T), 12), 3, request_time=NOW).ranked
    assert found.lists.to_lists() == whole.lists.to_lists()
    assert found.lists.lengths.tolist() == [3] * 5
