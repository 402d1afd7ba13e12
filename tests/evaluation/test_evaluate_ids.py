"""evaluate() where model and holdout know different users, items and event types: nothing is mistaken, all is counted."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from recsys.baselines import Popularity
from recsys.core.id_map import IdMap
from recsys.core.ragged import Ragged
from recsys.core.ranking import Ranked
from recsys.data.interactions import Interactions
from recsys.data.split import Holdout, leave_last_out
from recsys.errors import DataError
from recsys.evaluation.evaluate import evaluate
from recsys.evaluation.protocol import Traits
from tests.evaluation.fixed_lists import JUDGED, LETTERS, FixedLists, make_holdout


def test_ids_are_matched_by_name_where_the_rows_differ(model: FixedLists, holdout: Holdout) -> None:
    shuffled = make_holdout(list("fbdace"), [JUDGED[2], JUDGED[0], JUDGED[1]])
    moved, plain = evaluate(model, shuffled, k=(1, 2, 4)), evaluate(model, holdout, k=(1, 2, 4))
    for name, values in plain.per_user.items():
        assert moved.per_user[name].tolist() == values[[2, 0, 1]].tolist(), name
    assert moved.overall == plain.overall
    assert (moved.unknown_targets, moved.unknown_history) == (0, 0)


def test_the_model_is_told_its_own_row_of_each_user_and_minus_one_for_a_stranger(model: FixedLists) -> None:
    report = evaluate(model, make_holdout(LETTERS, [("cat", "b", "f"), ("zoe", "b", "a"), ("ann", "a", "c")]), k=2)
    assert model.known == [2, -1, 0]
    assert report.per_user["recall@2"].tolist() == [0, 1, 1]


def test_an_id_that_only_looks_like_a_known_number_is_unknown() -> None:
    model = FixedLists(["42", "7"], {"ann": ["42", "7"]})
    items = IdMap(pl.Series(["042", "7", "8"]), "item")  # "042" is not 42
    users = IdMap(pl.Series(["ann"]), "user")
    held = Holdout(users, items, np.zeros(1, dtype=np.int32), Ragged.from_lists([[1]]), Ragged.from_lists([[0]]), "by hand")
    report = evaluate(model, held, k=2)
    assert (report["recall@2"], report.unknown_targets) == (0.0, 1)


def test_a_target_that_the_model_does_not_know_is_a_miss_and_is_reported(model: FixedLists) -> None:
    report = evaluate(model, make_holdout([*LETTERS, "x", "y"], [("ann", "a", "bx"), ("bob", "f", "xy")]), k=6)
    assert report.per_user["recall@6"].tolist() == [1 / 2, 0]
    assert report.per_user["map@6"].tolist() == [1 / 2, 0]
    assert report.unknown_targets == 3
    assert report.n_items == 6
    assert "3 targets (counted as misses)" in str(report)


def test_an_unknown_target_is_not_mistaken_for_the_next_users_known_one(model: FixedLists) -> None:
    # x gets the first row past the model's last; counted through, that is where the next user's first item stands.
    report = evaluate(model, make_holdout([*LETTERS, "x"], [("ann", "b", "x"), ("cat", "b", "a")]), k=1)
    assert report.per_user["recall@1"].tolist() == [0, 1]


def test_history_events_that_the_model_cannot_read_are_left_out_and_reported(model: FixedLists) -> None:
    report = evaluate(model, make_holdout(["x", *LETTERS], [("ann", "xax", "c"), ("cat", "bd", "f")]), k=4)
    assert model.read == [["a"], ["b", "d"]]
    assert report.unknown_history == 2
    assert report.per_user["mrr@4"].tolist() == [1 / 2, 1 / 4]  # b C d e; a c e F
    assert "2 history events (not read)" in str(report)


def test_nothing_unknown_is_mentioned_where_everything_is_known(model: FixedLists, holdout: Holdout) -> None:
    assert "unknown" not in str(evaluate(model, holdout))


def test_a_split_of_the_log_that_was_learned_from_needs_no_translation() -> None:
    frame = pl.DataFrame({"user_id": list("aaabbb"), "item_id": list("xyzyxz")})
    split = leave_last_out(Interactions.from_frame(frame), validation=False)
    report = evaluate(Popularity().fit(split.train), split.test, k=1)
    assert report.means["recall@1"] == 1.0  # x and y are seen; z is all that is left, and both users' target
    assert report.n_users == 2


def test_a_user_whose_history_is_all_unknown_gets_nothing_and_is_counted(model: FixedLists) -> None:
    holdout = make_holdout([*LETTERS, "z"], [("ann", "zz"[:1], "c"), ("bob", "f", "e")])
    report = evaluate(model, holdout, k=2)
    assert report.per_user["recall@2"].tolist() == [0.0, 1.0]
    assert report.counts["users_without_readable_history"] == 1
    assert report.counts["users_with_none"] == 1
    assert "1 users have no history that the model can read" in str(report)


class ReadsTypes(FixedLists):
    """Remembers the event types of the histories that it is given, by name."""

    traits = Traits(event_names=("buy", "cart", "view"))

    def recommend_rows(self, histories: Ragged, k: int, **options: object) -> Ranked:
        assert histories.events is not None
        assert histories.times is not None
        self.types = [self.traits.event_names[code] for code in histories.events]
        self.times = histories.times.tolist()
        return super().recommend_rows(histories, k, **options)  # type: ignore[arg-type]


def typed_log(kinds: list[str]) -> Interactions:
    times = range(len(kinds))
    frame = {"user_id": ["ann"] * len(kinds), "item_id": list("fab"), "timestamp": times, "event_type": kinds}
    return Interactions.from_frame(pl.DataFrame(frame))


def test_histories_come_with_times_and_with_the_event_types_in_the_models_own_codes() -> None:
    model = ReadsTypes(LETTERS, {"ann": LETTERS})
    held = leave_last_out(typed_log(["view", "buy", "view"])).test
    assert held.event_names == ("buy", "view")
    evaluate(model, held, k=2)
    assert model.types == ["view", "buy"]
    assert model.times == [0, 1]


def test_an_event_type_that_the_model_does_not_know_is_refused() -> None:
    held = leave_last_out(typed_log(["wish", "buy", "view"])).test
    with pytest.raises(DataError, match="events of type 'wish' are not among the known event types"):
        evaluate(ReadsTypes(LETTERS, {"ann": LETTERS}), held, k=2)
