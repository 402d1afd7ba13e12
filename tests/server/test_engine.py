"""The engine answers as the retriever does, with the events of the store, whoever else asks at the same time."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import recsys
from recsys.errors import ConfigError, DataError, RecsysError, UnknownIdError
from recsys.server.answering import State, answers
from recsys.server.asks import Ask, ExplainAsk, HistoryEvent, Listed, RecommendAsk, ScoreAsk, SearchAsk, SimilarAsk
from recsys.server.bundle_model import BundleModel
from recsys.server.engine import Engine
from recsys.server.events import Event
from recsys.server.histories import Stored
from recsys.server.popular import Popularity
from recsys.serving.retriever import Retriever
from recsys.serving.rules.spec import Rules

Lists = list[list[tuple[Any, float | None]]]


@pytest.fixture(scope="module")
def retriever(run: Path) -> Retriever:
    return recsys.load(run)


@pytest.fixture(scope="module")
def state(retriever: Retriever) -> State:
    return State(BundleModel(retriever.bundle), "digest", Popularity(retriever.histories))


def click(user: str, item: str, at: int | None = None) -> Event:
    return Event(f"{user} {item} {time.perf_counter_ns()}", user, item, int(time.time()) if at is None else at)


def history_of(retriever: Retriever, user: str) -> list[str]:
    return retriever.history(user)["item_id"].to_list()


def lists(found: list[Any]) -> Lists:
    assert all(isinstance(one, Listed) for one in found), found
    return [list(zip(one.item_ids, one.scores, strict=True)) for one in found]


def expected(retriever: Retriever, *args: Any, **options: Any) -> Lists:
    found = retriever.recommend(*args, output="lists", **options)
    return [[(row["item_id"], row["score"]) for row in one] for one in found]


def test_users_get_what_the_retriever_gives_them_together(engine: Engine, retriever: Retriever) -> None:
    users = retriever.users.ids.to_list()
    found = engine.together([RecommendAsk(user=one, k=7) for one in users]).result()
    assert lists(found) == expected(retriever, users, k=7)


@given(
    st.lists(st.lists(st.sampled_from([f"i{n}" for n in range(30)]), min_size=1, max_size=12), min_size=1, max_size=6),
    st.integers(1, 40),
    st.booleans(),
    st.lists(st.sampled_from([f"i{n}" for n in range(30)]), max_size=5),
)
def test_histories_get_what_the_retriever_gives_them_together(
    retriever: Retriever, state: State, histories: list[list[str]], k: int, filter_seen: bool, exclude: list[str]
) -> None:
    options: dict[str, Any] = {"k": k, "filter_seen": filter_seen, "exclude": exclude}
    found = answers(state, [RecommendAsk(history=one, **options) for one in histories], Stored())
    assert lists(found) == expected(retriever, histories=histories, **options)


def test_requests_with_different_filters_share_a_batch_and_no_answer_changes(retriever: Retriever, state: State) -> None:
    history = ["i3", "i4", "i5"]
    rules = Rules.of({"boost": [{"items": ["i20"], "add": 5.0}], "pin": [{"item": "i9", "position": 1}]})
    options: list[dict[str, Any]] = [
        {"k": 3},
        {"k": 5, "where": "title == 'a red boat' or title == 'a red car'"},
        {"k": 5, "eligible": ["i8", "i9", "i3"]},
        {"k": 4, "rules": rules, "request_time": 1_700_000_000},
        {"k": 40, "filter_seen": False},
        {"k": 2, "exclude": ["i6", "i7"]},
    ]
    mixed = answers(state, [RecommendAsk(history=history, **one) for one in options], Stored())
    for one, wanted in zip(lists(mixed), options, strict=True):
        (alone,) = expected(retriever, histories=[history], **wanted)
        assert [item for item, _ in one] == [item for item, _ in alone]
        np.testing.assert_allclose([s or 0.0 for _, s in one], [s or 0.0 for _, s in alone], rtol=1e-5, atol=1e-6)


def test_people_of_whom_nothing_is_known_get_the_most_popular_items(engine: Engine, retriever: Retriever) -> None:
    for options in ({}, {"where": "title != 'a red car'", "exclude": ["i3"]}, {"k": 40}):
        found = engine.recommend(RecommendAsk(user="nobody", fallback="popular", **options)).result()  # type: ignore[arg-type]
        assert lists([found]) == expected(retriever, ["nobody"], fallback="popular", **options)
        assert found.source == "popular"


def test_the_error_of_one_request_is_its_own(engine: Engine) -> None:
    asks: list[Ask] = [
        RecommendAsk(user="nobody"),
        RecommendAsk(user="u1"),
        RecommendAsk(),
        RecommendAsk(history=["what"]),
        RecommendAsk(user="u1", where="price <"),
        RecommendAsk(user="u1", eligible=["what"]),
        RecommendAsk(user="u1", k=0),
        RecommendAsk(history=[]),
        RecommendAsk(user="u1", target_event="buy"),
        ScoreAsk(user="u1", items=[]),
        SearchAsk(text=" "),
        SimilarAsk(item="what"),
        RecommendAsk(user="nobody", unknown="skip"),
    ]
    found = engine.together(asks).result()
    kinds = [type(one) if isinstance(one, RecsysError) else None for one in found]
    unknown = UnknownIdError
    assert kinds == [
        unknown, None, ConfigError, unknown, ConfigError, unknown, ConfigError, DataError, ConfigError, ConfigError,
        DataError, unknown, None,
    ]  # fmt: skip
    assert lists([found[-1]]) == [[]]
    with pytest.raises(UnknownIdError, match="nobody"):
        engine.recommend(RecommendAsk(user="nobody")).result()


def test_an_event_counts_in_the_next_answer(engine: Engine, retriever: Retriever) -> None:
    for item in ("i20", "i2", "unheard of", "i20"):
        engine.store.append([click("u1", item)])
    found = engine.recommend(RecommendAsk(user="u1", k=5)).result()
    assert lists([found]) == expected(retriever, histories=[[*history_of(retriever, "u1"), "i20", "i2", "i20"]], k=5)
    assert (found.fresh_events, found.passed.unknown_items) == (3, 1)


def test_somebody_who_is_new_is_answered_after_one_event(engine: Engine, retriever: Retriever) -> None:
    engine.store.append([click("newcomer", "i4")])
    found = engine.recommend(RecommendAsk(user="newcomer", k=4)).result()
    assert lists([found]) == expected(retriever, histories=[["i4"]], k=4)


def test_what_a_bundle_fitted_on_the_events_holds_does_not_count_twice(engine: Engine, retriever: Retriever) -> None:
    """Its log is the older one with the exported events behind; then more events come, an older one among them."""
    user, kept = int(retriever.users.to_rows(["u2"])[0]), retriever.histories
    assert kept.times is not None
    times = kept.times[kept.offsets[user] : kept.offsets[user + 1]].tolist()
    own = list(zip(history_of(retriever, "u2"), times, strict=True))
    engine.store.append([click("u2", str(item), at) for item, at in own[2:]])  # as they were exported
    engine.store.append([click("u2", "i1", times[-1]), click("u2", "i2", times[-1] + 9), click("u2", "i0", times[0])])
    found = engine.recommend(RecommendAsk(user="u2", k=6)).result()
    merged = [item for item, _ in own]
    merged = [merged[0], "i0", *merged[1:], "i1", "i2"]
    assert lists([found]) == expected(retriever, histories=[merged], k=6)
    assert found.fresh_events == 3


def test_a_history_is_told_with_its_sources(engine: Engine) -> None:
    before = engine.history("u3")
    engine.store.append([click("u3", "i1"), click("u3", "unheard of")])
    after = engine.history("u3")
    assert after[:-2] == before
    assert {one.source for one in before} == {"bundle"}
    assert [(one.item_id, one.title, one.source) for one in after[-2:]] == [
        ("i1", "a red boat", "store"),
        ("unheard of", None, "store"),
    ]
    assert engine.history("nobody") == []
    assert isinstance(before[0], HistoryEvent)


def test_a_forgotten_user_is_unknown_until_they_come_back(engine: Engine, retriever: Retriever) -> None:
    engine.store.append([click("u4", "i9")])
    assert engine.forget("u4").interactions == 1
    assert engine.history("u4") == []
    with pytest.raises(UnknownIdError):
        engine.recommend(RecommendAsk(user="u4")).result()
    engine.store.append([click("u4", "i9")])
    assert lists([engine.recommend(RecommendAsk(user="u4", k=3)).result()]) == expected(retriever, histories=[["i9"]], k=3)


def test_other_questions_get_the_answers_of_the_retriever(engine: Engine, retriever: Retriever) -> None:
    like = engine.similar(SimilarAsk(item="i3", k=4)).result()
    assert like.item_ids == retriever.similar_items("i3", k=4)["similar_item_id"].to_list()
    found = engine.search(SearchAsk(text="a red car", k=3)).result()
    assert found.item_ids == retriever.search("a red car", k=3)["item_id"].to_list()
    scored = engine.score(ScoreAsk(user="u1", items=["i3", "i9"])).result()
    frame = retriever.score("u1", ["i3", "i9"])
    assert (scored.item_ids, scored.scores) == (["i3", "i9"], frame["score"].to_list())
    why = engine.explain(ExplainAsk(user="u1", item="i3")).result()
    assert [one.item_id for one in why.reasons] == retriever.explain("u1", "i3")["item_id"].to_list()
    assert why.parts == retriever.score_breakdown("u1", "i3")
    assert engine.search(SearchAsk(text="a red car", k=30, titles=True)).result().titles["i3"] == "a red train"
    assert (like.titles, len(engine.similar(SimilarAsk(item="i3", k=4, titles=True)).result().titles)) == ({}, 4)
