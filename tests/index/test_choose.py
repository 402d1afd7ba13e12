"""An index is chosen by what was measured: enough recall, within the memory, the fastest of these."""

from __future__ import annotations

import numpy as np
import pytest

from recsys.core.ragged import Float32, Ragged
from recsys.core.ranking import Ranked
from recsys.errors import ConfigError
from recsys.index import choose as choosing
from recsys.index import item_index
from recsys.index.choose import Measured, choose, recall_of
from recsys.index.item_index import ItemIndex
from recsys.index.spec import IndexSpec

N, DIM = 3000, 16


@pytest.fixture(autouse=True)
def _approximate_even_when_few(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (item_index, choosing):
        monkeypatch.setattr(module, "EXACT_BELOW", 0)
    monkeypatch.setattr(item_index, "_EXACT_SHARE", 0.0)


def vectors_of(seed: int, n: int) -> Float32:
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(7).standard_normal((15, DIM))
    found = centres[rng.integers(0, 15, n)] + 0.4 * rng.standard_normal((n, DIM))
    return (found / np.linalg.norm(found, axis=1, keepdims=True)).astype(np.float32)


INDEX, QUERIES = ItemIndex.build(vectors_of(0, N)), vectors_of(1, 40)


def told(monkeypatch: pytest.MonkeyPatch, milliseconds: dict[str, float]) -> None:
    """Times as they are told; recall and memory as they are."""
    measure = choosing._measure

    def fixed(*arguments: object) -> Measured:
        one = measure(*arguments)  # type: ignore[arg-type]
        return Measured(one.spec, one.recall, milliseconds[one.spec.kind], one.bytes, one.build_seconds)

    monkeypatch.setattr(choosing, "_measure", fixed)


def test_the_fastest_of_those_that_find_enough_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    told(monkeypatch, {"exact": 5.0, "ivf": 2.0, "hnsw": 1.0, "sq": 3.0})
    found = choose(INDEX, QUERIES, recall_target=0.95, kinds=["ivf", "hnsw", "sq"])
    rows = found.measured
    assert found.spec.kind == "hnsw"
    assert [row["index"] for row in rows if row["chosen"]] == [str(found.spec)]
    assert next(row for row in rows if row["chosen"])["recall"] >= 0.95
    assert {row["kind"] for row in rows} == {"exact", "ivf", "hnsw", "sq"}


def test_measured_recall_is_that_of_the_index_that_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    told(monkeypatch, {"exact": 5.0, "ivf": 1.0})
    found = choose(INDEX, QUERIES, recall_target=0.5, kinds=["ivf"])
    again = recall_of(found.search(QUERIES, 100), INDEX.search(QUERIES, 100))
    chosen = next(row for row in found.measured if row["chosen"])
    assert found.spec.kind == "ivf"
    assert again == pytest.approx(chosen["recall"])


def test_exact_is_taken_where_nothing_else_is_faster(monkeypatch: pytest.MonkeyPatch) -> None:
    told(monkeypatch, {"exact": 1.0, "ivf": 2.0})
    assert choose(INDEX, QUERIES, kinds=["ivf"]).spec.kind == "exact"


def test_a_small_budget_makes_vectors_small_and_is_kept() -> None:
    budget = N * DIM * 3
    found = choose(INDEX, QUERIES, recall_target=0.9, memory_budget=budget, kinds=[])
    assert found.spec.precision == "bfloat16"
    assert found.nbytes <= budget
    assert choose(INDEX, QUERIES, recall_target=0.9, memory_budget=N * (DIM + 5), kinds=[]).spec.precision == "int8"


def test_what_cannot_be_had_is_said_with_what_came_nearest() -> None:
    with pytest.raises(ConfigError, match=r"no index reaches recall 0\.99 within 1,000 bytes; the nearest is exact, int8"):
        choose(INDEX, QUERIES, memory_budget=1000, kinds=[])
    with pytest.raises(ConfigError, match=r"recall_target \(--recall\) must be above 0"):
        choose(INDEX, QUERIES, recall_target=0.0)
    with pytest.raises(ConfigError, match="choosing an index needs user vectors, and no user has a history"):
        choose(INDEX, QUERIES[:0])


def test_removed_items_are_neither_found_nor_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    told(monkeypatch, {"exact": 5.0, "ivf": 1.0})
    gone = np.arange(0, N, 2, dtype=np.int32)
    found = choose(INDEX.removed(gone), QUERIES, recall_target=0.9, kinds=["ivf"])
    assert not np.isin(found.search(QUERIES, 50).lists.rows, gone).any()


def test_few_items_are_compared_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choosing, "EXACT_BELOW", N)
    assert [row["kind"] for row in choose(INDEX, QUERIES).measured] == ["exact"]


def test_recall_is_the_share_of_true_items_found() -> None:
    def ranked(*lists: list[int]) -> Ranked:
        rows = Ragged.from_lists(lists)
        return Ranked(rows, np.zeros(len(rows.rows), dtype=np.float32))

    assert recall_of(ranked([1, 2, 9], [4]), ranked([1, 2], [5, 4])) == 0.75
    assert recall_of(ranked([], []), ranked([], [])) == 1.0


def test_a_spec_tells_what_matters_of_it() -> None:
    assert str(IndexSpec("ivf", lists=40, nprobe=8)) == "ivf, lists 40, nprobe 8"
    assert str(IndexSpec(precision="int8")) == "exact, int8"
