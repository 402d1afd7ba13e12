"""The exact index: what FAISS finds is what a sort of all inner products finds, whatever is excluded."""

from __future__ import annotations

import importlib.metadata
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.core.ragged import Float32, Ragged, mask_of
from recsys.core.ranking import Ranked
from recsys.errors import BundleError, ConfigError, DataError, DependencyError
from recsys.index import faiss_library as library
from recsys.index import io as files
from recsys.index.exact import search as dense_search
from recsys.index.exact.topk import top_k
from recsys.index.item_index import ItemIndex
from recsys.index.spec import IndexSpec

Lists = list[list[int]]


def dense(vectors: Float32, queries: Float32, k: int, exclude: Ragged | None = None) -> Ranked:
    """The same search without an index."""
    return top_k(torch.from_numpy(queries @ vectors.T), k, exclude)


def normal(seed: int, n: int, dim: int = 16) -> Float32:
    return np.random.default_rng(seed).standard_normal((n, dim)).astype(np.float32)


def assert_same(found: Ranked, expected: Ranked) -> None:
    assert found.lists.to_lists() == expected.lists.to_lists()
    np.testing.assert_allclose(found.scores, expected.scores, rtol=1e-4, atol=1e-5)


@st.composite
def tied_searches(draw: st.DrawFn) -> tuple[Float32, Float32, Lists]:
    """Vectors of tiny integers, many of them equal, and what each query excludes: nothing to everything, also twice."""
    n, n_queries = draw(st.integers(1, 25)), draw(st.integers(1, 6))
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    vectors = rng.integers(-1, 2, (n, 2)).astype(np.float32)
    queries = rng.integers(-1, 2, (n_queries, 2)).astype(np.float32)
    rows = st.one_of(
        st.just(list(range(n))),
        st.integers(0, n - 1).map(lambda kept: [row for row in range(n) if row != kept]),
        st.lists(st.integers(0, n - 1), max_size=n + 3),
    )
    return vectors, queries, draw(st.lists(rows, min_size=n_queries, max_size=n_queries))


@settings(deadline=None, max_examples=60)
@given(case=tied_searches(), k=st.integers(1, 30))
def test_search_is_a_sort_of_all_scores_by_score_then_row(case: tuple[Float32, Float32, Lists], k: int) -> None:
    vectors, queries, exclude = case
    found = ItemIndex.build(vectors).search(queries, k, Ragged.from_lists(exclude))
    answer, scores = [], []
    for query, gone in zip(queries.tolist(), exclude, strict=True):
        score = [sum(a * b for a, b in zip(query, vector, strict=True)) for vector in vectors.tolist()]
        kept = sorted((row for row in range(len(score)) if row not in gone), key=lambda row: (-score[row], row))[:k]
        answer.append(kept)
        scores += [score[row] for row in kept]
    assert found.lists.to_lists() == answer
    assert found.scores.tolist() == scores


@pytest.mark.parametrize("k", [1, 10, 300, 1000])
@pytest.mark.parametrize("n_queries", [1, 3, 64])
def test_search_of_random_vectors_equals_top_k_on_dense_scores(n_queries: int, k: int) -> None:
    vectors, queries = normal(0, 300), normal(1, n_queries)
    index = ItemIndex.build(vectors)
    rng = np.random.default_rng(2)
    exclude = Ragged.from_lists([rng.integers(0, 300, rng.integers(0, 400)) for _ in range(n_queries)])
    assert_same(index.search(queries, k), dense(vectors, queries, k))
    assert_same(index.search(queries, k, exclude), dense(vectors, queries, k, exclude))


def test_one_long_exclusion_among_short_ones() -> None:
    vectors, queries = normal(3, 500), normal(4, 40)
    lists = [[i, i + 1] for i in range(40)]
    lists[17] = [row for row in range(500) if row not in (8, 400, 499)]
    exclude = Ragged.from_lists(lists)
    found = ItemIndex.build(vectors).search(queries, 10, exclude)
    assert sorted(found.lists[17].tolist()) == [8, 400, 499]
    assert_same(found, dense(vectors, queries, 10, exclude))


