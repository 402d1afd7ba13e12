"""Items with few events borrow rows and columns from items of like text."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp

from recsys.core.ragged import Float32, Int32, Ragged
from recsys.data.split import Split
from recsys.index.item_index import ItemIndex
from recsys.transitions.borrow import Alike, borrowed
from recsys.transitions.choose import choose
from recsys.transitions.weigh import Asked
from tests.transitions.test_choose import know_nothing

BORROW = 3.0


def unit(n: int, seed: int) -> Float32:
    vectors = np.random.default_rng(seed).normal(size=(n, 3)).astype(np.float32)
    found: Float32 = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return found


def test_neighbours_share_by_the_cube_of_their_cosine() -> None:
    vectors = unit(9, 0)
    vectors[4] = 0  # it has no text
    alike = Alike.of(vectors)
    cosines = np.maximum(vectors @ vectors.T, 0) ** 3
    np.fill_diagonal(cosines, 0)
    for row, (near, shares) in enumerate(zip(alike.rows, alike.shares, strict=True)):
        best = np.sort(cosines[row])[::-1][:5]
        np.testing.assert_allclose(shares, best / max(best.sum(), 1e-12), rtol=1e-3, atol=1e-6)
        assert row not in near
    assert not alike.shares[4].any()


def test_rows_then_columns_are_borrowed_by_the_definition() -> None:
    random = np.random.default_rng(1)
    own = random.random((9, 9)) * (random.random((9, 9)) < 0.4)
    counts, alike = random.integers(0, 8, 9), Alike.of(unit(9, 2))
    shares = alike.matrix().toarray()
    lean = BORROW / (BORROW + counts)
    off = 1 - np.eye(9)
    rows = own + lean[:, None] * (shares @ own) * off
    expected = rows + (rows @ shares.T) * lean * off
    found = borrowed(sp.csr_matrix(own.astype(np.float32)), alike, counts, BORROW, 9)
    np.testing.assert_allclose(found.toarray(), expected, rtol=1e-4, atol=1e-6)
    assert np.diff(borrowed(found, alike, counts, BORROW, 2).indptr).max() <= 2


def world(alike_texts: bool) -> tuple[Ragged, Asked, Float32]:
    """Even items lead to the next even one; odd ones, each like the even one before it, are met in validation alone."""
    n, users = 40, 200
    random = np.random.default_rng(3)
    train = Ragged.from_lists([[2 * ((start + step) % 20) for step in range(4)] for start in random.integers(0, 20, users)])
    starts = random.integers(0, 20, 100)
    asked = know_nothing_of(
        n, Ragged.from_lists([[2 * s + 1] for s in starts]), (2 * (starts + 1) % n + 1).astype(np.int32)
    )
    vectors = np.repeat(np.eye(20, dtype=np.float32), 2, axis=0)
    return train, asked, vectors if alike_texts else unit(n, 4)


def know_nothing_of(n: int, histories: Ragged, targets: Int32) -> Asked:
    ones = np.ones((len(histories), 1), dtype=np.float32)
    index = ItemIndex.build(np.linspace(1e-3, 2e-3, n, dtype=np.float32)[:, None])
    return Asked(histories, Ragged.from_lists([[int(one)] for one in targets]), ones, index, True)


def test_items_without_events_are_found_by_their_texts() -> None:
    train, asked, vectors = world(alike_texts=True)
    found = choose(train, 40, asked, weight=1.0, alike=Alike.of(vectors))
    assert found.memory is not None
    assert found.memory.form.borrow > 0
    assert found.ndcg > 2 * choose(train, 40, asked, weight=1.0).ndcg


def test_texts_that_tell_nothing_are_not_used(ring_split: Split) -> None:
    found = choose(ring_split.train.histories, 30, know_nothing(ring_split), alike=Alike.of(unit(30, 5)))
    assert found.memory is not None
    assert found.memory.form.borrow == 0
