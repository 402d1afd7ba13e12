"""Any system's lists are judged as a model of ours is, and as RecTools judges them."""

from __future__ import annotations

import json
import logging
import math
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import recsys
from recsys.data.catalog import Catalog
from recsys.data.interactions import Interactions
from recsys.data.split import Split
from recsys.errors import ConfigError, DataError, LeakageError
from recsys.evaluation.protocol import Ranker
from recsys.evaluation.segments import standard_segments

GOLDEN: dict[str, Any] = json.loads((Path(__file__).parent / "rectools_golden.json").read_text())
"""What RecTools says of the same frames; the file names the script that wrote it."""


def test_every_figure_that_both_define_alike_is_that_of_rectools() -> None:
    reco, truth, history = (pl.DataFrame(GOLDEN[name]) for name in ("reco", "truth", "history"))
    catalog = pl.DataFrame({"item_id": GOLDEN["catalog"]})
    report = recsys.evaluate_frame(reco, truth, history=history, catalog=catalog, k=(1, 3, 10))
    assert len(GOLDEN["metrics"]) == 30
    for metric, value in GOLDEN["metrics"].items():
        assert report[metric] == pytest.approx(value, abs=1e-9), metric


def test_truth_and_history_may_be_stores(tmp_path: Path) -> None:
    reco, truth, history = (pl.DataFrame(GOLDEN[name]) for name in ("reco", "truth", "history"))
    expected = recsys.evaluate_frame(reco, truth, history=history, k=3)
    for name, frame in (("truth", truth), ("history", history)):
        Interactions.from_frame(frame).save(tmp_path / name)
    found = recsys.evaluate_frame(reco, tmp_path / "truth", history=str(tmp_path / "history"), k=3)
    assert found.means == expected.means
    assert found.counts == expected.counts


def oracle(lists: dict[int, list[int]], truth: dict[int, list[int]], k: int) -> dict[str, float]:
    """Means over the users of the truth, from the definitions."""
    found = dict.fromkeys(("recall", "hit_rate", "precision", "ndcg", "mrr", "map"), 0.0)
    for user, targets in truth.items():
        hits = [item in targets for item in lists.get(user, [])[:k]]
        places = [place for place, hit in enumerate(hits, 1) if hit]
        found["recall"] += len(places) / len(set(targets))
        found["hit_rate"] += bool(places)
        found["precision"] += len(places) / k
        found["mrr"] += 1 / places[0] if places else 0.0
        found["map"] += sum(n / place for n, place in enumerate(places, 1)) / len(set(targets))
        ideal = sum(1 / math.log2(place + 1) for place in range(1, min(k, len(set(targets))) + 1))
        found["ndcg"] += sum(1 / math.log2(place + 1) for place in places) / ideal
    return {metric: value / len(truth) for metric, value in found.items()}


ITEM = st.integers(0, 9)
LISTS = st.dictionaries(st.integers(0, 6), st.lists(ITEM, min_size=1, max_size=8, unique=True), min_size=1)
TRUTH = st.dictionaries(st.integers(0, 6), st.lists(ITEM, min_size=1, max_size=5), min_size=1)


@settings(max_examples=25)
@given(LISTS, TRUTH, st.integers(1, 9), st.randoms(use_true_random=False))
def test_figures_follow_from_their_definitions(
    lists: dict[int, list[int]], truth: dict[int, list[int]], k: int, random: Any
) -> None:
    rows = [(user, item, -place) for user, one in lists.items() for place, item in enumerate(one)]
    pairs = [(user, item) for user, one in truth.items() for item in one]
    random.shuffle(rows)
    random.shuffle(pairs)
    frame = pl.DataFrame(rows, schema=["u", "i", "s"], orient="row")
    later = pl.DataFrame(pairs, schema=["u", "i"], orient="row")
    if not set(lists) & set(truth):
        with pytest.raises(DataError, match="none of the"):
            recsys.evaluate_frame(frame, later, user="u", item="i", score="s", k=k)
        return
    report = recsys.evaluate_frame(frame, later, user="u", item="i", score="s", k=k)
    for metric, value in oracle(lists, truth, k).items():
        assert report[f"{metric}@{k}"] == pytest.approx(value, abs=1e-12), metric
    assert report.counts["users_without_list"] == len(set(truth) - set(lists))
    assert report.counts["lists_without_truth"] == len(set(lists) - set(truth))
    assert report.counts["repeated_truth"] == sum(len(one) - len(set(one)) for one in truth.values())


def lists_of(model: Ranker, split: Split, k: int) -> pl.DataFrame:
    """What a system writes: one row per user and item, with a score."""
    test = split.test
    ranked = model.recommend_rows(test.histories, k, exclude=test.histories, users=test.user_rows)
    owners = ranked.lists.list_index().astype(np.int32)
    users = test.users.to_ids(test.user_rows[owners])
    return pl.DataFrame({"user_id": users, "item_id": model.items.to_ids(ranked.lists.rows), "rank": places(ranked.lists)})


def places(lists: Any) -> Any:
    return np.arange(len(lists.rows)) - np.repeat(lists.offsets[:-1], lists.lengths)


def test_lists_of_a_model_of_ours_have_its_own_figures_to_the_last_digit(ring_split: Split) -> None:
    model = recsys.EASE().fit(ring_split.train)
    own = recsys.evaluate(model, ring_split.test, (2, 5))
    report = recsys.evaluate_frame(lists_of(model, ring_split, 5), ring_split.test, history=ring_split.train, k=(5, 2))
    assert report.means == own.means
    assert report.intervals == own.intervals
    assert report.seen_filtered is True
    segments = standard_segments(report, ring_split.train)
    assert [one.to_dicts() for one in segments.values()] == [
        one.to_dicts() for one in standard_segments(own, ring_split.train).values()
    ]