def test_a_query_that_excludes_everything_gets_an_empty_list_beside_full_ones() -> None:
    vectors, queries = normal(5, 30), normal(6, 3)
    exclude = Ragged.from_lists([[], list(range(30)), [4]])
    found = ItemIndex.build(vectors).search(queries, 5, exclude)
    assert found.lists.lengths.tolist() == [5, 0, 5]
    assert_same(found, dense(vectors, queries, 5, exclude))


def test_the_best_items_come_where_all_others_are_excluded() -> None:
    vectors = np.arange(1, 101, dtype=np.float32)[:, None]
    exclude = Ragged.from_lists([[row for row in range(100) if row not in (3, 40)]])
    found = ItemIndex.build(vectors).search(np.ones((1, 1), dtype=np.float32), 1, exclude)
    assert found.lists.to_lists() == [[40]]


def test_a_k_above_the_number_of_items_gives_all_of_them() -> None:
    vectors, queries = normal(7, 6), normal(8, 2)
    found = ItemIndex.build(vectors).search(queries, 5000)
    assert found.lists.lengths.tolist() == [6, 6]
    assert_same(found, dense(vectors, queries, 5000))


@pytest.mark.parametrize("n_queries", [1, 2, 30])
def test_items_with_the_same_vector_rank_in_row_order(n_queries: int) -> None:
    rng = np.random.default_rng(9)
    kind = rng.integers(0, 50, 1001)
    vectors, queries = normal(10, 50, 128)[kind], normal(11, n_queries, 128)
    for k in (10, 200):
        found = ItemIndex.build(vectors).search(queries, k)
        for query, one in zip(queries, found.lists.to_lists(), strict=True):
            by_kind = np.argsort(-(normal(10, 50, 128) @ query))
            expected = [row for best in by_kind for row in np.flatnonzero(kind == best).tolist()]
            assert one == expected[:k]


def test_an_answer_depends_neither_on_the_batch_nor_on_how_the_batch_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(12)
    index = ItemIndex.build(rng.integers(-2, 3, (200, 3)).astype(np.float32))
    queries = rng.integers(-2, 3, (90, 3)).astype(np.float32)
    exclude = Ragged.from_lists([rng.integers(0, 200, rng.choice([0, 3, 190])) for _ in range(90)])
    whole = index.search(queries, 8, exclude)
    alone = [index.search(queries[i : i + 1], 8, exclude.block(i, i + 1)) for i in range(90)]
    monkeypatch.setattr(dense_search, "MOST_USERS", 7)
    for other in (Ranked.joined(alone), index.search(queries, 8, exclude)):
        assert other.lists.to_lists() == whole.lists.to_lists()
        assert other.scores.tolist() == whole.scores.tolist()


def test_a_score_of_minus_infinity_is_left_out_and_never_a_padded_slot() -> None:
    index = ItemIndex.build(np.array([[1e30], [-1e30], [1.0]], dtype=np.float32))
    assert index.search(np.array([[1e30]], dtype=np.float32), 3).lists.to_lists() == [[0, 2]]


def test_no_queries_give_no_lists() -> None:
    assert len(ItemIndex.build(normal(0, 5)).search(normal(0, 0), 3)) == 0


def test_a_search_leaves_queries_and_exclusions_as_they_were() -> None:
    queries, exclude = normal(13, 4), Ragged.from_lists([[3, 1], [], [2], [0]])
    before = queries.copy(), exclude.rows.copy()
    ItemIndex.build(normal(14, 20)).search(queries, 3, exclude)
    assert np.array_equal(queries, before[0])
    assert np.array_equal(exclude.rows, before[1])


