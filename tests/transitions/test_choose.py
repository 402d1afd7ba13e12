"""A form and a weight are chosen on validation, and nothing is added where nothing is gained."""

from __future__ import annotations

import numpy as np
import pytest

from recsys.core.ragged import Float32, Ragged
from recsys.data.split import Split
from recsys.index.item_index import ItemIndex
from recsys.transitions.choose import choose
from recsys.transitions.learn import Form
from recsys.transitions.weigh import Asked


def asked(split: Split, queries: Float32, vectors: Float32, *, filter_seen: bool = True) -> Asked:
    held = split.validation
    return Asked(held.histories, held.targets, queries, ItemIndex.build(vectors), filter_seen)


def know_nothing(split: Split) -> Asked:
    random = np.random.default_rng(0)
    users, items = len(split.validation), len(split.train.items)
    return asked(split, *(random.normal(size=(n, 4)).astype(np.float32) for n in (users, items)))


def know_all(split: Split) -> Asked:
    """Towers that give each user the item that comes next, far ahead of all others."""
    n = len(split.train.items)
    queries = np.eye(n, dtype=np.float32)[split.validation.targets.rows]
    return asked(split, queries, np.eye(n, dtype=np.float32))


@pytest.mark.parametrize("kind", ["auto", "ridge", "counts"])
def test_a_memory_that_knows_more_than_the_towers_is_kept(ring_split: Split, kind: str) -> None:
    found = choose(ring_split.train.histories, len(ring_split.train.items), know_nothing(ring_split), kind=kind)
    assert found.memory is not None
    assert found.ndcg > 0.95 > found.towers_ndcg
    if kind != "auto":
        assert found.memory.form.kind == kind
        assert {one.form.kind for one in found.tried} <= {kind, "counts"}


def test_towers_that_know_all_are_left_alone(ring_split: Split) -> None:
    found = choose(ring_split.train.histories, len(ring_split.train.items), know_all(ring_split))
    assert found.memory is None
    assert found.ndcg == found.towers_ndcg == 1.0


def test_a_log_without_an_order_gets_an_order_free_table(ring_split: Split) -> None:
    found = choose(ring_split.train.histories, len(ring_split.train.items), know_nothing(ring_split), ordered=False)
    assert {one.form.decay for one in found.tried} == {np.inf}
    assert found.memory is None or np.isinf(found.memory.form.decay)


def test_columns_of_popular_items_are_made_lighter_where_that_pays() -> None:
    """Histories of four items that most people have, and of four of the six of a taste: these tell what comes next."""
    random = np.random.default_rng(0)
    lists = [
        [*np.flatnonzero(random.random(4) < 0.7), *(4 + 6 * (user % 20) + random.permutation(6)[:4])] for user in range(400)
    ]
    train, targets = Ragged.from_lists([one[:-1] for one in lists]), Ragged.from_lists([one[-1:] for one in lists])
    nothing = np.zeros((400, 1), np.float32), ItemIndex.build(np.zeros((124, 1), np.float32))
    found = choose(train, 124, Asked(train, targets, *nothing, filter_seen=True), ordered=False)
    assert found.memory is not None
    assert found.memory.form.debias > 0
    assert found.ndcg > 0.05 + max(one.ndcg for one in found.tried if not one.form.debias)


def test_the_figures_are_those_of_ranking_by_the_sum(ring_split: Split) -> None:
    """What the search for a weight says is what a search of the index then gives."""
    who = know_nothing(ring_split)
    found = choose(ring_split.train.histories, len(ring_split.train.items), who, kind="counts")
    assert found.memory is not None
    ranked = who.index.search(who.queries, 100, who.histories, added=found.memory.scores(who.histories))
    gains = [
        sum(1 / np.log2(2 + rank) for rank, item in enumerate(items) if item in wanted)
        for items, wanted in zip(ranked.lists.to_lists(), who.targets.to_lists(), strict=True)
    ]
    assert np.mean(gains) == pytest.approx(found.ndcg, abs=1e-6)


def test_entries_are_bounded(ring_split: Split) -> None:
    found = choose(ring_split.train.histories, len(ring_split.train.items), know_nothing(ring_split), entries=1)
    assert found.memory is not None
    assert np.diff(found.memory.table.indptr).max() == 1


def test_a_memory_learned_from_nothing_is_none() -> None:
    nobody = Ragged.from_lists([[0], [1]])
    who = Asked(
        nobody,
        Ragged.from_lists([[1], [0]]),
        np.eye(2, dtype=np.float32),
        ItemIndex.build(np.eye(2, dtype=np.float32)),
        True,
    )
    assert choose(nobody, 2, who).memory is None
    assert Form().kind == "counts"
