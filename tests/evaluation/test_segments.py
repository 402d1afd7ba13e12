from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from recsys.baselines import Popularity
from recsys.core.id_map import IdMap
from recsys.core.ragged import Ragged
from recsys.data.catalog import Catalog
from recsys.data.interactions import Interactions
from recsys.data.split import Holdout, Split, leave_last_out
from recsys.errors import ConfigError, DataError
from recsys.evaluation import segments
from recsys.evaluation.evaluate import evaluate
from recsys.evaluation.measure import evaluate_lists, target_places
from recsys.evaluation.result import Evaluation


def small() -> Evaluation:
    """Three users, six items: user 0 finds both targets (places 1 and 3), user 1 one of two (place 2), user 2 none."""
    items, users = (IdMap(pl.Series(range(n)), kind) for n, kind in ((6, "item"), (3, "user")))
    targets = Ragged.from_lists([[0, 2], [1, 5], [4]])
    histories = Ragged.from_lists([[3], [2, 3, 4, 0, 2, 3], [5]])
    holdout = Holdout(
        users, items, np.arange(3, dtype=np.int32), histories, targets, "hand", np.array([0, 5, 86400 * 10, 2, 86400 * 20])
    )
    return evaluate_lists(Ragged.from_lists([[0, 1, 2], [3, 1, 0], [0, 1, 2]]), holdout, (1, 3))


def test_each_target_knows_its_place() -> None:
    assert small().target_places.tolist() == [1, 3, 2, 0, 0]


def test_a_target_beyond_the_list_has_no_place() -> None:
    places = target_places(Ragged.from_lists([[1], []]), Ragged.from_lists([[1, 0], [2]]), 3)
    assert places.tolist() == [1, 0, 0]


def test_user_groups_have_their_own_means() -> None:
    frame = segments.by_user(small(), pl.Series(["a", "b", "b"]), ["recall@3"])
    assert frame["label"].to_list() == ["a", "b"]
    assert frame["users"].to_list() == [1, 2]
    assert frame["recall@3"].to_list() == [1.0, 0.25]
    assert (frame["recall@3_low"] <= frame["recall@3"]).all()


def test_a_user_without_label_is_left_out() -> None:
    assert segments.by_user(small(), pl.Series(["a", None, None]))["users"].to_list() == [1]


def test_item_groups_have_their_own_recall_and_exposure() -> None:
    labels = pl.Series(["old", "old", "new", "old", "new", "new"])
    frame = segments.by_item(small(), labels)
    new, old = frame.row(0, named=True), frame.row(1, named=True)
    assert (new["label"], new["items"], new["targets"], new["users"]) == ("new", 3, 3, 3)
    assert new["recall@3"] == pytest.approx((1 + 0 + 0) / 3)  # item 2 found by user 0; 5 and 4 by nobody
    assert old["recall@3"] == pytest.approx((1 + 1) / 2)
    assert new["exposure@3"] == pytest.approx(2 / 9)
    assert old["exposure@1"] == 1.0


def test_the_exposures_of_all_groups_make_up_the_whole() -> None:
    frame = segments.by_item(small(), pl.Series(["a", "b", "c", "a", "b", "c"]))
    assert frame["exposure@3"].sum() == pytest.approx(1.0)
    assert frame["targets"].sum() == 5


def test_history_bands_stand_in_their_own_order() -> None:
    frame = segments.by_user(small(), segments.history_bands(small()))
    assert frame.select("label", "users").rows() == [("1–5", 2), ("6–10", 1)]


def test_time_bands_follow_the_first_target() -> None:
    labels = segments.time_bands(small(), bands=2)
    assert labels.to_list() == ["from 1970-01-01", "from 1970-01-11", "from 1970-01-11"]


def test_time_bands_need_times(ring_split: Split) -> None:
    report = evaluate(Popularity().fit(ring_split.train), replace(ring_split.test, times=None), 5)
    with pytest.raises(ConfigError, match="timestamps"):
        segments.time_bands(report)


