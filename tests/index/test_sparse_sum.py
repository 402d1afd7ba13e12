"""Dense and sparse scores ranked by their sum: as a brute-force oracle says, for every index and filter."""

from __future__ import annotations

import numpy as np
import pytest

from recsys.core.ragged import Bool, Ragged
from recsys.core.ranking import SparseScores
from recsys.errors import ConfigError
from recsys.index.item_index import ItemIndex
from recsys.index.spec import IndexSpec

N, DIM, USERS, K = 600, 16, 25, 10
RANDOM = np.random.default_rng(0)
VECTORS = RANDOM.normal(size=(N, DIM)).astype(np.float32)
QUERIES = RANDOM.normal(size=(USERS, DIM)).astype(np.float32)
QUERIES[0] = 0  # everything is equal: ranked by row


def sparse_scores() -> SparseScores:
    random = np.random.default_rng(1)
    lists = [np.sort(random.choice(N, size, replace=False)) for size in random.integers(0, 60, USERS)]
    found = Ragged.from_lists(lists)
    return SparseScores(found, (random.random(len(found.rows)) * 4).astype(np.float32))


SPARSE = sparse_scores()
EXCLUDE = Ragged.from_lists([np.random.default_rng(user).choice(N, 40) for user in range(USERS)])
FILTERS: dict[str, Bool | None] = {
    "everything": None,
    "half": np.random.default_rng(2).random(N) < 0.5,
    "few": np.random.default_rng(3).random(N) < 0.02,
    "nothing": np.zeros(N, dtype=np.bool_),
}
SPECS = {
    "exact": IndexSpec(),
    "bfloat16": IndexSpec(precision="bfloat16"),
    "int8": IndexSpec(precision="int8"),
    "hnsw": IndexSpec("hnsw"),
    "ivf": IndexSpec("ivf", lists=8, nprobe=8),
    "truncated": IndexSpec("truncated", kept_dim=8, rescore=16),
}


def oracle(index: ItemIndex, exclude: Ragged | None, mask: Bool | None) -> list[list[int]]:
    """The K best of each user by the sum, equal ones in row order."""
    owners, rows = np.repeat(np.arange(USERS), N), np.tile(np.arange(N), USERS)
    scores = index.scores(QUERIES, owners, rows).reshape(USERS, N)
    scores[SPARSE.lists.list_index(), SPARSE.lists.rows] += SPARSE.scores
    lists = []
    for user in range(USERS):
        allowed = np.ones(N, dtype=np.bool_) if mask is None else mask.copy()
        allowed &= index.alive
        if exclude is not None:
            allowed[exclude[user]] = False
        eligible = np.flatnonzero(allowed)
        lists.append(eligible[np.argsort(-scores[user, eligible], kind="stable")[:K]].tolist())
    return lists


@pytest.mark.parametrize("kind", SPECS)
@pytest.mark.parametrize("named", FILTERS)
@pytest.mark.parametrize("exclude", [None, EXCLUDE], ids=["seen kept", "seen left out"])
def test_the_sum_is_ranked_as_brute_force_ranks_it(
    kind: str, named: str, exclude: Ragged | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("recsys.index.item_index.EXACT_BELOW", 0)  # approximate indexes are asked, small as they are
    monkeypatch.setattr("recsys.index.item_index._EXACT_SHARE", 0.0)
    index = ItemIndex.build(VECTORS, SPECS[kind]).removed(np.array([3, 77, 410], dtype=np.int32))
    found = index.search(QUERIES, K, exclude, FILTERS[named], SPARSE).lists.to_lists()
    expected = oracle(index, exclude, FILTERS[named])
    if kind in ("exact", "bfloat16", "int8"):
        assert found == expected
        return
    dense = index.search(QUERIES, K, exclude, FILTERS[named]).lists.to_lists()
    for user in range(USERS):  # what the dense search missed may be missing, and nothing else
        missed = set(expected[user]) - set(found[user])
        assert not missed & (set(dense[user]) | set(SPARSE.lists[user].tolist()))
        assert len(found[user]) == len(expected[user])


def test_without_anything_to_add_nothing_changes() -> None:
    index, nothing = ItemIndex.build(VECTORS), SparseScores(Ragged.empty(USERS), np.empty(0, np.float32))
    plain, summed = index.search(QUERIES, K), index.search(QUERIES, K, added=nothing)
    assert plain.lists.to_lists() == summed.lists.to_lists()
    np.testing.assert_array_equal(plain.scores, summed.scores)


def test_a_block_gives_what_each_user_gets_alone() -> None:
    index = ItemIndex.build(VECTORS)
    together = index.search(QUERIES, K, EXCLUDE, None, SPARSE)
    for user in range(USERS):
        alone = index.search(QUERIES[user : user + 1], K, EXCLUDE.block(user, user + 1), None, SPARSE.block(user, user + 1))
        np.testing.assert_array_equal(alone.scores, together.take(np.array([user])).scores)


def test_sparse_scores_of_other_queries_are_refused() -> None:
    with pytest.raises(ConfigError, match="25 queries, and 2 queries"):
        ItemIndex.build(VECTORS).search(QUERIES[:2], K, added=SPARSE)
