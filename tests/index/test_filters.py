"""Every kind of index, every filter: nothing excluded ever comes back, and k items come whenever k are eligible."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pytest

from recsys.core.ragged import Bool, Float32, Ragged
from recsys.errors import BundleError, ConfigError, DataError
from recsys.index import io as files
from recsys.index import item_index
from recsys.index.approximate import FaissIndex
from recsys.index.item_index import ItemIndex
from recsys.index.spec import IndexSpec, Kind

N, DIM, K, QUERIES = 3000, 16, 10, 12
KINDS: tuple[Kind, ...] = ("exact", "truncated", "ivf", "sq", "ivfpq", "hnsw")
SPECS = {
    kind: IndexSpec(kind, lists=40 if "ivf" in kind or kind == "sq" else 0, nprobe=4, kept_dim=14, code_bytes=8, hnsw_m=8)
    for kind in KINDS
}


def vectors_of(seed: int, n: int) -> Float32:
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(7).standard_normal((15, DIM))
    found = centres[rng.integers(0, 15, n)] + 0.4 * rng.standard_normal((n, DIM))
    return (found / np.linalg.norm(found, axis=1, keepdims=True)).astype(np.float32)


@cache
def built(kind: Kind) -> ItemIndex:
    return ItemIndex.build(vectors_of(0, N), SPECS[kind])


@pytest.fixture(autouse=True)
def _approximate_even_when_few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(item_index, "EXACT_BELOW", 0)
    monkeypatch.setattr(item_index, "_EXACT_SHARE", 0.0)


def seen(most: int) -> Ragged:
    """The nearest items of each query are the seen ones: the hardest case for a filter after the search."""
    order = np.argsort(-(vectors_of(1, QUERIES) @ vectors_of(0, N).T), axis=1)
    return Ragged.from_lists([row[:most] for row in order])


RNG = np.random.default_rng(5)
FILTERS: dict[str, tuple[Ragged, Bool | None, list[int]]] = {
    "nothing": (Ragged.empty(QUERIES), None, []),
    "seen": (seen(100), None, []),
    "nearly all seen": (seen(N - 4), None, []),
    "all seen": (seen(N), None, []),
    "predicate": (Ragged.empty(QUERIES), RNG.random(N) < 0.3, []),
    "rare predicate": (Ragged.empty(QUERIES), RNG.random(N) < 0.004, []),
    "removed": (Ragged.empty(QUERIES), None, list(range(0, N, 3))),
    "all at once": (seen(200), RNG.random(N) < 0.5, list(range(0, N, 2))),
    "nothing eligible": (Ragged.empty(QUERIES), np.zeros(N, dtype=np.bool_), []),
}


@pytest.mark.parametrize("selects", [True, False], ids=["finder filters", "finder cannot filter"])
@pytest.mark.parametrize("name", FILTERS)
@pytest.mark.parametrize("kind", KINDS)
def test_no_filter_leaks_and_no_list_is_short(
    kind: Kind, name: str, selects: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    exclude, eligible, gone = FILTERS[name]
    index = built(kind).removed(np.array(gone, dtype=np.int32))
    if not selects:  # as on a GPU, where FAISS passes over a selector
        find = FaissIndex.find
        monkeypatch.setattr(
            FaissIndex, "find", lambda self, queries, fetch, eligible, harder: find(self, queries, fetch, None, harder)
        )
    found = index.search(vectors_of(1, QUERIES), K, exclude, eligible=eligible)
    for number in range(QUERIES):
        allowed = set(range(N)) if eligible is None else set(np.flatnonzero(eligible).tolist())
        allowed -= set(gone) | set(exclude[number].tolist())
        rows = found.lists[number].tolist()
        assert set(rows) <= allowed
        assert len(rows) == len(set(rows)) == min(K, len(allowed))


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_scores_as_the_exact_index_does(kind: Kind) -> None:
    queries = vectors_of(2, 30)
    found, exact = built(kind).search(queries, K), built("exact").search(queries, K)
    scores = dict(zip(pairs(exact), exact.scores, strict=True))
    common = [(pair, score) for pair, score in zip(pairs(found), found.scores, strict=True) if pair in scores]
    assert len(common) > 0.6 * len(scores)
    assert all(score == scores[pair] for pair, score in common)
    for number in range(30):
        own = found.scores[found.lists.offsets[number] : found.lists.offsets[number + 1]]
        assert (np.diff(own) <= 0).all()


def pairs(ranked: object) -> list[tuple[int, int]]:
    lists = ranked.lists  # type: ignore[attr-defined]
    return list(zip(lists.list_index().tolist(), lists.rows.tolist(), strict=True))


@pytest.mark.parametrize("kind", KINDS)
def test_a_k_that_all_items_are_needed_for_is_filled(kind: Kind) -> None:
    assert built(kind).search(vectors_of(3, 2), N).lists.lengths.tolist() == [N, N]


@pytest.mark.parametrize("kind", KINDS)
def test_an_added_item_is_found_at_once_and_after_compaction(kind: Kind) -> None:
    new = vectors_of(4, 3)
    index = built(kind).added(new)
    for one in (index, index.compacted()):
        assert len(one) == N + 3
        assert one.search(new, 1).lists.to_lists() == [[N], [N + 1], [N + 2]]
    assert len(built(kind)) == N


@pytest.mark.parametrize("kind", KINDS)
def test_an_updated_item_is_found_where_it_is_now(kind: Kind) -> None:
    new = -vectors_of(0, N)[[5]]
    index = built(kind).updated(np.array([5], dtype=np.int32), new)
    for one in (index, index.compacted()):
        assert one.search(new, 1).lists.to_lists() == [[5]]
        assert 5 not in one.search(vectors_of(0, N)[[5]], 1).lists.rows
    assert built(kind).search(vectors_of(0, N)[[5]], 1).lists.to_lists() == [[5]]


@pytest.mark.parametrize("kind", KINDS)
def test_a_removed_item_stays_away_until_it_is_restored(kind: Kind) -> None:
    row, query = np.array([8], dtype=np.int32), vectors_of(0, N)[[8]]
    gone = built(kind).removed(row)
    for one in (gone, gone.compacted()):
        assert 8 not in one.search(query, N).lists.rows
        assert one.search(query, N).lists.lengths.tolist() == [N - 1]
        assert one.restored(row).search(query, 1).lists.to_lists() == [[8]]


@pytest.mark.parametrize("kind", KINDS)
def test_a_saved_index_answers_as_before_with_what_was_added_and_removed(kind: Kind, tmp_path: Path) -> None:
    index = built(kind).added(vectors_of(4, 3)).removed(np.array([1, 2], dtype=np.int32))
    files.write(index, tmp_path, index.vectors())
    again = files.read(tmp_path, index.vectors())
    before, after = index.search(vectors_of(2, 5), 50), again.search(vectors_of(2, 5), 50)
    assert (again.spec, len(again)) == (index.spec, N + 3)
    assert after.lists.to_lists() == before.lists.to_lists()
    assert after.scores.tolist() == before.scores.tolist()


@pytest.mark.parametrize("kind", KINDS[2:])
def test_an_index_cut_short_by_a_byte_is_refused(kind: Kind, tmp_path: Path) -> None:
    index = built(kind)
    files.write(index, tmp_path, index.vectors())
    whole = (tmp_path / files.FAISS_FILE).read_bytes()
    (tmp_path / files.FAISS_FILE).write_bytes(whole[:-1])
    with pytest.raises(BundleError, match="not a whole FAISS index"):
        files.read(tmp_path, index.vectors())


def test_an_index_of_other_vectors_or_of_another_kind_is_refused(tmp_path: Path) -> None:
    files.write(built("ivf"), tmp_path, built("ivf").vectors())
    with pytest.raises(BundleError, match="built from other vectors"):
        files.read(tmp_path, vectors_of(9, N))
    built("hnsw").finder.save(tmp_path / files.FAISS_FILE)  # type: ignore[union-attr]
    with pytest.raises(BundleError, match="holds a IndexHNSWFlat, expected IndexIVFFlat"):
        files.read(tmp_path, built("ivf").vectors())


def test_vectors_that_are_not_finite_get_into_no_index() -> None:
    broken = vectors_of(0, 5)
    broken[2, 0] = np.inf
    with pytest.raises(DataError, match="row 2"):
        ItemIndex.build(broken)
    with pytest.raises(DataError, match="not finite"):
        built("exact").added(broken)
    with pytest.raises(ConfigError, match="of 16 dimensions"):
        built("exact").added(np.ones((1, 3), dtype=np.float32))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"kind": "lsh"}, "kind must be one of exact, truncated"),
        ({"kind": "ivf", "nprobe": 0}, "nprobe must be a whole number from 1"),
        ({"precision": "float8"}, "precision must be one of"),
        ({"probes": 3}, "no option probes; it has kind, lists"),
        ({"kind": "cagra"}, "lives on GPUs"),
        ({"kind": "hnsw", "gpus": "sharded"}, "no hnsw index on GPUs"),
    ],
)
def test_a_spec_that_cannot_be_is_refused(values: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        IndexSpec.of(values)


def test_a_gpu_that_is_not_there_is_not_passed_over() -> None:
    import faiss

    if getattr(faiss, "get_num_gpus", lambda: 0)():
        pytest.skip("there is a GPU")
    with pytest.raises(ConfigError, match="sees no GPU"):
        ItemIndex.build(vectors_of(0, N), IndexSpec("ivf", lists=40, gpus="replicated"))