def test_temperature_and_popularity_label_every_item(ring: Interactions) -> None:
    wider = ring.with_items(pl.Series(["new"]))
    assert segments.temperature(wider).to_list() == ["hot"] * 30 + ["warm"]
    labels = segments.popularity(wider)
    assert labels[-1] == "untouched"
    assert set(labels) == {"head", "middle", "tail", "untouched"}


def test_a_column_keeps_its_common_labels() -> None:
    frame = pl.DataFrame({"item_id": range(5), "title": list("abcde"), "genre": ["x|y", "x", "z", None, "x"]})
    catalog = Catalog.from_frame(frame, text=["title"])
    assert segments.column(catalog, "genre", most=1).to_list() == ["x", "x", "other", None, "x"]
    with pytest.raises(ConfigError, match="no column 'kind'"):
        segments.column(catalog, "kind")


def test_labels_must_fit() -> None:
    with pytest.raises(ConfigError, match="2 labels do not fit 3 held-out users"):
        segments.by_user(small(), pl.Series(["a", "b"]))
    with pytest.raises(ConfigError, match="2 labels do not fit 6 items"):
        segments.by_item(small(), pl.Series(["a", "b"]))


def test_the_standard_cuts_follow_what_is_known(ring: Interactions, ring_catalog: Catalog) -> None:
    split = leave_last_out(ring)
    model = Popularity().fit(split.train, ring_catalog)
    cuts = segments.standard_segments(evaluate(model, split.test, 5), model.traits.trained_on)
    assert set(cuts) == {"history length", "time", "popularity", "temperature"}
    assert all(frame.height for frame in cuts.values())


def test_users_are_grouped_by_a_column_of_their_table() -> None:
    table = pl.DataFrame({"user_id": [2, 0], "gender": ["f", "m"]})
    assert segments.user_column(small(), table, "gender").to_list() == ["m", None, "f"]
    with pytest.raises(ConfigError, match="no column 'age'"):
        segments.user_column(small(), table, "age")


def test_every_value_of_an_item_counts() -> None:
    labels = pl.Series([["old"], ["old", "both"], ["new", "both"], ["old"], ["new"], None])
    frame = segments.by_item(small(), labels)
    assert frame["label"].to_list() == ["both", "new", "old"]
    assert frame["items"].to_list() == [2, 2, 3]
    alone = [
        segments.by_item(small(), pl.Series([name if one and name in one else None for one in labels.to_list()]))
        for name in frame["label"]
    ]
    assert frame.equals(pl.concat(alone))


@pytest.mark.parametrize("genres", [["x|y", "x", " z ", None, "y|x"], [["x", "y"], ["x"], ["z"], [], ["y", "x"]]], ids=str)
def test_all_values_of_a_column_are_labels_and_rare_ones_are_other_once(genres: list) -> None:
    catalog = Catalog.from_frame(
        pl.DataFrame({"item_id": range(5), "title": list("abcde"), "genre": genres}), text=["title"]
    )
    assert segments.values(catalog, "genre").to_list() == [["x", "y"], ["x"], ["z"], None, ["x", "y"]]
    assert segments.values(catalog, "genre", most=1).to_list() == [["other", "x"], ["x"], ["other"], None, ["other", "x"]]


@pytest.mark.parametrize("tags", [["f|n", "m"], [["f", "n"], ["m"]]], ids=str)
def test_every_value_of_a_user_counts(tags: list) -> None:
    table = pl.DataFrame({"user_id": [2, 0], "tags": tags})
    found = segments.user_column(small(), table, "tags")
    assert found.to_list() == [["m"], None, ["f", "n"]]
    frame = segments.by_user(small(), found)
    assert dict(frame.select("label", "users").rows()) == {"f": 1, "m": 1, "n": 1}


def test_a_table_of_other_users_is_refused() -> None:
    with pytest.raises(DataError, match="none of the 3 users of the evaluation is in the table of users"):
        segments.user_column(small(), pl.DataFrame({"user_id": [20, 30], "tags": ["a", "b"]}), "tags")
