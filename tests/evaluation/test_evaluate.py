"""evaluate(): a ranker and a holdout in, numbers out that one can work out by hand."""

from __future__ import annotations

import json
import math
import pickle
from collections.abc import Iterator

import numpy as np
import polars as pl
import pytest

from recsys.baselines import Popularity
from recsys.core.id_map import IdMap
from recsys.core.ragged import Ragged
from recsys.core.ranking import Ranked
from recsys.data.interactions import Interactions
from recsys.data.split import Holdout, leave_last_out
from recsys.errors import ConfigError
from recsys.evaluation.evaluate import Asked, Evaluation, evaluate, evaluated
from recsys.evaluation.protocol import Ranker, Traits
from tests.evaluation.fixed_lists import LETTERS, ORDERS, FixedLists, make_holdout


def test_the_hand_made_ranker_is_all_that_evaluate_asks_for(model: FixedLists) -> None:
    assert isinstance(model, Ranker)


def test_every_metric_is_what_one_works_out_by_hand(model: FixedLists, holdout: Holdout) -> None:
    # Seen items filtered: ann is shown b C d e f, bob D c b A, cat a c d e F; targets in capitals.
    report = evaluate(model, holdout, k=(1, 2, 4))
    at_2, at_4 = 1 / math.log2(3), 1 / math.log2(5)
    by_hand = {
        "recall@1": [0, 1 / 2, 0],
        "recall@2": [1, 1 / 2, 0],
        "recall@4": [1, 1, 0],
        "hit_rate@1": [0, 1, 0],
        "hit_rate@2": [1, 1, 0],
        "hit_rate@4": [1, 1, 0],
        "precision@1": [0, 1, 0],
        "precision@2": [1 / 2, 1 / 2, 0],
        "precision@4": [1 / 4, 2 / 4, 0],
        "ndcg@1": [0, 1, 0],
        "ndcg@2": [at_2, 1 / (1 + at_2), 0],
        "ndcg@4": [at_2, (1 + at_4) / (1 + at_2), 0],
        "mrr@1": [0, 1, 0],
        "mrr@2": [1 / 2, 1, 0],
        "mrr@4": [1 / 2, 1, 0],
        "map@1": [0, 1 / 2, 0],
        "map@2": [1 / 2, 1 / 2, 0],
        "map@4": [1 / 2, (1 + 2 / 4) / 2, 0],
    }
    assert set(report.per_user) == set(by_hand)
    for name, expected in by_hand.items():
        assert report.per_user[name].tolist() == pytest.approx(expected), name
        assert report[name] == pytest.approx(sum(expected) / 3), name


def test_lists_that_others_answer_give_the_same_figures(model: FixedLists, holdout: Holdout) -> None:
    asked = list[Asked]()

    def answer(questions: Iterator[Asked]) -> Iterator[Ragged]:
        for one in questions:
            asked.append(pickle.loads(pickle.dumps(one)))
            yield asked[-1].answered(model)

    here, there = evaluate(model, holdout, k=(1, 4), block=2), evaluated(model, holdout, k=(1, 4), block=2, answer=answer)
    assert [len(one.histories) for one in asked] == [2, 1]
    assert {name: one.tolist() for name, one in here.per_user.items()} == {
        name: one.tolist() for name, one in there.per_user.items()
    }
    assert (here.overall, here.counts) == (there.overall, there.counts)


def test_coverage_is_the_share_of_the_catalogue_that_anybody_is_shown(model: FixedLists, holdout: Holdout) -> None:
    report = evaluate(model, holdout, k=(1, 2, 4))
    found = {name: value for name, value in report.overall.items() if name.startswith("coverage")}
    assert found == {"coverage@1": 3 / 6, "coverage@2": 4 / 6, "coverage@4": 5 / 6}  # b d a; + c; + e
    assert report["coverage@2"] == 4 / 6


def test_without_the_seen_filter_seen_items_take_places(model: FixedLists, holdout: Holdout) -> None:
    report = evaluate(model, holdout, k=(2, 4), filter_seen=False)  # ann a b C d, bob f e D c, cat a b c d
    assert report.per_user["recall@2"].tolist() == [0, 0, 0]
    assert report.per_user["recall@4"].tolist() == [1, 1 / 2, 0]
    assert report.per_user["mrr@4"].tolist() == pytest.approx([1 / 3, 1 / 3, 0])
    assert (report.seen_filtered, evaluate(model, holdout).seen_filtered) == (False, True)


