"""Names, labels and values of what is counted."""

from __future__ import annotations

from recsys.server.events import Event, Receipt
from recsys.server.metrics import Metrics, reason_of


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(name, labels)


def test_requests_of_every_status_are_timed() -> None:
    metrics = Metrics()
    for status, kind in ((200, None), (500, "internal"), (429, "overloaded"), (429, "rate"), (503, "deadline")):
        metrics.request("POST", "/v1/recommend", status, 0.02, kind)
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
