"""A hundred hostile requests: each gets a 4xx within bounded memory, and the next good one its answer."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.server.http_world import World, world_of

MEGABYTE = 2**20
DEEP = 100_000


@pytest.fixture(scope="module")
def world(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with world_of(run, tmp_path_factory.mktemp("hostile")) as made:
        yield made


def recommend_bodies() -> Iterator[bytes]:
    """What nobody should send: too large, too deep, of odd types, at the edges of numbers, and bits of code."""
    yield from (b"[" * DEEP, b'{"a":' * DEEP, b"[" * DEEP + b"]" * DEEP, b'{"user":' + b"[" * 500 + b"]" * 500 + b"}")
    yield from (b'{"user":"' + b"a" * 2 * MEGABYTE + b'"}', b" " * 2 * MEGABYTE, b"0" * MEGABYTE, b'"' + b"\\" * MEGABYTE)
    yield from (
        b"{",
        b'{"user":"u1"',
        b"\x00",
        b"\xff" * 100,
        b"\xef\xbb\xbf{}",
        b'{"user":"\xed\xa0\x80"}',
        b"null",
        b"1e999",
    )
    yield from (b'{"k":1e999,"user":"u1"}', b'{"user":"u1","k":-1}', b'{"user":"u1","k":1.5}', b'{"user":"u1","k":"3"}')
    for odd in ({}, [], None, True, 1.5, -(2**70), 2**64, {"$gt": ""}, ["u1"], "", "\x00", "a" * 501):
        if odd is not None:
            yield json.dumps({"user": odd}).encode()
        yield json.dumps({"history": [odd]}).encode()
    for history in ("i1", 5, {"0": "i1"}, ["i1"] * 5001, [["i1"]], [["i1"] * 10]):
        yield json.dumps({"history": history}).encode()
    for field, values in {
        "k": (0, 10**9, 2**63, None, [], True),
        "exclude": ("i1", ["i1"] * 10_001, [None], {"i1": 1}),
        "eligible": (["i1"] * 10_001, [{}]),
        "filter_seen": ("yes", 1, None),
        "fallback": ("none", 1, None),
        "unknown": ("ignore",),
        "request_time": ("tomorrow", [1], {"now": 1}, -(10**30), True, "9" * 64),
        "target_event": ("buy", 1, ""),
        "times": (["yesterday"], [1, 2, 3]),
        "where": (
            "", "x" * 2001, "(" * 200 + ")" * 200, "not " * 400 + "title", "__import__('os').system('id')",
            "title == title2", "title.__class__", "1 == 1", 'title == "a" or ' * 100, "a" * 1999, "[" * 25,
            "title in " + "[" * 15 + "]" * 15,
            "lambda: 1", "'\ud800'".encode("utf-16", "surrogatepass").decode("utf-16", "replace"), "2**10**10 == 1",
            "title == " + "-" * 1900 + "1", "9" * 1900 + " == title",
        ),
        "rules": (
            [], {"boost": [{}] * 51}, {"pool": 10**9}, {"pool": -1}, {"pin": [{"item": "i1", "position": 0}]},
            {"boost": [{"where": "x" * 3000, "add": 1}]},
            {"diversity": {"lambda": 5}}, {"diversity": {"pool": 10**8}}, {"cap": [{"column": "title", "at_most": -1}]},
            {"boost": [{"items": ["i1"] * 10_001, "add": 1}]}, {"pin": "i1"}, {"freshness": {"column": "title"}},
            {"exclude": [{"where": "(" * 30}]},
        ),
    }.items():  # fmt: skip
        for value in values:
            yield json.dumps({"user": "u1", field: value}).encode()


def test_hostile_bodies_get_4xx_within_bounded_memory(world: World) -> None:
    bodies = list(recommend_bodies())
    assert len(bodies) > 100
    world.recommended(user="u1")
    tracemalloc.start()
    wrong = []
    for body in bodies:
        answer = world.ask("POST", "/v1/recommend", "read", content=body, headers={"content-type": "application/json"})
        if not 400 <= answer.status_code < 500 or "detail" not in answer.json() or len(answer.content) > 5000:
            wrong.append((body[:100], answer.status_code, answer.text[:100]))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert not wrong, wrong
    assert peak < 100 * MEGABYTE
    assert len(world.recommended(user="u1", k=3)["items"]) == 3


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/v1/events", {"events": [{"user_id": "u", "item_id": "i"}] * 1001}),
        ("POST", "/v1/events", {"events": []}),
        ("POST", "/v1/events", {"events": [{"user_id": "\x00", "item_id": "i"}]}),
        ("POST", "/v1/events", {"events": [{"user_id": "u", "item_id": "i", "timestamp": 1e18}]}),
        ("POST", "/v1/events", {"events": [{"user_id": "u", "item_id": "i", "weight": "much"}]}),
        ("POST", "/v1/search", {"texts": ["a"] * 33}),
        ("POST", "/v1/search", {"texts": ["a" * 1001]}),
        ("POST", "/v1/search", {"texts": [" "]}),
        ("POST", "/v1/similar", {"items": ["i1"] * 1001}),
        ("POST", "/v1/score", {"user": "u1", "items": ["i1"] * 1001}),
        ("POST", "/v1/recommend/batch", {"requests": [{"user": "u1"}] * 257}),
        ("POST", "/v1/explain", {"user": "u1", "item": ["i1"]}),
        ("PUT", "/v1/items/x", {"title": {"a": "b"}}),
        ("PUT", "/v1/items/x", {"__class__": "a"}),
        ("PUT", "/v1/items/x", {f"c{i}": 1 for i in range(20_000)}),
        ("PUT", "/v1/items/" + "x" * 501, {"title": "a"}),
        ("PATCH", "/v1/items/unknown", {"title": "a"}),
        ("DELETE", "/v1/items/%00", None),
        ("DELETE", "/v1/users/%00", None),
        ("GET", "/v1/users/u1?last=1e9", None),
        ("POST", "/admin/bundles", {"path": "\x00"}),
        ("POST", "/admin/bundles", {"path": "a" * 1001}),
        ("POST", "/admin/bundles", {"path": "a/" * 400}),
        ("POST", "/admin/bundles/..%2F..%2Fetc/activate", {}),
    ],
)
def test_hostile_requests_to_the_other_routes_get_4xx(world: World, method: str, path: str, body: object) -> None:
    answer = world.ask(method, path, json=body)
    assert 400 <= answer.status_code < 500, answer.text
    assert "detail" in answer.json()