def many_users(n: int) -> tuple[FixedLists, Holdout]:
    """A ranker and a holdout of n users over 60 items, at random."""
    rng = np.random.default_rng(5)
    items = [f"i{row}" for row in range(60)]
    orders = {f"u{row}": [items[i] for i in rng.permutation(60)] for row in range(n)}
    model = FixedLists(items, orders)
    drawn = [rng.permutation(60) for _ in range(n)]
    ends = [(rng.integers(0, 20), rng.integers(21, 40)) for _ in range(n)]
    histories = [one[:start] for one, (start, _) in zip(drawn, ends, strict=True)]
    targets = [one[start:stop] for one, (start, stop) in zip(drawn, ends, strict=True)]
    held = Holdout(
        model.users, model.items, np.arange(n, dtype=np.int32), Ragged.from_lists(histories),
        Ragged.from_lists(targets), "at random",
    )  # fmt: skip
    return model, held


@pytest.mark.parametrize("block", [1, 2, 7, 149, 150])
def test_the_block_size_changes_no_number_not_even_in_the_last_bit(block: int) -> None:
    model, held = many_users(150)
    whole, blocked = evaluate(model, held, k=(5, 20, 50)), evaluate(model, held, k=(5, 20, 50), block=block)
    assert blocked.to_json() == whole.to_json()
    for name, values in whole.per_user.items():
        assert blocked.per_user[name].tolist() == values.tolist(), name


@pytest.mark.parametrize("block", [0, -1])
def test_a_block_of_no_users_is_refused(model: FixedLists, holdout: Holdout, block: int) -> None:
    with pytest.raises(ConfigError, match=f"block must be at least 1, not {block}"):
        evaluate(model, holdout, block=block)


def test_one_k_may_be_given_alone(model: FixedLists, holdout: Holdout) -> None:
    report = evaluate(model, holdout, k=2)
    assert report.k == (2,)
    assert report["recall@2"] == evaluate(model, holdout, k=[2])["recall@2"] == pytest.approx(1 / 2)


def test_ks_are_sorted_and_named_once(model: FixedLists, holdout: Holdout) -> None:
    report = evaluate(model, holdout, k=[4, 1, 4, 2, 1])
    assert report.k == (1, 2, 4)
    assert report.to_dict() == evaluate(model, holdout, k=(1, 2, 4)).to_dict()
    assert report.frame().columns == ["metric", "@1", "@2", "@4"]


def test_each_k_reads_the_same_as_when_asked_alone(model: FixedLists, holdout: Holdout) -> None:
    together = evaluate(model, holdout, k=(1, 2, 4)).means
    alone = {name: value for k in (1, 2, 4) for name, value in evaluate(model, holdout, k=k).means.items()}
    assert together == alone


@pytest.mark.parametrize("k", [0, -3, (10, 0)])
def test_a_k_below_1_is_refused(model: FixedLists, holdout: Holdout, k: int | tuple[int, ...]) -> None:
    with pytest.raises(ConfigError, match="k must be at least 1, not"):
        evaluate(model, holdout, k=k)


def test_no_k_at_all_is_refused(model: FixedLists, holdout: Holdout) -> None:
    with pytest.raises(ConfigError, match="at least one k"):
        evaluate(model, holdout, k=())


def test_a_k_above_the_catalogue_ranks_all_there_is_and_still_divides_precision_by_k(
    model: FixedLists, holdout: Holdout
) -> None:
    report = evaluate(model, holdout, k=50)
    assert model.asked == [6]
    assert report.per_user["recall@50"].tolist() == [1, 1, 1]
    assert report.per_user["precision@50"].tolist() == [1 / 50, 2 / 50, 1 / 50]
    assert report["coverage@50"] == 1.0


def test_a_list_that_ends_before_k_counts_as_what_it_holds(model: FixedLists) -> None:
    report = evaluate(model, make_holdout(LETTERS, [("ann", "abcde", "f"), ("bob", "abcdef", "a")]), k=3)
    assert report.per_user["recall@3"].tolist() == [1, 0]  # ann is shown f alone; bob, who has seen it all, nothing
    assert report.per_user["precision@3"].tolist() == [1 / 3, 0]


def tied_report(block: int = 2048) -> Evaluation:
    """Four users, each of whom is judged by the one of four equally popular items that the others touched."""
    pairs = list(zip("pqrs", "abcd", strict=True))
    events = [(user, item) for user in "pqrs" for item in "abcd" if (user, item) not in pairs]
    log = Interactions.from_frame(pl.DataFrame(events, schema=["user_id", "item_id"], orient="row"))
    tied = Popularity().fit(log.with_items(pl.Series(["e"])))
    return evaluate(tied, make_holdout(list("abcde"), [(user, "e", item) for user, item in pairs]), k=3, block=block)


