"""Names, labels and values of what is counted."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from recsys.server.asks import RecommendAsk
from recsys.server.events import Event, Receipt
from recsys.server.metrics import Metrics, reason_of
from tests.server.http_world import World, world_of


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(name, labels)


def test_requests_of_every_status_are_timed() -> None:
    metrics = Metrics()
    for status, kind in ((200, None), (500, "internal"), (429, "overloaded"), (429, "rate"), (503, "deadline")):
        metrics.request("/v1/recommend", status, 0.02, kind)
    assert value(metrics, "recsys_request_seconds_count", route="/v1/recommend") == 5
    assert value(metrics, "recsys_requests_total", route="/v1/recommend", status="429") == 2
    reasons = {one: value(metrics, "recsys_rejected_total", reason=one) for one in ("overload", "rate", "size", "deadline")}
    assert reasons == {"overload": 1, "rate": 1, "size": 0, "deadline": 1}
    assert {status: reason_of(status, None) for status in (401, 403, 413, 414, 431, 404)} == {
        401: "auth", 403: "auth", 413: "size", 414: "size", 431: "size", 404: None,
    }  # fmt: skip


def test_a_new_digest_takes_the_place_of_the_old_one() -> None:
    metrics = Metrics()
    for digest in ("old", "new"):
        metrics.now(ready=True, stale=False, events_waiting=3, digest=digest, items=7)
    assert value(metrics, "recsys_bundle_info", digest="old") is None
    assert value(metrics, "recsys_bundle_info", digest="new") == 1
    assert (value(metrics, "recsys_ready"), value(metrics, "recsys_store_stale"), value(metrics, "recsys_items")) == (
        1,
        0,
        7,
    )


def test_events_are_counted_by_kind_and_result_and_name_nobody() -> None:
    metrics = Metrics()
    event = Event("e1", "user-secret", "item-secret", 1, event="type-secret", kind="impression")
    metrics.events([event, event], [Receipt("e1", "accepted"), Receipt("e1", "duplicate")])
    assert value(metrics, "recsys_events_total", type="impression", result="duplicate") == 1
    assert value(metrics, "recsys_events_total", type="interaction", result="accepted") == 0
    assert b"secret" not in metrics.text()


def test_what_is_not_known_is_not_a_number() -> None:
    text = Metrics().text().decode()
    for name in ("recall_probe", "served_coverage_ratio", "served_popularity_lift", "cold_share", "shadow_overlap"):
        assert f"\nrecsys_{name} NaN" in text
    assert "_created" not in text


@pytest.fixture(scope="module")
def world(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with world_of(run, tmp_path_factory.mktemp("metrics")) as made:
        yield made


def test_a_server_counts_what_it_does(world: World) -> None:
    metrics = world.served.metrics
    world.recommended(user="u1", rules={"pin": [{"item": "i4", "position": 1}]})
    world.recommended(user="u2")
    events = [{"event_id": "m1", "user_id": "u1", "item_id": "i9"}] * 2
    world.post("/v1/events", {"events": events})
    assert [
        world.post("/v1/recommend", {"user": "u1", "k": 10**9}).status_code,
        world.post("/v1/recommend", {"user": "u1"}, role=None).status_code,
        world.post("/v1/recommend", {"user": "u1"}, role="events").status_code,
        world.ask("GET", "/v1/users/u1").status_code,
        world.ask("GET", "/v1/users").status_code,
    ] == [422, 401, 403, 200, 404]
    assert value(metrics, "recsys_rejected_total", reason="auth") == 2
    for status, count in (("200", 2), ("422", 1), ("401", 1), ("403", 1)):
        assert value(metrics, "recsys_requests_total", route="/v1/recommend", status=status) == count
    assert value(metrics, "recsys_request_seconds_count", route="/v1/recommend") == 5
    assert value(metrics, "recsys_requests_total", route="/v1/users/{user_id}", status="200") == 1
    assert value(metrics, "recsys_requests_total", route="unmatched", status="404") == 1
    assert value(metrics, "recsys_events_total", type="interaction", result="duplicate") == 1
    for stage in ("auth", "history", "queue", "tower", "search", "rules", "encode"):
        assert value(metrics, "recsys_stage_seconds_count", stage=stage), stage
    text = world.ask("GET", "/metrics", "read").text
    assert f'recsys_bundle_info{{digest="{world.served.engine.live.active.digest}"}} 1.0' in text
    assert "\nrecsys_queue_depth 0.0" in text
    for secret in ('"u1"', "i4", "i9", *(secret for secret in world.secrets.values())):
        assert secret not in text


def test_the_depth_of_the_queue_goes_up_and_down(world: World) -> None:
    engine, metrics, depths = world.served.engine, world.served.metrics, list[float | None]()
    with engine.live.changing(), engine._queue._changed:
        waiting = [engine.recommend(RecommendAsk(user="u1")) for _ in range(3)]
        depths.append(value(metrics, "recsys_queue_depth"))
    for one in waiting:
        one.result()
    assert (depths, value(metrics, "recsys_queue_depth")) == ([3], 0)


def test_metrics_need_a_key_unless_an_operator_says_otherwise(run: Path, tmp_path: Path, world: World) -> None:
    assert [world.ask("GET", "/metrics", role).status_code for role in (None, "events", "items", "read", "admin")] == [
        401, 403, 403, 200, 200,
    ]  # fmt: skip
    with world_of(run, tmp_path, watching={"metrics_key": False}) as other:
        assert other.ask("GET", "/metrics", None).status_code == 200
        assert other.ask("GET", "/openapi.json", None).status_code == 401


def test_bundles_that_are_refused_are_counted(world: World) -> None:
    assert world.post("/admin/bundles/none/activate", {}).status_code == 422
    assert value(world.served.metrics, "recsys_bundle_swaps_total", result="refused") == 1
