"""Two passes find what one pass in float64 finds, whatever the scores, the filters and the size of a block."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.core.ragged import Float32, Ragged
from recsys.core.ranking import ranked_pairs
from recsys.errors import ConfigError, DataError
from recsys.index.exact import search as dense_search
from recsys.index.exact import tiles as dense_tiles
from recsys.index.exact.search import search
from recsys.index.exact.storage import Precision, VectorStorage
from recsys.index.exact.table import VectorTable, pair_scores

N = 5000
"""Enough for a first pass in bfloat16."""


def clustered(seed: int, n: int, dim: int = 24, spread: float = 0.5) -> Float32:
    """Vectors in clusters, as real item vectors are: many close scores."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(99).standard_normal((20, dim))
    return (centres[rng.integers(0, 20, n)] + spread * rng.standard_normal((n, dim))).astype(np.float32)


def lists_of(seed: int, n: int, most: int) -> Ragged:
    rng = np.random.default_rng(seed)
    return Ragged.from_lists([rng.integers(0, N, rng.integers(0, most)) for _ in range(n)])


def expected(vectors: Float32, queries: Float32, k: int, exclude: Ragged, eligible: np.ndarray) -> list[list[int]]:
    """By the stored vectors' own float32 scores, sorted by score, then row."""
    found = []
    for number, query in enumerate(queries):
        rows = np.setdiff1d(np.flatnonzero(eligible), exclude[number])
        scores = pair_scores(
            torch.from_numpy(query[None]),
            VectorStorage.of(torch.from_numpy(vectors)),
            torch.zeros(len(rows), dtype=torch.int64),
            torch.from_numpy(rows),
        ).numpy()
        found.append(rows[np.lexsort((rows, -scores))][:k].tolist())
    return found


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 1000), k=st.sampled_from([1, 7, 100]), share=st.sampled_from([1.0, 0.7, 0.01, 0.0005]))
def test_the_best_are_found_among_the_eligible(seed: int, k: int, share: float) -> None:
    vectors, queries, exclude = clustered(seed, N), clustered(seed + 1, 5), lists_of(seed, 5, 60)
    eligible = np.random.default_rng(seed).random(N) < share
    found = search(torch.from_numpy(queries), VectorTable.of(torch.from_numpy(vectors)), k, exclude, eligible)
    assert found.lists.to_lists() == expected(vectors, queries, k, exclude, eligible)


@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e6])
@pytest.mark.parametrize("shift", [-3.0, 0.0, 3.0])
def test_negative_tiny_and_large_scores_are_ranked_alike(scale: float, shift: float) -> None:
    vectors = (np.abs(clustered(0, N)) + 0.1).astype(np.float32) * np.float32(scale)
    queries = np.float32(np.sign(shift)) * np.abs(clustered(1, 4))
    if shift == 0.0:
        queries = clustered(2, 4)
    exclude, every = lists_of(3, 4, 50), np.ones(N, dtype=np.bool_)
    found = search(torch.from_numpy(queries), VectorTable.of(torch.from_numpy(vectors)), 20, exclude)
    assert found.lists.to_lists() == expected(vectors, queries, 20, exclude, every)


