"""Ranking rules: what they do to lists is what a reading of the file, one request and one item at a time, does."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.serving.test_rules import AGES, BRANDS, GENRES, PRICES, VECTORS, Candidates, Moves, apply

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


@settings(max_examples=60)
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
