"""What an argument may be, at every public border of a retriever: the right kind, or a plain error."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from recsys.errors import ConfigError, DataError, RecsysError
from recsys.serving.batch.run import recommend_to_parquet
from recsys.serving.retriever import Retriever
from recsys.serving.rules.spec import Rules
from tests.serving.ring_batches import fitted

USERS = ["u1", "u2"]


@pytest.mark.parametrize(
    "users",
    [
        tuple(USERS),
        np.array(USERS),
        pl.Series(USERS),
        (one for one in USERS),
        np.array(USERS, dtype=object),
        dict.fromkeys(USERS).keys(),
    ],
    ids=["tuple", "array", "series", "generator", "objects", "keys"],
)
def test_ids_come_in_any_list(retriever: Retriever, users: Any) -> None:
    frame = retriever.recommend(users, k=3)
    assert frame.sort("user_id", "rank").equals(retriever.recommend(USERS, k=3).sort("user_id", "rank"))


@pytest.mark.parametrize(
    "histories",
    [
        [["i1", "i2"], ["i5"]],
        (iter(one) for one in (["i1", "i2"], ["i5"])),
        (("i1", "i2"), np.array(["i5"])),
        [pl.Series(["i1", "i2"]), ("i5",)],
        pl.Series([["i1", "i2"], ["i5"]]),
    ],
    ids=["lists", "generators", "tuples", "series", "a column of lists"],
)
def test_histories_come_in_any_list_of_lists(retriever: Retriever, histories: Any) -> None:
    expected = pl.concat([retriever.recommend(histories=[one], k=3).drop("query") for one in (["i1", "i2"], ["i5"])])
    found = retriever.recommend(histories=histories, k=3)
    assert found["query"].to_list() == [0, 0, 0, 1, 1, 1]
    assert found["item_id"].to_list() == expected["item_id"].to_list()


def test_histories_of_equal_length_may_be_one_array(retriever: Retriever) -> None:
    table = np.array([["i1", "i2"], ["i5", "i6"]])
    assert retriever.recommend(histories=table, k=3).equals(retriever.recommend(histories=table.tolist(), k=3))


FRAME = pl.DataFrame({"user_id": USERS, "item_id": ["i1", "i2"]})
WRONG: dict[str, Any] = {
    "none in a list": ["u1", None],
    "true": True,
    "an array without dimension": np.array("u1"),
    "a frame": FRAME,
    "a table": np.array([USERS]),
    "lists": [USERS],
    "a dict": {"u1": 1},
    "an object": object(),
    "bytes": b"u1",
    "nobody": [],
    "nulls": pl.Series(["u1", None]),
    "a column of lists": pl.Series([USERS]),
    "truths": pl.Series([True]),
}
CALLS: dict[str, Callable[[Retriever, Any], Any]] = {
    "recommend": lambda retriever, ids: retriever.recommend(ids),
    "recommend, skipping": lambda retriever, ids: retriever.recommend(ids, unknown="skip"),
    "recommend, popular": lambda retriever, ids: retriever.recommend(ids, fallback="popular"),
    "score": lambda retriever, ids: retriever.score(ids, ["i1"]),
    "similar_users": lambda retriever, ids: retriever.similar_users(ids),
    "similar_items": lambda retriever, ids: retriever.similar_items(ids),
    "explain": lambda retriever, ids: retriever.explain(ids, "i1"),
    "score_breakdown": lambda retriever, ids: retriever.score_breakdown(ids, "i1"),
    "history": lambda retriever, ids: retriever.history(ids),
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("wrong", WRONG)
def test_what_is_no_id_is_refused_everywhere(retriever: Retriever, call: str, wrong: str) -> None:
    with pytest.raises((ConfigError, DataError)):
        CALLS[call](retriever, WRONG[wrong])


@pytest.mark.parametrize("wrong", [wrong for wrong in WRONG if wrong != "nobody"])
@pytest.mark.parametrize("name", ["exclude", "allow", "remove"])
def test_filters_and_removals_refuse_the_same(retriever: Retriever, name: str, wrong: str, tmp_path: Path) -> None:
    before, given = retriever.bundle.corpus, {name: WRONG[wrong]}
    ask = partial(retriever.remove_items, WRONG[wrong]) if name == "remove" else partial(retriever.recommend, "u1", **given)
    with pytest.raises((ConfigError, DataError)):
        ask()
    if name != "remove":
        with pytest.raises((ConfigError, DataError)):
            recommend_to_parquet(retriever, tmp_path / "out", **{name: WRONG[wrong]})
        assert not (tmp_path / "out").exists()
    assert retriever.bundle.corpus is before


def test_filters_may_be_sets_and_empty_lists(retriever: Retriever) -> None:
    assert retriever.recommend("u1", exclude={"i9"}).equals(retriever.recommend("u1", exclude="i9"))
    assert retriever.recommend("u1", exclude=[]).equals(retriever.recommend("u1"))
    assert retriever.recommend("u1", eligible=[]).height == 0
    retriever.remove_items([])


@pytest.mark.parametrize(
    ("histories", "says"),
    [
        ([], "nobody to ask for"),
        ("i1", "histories must be a list"),
        (["i1"], "list of lists"),
        ([None], r"histories\[0\]"),
        ([["i1", None]], "number 2 is None"),
        ([[True]], "number 1 is True"),
        (FRAME, "must be a list"),
        ([{"i1"}], "set"),
        ({"a": ["i1"]}, "dict"),
        (np.array("i1"), "shape"),
        (7, "not 7"),
        ([[]], "1 of 1 histories are empty"),
    ],
)
def test_what_is_no_list_of_histories_is_refused(retriever: Retriever, histories: Any, says: str) -> None:
    with pytest.raises((ConfigError, DataError), match=says):
        retriever.recommend(histories=histories)


@pytest.mark.parametrize("k", [2.5, True, "10", None, 0, -1, [10], float("nan"), np.float64(3)])
@pytest.mark.parametrize("call", ["recommend", "rule_effects", "similar_items", "similar_users", "batch", "index"])
def test_a_k_is_a_whole_number(retriever: Retriever, call: str, k: Any, tmp_path: Path) -> None:
    calls = {
        "recommend": partial(retriever.recommend, "u1"),
        "rule_effects": partial(retriever.rule_effects, "u1", rules=Rules()),
        "similar_items": partial(retriever.similar_items, "i1"),
        "similar_users": partial(retriever.similar_users, "u1"),
        "batch": partial(recommend_to_parquet, retriever, tmp_path / "out"),
        "index": partial(retriever.index.search, retriever.vectors[:1]),
    }
    with pytest.raises(ConfigError, match=r"^k must be"):
        calls[call](k=k)


@pytest.mark.parametrize("k", [31, 10**6, 2**62, np.int64(99)])
def test_a_k_above_the_catalogue_means_what_there_is(retriever: Retriever, k: int, tmp_path: Path) -> None:
    n = len(retriever.items)
    assert retriever.recommend("u1", k=k, filter_seen=False).height == n
    assert retriever.similar_items("i1", k=k).height == n - 1
    assert retriever.similar_users("u1", k=k).height == min(k, int((retriever.histories.lengths > 0).sum()) - 1)
    assert recommend_to_parquet(retriever, tmp_path / "out", users="u1", k=k, filter_seen=False).rows == n
    assert retriever.recommend("ghost", k=k, fallback="popular").height == n


@pytest.mark.parametrize(
    ("request_", "says"),
    [
        ({"request_time": [1, 2]}, "request_time= must be one time"),
        ({"request_time": "soon"}, "request_time="),
        ({"where": 3}, "where must be"),
        ({"rules": {}}, "recsys.Rules.of"),
        ({"filter_seen": "no"}, "filter_seen must be"),
        ({"output": "pandas"}, "output must be"),
        ({"fallback": None}, "fallback must be"),
        ({"times": [[1]]}, "belongs to histories"),
    ],
)
def test_other_arguments_are_refused_before_any_work(retriever: Retriever, request_: dict[str, Any], says: str) -> None:
    with pytest.raises(RecsysError, match=says):
        retriever.recommend("u1", **request_)


@pytest.mark.parametrize("frame", [None, [{"item_id": "x"}], {"item_id": ["x"]}])
def test_items_come_in_a_frame(retriever: Retriever, frame: Any) -> None:
    for change in (retriever.add_items, retriever.update_items):
        with pytest.raises(ConfigError, match="frame of items must be a frame of polars or pandas, an Arrow table"):
            change(frame)
        with pytest.raises(DataError, match="has no rows"):
            change(pl.DataFrame(schema={"item_id": pl.String}))


@pytest.mark.parametrize("texts", [None, 3, [], [None], [["a"]], FRAME, "", [" "]])
def test_texts_are_texts(retriever: Retriever, texts: Any) -> None:
    with pytest.raises((ConfigError, DataError), match="text"):
        retriever.search(texts)


@pytest.fixture(scope="module")
def clocked() -> Retriever:
    return fitted(time_bias="request")


def test_a_model_that_reads_times_is_told_them_in_every_request(clocked: Retriever) -> None:
    history, times = ["i4", "i5", "i6"], [100, 101, 102]
    score = clocked.score(histories=[history], times=[times], items=["i7"], request_time=200)["score"][0]
    ranked = clocked.recommend(histories=[history], times=[times], request_time=200, k=30, filter_seen=False)
    assert ranked.filter(pl.col("item_id") == "i7")["score"][0] == pytest.approx(score, abs=1e-6)
    shares = clocked.score_breakdown(history=history, times=times, item="i7", request_time=200)
    assert sum(shares.values()) == pytest.approx(score, abs=1e-4)
    told = clocked.explain(history=history, times=(at for at in times), item="i7", request_time=200)
    without = clocked.score(histories=[["i4", "i6"]], times=[[100, 102]], items=["i7"], request_time=200)["score"][0]
    assert told.filter(pl.col("item_id") == "i5")["contribution"][0] == pytest.approx(score - without, abs=1e-5)
    skipped = clocked.score(
        histories=[["i4", "gone", "i5", "i6"]], times=[[100, 100, 101, 102]], items=["i7"], request_time=200, unknown="skip"
    )
    assert skipped["score"][0] == pytest.approx(score, abs=1e-6)
    for ask in (
        lambda: clocked.score(histories=[history], items=["i7"]),
        lambda: clocked.explain(history=history, item="i7"),
    ):
        with pytest.raises(ConfigError, match="reads the times of a history; give times="):
            ask()


@pytest.mark.parametrize(
    ("times", "says"),
    [
        ([[1, 2]], r"times\[0\] has 2, the history 3"),
        ([[1, 2, 3], [1]], "times has 2 lists for 1"),
        ([["a", "b", "c"]], "times"),
        ([[3, 2, 1]], r"times\[0\] go back"),
        ([[1, 2, True]], "True or False"),
        ([[[1], [2], [3]]], "times"),
        ([[1, 2, None]], "times"),
        (5, "times must be a list"),
    ],
)
def test_times_are_times_in_order(clocked: Retriever, times: Any, says: str) -> None:
    with pytest.raises(RecsysError, match=says):
        clocked.recommend(histories=[["i4", "i5", "i6"]], times=times)
