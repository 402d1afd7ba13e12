from pathlib import Path

import polars as pl
import pytest

import recsys
from recsys.bundle.build import build
from recsys.config.model import ModelConfig
from recsys.config.training import Training
from recsys.data.catalog import Catalog
from recsys.data.interactions import Interactions
from recsys.data.split import Split, leave_last_out
from recsys.errors import ConfigError, DataError, UnknownIdError, UnsupportedError
from recsys.serving.batch.run import recommend_to_parquet
from recsys.serving.retriever import Retriever
from recsys.two_tower import TwoTower


@pytest.fixture(scope="module")
def retriever(
    ring: Interactions, ring_split: Split, ring_catalog: Catalog, tiny_encoder: Path, tmp_path_factory
) -> Retriever:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RECSYS_CACHE", str(tmp_path_factory.mktemp("cache")))
        training = Training(epochs=15, batch_tokens=64, learning_rate=1e-2, device="cpu")
        model = TwoTower(encoder=str(tiny_encoder), dim=16, max_length=8).fit(
            ring_split.train, ring_catalog, training=training
        )
    return model.retriever(log=ring, holdout=ring_split.test)


def test_an_answer_names_user_item_score_and_rank(retriever: Retriever) -> None:
    answer = retriever.recommend("u3", k=4)
    assert answer.columns == ["user_id", "item_id", "score", "rank"]
    assert answer["rank"].to_list() == [1, 2, 3, 4]
    assert answer["score"].is_sorted(descending=True)


def test_one_id_or_many_is_the_same_call(retriever: Retriever) -> None:
    both = retriever.recommend(["u3", "u5"], k=4)
    apart = pl.concat([retriever.recommend("u3", k=4), retriever.recommend("u5", k=4)])
    assert both.drop("score").equals(apart.drop("score"))


def test_seen_items_come_back_only_when_asked_for(retriever: Retriever) -> None:
    seen = set(retriever.history("u3")["item_id"])
    assert not seen & set(retriever.recommend("u3", k=20)["item_id"])
    assert seen & set(retriever.recommend("u3", k=32, filter_seen=False)["item_id"])


def test_fewer_eligible_items_mean_fewer_rows(retriever: Retriever) -> None:
    assert retriever.recommend("u3", k=32).height == 32 - 8


def test_excluded_items_never_come(retriever: Retriever) -> None:
    best = retriever.recommend("u3", k=1)["item_id"][0]
    assert best not in set(retriever.recommend("u3", k=32, exclude=best)["item_id"])
    everything = retriever.items.ids
    assert retriever.recommend("u3", k=5, exclude=everything).height == 0


def test_the_next_item_of_the_ring_is_recommended_to_somebody_new(retriever: Retriever) -> None:
    answer = retriever.recommend(histories=[["i3", "i4", "i5"], ["i20", "i21"]], k=1)
    assert answer["query"].to_list() == [0, 1]
    assert answer["item_id"].to_list() == ["i6", "i22"]


def test_a_known_user_and_the_same_history_get_the_same_answer(retriever: Retriever) -> None:
    history = retriever.history("u7")["item_id"].to_list()
    known, anonymous = retriever.recommend("u7", k=5), retriever.recommend(histories=[history], k=5)
    assert known["item_id"].equals(anonymous["item_id"])


def test_similar_items_leave_out_the_item_itself(retriever: Retriever) -> None:
    answer = retriever.similar_items(["i1", "i2"], k=31)
    assert answer.columns == ["item_id", "similar_item_id", "score", "rank"]
    assert answer.height == 62
    assert not (answer["item_id"] == answer["similar_item_id"]).any()


def test_search_finds_the_item_that_the_text_describes(retriever: Retriever) -> None:
    answer = retriever.with_titles(retriever.search(["a red boat", "a pink bike"], k=1))
    assert answer["title"].to_list() == ["a red boat", "a pink bike"]
    assert answer["score"].to_list() == pytest.approx([1.0, 1.0], abs=0.02)


def test_the_index_agrees_with_the_towers(retriever: Retriever, ring_split: Split) -> None:
    histories = ring_split.test.histories
    served = retriever.recommend_rows(histories, 10, exclude=histories)
    dense = retriever.towers.recommend_rows(histories, 10, exclude=histories)
    assert served.lists.rows.tolist() == dense.lists.rows.tolist()


