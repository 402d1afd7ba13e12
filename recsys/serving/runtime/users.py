"""The user tower of an export: histories in, vectors out, whole or one event at a time."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from recsys.core.opened import Source
from recsys.core.ragged import Float32, Int32, Int64, Ragged
from recsys.serving.incremental import Reads
from recsys.serving.runtime.graphs import Graph

GRAPH, STEP = "user_tower.onnx", "user_step.onnx"
_BLOCK_TOKENS = 16_384


@dataclass(frozen=True, eq=False)
class Users:
    """The user tower.

    Attributes
    ----------
    source : Source
    facts : dict
        The model's, of ``export.json``.
    table : float32 (n_items, D)
        Item vectors as the tower reads them.
    features : int32 (n_users, F) or None
    opset, threads : int
    """

    source: Source
    facts: dict[str, Any]
    table: Float32
    features: Int32 | None
    opset: int
    threads: int

    @cached_property
    def graph(self) -> Graph:
        """The whole tower."""
        return Graph(self.source, GRAPH, self.opset, self.threads)

    @cached_property
    def step(self) -> Graph:
        """The tower for new events behind known ones."""
        return Graph(self.source, STEP, self.opset, self.threads)

    @cached_property
    def reads(self) -> Reads | None:
        """What the tower reads, for :func:`recsys.serving.incremental.encoded`; None: there is no tower."""
        facts = self.facts
        if facts["fast"]:
            return None
        return Reads(
            facts["max_length"],
            facts["lead"],
            facts["slides"],
            tuple(facts["past"]),
            facts["reads_times"],
            facts["reads_request_time"],
            facts["reads_events"],
        )

    def codes(self, users: Int32) -> Int64:
        """int64 (n, F): features of user rows; 0, unknown, for −1."""
        if self.features is None:
            return np.zeros((len(users), self.facts["n_features"]), dtype=np.int64)
        return np.where(users[:, None] >= 0, self.features[users], 0).astype(np.int64)

    def vectors(
        self, histories: Ragged, users: Int32, request_times: Int64 | None = None, target_event: int | None = None
    ) -> Float32:
        """float32 (n, D): one vector per history; as :func:`recsys.models.towers.encode_histories`."""
        out = np.empty((len(histories), self.table.shape[1]), dtype=np.float32)
        if self.facts["fast"]:
            out[:] = self.facts["fast"]
            return out
        recent = histories.tail(self.facts["max_length"])
        if request_times is None and recent.times is not None:
            request_times = recent.times[recent.offsets[1:] - 1]
        lengths = recent.lengths
        order, begin = np.argsort(-lengths, kind="stable"), 0
        while begin < len(order):
            width = int(lengths[order[begin]])
            chosen = order[begin : begin + max(1, _BLOCK_TOKENS // width)]
            some, size = recent.take(chosen), (len(chosen), width)
            inside = np.arange(width) < some.lengths[:, None]
            given: dict[str, Any] = {"table": self.table, "lengths": some.lengths, "features": self.codes(users[chosen])}
            for name, values in (("rows", some.rows), ("times", some.times), ("events", some.events)):
                if values is not None:
                    given[name] = np.zeros(size, dtype=np.int64)
                    given[name][inside] = values
            if request_times is not None:
                given["request_time"] = request_times[chosen]
            given["target_event"] = np.full(len(chosen), -1 if target_event is None else target_event, dtype=np.int64)
            out[chosen] = self.graph(given)[0]
            begin += len(chosen)
        return out