def test_float64_agrees_with_the_answer() -> None:
    vectors, queries = clustered(4, N), clustered(5, 40)
    found = search(torch.from_numpy(queries), VectorTable.of(torch.from_numpy(vectors)), 50)
    exact = np.sort(queries.astype(np.float64) @ vectors.T.astype(np.float64), axis=1)[:, ::-1][:, :50]
    np.testing.assert_allclose(found.scores.reshape(40, 50), exact, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_no_first_pass_score_is_further_from_the_truth_than_the_margin(dtype: torch.dtype) -> None:
    items = VectorTable.of(torch.from_numpy(clustered(6, N)))
    table = items.stored.codes
    error = float((table.to(dtype).float() - table).norm(dim=1).max())
    items = VectorTable(items.stored, table.to(dtype), dtype, items.norm, error)
    queries = torch.from_numpy(clustered(7, 16))
    first_pass = queries.to(dtype).double() @ table.to(dtype).double().T
    apart = (first_pass - queries.double() @ table.double().T).abs().amax(dim=1)
    assert bool((apart <= items.margin(queries, queries.to(dtype))).all())


def test_equal_vectors_rank_in_row_order_however_many() -> None:
    vectors = np.tile(clustered(8, 1), (N, 1))
    found = search(torch.from_numpy(clustered(9, 3)), VectorTable.of(torch.from_numpy(vectors)), 30)
    assert found.lists.to_lists() == [list(range(30))] * 3


CUTS = {
    "users": {"MOST_USERS": 2},
    "close pairs": {"MOST_PAIRS": 1},
    "block": {"_BLOCK_BYTES": 1},
    "tiles": {"TILE": 512},
    "tiles of close pairs": {"TILE": 512, "MOST_PAIRS": 100},
    "scores held": {"TILE": 512, "MOST_HELD": 1000},
}


@pytest.mark.parametrize("shift", [0.0, -9.0], ids=["any scores", "negative scores"])
@pytest.mark.parametrize("cut", CUTS)
def test_neither_blocks_nor_tiles_nor_halves_change_an_answer(
    monkeypatch: pytest.MonkeyPatch, cut: str, shift: float
) -> None:
    vectors, queries, exclude = clustered(10, N), clustered(11, 33), lists_of(12, 33, 80)
    queries[:20] += np.float32(shift) * vectors.mean(axis=0)
    items, eligible = VectorTable.of(torch.from_numpy(vectors)), np.random.default_rng(0).random(N) < 0.9
    whole = search(torch.from_numpy(queries), items, 25, exclude, eligible)
    for name, value in CUTS[cut].items():
        for module in (dense_search, dense_tiles):
            if hasattr(module, name):
                monkeypatch.setattr(module, name, value)
    again = search(torch.from_numpy(queries), items, 25, exclude, eligible)
    assert again.lists.to_lists() == whole.lists.to_lists()
    assert again.scores.tolist() == whole.scores.tolist()


@pytest.mark.parametrize("k", [2, 30])
def test_tiles_hold_what_a_sort_of_all_scores_finds(k: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dense_tiles, "TILE", 512)
    taken = []
    pick = dense_search.candidates
    monkeypatch.setattr(dense_search, "candidates", lambda *given: taken.append(pick(*given)) or taken[-1])
    for seed in range(5):
        vectors, queries, exclude = clustered(seed, N), clustered(seed + 1, 9), lists_of(seed, 9, 60)
        found = search(torch.from_numpy(queries), VectorTable.of(torch.from_numpy(vectors)), k, exclude)
        assert found.lists.to_lists() == expected(vectors, queries, k, exclude, np.ones(N, dtype=np.bool_))
    assert all(one is not None for one in taken)


def test_rows_too_many_for_a_packed_key_are_ranked_alike() -> None:
    generator = np.random.default_rng(4)
    owners, rows = np.divmod(generator.permutation(3000), 300)
    scores = generator.integers(-3, 4, 3000).astype(np.float32)
    packed = ranked_pairs(owners, rows, scores, 10, 40)
    sorted_ = ranked_pairs(owners, rows + (1 << 22), scores, 10, 40)
    assert [[row + (1 << 22) for row in one] for one in packed.lists.to_lists()] == sorted_.lists.to_lists()
    assert packed.scores.tolist() == sorted_.scores.tolist()
    for owner, best in enumerate(packed.lists.to_lists()):
        mine = sorted((-score, row) for score, row, one in zip(scores, rows, owners, strict=True) if one == owner)
        assert best == [row for _, row in mine[:40]]


def test_one_query_alone_has_the_scores_that_it_has_among_many() -> None:
    items, queries = VectorTable.of(torch.from_numpy(clustered(13, N))), torch.from_numpy(clustered(14, 50))
    together = search(queries, items, 10)
    for number in (0, 7, 49):
        alone = search(queries[number : number + 1], items, 10)
        assert alone.lists[0].tolist() == together.lists[number].tolist()
        assert alone.scores.tolist() == together.scores[number * 10 : number * 10 + 10].tolist()


@pytest.mark.parametrize("precision", ["bfloat16", "float16", "int8"])
def test_fewer_bytes_are_searched_exactly_as_they_are_stored(precision: Precision) -> None:
    vectors, queries = clustered(15, N), clustered(16, 6)
    stored = VectorStorage.of(torch.from_numpy(vectors), precision)
    decoded = stored.decoded(slice(None)).numpy()
    found = search(torch.from_numpy(queries), VectorTable.of(stored), 15)
    assert stored.nbytes <= vectors.nbytes // 2
    assert np.abs(decoded - vectors).max() < 0.05
    assert found.lists.to_lists() == expected(decoded, queries, 15, Ragged.empty(6), np.ones(N, dtype=np.bool_))


def test_stored_vectors_that_are_appended_stay_as_they_were() -> None:
    vectors = torch.from_numpy(clustered(17, 30))
    for precision in ("float32", "int8"):
        stored = VectorStorage.of(vectors[:20], precision).appended(vectors[20:])
        assert torch.equal(stored.decoded(slice(None)), VectorStorage.of(vectors, precision).decoded(slice(None)))


def test_zero_vectors_survive_eight_bits() -> None:
    assert VectorStorage.of(torch.zeros(2, 4), "int8").decoded(slice(None)).tolist() == [[0.0] * 4] * 2


def test_what_is_not_finite_is_named() -> None:
    vectors = clustered(18, 10)
    vectors[4, 2] = np.nan
    with pytest.raises(DataError, match="not finite: row 4"):
        VectorTable.of(torch.from_numpy(vectors))
    with pytest.raises(DataError, match="query vector is not finite"):
        search(torch.full((1, 3), torch.inf), VectorTable.of(torch.ones(4, 3)), 1)
    with pytest.raises(ConfigError, match="float16 cannot hold"):
        VectorStorage.of(torch.full((1, 2), 1e6), "float16")
