"""Spans of OpenTelemetry: nothing unless a provider of traces is installed; no span names a user, an item or a key."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Final

from opentelemetry import propagate, trace
from opentelemetry.trace import Link, Span, SpanContext, SpanKind, StatusCode

_NAME: Final = "recsys.server"


def configured() -> bool:
    """Whether spans go anywhere: the program was started by ``opentelemetry-instrument``, or a provider was set."""
    return not isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider | trace.NoOpTracerProvider)


@contextmanager
def request_span(method: str, headers: Mapping[str, str]) -> Iterator[Span]:
    """The span of a request, within the trace that its ``traceparent`` names; see :func:`answered`.

    Parameters
    ----------
    method : str
    headers : mapping
    """
    if not configured():
        yield trace.INVALID_SPAN
        return
    tracer, around = trace.get_tracer(_NAME), propagate.extract(headers)
    attributes = {"http.request.method": method}
    with tracer.start_as_current_span(method, around, SpanKind.SERVER, attributes, record_exception=False) as span:
        yield span


def answered(span: Span, method: str, route: str, status: int) -> None:
    """Name the span of a request by its route: its path would name users."""
    if not span.is_recording():
        return
    span.update_name(f"{method} {route}")
    span.set_attribute("http.route", route)
    span.set_attribute("http.response.status_code", status)
    if status >= 500:
        span.set_status(StatusCode.ERROR)


@contextmanager
def stage_span(name: str) -> Iterator[None]:
    """A stage of a request, or of a batch."""
    if not configured():
        yield
        return
    with trace.get_tracer(_NAME).start_as_current_span(name, record_exception=False):
        yield


@contextmanager
def batch_span(requests: int, of: Iterable[SpanContext | None]) -> Iterator[None]:
    """A batch of the model, with links to the requests that it answers.

    Parameters
    ----------
    requests : int
    of : iterable of SpanContext or None
        From :func:`here`, of each request.
    """
    if not configured():
        yield
        return
    links = [Link(one) for one in of if one is not None]
    attributes = {"recsys.batch.requests": requests}
    tracer = trace.get_tracer(_NAME)
    with tracer.start_as_current_span("batch", None, SpanKind.INTERNAL, attributes, links, record_exception=False):
        yield


def here() -> SpanContext | None:
    """The span of this request; None without traces."""
    found = trace.get_current_span().get_span_context()
    return found if found.is_valid else None
