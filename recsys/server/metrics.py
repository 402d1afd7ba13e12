"""What the server counts and times, for Prometheus; no label names a user, an item or a key."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, Literal, TypeAlias, get_args

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.metrics_core import Metric
from prometheus_client.process_collector import ProcessCollector

from recsys.server.events import Event, Receipt

CONTENT_TYPE: Final = CONTENT_TYPE_PLAIN_0_0_4
Stage: TypeAlias = Literal["auth", "history", "queue", "tower", "search", "rules", "encode"]
Drift: TypeAlias = Literal["history_length", "score", "item_share"]
Swap: TypeAlias = Literal["activated", "rolled_back", "refused"]
Reason: TypeAlias = Literal["overload", "rate", "size", "auth", "deadline"]
DRIFTS: Final[tuple[Drift, ...]] = get_args(Drift)
_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_SHORT: Final = (0.0001, 0.00025, 0.0005, *_SECONDS[:-1])
_REQUESTS: Final = (1, 2, 4, 8, 16, 32, 64, 128, 256)
_POSITIONS: Final = (16, 64, 256, 1024, 2048, 4096, 8192, 16384, 65536)
_KINDS: Final = ("interaction", "impression")
_RESULTS: Final = ("accepted", "duplicate", "refused")
_REASON_OF_STATUS: Final[dict[int, Reason]] = {
    401: "auth",
    403: "auth",
    413: "size",
    414: "size",
    429: "overload",
    431: "size",
}
_REASON_OF_KIND: Final[dict[str, Reason]] = {"rate": "rate", "deadline": "deadline", "crowded": "overload"}


def reason_of(status: int, kind: str | None) -> Reason | None:
    """Why a request was turned away; None for one that was not.

    Parameters
    ----------
    status : int
    kind : str or None
        Of the problem that was answered.

    Examples
    --------
    >>> reason_of(429, "rate"), reason_of(413, "too-large"), reason_of(404, "unknown-id")
    ('rate', 'size', None)
    """
    return _REASON_OF_KIND.get(kind or "", _REASON_OF_STATUS.get(status))


class _Registry(CollectorRegistry):
    """Without the times at which series were made, which would double their number."""

    def collect(self) -> Iterable[Metric]:
        for metric in super().collect():
            metric.samples = [one for one in metric.samples if not one.name.endswith("_created")]
            yield metric


class Metrics:
    """All measurements of one server.

    Gauges of quality are NaN until there is enough to judge by.

    Attributes
    ----------
    registry : CollectorRegistry
        Of this server alone.

    Examples
    --------
    >>> metrics = Metrics()
    >>> metrics.request("/v1/recommend", 200, 0.004, None)
    >>> 'recsys_requests_total{route="/v1/recommend",status="200"} 1.0' in metrics.text().decode()
    True
    """

    def __init__(self) -> None:
        own = self.registry = _Registry(auto_describe=False)
        ProcessCollector(registry=own)
        self._requests = Counter("recsys_requests", "Requests answered.", ("route", "status"), registry=own)
        self._known = dict[tuple[str, int], tuple[Counter, Histogram]]()  # a child is looked up slowly
        self._seconds = Histogram(
            "recsys_request_seconds",
            "Seconds to answer a request of any status.",
            ("route",),
            registry=own,
            buckets=_SECONDS,
        )
        self._stages = Histogram(
            "recsys_stage_seconds",
            "Seconds of a stage: of one request (auth, queue, encode), or of one batch; rules include their search.",
            ("stage",),
            registry=own,
            buckets=_SHORT,
        )
        self._rejected = Counter("recsys_rejected", "Requests turned away, by reason.", ("reason",), registry=own)
        self._depth = Gauge("recsys_queue_depth", "Requests that wait for the model.", registry=own)
        self._batches = Histogram("recsys_batch_size", "Requests of a batch.", registry=own, buckets=_REQUESTS)
        self._positions = Histogram(
            "recsys_batch_positions", "Events of histories read in a batch, at most.", registry=own, buckets=_POSITIONS
        )
        self._dropped = Counter(
            "recsys_queue_dropped", "Requests that the queue did not answer, by reason.", ("reason",), registry=own
        )
        self._events = Counter("recsys_events", "Events received.", ("type", "result"), registry=own)
        self._commits = Histogram(
            "recsys_event_commit_seconds", "Seconds of a commit of events.", registry=own, buckets=_SECONDS
        )
        self._committed = Counter("recsys_events_committed", "Events written to disk.", registry=own)
        self._events_waiting = Gauge("recsys_events_waiting", "Events that wait for a commit.", registry=own)
        self._stale = Gauge("recsys_store_stale", "1 while the database cannot be reached.", registry=own)
        self._ready = Gauge("recsys_ready", "1 from the warm-up until the server is stopped.", registry=own)
        self._bundle = Gauge("recsys_bundle_info", "1 for the bundle that answers.", ("digest",), registry=own)
        self._items = Gauge("recsys_items", "Items that can be recommended.", registry=own)
        self._swaps = Counter("recsys_bundle_swaps", "Bundles that took over, or were refused.", ("result",), registry=own)
        self._shadow = Gauge("recsys_shadow_overlap", "Share of items that a shadow bundle answers too.", registry=own)
        self._recall = Gauge(
            "recsys_recall_probe",
            "Share of the exact answers to live requests that the index finds; 1: exact.",
            registry=own,
        )
        self._probes = Counter("recsys_recall_probes", "Live requests answered exactly beside.", registry=own)
        self._sampled = Counter("recsys_quality_sampled", "Answers that were looked at.", registry=own)
        self._skipped = Counter("recsys_quality_skipped", "Answers that there was no time to look at.", registry=own)
        self._coverage = Gauge(
            "recsys_served_coverage_ratio", "Distinct items served, of the most that could have been.", registry=own
        )
        self._lift = Gauge(
            "recsys_served_popularity_lift",
            "Popularity of what is served, against what users chose: 0 is equal.",
            registry=own,
        )
        self._cold = Gauge("recsys_cold_share", "Share of answers to people of whom nothing is known.", registry=own)
        self._drift = Gauge("recsys_drift_psi", "Population stability index against training.", ("what",), registry=own)
        for unknown in (self._shadow, self._recall, self._coverage, self._lift, self._cold):
            unknown.set(math.nan)
        self._begin_series()

    def _begin_series(self) -> None:
        """Make every series whose labels are known: a rate needs its zero."""
        self._stage = {one: self._stages.labels(one) for one in get_args(Stage)}
        for reason in get_args(Reason):
            self._rejected.labels(reason)
        for reason in ("overload", "deadline", "cancelled", "closed"):
            self._dropped.labels(reason)
        for kind in _KINDS:
            for result in _RESULTS:
                self._events.labels(kind, result)
        for swap in get_args(Swap):
            self._swaps.labels(swap)
        for what in DRIFTS:
            self._drift.labels(what).set(math.nan)

    def request(self, route: str, status: int, seconds: float, kind: str | None) -> None:
        """Count a request of any status.

        Parameters
        ----------
        route : str
            The route's own path, never the request's.
        status : int
        seconds : float
        kind : str or None
            Of the problem that was answered.
        """
        known = self._known.get((route, status))
        if known is None:
            known = self._requests.labels(route, str(status)), self._seconds.labels(route)
            self._known[route, status] = known
        known[0].inc()
        known[1].observe(seconds)
        reason = reason_of(status, kind)
        if reason is not None:
            self._rejected.labels(reason).inc()

    def stage(self, name: Stage, seconds: float) -> None:
        """Time a stage."""
        self._stage[name].observe(seconds)

    def queued(self, waiting: int) -> None:
        """Say how many requests wait; called when one comes and when one goes."""
        self._depth.set(waiting)

    def batch(self, requests: int, positions: int, waited: Sequence[float], seconds: float) -> None:
        """Count a batch, and how long its jobs have waited."""
        self._batches.observe(requests)
        self._positions.observe(positions)
        for one in waited:
            self._stage["queue"].observe(one)

    def dropped(self, reason: str, requests: int) -> None:
        """Count requests that the queue did not answer."""
        self._dropped.labels(reason).inc(requests)

    def events(self, events: Sequence[Event], receipts: Sequence[Receipt]) -> None:
        """Count events by kind, and by what became of them."""
        for event, receipt in zip(events, receipts, strict=True):
            self._events.labels(event.kind, receipt.result).inc()

    def committed(self, events: int, seconds: float) -> None:
        """Time a commit."""
        self._committed.inc(events)
        self._commits.observe(seconds)

    def now(self, *, ready: bool, stale: bool, events_waiting: int, digest: str, items: int) -> None:
        """Say how things are at this moment."""
        self._ready.set(ready)
        self._stale.set(stale)
        self._events_waiting.set(events_waiting)
        self._items.set(items)
        self._bundle.clear()
        self._bundle.labels(digest).set(1)

    def swapped(self, result: Swap) -> None:
        """Count a bundle that took over, or was refused."""
        self._swaps.labels(result).inc()

    def shadow(self, overlap: float) -> None:
        """Say how much a shadow's answers agree."""
        self._shadow.set(overlap)

    def probed(self) -> None:
        """Count a probe of the index."""
        self._probes.inc()

    def recall(self, share: float) -> None:
        """Say what the latest probes found, 1 for an exact index; NaN: too few."""
        self._recall.set(share)

    def sampled(self) -> None:
        """Count an answer that was looked at."""
        self._sampled.inc()

    def skipped(self) -> None:
        """Count an answer that there was no time to look at."""
        self._skipped.inc()

    def served(self, coverage: float, lift: float, cold: float) -> None:
        """Say what the latest answers are like; NaN: unknown."""
        self._coverage.set(coverage)
        self._lift.set(lift)
        self._cold.set(cold)

    def drift(self, psi: Mapping[Drift, float]) -> None:
        """Say how far things have moved from training; NaN: unknown."""
        for what, value in psi.items():
            self._drift.labels(what).set(value)

    def text(self) -> bytes:
        """Everything, in the text format of Prometheus."""
        return generate_latest(self.registry)


Timed: TypeAlias = Callable[[Stage, float], None]
"""Told of a stage and its seconds."""
