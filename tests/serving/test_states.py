"""One request, one state: what changes meanwhile changes nothing of it; and what is removed really goes."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import recsys
from recsys.bundle.corpus import Corpus
from recsys.data.catalog import Catalog
from recsys.data.interactions import Interactions
from recsys.data.split import leave_last_out
from recsys.errors import DataError, UnknownIdError
from recsys.index import choose
from recsys.serving import request
from recsys.serving.batch import run as batch
from recsys.serving.batch import shards
from recsys.serving.batch.run import recommend_to_parquet
from recsys.serving.retriever import Retriever
from tests.conftest import make_items
from tests.serving.ring_batches import content


@pytest.fixture
def wordy(ring: Interactions, ring_catalog: Catalog) -> Retriever:
    split = leave_last_out(ring)
    model = recsys.TwoTower(encoder=None, word_features="on", dim=16, heads=2, max_length=8)
    model.fit(split.train, ring_catalog, training=recsys.Training(epochs=1, device="cpu"))
    return model.retriever(log=ring, holdout=split.test)


def fresh(name: str) -> pl.DataFrame:
    return make_items(1).tail(1).with_columns(item_id=pl.lit(name))


def test_a_request_is_answered_from_the_state_that_it_found(wordy: Retriever, monkeypatch: pytest.MonkeyPatch) -> None:
    rules = recsys.Rules.of({"pin": [{"item": "i3", "position": 1}]})
    ask = [
        lambda: wordy.recommend("u1", k=40, filter_seen=False)["item_id"].to_list(),
        lambda: wordy.score("u1", "i3")["score"].to_list(),
        lambda: wordy.explain("u1", "i3")["item_id"].to_list(),
        lambda: wordy.rule_effects("u1", rules=rules)["item_id"].to_list(),
    ]
    expected, asked, n = [one() for one in ask], request.people_of, 0

    def interrupted(*given: object, **options: object) -> object:
        nonlocal n
        found = asked(*given, **options)  # type: ignore[arg-type]
        n += 1
        wordy.add_items(fresh(f"late {n}"))
        return found

    monkeypatch.setattr(request, "people_of", interrupted)
    assert ask[0]() == expected[0]
    assert [one() for one in ask[1:]] == expected[1:]
    assert n == 4


def test_similar_users_follow_an_update(wordy: Retriever) -> None:
    before = wordy.similar_users("u1", k=5)
    items = wordy.history("u1")["item_id"].unique().to_list()
    changed = make_items(0).filter(pl.col("item_id").is_in(items)).with_columns(title=pl.lit("a white bike white bike"))
    wordy.update_items(changed)
    after = wordy.similar_users("u1", k=5)
    assert not before.equals(after)
    assert after.equals(wordy.snapshot().similar_users("u1", k=5))


def test_choosing_an_index_keeps_nobody_waiting_and_loses_no_change(
    wordy: Retriever, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, calls = choose.choose, 0

    def slow(*given: object, **options: object) -> object:
        nonlocal calls
        calls += 1
        if calls == 1:
            other = threading.Thread(target=wordy.remove_items, args=("i4",))
            other.start()
            other.join(20)
            assert not other.is_alive(), "a writer waits for the index to be chosen"
        return made(*given, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(choose, "choose", slow)
    wordy.choose_index()
    assert calls == 2
    assert "i4" not in wordy.recommend("u1", k=40, filter_seen=False)["item_id"].to_list()


def test_rules_bound_by_one_thread_survive_another_that_clears_them(
    wordy: Retriever, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Forgetful(dict):  # type: ignore[type-arg]
        def __setitem__(self, key: object, value: object) -> None:
            self.clear()

    monkeypatch.setattr("recsys.serving.ranking._BOUND", {wordy.bundle.corpus: Forgetful()})
    rules = recsys.Rules.of({"pin": [{"item": "i3", "position": 1}]})
    assert wordy.recommend("u1", k=2, rules=rules)["item_id"][0] == "i3"
    assert isinstance(wordy.bundle.corpus, Corpus)


def test_rows_of_removed_items_go_when_the_index_is_compacted(wordy: Retriever, tmp_path: Path) -> None:
    expected = wordy.recommend(["u1", "u7"], k=10)
    report = recsys.evaluate(wordy, wordy.holdout).means  # type: ignore[arg-type]
    n = len(wordy.items)
    for turn in range(5):
        names = [f"passing {turn} {place}" for place in range(3)]
        for name in names:
            wordy.add_items(fresh(name))
        wordy.remove_items(names)
    wordy.remove_items("new1")  # nobody ever touched it, though training knew it
    wordy.remove_items("i5")  # histories tell of it
    before = wordy.recommend(["u1", "u7"], k=10)
    wordy.compact()
    assert len(wordy.items) == len(wordy.vectors) == len(wordy.catalog) == len(wordy.index) == n - 1
    assert wordy.recommend(["u1", "u7"], k=10).equals(before)
    with pytest.raises(UnknownIdError, match="passing 0 0"):
        wordy.similar_items("passing 0 0")
    assert "i5" in wordy.items.ids.to_list()
    wordy.save(tmp_path / "run")
    again = recsys.load(tmp_path / "run")
    assert len(again.items) == n - 1
    assert again.recommend(["u1", "u7"], k=10).equals(before)
    for retriever in (wordy, again):
        retriever.add_items(make_items(0).filter(pl.col("item_id") == "i5"))
        retriever.add_items(make_items(2).tail(1))
        assert retriever.recommend(["u1", "u7"], k=10).drop("score").equals(expected.drop("score"))
        assert recsys.evaluate(retriever, retriever.holdout).means == pytest.approx(report)  # type: ignore[arg-type]


def test_compacting_where_nothing_is_left_is_refused(wordy: Retriever) -> None:
    wordy.remove_items(wordy.items.ids)
    with pytest.raises(DataError, match="every item is removed"):
        wordy.compact()


@pytest.mark.parametrize("what", ["a flipped byte", "a cut end", "no digest", "rows of another", "edited digest"])
def test_a_damaged_shard_is_made_again_and_told(
    retriever: Retriever, tmp_path: Path, what: str, caplog: pytest.LogCaptureFixture
) -> None:
    out = tmp_path / "out"
    recommend_to_parquet(retriever, out, k=5, shard_users=15)
    whole, file = content(out), out / "part-00001.parquet"
    beside, payload = file.with_name(f".{file.name}.sha256"), bytearray(file.read_bytes())
    if what == "a flipped byte":
        for place in np.random.default_rng(0).integers(4, len(payload) - 600, 5):
            payload[place] ^= 0x40
        file.write_bytes(payload)
    elif what == "a cut end":
        file.write_bytes(payload[:-9])
    elif what == "no digest":
        beside.unlink()
    elif what == "rows of another":
        file.write_bytes((out / "part-00000.parquet").read_bytes())
    else:
        beside.write_text("0" * 64 + f"  {file.name}\n")
    done = recommend_to_parquet(retriever, out, k=5, shard_users=15)
    assert (done.shards, done.resumed_shards) == (3, 2)
    assert any("part-00001.parquet is made again" in message for message in caplog.messages)
    assert content(out) == whole
    assert batch.shards is shards