def test_the_index_gives_its_vectors_back_in_row_order() -> None:
    vectors = normal(15, 9, 4)
    index = ItemIndex.build(vectors)
    assert (len(index), index.dim) == (9, 4)
    assert np.array_equal(index.vectors(), vectors)


def test_a_saved_index_answers_as_before(tmp_path: Path) -> None:
    index = ItemIndex.build(normal(16, 50))
    files.write(index, tmp_path, index.vectors())
    loaded = files.read(tmp_path, index.vectors())
    before, after = index.search(normal(17, 5), 7), loaded.search(normal(17, 5), 7)
    assert after.lists.to_lists() == before.lists.to_lists()
    assert after.scores.tolist() == before.scores.tolist()


def test_queries_of_another_dimension_are_refused_with_both_numbers() -> None:
    with pytest.raises(ConfigError, match=r"queries have shape \(2, 3\), the index holds vectors of 16 dimensions"):
        ItemIndex.build(normal(0, 5)).search(normal(0, 2, 3), 1)


def test_a_lone_vector_that_is_not_a_batch_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"queries have shape \(16,\)"):
        ItemIndex.build(normal(0, 5)).search(normal(0, 1)[0], 1)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_query_that_is_not_finite_is_refused(bad: float) -> None:
    queries = normal(0, 2)
    queries[1, 3] = bad
    with pytest.raises(DataError, match="a query vector is not finite"):
        ItemIndex.build(normal(0, 5)).search(queries, 1)


@pytest.mark.parametrize("k", [0, -1])
def test_a_k_below_1_is_refused(k: int) -> None:
    with pytest.raises(ConfigError, match=f"k must be at least 1, not {k}"):
        ItemIndex.build(normal(0, 5)).search(normal(0, 1), k)


@pytest.mark.parametrize("lists", [1, 3])
def test_exclusions_that_are_not_one_list_per_query_are_refused(lists: int) -> None:
    with pytest.raises(ConfigError, match=f"exclude has {lists} lists for 2 requests"):
        ItemIndex.build(normal(0, 5)).search(normal(0, 2), 1, Ragged.empty(lists))


@pytest.mark.parametrize("bad", [np.nan, -np.inf])
def test_vectors_that_are_not_finite_are_refused_and_the_first_is_named(bad: float) -> None:
    vectors = normal(0, 5)
    vectors[[2, 4], 0] = bad
    with pytest.raises(DataError, match="an item vector is not finite: row 2"):
        ItemIndex.build(vectors)


@pytest.mark.parametrize("shape", [(0, 8), (8,)])
def test_an_index_of_no_vectors_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(DataError, match="an index needs at least one vector"):
        ItemIndex.build(np.ones(shape, dtype=np.float32))


VECTORS = normal(0, 50, 4)


@pytest.mark.parametrize("content", [b"", b"a shopping list, not an index", b"IxFI"])
def test_a_file_that_is_not_an_index_is_refused_by_name(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "index.faiss").write_bytes(content)
    with pytest.raises(BundleError, match=r"index\.faiss is not a whole FAISS index"):
        files.read(tmp_path, VECTORS)


def test_a_file_that_is_cut_short_is_refused(tmp_path: Path) -> None:
    files.write(ItemIndex.build(VECTORS), tmp_path, VECTORS)
    flat = library.faiss().IndexFlatIP(4)  # as older versions wrote beside an exact index
    flat.add(VECTORS)
    library.faiss().write_index(flat, str(tmp_path / "index.faiss"))
    assert np.array_equal(files.read(tmp_path, VECTORS).vectors(), VECTORS)
    file = tmp_path / "index.faiss"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(BundleError, match=r"index\.faiss is not a whole FAISS index"):
        files.read(tmp_path, VECTORS)


@pytest.mark.parametrize("name", ["index.faiss", "index_rows.safetensors"])
def test_a_file_that_is_absent_is_refused(tmp_path: Path, name: str) -> None:
    files.write(ItemIndex.build(VECTORS, IndexSpec("hnsw")), tmp_path, VECTORS)
    (tmp_path / name).unlink()
    with pytest.raises(BundleError, match=name.replace(".", r"\.")):
        files.read(tmp_path, VECTORS)


