"""A bundle in the shadow is compared with the live one, and never seen; the transition memory follows clicks."""

from __future__ import annotations

import math
import time
from pathlib import Path

import numpy as np
import pytest

from recsys.core.ragged import Ragged
from recsys.errors import BundleError, ConfigError
from recsys.server.asks import Listed, RecommendAsk
from recsys.server.engine import Engine
from recsys.server.events import Event
from recsys.server.histories import Stored
from recsys.server.live import open_bundle
from recsys.server.shadow import Shadow, compared
from recsys.transitions.memory import TransitionMemory


def click(user: str, item: str, at: int) -> Event:
    return Event(f"{user} {item} {at}", user, item, at)


def memory_of(engine: Engine) -> TransitionMemory:
    memory = engine.live.active.model.memory
    assert memory is not None
    return memory


def test_a_shadow_of_the_same_bundle_agrees_and_is_not_seen(engine: Engine, run: Path) -> None:
    with pytest.raises(BundleError, match="load it first"):
        engine.start_shadow("0123", 1.0)
    version = engine.load_bundle(str(run))
    with pytest.raises(ConfigError, match="share"):
        engine.start_shadow(version.digest, 0.0)
    assert engine.shadow() is None
    assert engine.start_shadow(version.digest, 1.0).compared == 0
    asks = [RecommendAsk(user=f"u{n}", k=5) for n in range(6)]
    answers = engine.together(asks).result()
    assert engine._shadow is not None
    assert engine._shadow.settle(5)
    report = engine.stop_shadow()
    assert report is not None
    assert (report.compared, report.failed, report.overlap) == (6, 0, 1.0)
    assert report.rank_correlation == pytest.approx(1.0)
    assert report.score_drift == pytest.approx(0.0, abs=1e-5)
    assert report.seconds > 0 < report.live_seconds
    assert all(isinstance(one, Listed) for one in answers)
    assert engine.shadow() is None
    engine.start_shadow(version.digest, 0.5)
    engine.activate(version.digest)
    assert engine.shadow() is None


def test_a_slow_or_failing_shadow_holds_nobody_up(run: Path) -> None:
    def fail(*_: object) -> Listed:
        time.sleep(0.01)
        raise RuntimeError("no luck")

    shadow = Shadow(open_bundle(run), 1.0, fail)
    start = time.perf_counter()
    for _ in range(200):
        shadow.offer(RecommendAsk(user="u1"), Stored(), Listed([], [], "model", ""), 0.0)
    assert time.perf_counter() - start < 0.5
    assert shadow.settle(10)
    report = shadow.report()
    shadow.close()
    assert report.failed + report.passed_over == 200
    assert report.passed_over > 100
    assert math.isnan(report.overlap)


def test_lists_are_compared_by_what_both_have() -> None:
    one = Listed(["a", "b", "c", "d"], [4.0, 3.0, 2.0, None], "model", "")
    assert compared(one, Listed(["d", "x"], [1.0, 0.0], "model", "")) == {"overlap": 0.25}
    assert compared(one, Listed([], [], "model", "")) == {"overlap": 0.0}
    assert compared(Listed([], [], "model", ""), one) == {}


def test_the_transition_memory_is_what_more_events_would_have_taught_it(engine: Engine) -> None:
    """A user of the bundle, a new one, an event that comes late, and one of an unknown item."""
    bundle = engine.live.active.model
    before, user = memory_of(engine), int(bundle.users.to_rows(["u1"])[0])
    assert engine.follow_clicks() == 0
    now = int(time.time())
    engine.store.append([click("u1", "i20", now), click("new", "i3", now), click("u1", "unheard of", now)])
    assert engine.follow_clicks() == 3
    engine.store.append([click("u1", "i5", now + 1), click("new", "i20", now + 2), click("u1", "i9", now - 10**6)])
    assert engine.follow_clicks() == 3
    assert engine.follow_clicks() == 0
    rows = {name: int(bundle.items.to_rows([name])[0]) for name in ("i3", "i5", "i20")}
    whole = [*bundle.histories[user].tolist(), rows["i20"], rows["i5"]]
    taught = before.updated(Ragged.from_lists([whole, [rows["i3"], rows["i20"]]]), np.array([2, 2]))
    assert taught.table.nnz > before.table.nnz
    np.testing.assert_allclose(memory_of(engine).table.toarray(), taught.table.toarray(), rtol=1e-4, atol=1e-6)
    engine.forget("u1")
    engine.forget("new")
    assert engine.follow_clicks() == 0
    np.testing.assert_array_equal(memory_of(engine).table.toarray(), before.table.toarray())