def test_systems_are_compared_by_their_evaluations_alone(ring_split: Split) -> None:
    systems: dict[str, Ranker] = {
        "ease": recsys.EASE().fit(ring_split.train),
        "popular": recsys.Popularity().fit(ring_split.train),
    }
    reports = [
        recsys.evaluate_frame(lists_of(one, ring_split, 5), ring_split.test, name=name) for name, one in systems.items()
    ]
    found = recsys.compare(reports)
    assert found.tests.select("better", "worse", "significant").rows() == [("ease", "popular", True)]
    assert "coverage" not in str(found)  # of what, is not known without a history or a catalogue
    with pytest.raises(ConfigError, match="holdout must be a Holdout"):
        recsys.compare([reports[0], systems["popular"]])


LISTS_OF_TWO = pl.DataFrame({"user_id": [1, 1, 9], "item_id": ["a", "b", "c"], "score": [2.0, 2.0, 1.0]})


def test_what_is_left_out_or_strange_is_counted_and_told(caplog: pytest.LogCaptureFixture) -> None:
    truth = pl.DataFrame({"user_id": ["1", "1", "1", "2"], "item_id": ["b", "b", "q", "a"]})
    history = pl.DataFrame({"user_id": [1, 2], "item_id": ["a", "b"]})
    with caplog.at_level(logging.WARNING, "recsys"):
        report = recsys.evaluate_frame(LISTS_OF_TWO, truth, history=history, k=(1, 10))
    assert {name: count for name, count in report.counts.items() if count} == {
        "users_with_fewer_than_k": 2,
        "users_without_list": 1,
        "lists_without_truth": 1,
        "repeated_truth": 1,
        "new_targets": 1,
        "lists_with_equal_scores": 1,
        "seen_recommended": 1,
    }
    assert "1 of 2 recommended items are in their user's history already" in caplog.text
    assert "1 of 2 users of the truth have no list and count as misses" in caplog.text
    assert "1 lists are of users without truth (not judged)" in str(report)
    assert "lists as given" in str(report)
    assert report["recall@10"] == 0.25


def test_new_items_are_judged_and_are_no_part_of_coverage() -> None:
    lists = pl.DataFrame({"user_id": [1, 1], "item_id": ["a", "new"], "rank": [1, 2]})
    truth = pl.DataFrame({"user_id": [1], "item_id": ["new"]})
    report = recsys.evaluate_frame(lists, truth, history=pl.DataFrame({"user_id": [3], "item_id": ["a"]}), k=2)
    assert (report["recall@2"], report["coverage@2"], report.n_items) == (1.0, 1.0, 1)
    assert (report.counts["new_targets"], report.counts["unknown_recommended"]) == (1, 1)


def test_a_catalogue_gives_diversity_and_the_items_of_coverage() -> None:
    catalog = Catalog.from_frame(pl.DataFrame({"item_id": list("abcd"), "kind": ["x", "y", "x", "x"]}), text=["kind"])
    truth = pl.DataFrame({"user_id": [1], "item_id": ["b"]})
    report = recsys.evaluate_frame(LISTS_OF_TWO, truth, catalog=catalog, category="kind", k=2)
    assert (report["category_diversity@2"], report["coverage@2"]) == (1.0, 0.5)
    with pytest.raises(ConfigError, match="a column of the catalogue, and none is given"):
        recsys.evaluate_frame(LISTS_OF_TWO, truth, category="kind")


def test_padding_of_a_short_list_is_refused_unless_an_item_is_called_so() -> None:
    lists = pl.DataFrame({"user_id": [1, 1], "item_id": [5, -1], "score": [2.0, -9.0]})
    truth = pl.DataFrame({"user_id": [1], "item_id": [5]})
    with pytest.raises(DataError, match="the item -1 for the user 1: so implicit and FAISS fill up"):
        recsys.evaluate_frame(lists, truth)
    assert recsys.evaluate_frame(lists, truth, catalog=pl.DataFrame({"item_id": [5, -1]}), k=1)["recall@1"] == 1.0


def test_a_history_that_holds_the_truth_is_refused(ring: Interactions, ring_split: Split) -> None:
    lists = lists_of(recsys.Popularity().fit(ring_split.train), ring_split, 5)
    last = ring.frame().group_by("user_id", maintain_order=True).last()
    with pytest.raises(LeakageError, match="the history holds 40 of 40 events of the truth"):
        recsys.evaluate_frame(lists, last, history=ring)
    with pytest.raises(LeakageError, match="the history holds all 40 pairs"):
        recsys.evaluate_frame(lists, last.drop("timestamp"), history=ring)
    with pytest.raises(LeakageError, match="held-out pairs are in training"):
        recsys.evaluate_frame(lists, ring_split.test, history=ring)
    report = recsys.evaluate_frame(lists, last, history=ring, allow_leakage=True)
    assert report.counts["targets_already_in_history"] == 40


def test_ids_that_nothing_shares_are_refused() -> None:
    truth = pl.DataFrame({"user_id": ["u1"], "item_id": ["a"]})
    with pytest.raises(DataError, match="none of the 1 users of the truth is in the table of lists"):
        recsys.evaluate_frame(LISTS_OF_TWO, truth)
    with pytest.raises(DataError, match="none of the 3 items of the recommendations is in history, catalogue and truth"):
        recsys.evaluate_frame(
            LISTS_OF_TWO, pl.DataFrame({"user_id": [1], "item_id": ["A"]}), catalog=pl.DataFrame({"item_id": ["A"]})
        )