@pytest.mark.parametrize("kind", ["IndexFlatL2", "IndexHNSWFlat"])
def test_an_index_of_another_type_is_refused_with_both_types(tmp_path: Path, kind: str) -> None:
    faiss = library.faiss()
    other = faiss.IndexFlatL2(4) if kind == "IndexFlatL2" else faiss.IndexHNSWFlat(4, 8)
    other.add(VECTORS)
    faiss.write_index(other, str(tmp_path / "index.faiss"))  # a folder of an older version, without the other files
    with pytest.raises(BundleError, match=f"holds a {kind}, expected IndexFlatIP"):
        files.read(tmp_path, VECTORS)


def test_a_flat_index_of_an_older_version_is_read(tmp_path: Path) -> None:
    faiss = library.faiss()
    flat = faiss.IndexFlatIP(4)
    flat.add(VECTORS)
    faiss.write_index(flat, str(tmp_path / "index.faiss"))
    assert np.array_equal(files.read(tmp_path, VECTORS).vectors(), VECTORS)


@pytest.fixture
def forgotten() -> Iterator[None]:
    """FAISS is looked for anew, in the test and after it."""
    library.faiss.cache_clear()
    yield
    library.faiss.cache_clear()


def pretend_installed(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    def version(name: str) -> str:
        if name not in names:
            raise importlib.metadata.PackageNotFoundError(name)
        return "1.0"

    monkeypatch.setattr(importlib.metadata, "version", version)


@pytest.mark.usefixtures("forgotten")
def test_without_any_faiss_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend_installed(monkeypatch)
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(DependencyError, match="FAISS is not installed") as caught:
        library.faiss()
    assert "pip install 'recsys[cpu]'" in str(caught.value)
    assert "recsys[gpu]" in str(caught.value)


@pytest.mark.usefixtures("forgotten")
@pytest.mark.parametrize("gpu", ["faiss-gpu", "faiss-gpu-cu12", "faiss-gpu-cu13", "faiss-cuda"])
def test_two_builds_of_faiss_are_refused_and_the_message_says_which_to_remove(
    monkeypatch: pytest.MonkeyPatch, gpu: str
) -> None:
    pretend_installed(monkeypatch, "faiss-cpu", gpu)
    with pytest.raises(DependencyError, match=f"faiss-cpu and {gpu} are both installed") as caught:
        library.faiss()
    assert f"pip uninstall -y faiss-cpu {gpu}" in str(caught.value)


@pytest.mark.usefixtures("forgotten")
@pytest.mark.parametrize("builds", [(), ("faiss-cpu",), ("faiss-gpu",)])
def test_one_build_is_enough_and_so_is_a_module_that_no_package_owns(
    monkeypatch: pytest.MonkeyPatch, builds: tuple[str, ...]
) -> None:
    pretend_installed(monkeypatch, *builds)
    assert library.installed_builds() == list(builds)
    assert library.faiss().IndexFlatIP(3).d == 3


def test_searching_among_candidates_is_ranking_them_alone() -> None:
    generator = np.random.default_rng(0)
    vectors, queries = (
        generator.integers(-2, 3, (40, 4)).astype(np.float32),
        generator.integers(-2, 3, (5, 4)).astype(np.float32),
    )
    eligible = mask_of(np.array([1, 2, 3, 20, 39]), 40)
    exclude = Ragged.from_lists([[2, 5], [], [1, 2, 3, 20, 39], [39], [0]])
    found = ItemIndex.build(vectors).search(queries, 4, exclude, eligible)
    dense = top_k(torch.from_numpy(queries @ vectors.T), 4, exclude, eligible)
    assert found.lists.to_lists() == dense.lists.to_lists()
    assert found.lists.to_lists()[2] == []
