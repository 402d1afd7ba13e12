"""One more event costs one position, and gives what the whole history gives, however a tower reads an order."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from recsys.bundle.contents import Bundle
from recsys.compression.graphs import StepGraph, UserGraph
from recsys.core.ragged import Float32, Ragged
from recsys.errors import ConfigError, DataError, UnknownIdError
from recsys.models.networks.content import ItemContent
from recsys.models.networks.ensemble import UserEnsemble
from recsys.models.networks.item_tower import ItemTower
from recsys.models.networks.two_tower import TwoTowerNetwork
from recsys.models.networks.user_tower import UserTower
from recsys.models.towers import encode_histories
from recsys.serving.incremental import Kept, Reads, encoded
from recsys.serving.runtime import load

ITEMS, LENGTH = 20, 6


def network(positions: Any, time_bias: Any, members: int, **options: Any) -> TwoTowerNetwork:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        towers = [
            UserTower(8, options.get("blocks", 2), 2, LENGTH, 0.0, positions=positions, time_bias=time_bias, event_types=3,
                      event_heads=True, user_features=(4,), filter_length=options.get("filter_length", 0))
            for _ in range(members)
        ]  # fmt: skip
        items = ItemTower(ITEMS, 8 * members, ItemContent(), torch.ones(ITEMS, dtype=torch.bool), ensemble_size=members)
        net = TwoTowerNetwork(items, towers[0] if members == 1 else UserEnsemble(towers)).eval()
        for weight in net.parameters():
            weight.data.add_(torch.randn_like(weight), alpha=0.1)
    return net


@pytest.mark.parametrize("time_bias", ["none", "history", "request"])
@pytest.mark.parametrize("positions", ["learned", "rotary", "relative", "none"])
def test_it_is_the_whole_tower_s_vector_at_each_event(positions: str, time_bias: str) -> None:
    deep = network(positions, time_bias, members=2, filter_length=3)
    flat = network(positions, time_bias, members=1, blocks=1)
    for net, slides in ((deep, False), (flat, positions != "learned")):
        check(net, slides)


@torch.inference_mode()
def check(net: TwoTowerNetwork, slides: bool) -> None:
    table = net.items()
    step, first = StepGraph(net), UserGraph(net).users
    first = first.towers[0] if isinstance(first, UserEnsemble) else first
    assert step.users.slides == slides
    reads = Reads(LENGTH, step.lead, slides, step.past_shape, step.reads_times, step.reads_request, step.reads_events)
    draw = np.random.default_rng(1)
    rows, events = draw.integers(0, ITEMS, 11).astype(np.int32), draw.integers(0, 3, 11).astype(np.int8)
    times, features = np.sort(draw.integers(0, 10**7, 11)), np.array([[2]], dtype=np.int32)

    def whole(history: Ragged, now: int, target: int | None) -> Float32:
        return encode_histories(net, table, history, features, np.array([now]), target).numpy()[0]

    def run(given: Any) -> list[Any]:
        return [one.numpy() for one in step(*(torch.from_numpy(np.ascontiguousarray(given[n])) for n in step.inputs))]

    kept: Kept | None = None
    for length in (1, 2, 3, 3, 6, 7, 8, 11):
        history = Ragged.from_lengths(np.array([length]), rows[:length], times[:length], events[:length])
        now, target = int(times[length - 1]) + 777, None if length % 2 else 1
        before = 0 if kept is None else kept.length
        found = encoded(reads, table.numpy(), run, whole, history, features[0].astype(np.int64), now, target, kept)
        np.testing.assert_allclose(found.vector, whole(history, now, target), atol=2e-6)
        if length > LENGTH and not slides:
            assert (found.positions, found.kept) == (LENGTH, None)
            assert "more than 6 events" in str(found.why_whole)
        elif kept is not None:
            again = reads.request and length - before < LENGTH  # the last event was asked at another time
            assert found.positions == min(max(1, length - before + again), length, LENGTH)
            assert found.why_whole is None
        kept = found.kept
    other = Ragged.from_lengths(np.array([4]), rows[4:8], times[4:8], events[4:8])
    found = encoded(reads, table.numpy(), run, whole, other, features[0].astype(np.int64), 10**7, None, kept)
    assert found.why_whole is not None
    np.testing.assert_allclose(found.vector, whole(other, 10**7, None), atol=2e-6)


def test_a_session_answers_as_a_request_with_the_whole_history(full_bundle: Bundle, exported: Path) -> None:
    runtime = load(exported)
    assert json.loads((exported / "export.json").read_text())["model"]["reads_request_time"]
    session = runtime.session(history=["i3"], times=[1000], events=["buy"])
    history, times, events = ["i3"], [1000], ["buy"]
    for number, item in enumerate(["i4", "i9", "i9", "i1"]):
        session.add(item, time=2000 + number, event="view")
        history, times, events = [*history, item], [*times, 2000 + number], [*events, "view"]
        asked: dict[str, Any] = {"k": 6, "request_time": 9000, "exclude": ["i7"], "where": "price < 40"}
        ours = session.recommend(**asked)
        theirs = runtime.recommend(histories=[history], times=[times], events=[events], **asked)
        assert ours.drop("score").equals(theirs.drop("score"))
        np.testing.assert_allclose(ours["score"], theirs["score"], atol=1e-5)
        assert session.positions == 2  # the new one, and the one before it, which was asked at another time
    session.recommend(k=1, request_time=9000)
    assert (session.positions, session.length) == (1, 5)


def test_a_session_of_a_known_user_begins_with_the_stored_history(exported: Path) -> None:
    runtime = load(exported)
    session = runtime.session("u3")
    assert session.length == 12
    assert session.recommend(request_time=10**7).equals(runtime.recommend("u3", request_time=10**7))
    assert "more than 8 events" in str(session.why_whole)


def test_what_a_session_cannot_take_is_told(exported: Path) -> None:
    session = load(exported).session()
    assert session.recommend().height == 0
    with pytest.raises(UnknownIdError, match="unknown item 'nothing'"):
        session.add("nothing", event="buy")
    with pytest.raises(ConfigError, match="give event="):
        session.add("i1")
    with pytest.raises(DataError, match="not among the known event types"):
        session.add("i1", event="steal")
    session.add("i1", event="buy", time=1000)
    with pytest.raises(DataError, match="older than the last one, at 1000"):
        session.add("i1", event="buy", time=999)
    with pytest.raises(UnknownIdError, match="unknown user 'nobody'"):
        load(exported).session("nobody")
