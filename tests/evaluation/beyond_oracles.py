"""Metrics beyond accuracy by their definitions, in plain loops that share no code with them, and worlds to ask about."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from fractions import Fraction
from itertools import combinations

import numpy as np
import scipy.sparse as sp
from hypothesis import strategies as st

from recsys.core.ragged import Ragged
from recsys.evaluation import beyond_accuracy as beyond
from recsys.evaluation.metrics import hit_matrix

N_ITEMS, N_USERS, N_CATEGORIES = 10, 9, 4
NAN = math.nan
Lists = list[list[int]]


@dataclass
class World:
    """Ten items, some untouched, some without vector or category, and a few users."""

    ranked: Lists
    histories: Lists
    targets: Lists
    users: list[int]
    counts: list[int]
    vectors: list[list[int]]
    categories: list[set[int]]


@st.composite
def worlds(draw: st.DrawFn) -> World:
    n = draw(st.integers(0, 5))
    item = st.integers(0, N_ITEMS - 1)
    several = {"min_size": N_ITEMS, "max_size": N_ITEMS}
    return World(
        ranked=[draw(st.permutations(range(N_ITEMS)))[: draw(st.integers(0, N_ITEMS))] for _ in range(n)],
        histories=[draw(st.lists(item, max_size=8)) for _ in range(n)],
        targets=[draw(st.lists(item, max_size=5, unique=True)) for _ in range(n)],
        users=draw(st.lists(st.integers(0, N_USERS), **several)),
        counts=draw(st.lists(st.integers(0, 20), **several)),
        vectors=draw(st.lists(st.lists(st.integers(-3, 3), min_size=3, max_size=3), **several)),
        categories=draw(st.lists(st.sets(st.integers(0, N_CATEGORIES - 1)), **several)),
    )


def matrix(categories: list[set[int]], width: int = N_CATEGORIES) -> sp.csr_matrix:
    return sp.csr_matrix(np.array([[float(g in one) for g in range(width)] for one in categories]).reshape(-1, width))


def ints(values: list[int]) -> np.ndarray:
    return np.array(values, dtype=np.int64)


def rows(lists: Lists) -> Ragged:
    return Ragged.from_lists(lists)


COMPUTED = {
    "novelty": lambda w, k: beyond.novelty(rows(w.ranked), ints(w.users), N_USERS, k),
    "average_popularity": lambda w, k: beyond.average_popularity(rows(w.ranked), ints(w.counts), k),
    "popularity_lift": lambda w, k: beyond.popularity_lift(rows(w.ranked), rows(w.histories), ints(w.counts), k),
    "diversity": lambda w, k: beyond.diversity(rows(w.ranked), np.array(w.vectors, dtype=np.float32), k),
    "category_diversity": lambda w, k: beyond.category_diversity(rows(w.ranked), matrix(w.categories), k),
    "serendipity": lambda w, k: beyond.serendipity(
        rows(w.ranked), hit_matrix(rows(w.ranked), rows(w.targets), k), ints(w.users), k
    ),
    "calibration": lambda w, k: beyond.calibration(rows(w.ranked), rows(w.histories), matrix(w.categories), k),
}
RANGES = {
    "novelty": (0.0, math.log2(N_USERS)),
    "average_popularity": (0.0, 20.0),
    "popularity_lift": (-1.0, math.inf),
    "diversity": (0.0, 2.0),
    "category_diversity": (0.0, 1.0),
    "serendipity": (0.0, 1.0),
    "calibration": (0.0, math.log(100)),
}


def mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else NAN


def shares(items: list[int], categories: list[set[int]]) -> Counter[int]:
    total: Counter[int] = Counter()
    known = [item for item in items if categories[item]]
    for item in known:
        for category in categories[item]:
            total[category] += Fraction(1, len(categories[item]) * len(known))
    return total


def oracle(name: str, w: World, user: int, k: int) -> float:
    """One metric of one user by its definition."""
    shown, history = w.ranked[user][:k], w.histories[user]
    if name == "novelty":
        return mean([-math.log2(max(1, w.users[item]) / N_USERS) for item in shown])
    if name == "average_popularity":
        return mean([w.counts[item] for item in shown])
    if name == "popularity_lift":
        before = mean([w.counts[item] for item in history])
        return (mean([w.counts[item] for item in shown]) - before) / before if before else NAN
    if name == "diversity":
        vectors = [w.vectors[item] for item in shown if any(w.vectors[item])]
        return mean(
            [
                1 - sum(a * b for a, b in zip(one, other, strict=True)) / math.hypot(*one) / math.hypot(*other)
                for one, other in combinations(vectors, 2)
            ]
        )
    if name == "category_diversity":
        sets = [w.categories[item] for item in shown if w.categories[item]]
        return mean([1 - len(one & other) / len(one | other) for one, other in combinations(sets, 2)])
    if name == "serendipity":
        levels = sorted(set(w.users), reverse=True)
        gains = []
        for place, item in enumerate(shown, start=1):
            by_user = (N_ITEMS + 1 - place) / N_ITEMS
            by_any = (N_ITEMS + 1 - (levels.index(w.users[item]) + 1)) / N_ITEMS if w.users[item] else 0.0
            gains.append(max(by_user - by_any, 0.0) * (item in w.targets[user]))
        return mean(gains)
    assert name == "calibration"
    wanted, given_ = shares(history, w.categories), shares(shown, w.categories)
    if not wanted or not given_:
        return NAN
    smooth = {g: Fraction(99, 100) * given_[g] + Fraction(1, 100) * wanted[g] for g in wanted}
    return sum(float(wanted[g]) * math.log(wanted[g] / smooth[g]) for g in wanted)