@pytest.mark.parametrize("call", ["recommend", "similar_items", "search"])
@pytest.mark.parametrize(("k", "says"), [(0, "k must be at least 1, not 0"), (-3, "not -3"), (True, "whole number")])
def test_an_impossible_k_is_refused(retriever: Retriever, call: str, k: int, says: str) -> None:
    asked = {"recommend": "u1", "similar_items": "i1", "search": "a car"}[call]
    with pytest.raises(ConfigError, match=says):
        getattr(retriever, call)(asked, k=k)


def test_unknown_ids_are_named(retriever: Retriever) -> None:
    with pytest.raises(UnknownIdError, match="unknown user 'nobody'"):
        retriever.recommend(["u1", "nobody"])
    with pytest.raises(UnknownIdError, match="unknown item 'nothing'"):
        retriever.similar_items("nothing")
    with pytest.raises(UnknownIdError, match="unknown item 'nothing'"):
        retriever.recommend(histories=[["i1", "nothing"]])


def test_contradictory_requests_are_refused(retriever: Retriever) -> None:
    with pytest.raises(ConfigError, match="either users or histories"):
        retriever.recommend("u1", histories=[["i1"]])
    with pytest.raises(ConfigError, match="either users or histories"):
        retriever.recommend()
    with pytest.raises(DataError, match="empty"):
        retriever.recommend(histories=[[]])
    with pytest.raises(DataError, match="blank"):
        retriever.search("  ")


def test_a_model_without_text_cannot_search(ring_split: Split) -> None:
    training = Training(epochs=1, batch_tokens=64, device="cpu")
    model = TwoTower(encoder=None, dim=8, heads=1, max_length=4).fit(ring_split.train, training=training)
    with pytest.raises(UnsupportedError, match="without a text encoder"):
        model.retriever().search("a car")


def test_a_log_with_items_unknown_to_the_model_is_refused(retriever: Retriever, ring: Interactions) -> None:
    foreign = Interactions.from_frame(ring.frame().with_columns(item_id=pl.lit("other")))
    with pytest.raises(DataError, match="1 items of the log are unknown to the model, such as 'other'"):
        build(retriever.towers, retriever.catalog, foreign, config=ModelConfig())


def test_batch_gives_every_user_what_a_single_request_gives(retriever: Retriever, tmp_path: Path) -> None:
    rows = recommend_to_parquet(retriever, tmp_path / "recs.parquet", k=5).rows
    found = pl.read_parquet(tmp_path / "recs.parquet")
    assert rows == found.height == 40 * 5
    assert found["user_id"].unique(maintain_order=True).to_list() == retriever.users.ids.to_list()
    assert found.filter(user_id="u9").drop("score").equals(retriever.recommend("u9", k=5).drop("score"))


def test_a_refused_batch_leaves_the_old_file(retriever: Retriever, tmp_path: Path) -> None:
    out = tmp_path / "recs.parquet"
    out.write_bytes(b"old")
    with pytest.raises(UnknownIdError):
        recommend_to_parquet(retriever, out, users=["nobody"])
    assert [file.name for file in tmp_path.iterdir() if file.suffix] == ["recs.parquet"]
    assert out.read_bytes() == b"old"


def test_a_retriever_can_be_judged_like_any_model(retriever: Retriever, ring_split: Split) -> None:
    assert recsys.evaluate(retriever, ring_split.test, 5)["recall@5"] > 0.5


def test_a_flat_list_of_items_is_not_taken_for_histories(retriever: Retriever) -> None:
    with pytest.raises(ConfigError, match="list of lists"):
        retriever.recommend(histories=["i1", "i2"])  # type: ignore[list-item]


def test_nobody_to_recommend_to_is_refused(retriever: Retriever, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="users is empty"):
        recommend_to_parquet(retriever, tmp_path / "recs.parquet", users=[])


def test_a_holdout_in_other_rows_is_kept_by_its_ids(retriever: Retriever, ring: Interactions, tmp_path: Path) -> None:
    other = leave_last_out(Interactions.from_frame(ring.frame().reverse().sort("timestamp"))).test
    built = Retriever(build(retriever.towers, retriever.catalog, ring, config=retriever.bundle.config, holdout=other))
    assert built.holdout is not None
    assert (
        built.holdout.items.to_ids(built.holdout.targets.rows).to_list() == other.items.to_ids(other.targets.rows).to_list()
    )
    assert recsys.evaluate(built, built.holdout, 5).means == recsys.evaluate(built, other, 5).means
