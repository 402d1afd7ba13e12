"""The gauges of quality against values counted by hand, and the thread that sets them."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import recsys
from recsys.bundle.contents import Bundle
from recsys.index import item_index
from recsys.index.item_index import ItemIndex
from recsys.server.answering import State, answers
from recsys.server.asks import Listed, RecommendAsk
from recsys.server.bundle_model import BundleModel
from recsys.server.histories import Stored
from recsys.server.metrics import Metrics
from recsys.server.popular import Popularity
from recsys.server.quality import Quality, Sample, recall_of
from recsys.server.served_lists import Baseline, ItemShares, Seen, ServedLists


@pytest.fixture(scope="module")
def bundle(run: Path) -> Bundle:
    return recsys.load(run).bundle


def state_of(bundle: Bundle, digest: str = "one") -> State:
    return State(BundleModel(bundle), digest, Popularity(bundle.histories))


@pytest.fixture
def crippled(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> State:
    """A state whose index looks into one of its lists only."""
    monkeypatch.setattr(item_index, "EXACT_BELOW", 0)
    spec = recsys.IndexSpec("ivf", lists=8, nprobe=1)
    index = ItemIndex.build(bundle.vectors, spec)
    return state_of(replace(bundle, corpus=replace(bundle.corpus, index=index)), "crippled")


def rows(*some: int) -> np.ndarray:
    return np.array(some, dtype=np.int32)


def wait_for(holds: Callable[[], bool]) -> None:
    until = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < until
        time.sleep(0.01)


def test_sums_of_the_latest_answers_are_what_a_recount_gives() -> None:
    random = np.random.default_rng(0)
    counts = random.integers(0, 50, 20)
    usual = float((counts**2).sum() / counts.sum())
    shares = ItemShares(counts, usual, np.arange(20) // 2)
    lists, kept = ServedLists(shares, 7), list[Seen]()
    for _ in range(40):
        chosen = random.permutation(25)[: random.integers(0, 6)].astype(np.int32)  # items 20 to 24 came later
        kept.append(Seen(int(random.integers(0, 3)), None, chosen))
        lists.add(kept[-1])
        kept = kept[-7:]
    shown = np.concatenate([one.rows for one in kept])
    assert lists.coverage(25) == pytest.approx(len(set(shown.tolist())) / min(25, len(shown)))
    popularity = np.append(counts, np.zeros(5, dtype=np.int64))[shown].mean()
    assert lists.popularity_lift() == pytest.approx(popularity / usual - 1)
    assert lists.cold_share() == pytest.approx(np.mean([one.history_length == 0 for one in kept]))


def test_people_of_the_training_log_do_not_drift_and_others_do(bundle: Bundle) -> None:
    shares = ItemShares.of(bundle)
    state = state_of(bundle)
    users = bundle.users.ids.to_list()
    found = [one for one in answers(state, [RecommendAsk(user=one) for one in users], Stored()) if isinstance(one, Listed)]
    kept = [Seen(one.history_length, one.scores[0], bundle.items.find_rows(one.item_ids)) for one in found]
    baseline, same, other = Baseline.of(bundle, shares, kept), ServedLists(shares, 1000), ServedLists(shares, 1000)
    for one in kept * 5:
        same.add(one)
        other.add(Seen(1, (one.best or 0) + 5, rows(0)))
    assert max(same.drift(baseline).values()) < 0.02
    assert min(other.drift(baseline).values()) > 0.25


def test_the_probe_tells_an_index_that_misses_items(bundle: Bundle, crippled: State) -> None:
    for state, complete in ((crippled, False), (state_of(bundle), True)):
        asks = [RecommendAsk(user=one, k=10, filter_seen=False) for one in bundle.users.ids.to_list()[:12]]
        listed = [one for one in answers(state, asks, Stored()) if isinstance(one, Listed)]
        probes = [recall_of(Sample(state, *pair)) for pair in zip(asks, [Stored()] * len(asks), listed, strict=True)]
        assert (np.mean(probes) == 1) is np.bool_(complete)
        assert min(probes) >= 0
    ruled = RecommendAsk(user="u1", rules=recsys.Rules.of({"pin": [{"item": "i4", "position": 1}]}))
    assert math.isnan(recall_of(Sample(crippled, ruled, Stored(), listed[0])))


def test_the_thread_sets_every_gauge_and_begins_anew_with_another_bundle(bundle: Bundle, crippled: State) -> None:
    metrics = Metrics()
    quality = Quality(metrics, share=1.0, answers=100, busy=0.999, enough=20, enough_probes=3, every=0.0)

    def value(name: str, **labels: str) -> float:
        found = metrics.registry.get_sample_value(f"recsys_{name}", labels)
        assert found is not None
        return found

    def serve(state: State) -> None:
        asks = [RecommendAsk(user=one) for one in bundle.users.ids.to_list()]
        quality.answered(state, asks, Stored(), answers(state, asks, Stored()))

    serve(crippled)
    wait_for(lambda: value("quality_sampled_total") >= 40)
    names = ("served_coverage_ratio", "served_popularity_lift", "cold_share", "recall_probe")
    wait_for(lambda: not any(math.isnan(value(one)) for one in names))
    assert not math.isnan(value("drift_psi", what="score"))
    assert 0 < value("recall_probe") <= 1
    assert value("cold_share") == 0
    quality.swapped()
    other = state_of(bundle, "two")
    quality.answered(other, [RecommendAsk(user="u1")], Stored(), answers(other, [RecommendAsk(user="u1")], Stored()))
    wait_for(lambda: value("quality_sampled_total") >= 41)
    wait_for(lambda: value("recall_probe") == 1 and math.isnan(value("cold_share")))
    quality.close()