def test_equal_scores_rank_in_row_order() -> None:
    report = tied_report()
    rows = {"b": 0, "c": 1, "d": 2, "a": 3}  # order of first appearance: the first user has b, c, d
    expected = [1 / (rows[item] + 1) if rows[item] < 3 else 0.0 for item in "abcd"]
    assert report.per_user["mrr@3"].tolist() == pytest.approx(expected)
    assert report["coverage@3"] == 3 / 5


def test_ties_give_the_same_numbers_in_every_block_size() -> None:
    assert {tied_report(block).to_json() for block in (1, 3, 4)} == {tied_report().to_json()}


def test_json_carries_the_counts_the_definition_and_every_mean(model: FixedLists, holdout: Holdout) -> None:
    report = evaluate(model, holdout, k=(1, 4))
    found = json.loads(report.to_json())
    assert {key: found[key] for key in found if key not in ("metrics", "definition", "intervals")} == {
        "model": "fixed lists",
        "protocol": "by hand",
        "users": 3,
        "targets": 4,
        "items": 6,
        "seen_filtered": True,
        "counts": report.counts,
    }
    assert found["counts"]["unknown_targets"] == found["counts"]["unknown_history"] == 0
    assert found["intervals"] == {name: list(ends) for name, ends in report.intervals.items()}
    assert "recall = hits / relevant (not min(k, relevant))" in found["definition"]
    assert found["metrics"] == report.means
    assert set(found["metrics"]) == {*report.per_user, "coverage@1", "coverage@4", "gini@1", "gini@4"}


def test_the_text_carries_the_counts_the_definition_and_every_mean(model: FixedLists, holdout: Holdout) -> None:
    report = evaluate(model, holdout, k=(1, 4))
    head, ks, *body, definition = str(report).splitlines()
    assert head == "fixed lists · by hand · 3 users · 6 items · seen items filtered"
    assert ks.split() == ["@1", "@4"]
    assert {line.split()[0]: [word for word in line.split()[1:] if "±" not in word] for line in body} == {
        name: [f"{report[f'{name}@1']:.4f}", f"{report[f'{name}@4']:.4f}"]
        for name in ("recall", "hit_rate", "precision", "ndcg", "mrr", "map", "coverage", "gini")
    }
    low, high = report.intervals["recall@4"]
    assert f"±{(high - low) / 2:.4f}" in body[0]
    assert "recall = hits / relevant (not min(k, relevant))" in definition
    assert "seen items not filtered" in str(evaluate(model, holdout, filter_seen=False))


def test_ranking_cold_candidates_alone_counts_only_these() -> None:
    frame = pl.DataFrame({"user_id": list("aaabbb"), "item_id": list("xyzyxw")})
    split = leave_last_out(Interactions.from_frame(frame), validation=False)
    among = split.test.items.to_rows(["z", "w"])
    report = evaluate(Popularity().fit(split.train), split.test, k=(1, 2), eligible=among)
    assert report.n_items == 2
    assert report["recall@2"] == 1.0
    assert report.exposure[2].sum() == 4


def test_a_target_that_the_history_holds_is_reported() -> None:
    repeated = make_holdout(LETTERS, [("ann", "ac", "c"), ("bob", "f", "d")])
    report = evaluate(FixedLists(LETTERS, ORDERS), repeated, k=3)
    assert report.counts["targets_already_in_history"] == 1
    assert "1 targets are in the history already" in str(report)


def test_peak_memory_does_not_grow_with_users_times_items() -> None:
    import tracemalloc

    class Wide:
        """Ranks 20,000 items for 20,000 users by row: only lists are ever held."""

        name, traits = "wide", Traits()
        users = IdMap(pl.Series(range(20_000)), "user")
        items = IdMap(pl.Series(range(20_000)), "item")

        def recommend_rows(self, histories: Ragged, k: int, **_: object) -> Ranked:
            rows = np.tile(np.arange(k, dtype=np.int32), len(histories))
            lengths = np.full(len(histories), k, dtype=np.int64)
            return Ranked(Ragged.from_lengths(lengths, rows), np.zeros(len(rows), dtype=np.float32))

    model = Wide()
    one = Ragged.from_lengths(np.ones(20_000, dtype=np.int64), np.arange(20_000, dtype=np.int32))
    other = Ragged(one.offsets, (one.rows + 1) % 20_000)
    holdout = Holdout(model.users, model.items, one.rows, one, other, "wide")
    tracemalloc.start()
    evaluate(model, holdout, (10, 50))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 60 * 2**20  # a dense mask of users times items would take 400 MB
