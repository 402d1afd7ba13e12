"""Maximal marginal relevance and caps on their own: large blocks, and answers that do not depend on the batch."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp

from recsys.core.ragged import Float32, Int32
from recsys.serving.rules import diversity
from recsys.serving.rules.diversity import first_under_caps, marginal_relevance


def world(seed: int, n: int = 20, width: int = 15, items: int = 40) -> tuple[Int32, Float32, Float32, Float32]:
    """Lists of different lengths, some empty, with vectors of which some are equal."""
    generator = np.random.default_rng(seed)
    vectors = generator.standard_normal((items // 2, 6)).astype(np.float32)[generator.integers(0, items // 2, items)]
    rows = np.array([generator.permutation(items)[:width] for _ in range(n)], dtype=np.int32)
    rows[np.arange(width) >= generator.integers(0, width + 1, n)[:, None]] = -1
    scores = -np.sort(-generator.standard_normal((n, width)).astype(np.float32), axis=1)
    return rows, scores, vectors, np.linalg.norm(vectors, axis=1).astype(np.float32)


def naive(rows: list[int], scores: list[float], vectors: Float32, trade: float, k: int) -> list[int]:
    units = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    relevance = {place: (s - min(scores)) / ((max(scores) - min(scores)) or 1.0) for place, s in enumerate(scores)}
    left, picked = list(range(len(rows))), list[int]()
    while left and len(picked) < k:
        nearest = {p: max((round(float(units[rows[p]] @ units[rows[q]]), 5) for q in picked), default=0.0) for p in left}
        picked.append(max(left, key=lambda p: (trade * relevance[p] - (1 - trade) * nearest[p], -p)))
        left.remove(picked[-1])
    return picked + left


@pytest.mark.parametrize("trade", [0.0, 0.4, 0.8, 1.0])
@pytest.mark.parametrize("k", [1, 6, 50])
def test_each_place_goes_to_the_most_relevant_of_what_is_unlike_the_places_above(trade: float, k: int) -> None:
    rows, scores, vectors, norms = world(1)
    order = marginal_relevance(rows, scores, vectors, norms, trade, k)
    for one, score, got in zip(rows, scores, order, strict=True):
        length = int((one >= 0).sum())
        expected = naive(one[:length].tolist(), score[:length].tolist(), vectors, trade, k) if length else []
        assert got[:length].tolist() == expected
        assert got[length:].tolist() == list(range(length, len(one)))


def test_the_order_depends_neither_on_the_batch_nor_on_the_width(monkeypatch: pytest.MonkeyPatch) -> None:
    rows, scores, vectors, norms = world(2)
    whole = marginal_relevance(rows, scores, vectors, norms, 0.5, 10)
    alone = [marginal_relevance(rows[i : i + 1], scores[i : i + 1], vectors, norms, 0.5, 10)[0] for i in range(len(rows))]
    assert np.array_equal(whole, alone)
    wider = np.hstack([rows, np.full((len(rows), 9), -1, dtype=np.int32)])
    padded = np.hstack([scores, np.zeros((len(rows), 9), dtype=np.float32)])
    assert np.array_equal(whole, marginal_relevance(wider, padded, vectors, norms, 0.5, 10)[:, : rows.shape[1]])
    monkeypatch.setattr(diversity, "_CELLS", 1)
    assert np.array_equal(whole, marginal_relevance(rows, scores, vectors, norms, 0.5, 10))


def test_a_scale_and_a_shift_of_the_scores_change_nothing() -> None:
    rows, scores, vectors, norms = world(3)
    order = marginal_relevance(rows, scores, vectors, norms, 0.5, 10)
    assert np.array_equal(order, marginal_relevance(rows, scores * 8 - 64, vectors, norms, 0.5, 10))


@pytest.mark.parametrize("seed", range(5))
def test_caps_choose_what_a_walk_down_the_list_chooses(seed: int) -> None:
    generator = np.random.default_rng(seed)
    n, width, items = 30, 14, 25
    ensemble_size = [sp.csr_matrix(generator.random((items, values)) < share) for values, share in ((4, 0.3), (3, 0.5))]
    at_most = [2, 4]
    rows = np.array([generator.permutation(items)[:width] for _ in range(n)], dtype=np.int32)
    kind = generator.integers(0, 8, (n, width))
    fixed, free = (kind == 0) & (np.arange(width) < 3), kind > 1
    wanted = generator.integers(0, 8, n)
    taken, closed = first_under_caps(rows, fixed, free, wanted, ensemble_size, at_most)
    tables = [table.toarray() for table in ensemble_size]
    for one in range(n):
        counts = [table[rows[one, fixed[one]]].sum(axis=0) for table in tables]
        chosen = list[int]()
        for place in np.flatnonzero(free[one]).tolist():
            if len(chosen) == wanted[one]:
                break
            mine = [table[rows[one, place]] for table in tables]
            full = [cap for cap in range(2) if (counts[cap][mine[cap]] >= at_most[cap]).any()]
            assert closed[one, place] == (full[0] if full else 2)
            if not full:
                chosen.append(place)
                counts = [count + own for count, own in zip(counts, mine, strict=True)]
        assert np.flatnonzero(taken[one]).tolist() == chosen
