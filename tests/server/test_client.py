"""The client against the real application, and against servers that fail as servers do."""

from __future__ import annotations

import asyncio
import inspect
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import httpx2
import numpy as np
import orjson
import pytest

import recsys
from recsys import errors
from recsys.server.client import calls
from recsys.server.client.patience import Patience
from recsys.server.client.sending import Attempts, Failure
from tests.server.http_world import World, world_of

RECEIPTS = {"accepted": 1, "duplicates": 0, "refused": 0, "request_id": "r"}


@pytest.fixture(scope="module")
def world(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with world_of(run, tmp_path_factory.mktemp("client")) as made:
        yield made


@pytest.fixture(scope="module")
def client(world: World) -> recsys.Client:
    return recsys.Client("http://testserver", world.secrets["admin"], transport=world.client._transport)


def failing(answer: Callable[[httpx2.Request], httpx2.Response], **options: float) -> recsys.Client:
    return recsys.Client("http://shop.example", "rk_x", transport=httpx2.MockTransport(answer), **options)  # type: ignore[arg-type]


def problem(status: int, kind: str, **headers: str) -> httpx2.Response:
    body = {"type": f"urn:recsys:problem:{kind}", "status": status, "detail": "so it is", "request_id": "4f"}
    return httpx2.Response(status, headers=headers, json=body)


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    found: list[float] = []
    monkeypatch.setattr("recsys.server.client.wire.time.sleep", found.append)
    return found


def test_frames_are_those_of_the_retriever(client: recsys.Client, run: Path) -> None:
    retriever = recsys.load(run)
    answer = client.recommend("u1", k=4, where='item_id != "i6"', exclude=["i7"])
    expected = retriever.recommend("u1", k=4, where='item_id != "i6"', exclude=["i7"])
    assert answer.to_frame().equals(expected.select("item_id", "score", "rank"))
    assert client.similar(["i3", "i4"], k=3).to_frame().equals(retriever.similar_items(["i3", "i4"], k=3))
    found, expected = client.search("item 3", k=3).to_frame(), retriever.search("item 3", k=3)
    assert (found.columns, found["item_id"].to_list()) == (expected.columns, expected["item_id"].to_list())
    assert client.search("item 3", where='item_id == "none"').to_frame().columns == expected.columns
    scores = client.score(["i8", "i9"], "u1").scores
    assert scores == pytest.approx(dict(zip(["i8", "i9"], retriever.score("u1", ["i8", "i9"])["score"], strict=True)))
    explained = client.explain("i9", history=["i3", "i4"])
    assert sorted(one.place for one in explained.reasons) == [1, 2]
    assert sum(explained.parts.values()) == pytest.approx(client.score("i9", history=["i3", "i4"]).scores["i9"], rel=1e-3)


def test_effects_of_rules_are_typed(client: recsys.Client) -> None:
    rules = {"pin": [{"item": "i4", "position": 1}]}
    answer = client.recommend("u1", k=3, rules=rules, filter_seen=False, rule_effects=True)
    assert [(one.item_id, one.rank_after) for one in answer.rule_effects if one.item_id == "i4"] == [("i4", 1)]
    assert answer.items[0].item_id == "i4"


def test_an_event_is_read_by_the_next_question_and_a_user_is_forgotten(client: recsys.Client) -> None:
    moment = datetime(2026, 1, 2, tzinfo=UTC)
    receipt = client.send_event(event_id="c-1", user_id="caller", item_id="i3", timestamp=moment, event=None)  # type: ignore[typeddict-item]
    assert receipt.result == "accepted"
    assert client.send_events([{"event_id": "c-1", "user_id": "caller", "item_id": "i3"}]).duplicates == 1
    answer = client.recommend("caller", k=3, titles=True)
    assert (answer.history_length, answer.fresh_events, answer.items[0].title is None) == (1, 1, False)
    assert client.send_events(answer.impressions("caller")).accepted == 3
    assert client.send_events(answer.impressions("caller")).duplicates == 3
    user = client.user("caller", last=5)
    assert [(one.item_id, one.source, one.timestamp) for one in user.history] == [("i3", "store", moment.timestamp())]
    forgotten = client.forget("caller")
    assert (forgotten.interactions, forgotten.impressions) == (1, 3)
    with pytest.raises(errors.UnknownIdError, match="404"):
        client.user("caller")


def test_items_and_bundles(client: recsys.Client) -> None:
    assert client.patch_item("i3", {"title": "a / b?"}).columns["title"] == "a / b?"
    (active,) = client.bundles()
    assert (active.active, active.items) == (True, 32)
    with pytest.raises(errors.DataError, match="elsewhere"):
        client.load_bundle("/etc")
    with pytest.raises(errors.BundleError):
        client.roll_back()
    with pytest.raises(errors.DataError, match="no shadow|POST"):
        client.shadow()
    with pytest.raises(errors.BundleError):
        client.start_shadow("none", share=0.5)


def test_refusals_are_errors_of_the_package(client: recsys.Client, world: World) -> None:
    with pytest.raises(errors.UnknownIdError, match="nobody"):
        client.recommend("nobody")
    with pytest.raises(errors.DataError, match=r"body\.k"):
        client.recommend("u1", k=0)
    with pytest.raises(errors.DataError, match="refused: timestamp"):
        client.send_event(user_id="u1", item_id="i3", timestamp=10**12)
    first, second = client.recommend_batch([{"user": "nobody"}, {"history": ["i3"], "k": 2}])
    assert isinstance(first, errors.UnknownIdError)
    assert not isinstance(second, errors.RecsysError)
    assert len(second.items) == 2
    for key, said in ((None, "key"), ("rk_guessed", "key"), (world.secrets["read"], "role")):
        other = recsys.Client("http://testserver", key, transport=world.client._transport)
        assert "rk_" not in repr(other)
        with pytest.raises(errors.AccessError, match=said) as caught:
            other.forget("u1")
        assert key is None or key not in str(caught.value)


def test_the_async_client_does_the_same(world: World) -> None:
    async def ask() -> tuple[bool, list[object]]:
        transport = httpx2.ASGITransport(world.client.app)
        async with recsys.AsyncClient("http://testserver", world.secrets["read"], transport=transport) as client:
            found = await asyncio.gather(*(client.recommend(f"u{i}", k=2) for i in range(8)))
            return await client.is_ready(), [len(one.items) for one in found]

    assert asyncio.run(ask()) == (True, [2] * 8)


def test_both_clients_have_the_same_methods_with_signature_and_words() -> None:
    names = [name for name in vars(recsys.Client) if not name.startswith("_")]
    assert {"recommend", "send_events", "forget", "activate"} < set(names)
    assert names == [name for name in vars(recsys.AsyncClient) if not name.startswith("_")]
    assert list(inspect.signature(recsys.AsyncClient.similar).parameters)[:3] == ["self", "items", "k"]
    assert all(vars(owner)[name].__doc__ for owner in (recsys.Client, recsys.AsyncClient) for name in names)


def test_every_route_has_a_call(world: World) -> None:
    made = [
        calls.recommend("u"), calls.recommend_batch([]), calls.similar("i"), calls.search("t"), calls.explain("i"),
        calls.score("i"), calls.send_events([]), calls.user("u"), calls.forget("u"), calls.put_item("i", {}),
        calls.patch_item("i", {}), calls.delete_item("i"), calls.bundles(), calls.load_bundle("p"), calls.activate("d"),
        calls.roll_back(), calls.unload("d"), calls.shadow(), calls.start_shadow("d"), calls.stop_shadow(),
    ]  # fmt: skip
    have = {(one.method, one.path.partition("?")[0].split("/")[1:3][-1]) for one in made}
    paths = world.ask("GET", "/openapi.json").json()["paths"]
    routes = {
        (method.upper(), path.split("/")[1:3][-1])
        for path, methods in paths.items()
        for method in methods
        if path.startswith(("/v1", "/admin"))
    }
    assert routes - have == set()


def test_a_busy_server_is_asked_again_after_what_it_said(pauses: list[float]) -> None:
    answers = iter([problem(429, "overloaded", **{"retry-after": "2"}), problem(503, "store-unavailable")])
    sent: list[httpx2.Request] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        sent.append(request)
        if len(sent) == 3:
            raise httpx2.ReadError("gone")
        event_id = orjson.loads(request.content)["events"][0]["event_id"]
        receipt = {"event_id": event_id, "result": "accepted"}
        return next(answers, None) or httpx2.Response(200, json={**RECEIPTS, "receipts": [receipt], "new": 1})

    receipt = failing(answer, retries=3).send_event(user_id="u1", item_id="i3")
    assert [orjson.loads(one.content)["events"][0]["event_id"] for one in sent] == [receipt.event_id] * 4
    assert len({one.headers["x-request-id"] for one in sent}) == 1
    assert 2.05 <= pauses[0] <= 2.1
    assert 0.1 <= pauses[1] <= 0.2


@pytest.mark.parametrize(
    ("status", "kind", "error", "attempts"),
    [
        (429, "rate", errors.OverloadedError, 3),
        (503, "deadline", errors.DeadlineError, 3),
        (422, "invalid", errors.DataError, 1),
        (409, "unsupported", errors.UnsupportedError, 1),
        (404, "no-route", errors.ServerError, 1),
        (500, "internal", errors.ServerError, 1),
        (403, "of-the-future", errors.AccessError, 1),
    ],
)
def test_what_is_asked_again_and_what_it_ends_in(
    status: int, kind: str, error: type[Exception], attempts: int, pauses: list[float]
) -> None:
    with pytest.raises(error, match=rf"so it is \({status}, request 4f\)"):
        failing(lambda request: problem(status, kind), retries=2).recommend("u1")
    assert len(pauses) == attempts - 1


def test_what_must_not_be_done_twice_is_not_sent_again_once_it_may_have_arrived(pauses: list[float]) -> None:
    def lost(request: httpx2.Request) -> httpx2.Response:
        raise httpx2.ReadTimeout("")

    with pytest.raises(errors.ServerError, match=r"did not answer \(ReadTimeout\)"):
        failing(lost).roll_back()
    assert pauses == []

    def unreached(request: httpx2.Request) -> httpx2.Response:
        raise httpx2.ConnectError("refused")

    with pytest.raises(errors.ServerError):
        failing(unreached, retries=2).roll_back()
    assert len(pauses) == 2


def test_no_attempt_begins_after_the_total_time(pauses: list[float]) -> None:
    with pytest.raises(errors.OverloadedError) as caught:
        failing(lambda request: problem(429, "overloaded", **{"retry-after": "60"})).recommend("u1")
    assert (pauses, caught.value.retry_after) == ([], 60.0)


def test_a_time_limit_holds_for_all_attempts_and_the_server_is_told(
    pauses: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, told, status = [100.0], list[int](), 429
    monkeypatch.setattr("recsys.server.client.sending.time.monotonic", lambda: clock[0])

    def answer(request: httpx2.Request) -> httpx2.Response:
        told.append(int(request.headers.get("x-deadline-milliseconds", 0)))
        clock[0] += 0.4
        return problem(status, "overloaded" if status == 429 else "deadline")

    client = failing(answer, retries=9)
    limited = client.within(2)
    with pytest.raises(errors.OverloadedError):
        limited.recommend("u1")
    assert told[:3] == [2000, 1600, 1200]
    assert len(told) <= 5
    status, told[:] = 503, []
    with pytest.raises(errors.DeadlineError, match="so it is"):
        client.within(0.3).search("a car")
    assert told == [300]
    with pytest.raises(errors.DeadlineError):
        client.recommend("u1")
    assert told[-1] == 0  # the first client is as it was

    def silent(request: httpx2.Request) -> httpx2.Response:
        clock[0] += 1.5
        raise httpx2.ReadTimeout("")

    with pytest.raises(errors.DeadlineError, match="did not answer within 1.5 seconds"):
        failing(silent).within(1.5).recommend("u1")
    for seconds in (0, -1, float("nan"), 601):
        with pytest.raises(errors.ConfigError, match="time limit"):
            client.within(seconds)


def test_a_date_in_retry_after_is_read() -> None:
    attempts = Attempts(calls.bundles(), Patience(1, 1, 100))
    answer = problem(429, "overloaded", **{"retry-after": "Wed, 21 Oct 2099 07:28:00 GMT"})
    failure = attempts.result(answer)
    assert isinstance(failure, Failure)
    assert failure.retry_after > 1e9


@pytest.mark.parametrize(
    "answer",
    [
        httpx2.Response(200, html="<p>hello"),
        httpx2.Response(200, json={"items": []}),
        httpx2.Response(200, json=[1]),
        httpx2.Response(301, headers={"location": "https://shop.example/v1/recommend"}),
        httpx2.Response(404, html="not here"),
        httpx2.Response(502, text="bad gateway"),
    ],
)
def test_what_is_no_recsys_server_is_said(answer: httpx2.Response) -> None:
    with pytest.raises(errors.ServerError, match=r"one of a recsys server|sends elsewhere"):
        failing(lambda request: answer, retries=0).recommend("u1")


@pytest.mark.parametrize(
    "url", ["shop.example", "ftp://a", "http://", "http://a:b@c", "http://a:99999", "http://[", "http://a?b"]
)
def test_an_address_that_cannot_be_is_refused(url: str) -> None:
    with pytest.raises(errors.ConfigError, match="address"):
        recsys.Client(url)


def test_a_key_with_a_line_break_and_odd_numbers_are_refused_without_showing_the_key() -> None:
    with pytest.raises(errors.ConfigError, match="keys create") as caught:
        recsys.Client("http://a", "rk_secret\n")
    assert "secret" not in str(caught.value)
    with pytest.raises(errors.ConfigError, match="timeout"):
        recsys.Client("http://a", timeout=0)
    with pytest.raises(errors.ConfigError, match="retries"):
        recsys.Client("http://a", retries=-1)


def test_numbers_of_numpy_are_sent_and_what_json_has_no_word_for_is_refused(client: recsys.Client) -> None:
    found = client.recommend("u1", k=np.int64(2), request_time=datetime(2026, 1, 1, tzinfo=UTC))  # type: ignore[typeddict-item]
    assert len(found.items) == 2
    with pytest.raises(errors.DataError, match="JSON"):
        client.recommend("u1", exclude={"i3"})  # type: ignore[typeddict-item]


def test_the_client_needs_no_web_framework_and_says_which_package_is_missing() -> None:
    code = """
import sys
sys.modules["httpx2"] = None
import recsys
try:
    recsys.Client("http://a")
except ImportError as error:
    print(error, {"fastapi", "pydantic", "sqlalchemy", "torch", "starlette"} & set(sys.modules))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "recsys.Client needs httpx2: pip install 'recsys[client]' set()\n"
