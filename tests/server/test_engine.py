"""The engine answers as the retriever does, with the events of the store, whoever else asks at the same time."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

import recsys
from recsys.server.asks import Listed, RecommendAsk
from recsys.server.engine import Engine
from recsys.server.events import Event
from recsys.serving.retriever import Retriever


@pytest.fixture(scope="module")
def retriever(run: Path) -> Retriever:
    return recsys.load(run)


def click(user: str, item: str, at: int, number: int = 0) -> Event:
    return Event(f"{user} {item} {at} {number}", user, item, at)


def lists(found: list[Listed]) -> list[list[tuple[object, float | None]]]:
    return [list(zip(one.item_ids, one.scores, strict=True)) for one in found]


def expected(retriever: Retriever, *args: object, **options: object) -> list[list[tuple[object, float | None]]]:
    found = retriever.recommend(*args, output="lists", **options)
    return [[(row["item_id"], row["score"]) for row in one] for one in found]


def test_users_get_what_the_retriever_gives_them_together(engine: Engine, retriever: Retriever) -> None:
    users = retriever.users.ids.to_list()
    found = engine.recommend([RecommendAsk(user=one, k=7) for one in users]).result()
    assert lists(found) == expected(retriever, users, k=7)


def test_an_event_counts_in_the_next_answer(engine: Engine, retriever: Retriever) -> None:
    own = retriever.histories[retriever.users.to_rows(["u1"])[0]]
    history = retriever.items.to_ids(own).to_list()
    late = int(time.time())
    for number, item in enumerate(["i20", "i2", "unheard of", "i20"]):
        engine.append([click("u1", item, late, number)])
    found = engine.recommend([RecommendAsk(user="u1", k=5)]).result()
    assert lists(found) == expected(retriever, histories=[[*history, "i20", "i2", "i20"]], k=5)
    assert (found[0].fresh_events, found[0].passed.unknown_items) == (3, 1)
