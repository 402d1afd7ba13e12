"""Spans of a request and of its batch, as a provider of traces gets them; nobody is named in them."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.trace import Link, NonRecordingSpan, Span, SpanContext, TraceFlags

from tests.server.http_world import world_of


@dataclass
class Kept(NonRecordingSpan):
    """A span that keeps what it was told."""

    name: str
    trace_id: int
    attributes: dict[str, Any]
    links: Sequence[Link]
    status: Any = None
    context: SpanContext = field(init=False)

    def __post_init__(self) -> None:
        self.context = SpanContext(self.trace_id, random.getrandbits(64), is_remote=False, trace_flags=TraceFlags(1))

    def get_span_context(self) -> SpanContext:
        return self.context

    def is_recording(self) -> bool:
        return True

    def update_name(self, name: str) -> None:
        self.name = name

    def set_attribute(self, key: str, value: Any) -> None:
        self.attributes[key] = value

    def set_status(self, status: Any, description: str | None = None) -> None:
        self.status = status


class Provider(trace.TracerProvider, trace.Tracer):
    """Keeps spans."""

    def __init__(self) -> None:
        self.spans: list[Kept] = []

    def get_tracer(self, *args: Any, **options: Any) -> trace.Tracer:
        return self

    def start_span(self, name: str, context: Any = None, kind: Any = None, attributes: Any = None, **options: Any) -> Span:
        self.spans.append(Kept(name, 1, dict(attributes or {}), ()))
        return self.spans[-1]

    @contextmanager
    def start_as_current_span(  # type: ignore[override]
        self, name: str, context: Any = None, kind: Any = None, attributes: Any = None, links: Any = (), **options: Any
    ) -> Iterator[Span]:
        around = trace.get_current_span(context).get_span_context()
        span = Kept(name, around.trace_id or random.getrandbits(128), dict(attributes or {}), links)
        self.spans.append(span)
        with trace.use_span(span, record_exception=False):
            yield span


def test_a_request_and_its_batch_are_spans_that_name_nobody(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    provider = Provider()
    monkeypatch.setattr(trace, "get_tracer_provider", lambda: provider)
    caller = f"{random.getrandbits(128):032x}"
    with world_of(run, tmp_path) as world:
        headers = {"traceparent": f"00-{caller}-00f067aa0ba902b7-01"}
        assert world.post("/v1/recommend", {"user": "u1"}, headers=headers).status_code == 200
        assert world.ask("GET", "/v1/users/u1?of=u1", headers=headers).status_code == 200
    spans = {one.name: one for one in provider.spans}
    asked, batch = spans["POST /v1/recommend"], spans["batch"]
    assert f"{asked.trace_id:032x}" == f"{spans['encode'].trace_id:032x}" == caller
    assert asked.attributes == {
        "http.request.method": "POST", "http.route": "/v1/recommend", "http.response.status_code": 200,
    }  # fmt: skip
    assert [link.context for link in batch.links] == [asked.context]
    assert batch.trace_id == spans["tower"].trace_id != asked.trace_id
    assert "GET /v1/users/{user_id}" in spans
    assert "u1" not in repr([(one.name, one.attributes) for one in provider.spans])
