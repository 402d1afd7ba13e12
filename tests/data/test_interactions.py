import dataclasses
import os
from collections import Counter, defaultdict
from datetime import datetime
from itertools import compress, product
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from recsys.data.interactions import Interactions
from recsys.errors import ConfigError, DataError
from tests.data.worlds import events_lists, in_time_order, log_of, refused, small, timeless

FRAME = pl.DataFrame(
    {
        "user_id": ["u", "v", "u", "u"],
        "item_id": ["a", "a", "b", "a"],
        "timestamp": [3, 1, 2, 4],
        "weight": [1.0, 2.0, 0.5, 0.25],
    }
)


def log(frame: pl.DataFrame = FRAME, **columns: object) -> Interactions:
    return Interactions.from_frame(frame.with_columns(**{name: pl.Series(values) for name, values in columns.items()}))


def same(one: Interactions, other: Interactions) -> bool:
    return one.frame().equals(other.frame()) and one.users.same(other.users) and one.items.same(other.items)


@small
@given(events_lists)
def test_histories_are_in_time_order_and_ties_keep_file_order(events):
    made = log_of(events)
    expected = in_time_order(events)
    assert made.users.ids.to_list() == list(expected)
    assert made.frame().rows() == [event for own in expected.values() for event in own]
    assert made.items.ids.to_list() == list(dict.fromkeys(item for _, item, _ in events))


def test_ties_keep_file_order_in_a_log_too_large_for_simple_sorting():
    numbers = np.arange(200_000)
    frame = pl.DataFrame({"user_id": numbers % 7, "item_id": numbers, "timestamp": numbers // 50_000})
    for user, own in enumerate(log(frame).histories.to_lists()):
        assert own == list(range(user, 200_000, 7))


def test_rows_follow_first_appearance_in_the_file_and_not_in_time():
    assert log().items.ids.to_list() == ["a", "b"]
    assert log().histories.to_lists() == [[1, 0, 0], [0]]


def test_times_and_weights_stay_with_their_event():
    assert log().timestamps.tolist() == [2, 3, 4, 1]
    assert log().weights.tolist() == [0.5, 1.0, 0.25, 2.0]
    assert log().timestamps.dtype == np.int64
    assert log().weights.dtype == np.float32


def test_a_frame_may_hold_dates():
    dates = [datetime(1970, 1, 1, 0, 0, second) for second in (3, 1, 2, 4)]
    assert same(log(timestamp=dates), log())


def test_a_frame_whose_order_is_text_is_sorted_by_its_numbers():
    assert log(order=["10", "1", "9", "11"]).histories.to_lists() == [[1, 0, 0], [0]]


@pytest.mark.parametrize("name", ["user_id", "item_id"])
def test_a_frame_needs_both_id_columns(name):
    with refused(f"no column {name!r}", "its columns are"):
        log(FRAME.drop(name))


def test_a_frame_without_rows_is_refused():
    with refused("no rows"):
        log(FRAME.clear())


@pytest.mark.parametrize("name", FRAME.columns)
def test_a_null_in_a_frame_is_refused_by_column(name):
    with refused(name):
        log(FRAME.with_columns(pl.when(pl.int_range(4) != 2).then(name).alias(name)))


@pytest.mark.parametrize(
    ("name", "values", "words"),
    [
        ("timestamp", ["x", "1", "2", "3"], "row 1 is 'x'"),
        ("timestamp", [0.5, 1.0, 2.0, 3.0], "row 1 is 0.5"),
        ("weight", [1.0, float("nan"), 1.0, 1.0], "row 2 is nan"),
        ("order", [True] * 4, "Boolean"),
        ("user_id", [[1]] * 4, "List"),
        ("item_id", ["a", "", "b", "c"], "row 2"),
    ],
)
def test_a_value_of_the_wrong_kind_in_a_frame_is_refused(name, values, words):
    with refused(f"the frame, column {name!r}", words):
        log(**{name: values})


weighted = st.lists(
    st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(-8, 8).map(lambda n: n / 4)), min_size=1, max_size=20
)


@small
@given(weighted, st.booleans())
def test_matrix_sums_the_weights_of_each_pair(events, with_weights):
    frame = pl.DataFrame(events, schema=["user_id", "item_id", "weight"], orient="row")
    made = Interactions.from_frame(frame if with_weights else frame.drop("weight"))
    naive: dict[tuple[int, int], float] = defaultdict(float)
    for user, item, weight in events:
        naive[user, item] += weight if with_weights else 1.0
    before = made.fingerprint
    matrix = made.matrix()
    assert matrix.shape == (len(made.users), len(made.items))
    assert matrix.dtype == np.float32
    assert matrix.nnz == len(naive)
    assert matrix.has_sorted_indices
    found = matrix.tocoo()
    users, items = made.users.ids.to_list(), made.items.ids.to_list()
    assert {(users[u], items[i]): w for u, i, w in zip(found.row, found.col, found.data, strict=True)} == dict(naive)
    assert dataclasses.replace(made).fingerprint == before


def test_item_counts_count_events():
    assert log().item_counts.tolist() == [3, 1]
    assert log().with_items(pl.Series(["new"])).item_counts.tolist() == [3, 1, 0]


def test_with_items_appends_and_leaves_the_log_alone():
    wider = log().with_items(pl.Series(["c", "b", "d"]))
    assert wider.items.ids.to_list() == ["a", "b", "c", "d"]
    assert wider.frame().equals(log().frame())
    assert log().items.ids.to_list() == ["a", "b"]


def test_select_keeps_events_and_both_vocabularies():
    part = log().select(np.array([True, False, False, True]))
    assert part.frame().rows() == [("u", "b", 2, 0.5), ("v", "a", 1, 2.0)]
    assert part.users.same(log().users)
    assert part.items.same(log().items)


def test_compact_drops_those_without_events_and_keeps_the_order():
    part = log().with_items(pl.Series(["c"])).select(np.array([False, True, True, False])).compact()
    assert part.users.ids.to_list() == ["u"]
    assert part.items.ids.to_list() == ["a"]
    assert part.frame().rows() == [("u", "a", 3, 1.0), ("u", "a", 4, 0.25)]


def is_core(events: list[tuple], user_min: int, item_min: int) -> bool:
    users, items = Counter(event[0] for event in events), Counter(event[1] for event in events)
    return all(n >= user_min for n in users.values()) and all(n >= item_min for n in items.values())


def naive_core(events: list[tuple], user_min: int, item_min: int) -> list[tuple]:
    """Take out one offending event at a time."""
    left = list(events)
    while not is_core(left, user_min, item_min):
        users, items = Counter(event[0] for event in left), Counter(event[1] for event in left)
        left.remove(next(event for event in left if users[event[0]] < user_min or items[event[1]] < item_min))
    return left


def core_events(events: list[tuple], user_min: int, item_min: int) -> Counter:
    try:
        return Counter(log_of(events).k_core(user_min=user_min, item_min=item_min).frame().rows())
    except DataError:
        return Counter()


limits = st.tuples(st.integers(1, 3), st.integers(1, 3))


@small
@given(events_lists, limits)
def test_k_core_is_what_a_naive_loop_leaves(events, limit):
    assert core_events(events, *limit) == Counter(naive_core(events, *limit))


@small
@given(events_lists, limits)
def test_k_core_is_a_fixed_point(events, limit):
    core = list(core_events(events, *limit).elements())
    assume(core)
    assert is_core(core, *limit)
    made = log_of(events).k_core(user_min=limit[0], item_min=limit[1])
    assert same(made.k_core(user_min=limit[0], item_min=limit[1]), made)
    assert (made.histories.lengths > 0).all()
    assert (made.item_counts > 0).all()


@small
@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2), st.just(0)), min_size=1, max_size=7), limits)
def test_k_core_is_the_largest_part_that_there_is(events, limit):
    parts = (list(compress(events, keep)) for keep in product([False, True], repeat=len(events)))
    largest = max(len(part) for part in parts if is_core(part, *limit))
    assert core_events(events, *limit).total() == largest


def test_k_core_of_nothing_is_refused():
    with refused("no interaction is left in the 5/2-core"):
        log().k_core(user_min=5, item_min=2)


def test_a_saved_log_comes_back_equal(tmp_path: Path):
    whole = log().with_items(pl.Series(["never touched"]))
    for made in (whole, timeless(whole), dataclasses.replace(whole, weights=None)):
        folder = tmp_path / f"{made.timestamps is None}{made.weights is None}"
        made.save(folder)
        loaded = Interactions.load(folder)
        assert same(loaded, made)
        assert loaded.fingerprint == made.fingerprint
        assert sorted(os.listdir(folder)) == ["events.parquet", "items.parquet", "users.parquet"]


@small
@given(events_lists, st.booleans())
def test_saving_keeps_users_without_events_and_any_ids(tmp_path_factory, events, as_text):
    made = log_of([(f"{user:03}" if as_text else user, item, time) for user, item, time in events])
    made = made.select(np.arange(len(made)) % 2 == 0)
    folder = tmp_path_factory.mktemp("log") / "saved"
    made.save(folder)
    assert Interactions.load(folder).fingerprint == made.fingerprint
    assert Interactions.load(folder).histories.to_lists() == made.histories.to_lists()


def test_saving_overwrites_nothing(tmp_path: Path):
    log().save(tmp_path / "saved")
    with refused(tmp_path / "saved", "already holds something", "name a new folder"):
        log(weight=[9.0] * 4).save(tmp_path / "saved")
    assert Interactions.load(tmp_path / "saved").fingerprint == log().fingerprint
    assert os.listdir(tmp_path) == ["saved"]


def test_a_save_that_fails_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    write = pl.DataFrame.write_parquet

    def full(frame: pl.DataFrame, file: Path) -> None:
        if file.name == "items.parquet":
            raise OSError("no space left on device")
        write(frame, file)

    monkeypatch.setattr(pl.DataFrame, "write_parquet", full)
    with pytest.raises(OSError, match="no space left"):
        log().save(tmp_path / "saved")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("name", ["events", "users", "items"])
def test_a_missing_or_half_written_file_is_refused(tmp_path: Path, name):
    log().save(tmp_path / "saved")
    file = tmp_path / "saved" / f"{name}.parquet"
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2])
    with refused(tmp_path / "saved", "does not hold saved interactions"):
        Interactions.load(tmp_path / "saved")
    file.unlink()
    with refused(tmp_path / "saved", "does not hold saved interactions"):
        Interactions.load(tmp_path / "saved")


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path):
    with refused(tmp_path / "nowhere", "does not hold saved interactions"):
        Interactions.load(tmp_path / "nowhere")


def test_foreign_files_of_the_same_names_are_refused(tmp_path: Path):
    for name in ("events", "users", "items"):
        pl.DataFrame({"x": [1]}).write_parquet(tmp_path / f"{name}.parquet")
    with refused(tmp_path, "does not hold saved interactions", "user_id"):
        Interactions.load(tmp_path)


def test_files_of_two_different_logs_are_refused(tmp_path: Path):
    log().save(tmp_path / "one")
    log(user_id=["other"] * 4).save(tmp_path / "two")
    (tmp_path / "one" / "events.parquet").replace(tmp_path / "two" / "events.parquet")
    with refused(tmp_path / "two", "unknown user"):
        Interactions.load(tmp_path / "two")


def test_events_that_were_reordered_after_saving_are_refused(tmp_path: Path):
    log().save(tmp_path / "saved")
    file = tmp_path / "saved" / "events.parquet"
    pl.read_parquet(file).reverse().write_parquet(file)
    with refused(tmp_path / "saved", "no longer in the order in which it was saved"):
        Interactions.load(tmp_path / "saved")


def test_equal_logs_have_equal_fingerprints():
    assert log().fingerprint == log(FRAME.clone()).fingerprint
    assert log(user_id=[1, 2, 1, 1]).fingerprint == log(user_id=["1", "2", "1", "1"]).fingerprint


@pytest.mark.parametrize(
    "change",
    [
        {"user_id": ["u", "w", "u", "u"]},
        {"item_id": ["a", "a", "c", "a"]},
        {"item_id": ["a", "a", "b", "b"]},
        {"timestamp": [3, 1, 2, 5]},
        {"weight": [1.0, 2.0, 0.5, 0.75]},
        {"order": [4, 3, 2, 1]},
    ],
    ids=str,
)
def test_any_change_of_value_changes_the_fingerprint(change):
    assert log(**change).fingerprint != log().fingerprint


def test_any_change_of_shape_changes_the_fingerprint():
    made = log()
    variants = [
        made,
        timeless(made),
        dataclasses.replace(made, weights=None),
        dataclasses.replace(timeless(made), weights=None),
        made.with_items(pl.Series(["c"])),
        made.select(np.array([True, True, True, False])),
        log(FRAME[[1, 0, 2, 3]]),
        log(FRAME.head(3)),
    ]
    assert len({one.fingerprint for one in variants}) == len(variants)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ((["a", "bc"], ["d", "d"]), (["a", "b"], ["cd", "cd"])),
        ((["a", "bc"], ["d", "d"]), (["ab", "c"], ["d", "d"])),
        ((["a\nb", "c"], ["d", "d"]), (["a", "b\nc"], ["d", "d"])),
    ],
)
def test_ids_that_only_run_together_alike_have_different_fingerprints(one, other):
    prints = {Interactions.from_frame(pl.DataFrame({"user_id": u, "item_id": i})).fingerprint for u, i in (one, other)}
    assert len(prints) == 2


def test_fields_cannot_be_replaced():
    made = log()
    for name in ("users", "items", "histories", "timestamps", "weights", "event_names"):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(made, name, None)


def test_nothing_done_with_a_log_changes_it():
    made = log()
    before = made.frame().clone()
    made.matrix().data[:] = 0
    made.select(np.zeros(4, dtype=bool))
    made.with_items(pl.Series(["z"]))
    made.k_core(user_min=1, item_min=1)
    assert made.frame().equals(before)
    assert dataclasses.replace(made).fingerprint == log().fingerprint


def test_length_and_repr_count_events_users_and_items():
    assert len(log()) == 4
    assert repr(log()) == "Interactions(4 by 2 users on 2 items)"


# Event types.

KINDS = FRAME.with_columns(event_type=pl.Series(["view", "buy", "cart", "buy"]))


def test_event_types_are_known_by_their_place_in_sorted_order():
    made = log(KINDS)
    assert made.event_names == ("buy", "cart", "view")
    assert made.events.tolist() == [1, 2, 0, 0]
    assert made.events.dtype == np.int8
    assert log(KINDS.reverse()).event_names == made.event_names


def test_a_log_without_event_types_names_none():
    assert log().events is None
    assert log().event_names == ()


kinds_lists = st.lists(
    st.tuples(st.integers(0, 3), st.integers(0, 4), st.integers(0, 6), st.sampled_from(["view", "cart", "buy"])),
    min_size=1,
    max_size=25,
)


@small
@given(kinds_lists)
def test_event_types_stay_with_their_event_whatever_is_done_with_the_log(events):
    frame = pl.DataFrame(events, schema=["user_id", "item_id", "timestamp", "event_type"], orient="row")
    made = Interactions.from_frame(frame)
    ordered = [event for own in in_time_order(events).values() for event in own]
    assert made.frame().rows() == ordered
    half = np.arange(len(made)) % 2 == 0
    part = made.select(half)
    assert part.frame().rows() == ordered[::2]
    assert part.compact().frame().rows() == ordered[::2]
    assert made.with_items(pl.Series([99])).frame().rows() == ordered
    assert Counter(made.k_core(user_min=1, item_min=1).frame().rows()) == Counter(events)
    assert part.event_names == part.compact().event_names == made.event_names


def test_a_null_event_type_in_a_frame_is_refused_by_row():
    with refused("the frame, column 'event_type'", "1 of 4 rows", "row 3"):
        log(KINDS, event_type=["view", "buy", None, "buy"])


def test_as_many_event_types_as_a_byte_tells_apart_are_taken_and_no_more():
    frame = pl.DataFrame({"user_id": ["u"] * 127, "item_id": ["i"] * 127, "event_type": [f"{n:03}" for n in range(127)]})
    made = log(frame)
    assert made.events.tolist() == list(range(127))
    assert made.frame()["event_type"].to_list() == frame["event_type"].to_list()
    more = pl.concat([frame, pl.DataFrame({"user_id": ["u"], "item_id": ["i"], "event_type": ["one more"]})])
    with refused("128 different values, at most 127", "view, cart and buy"):
        log(more)


def test_saved_event_types_come_back_even_where_none_of_their_events_is_left(tmp_path: Path):
    made = log(KINDS).select(np.array([True, True, False, False]))
    made.save(tmp_path / "saved")
    loaded = Interactions.load(tmp_path / "saved")
    assert loaded.event_names == ("buy", "cart", "view")
    assert loaded.events.tolist() == [1, 2]
    assert loaded.events.dtype == np.int8
    assert loaded.fingerprint == made.fingerprint


def test_saved_events_without_the_file_of_their_types_are_refused(tmp_path: Path):
    log(KINDS).save(tmp_path / "saved")
    (tmp_path / "saved" / "event_types.parquet").unlink()
    with refused(tmp_path / "saved", "does not hold saved interactions"):
        Interactions.load(tmp_path / "saved")


def test_the_fingerprint_of_a_log_without_event_types_is_that_of_earlier_versions():
    assert log().fingerprint == "fdec3b774d44a4970a90dcc0d090bc031285623622b0b608399b41e5c9ce4fc2"
    bare = FRAME.select("user_id", "item_id")
    assert log(bare).fingerprint == "662d8bdbb1be0df1518f4db4ab8d553c518bf69fcbf370d8d92c07357204b73d"


def test_event_types_are_part_of_the_fingerprint():
    variants = [log(), log(KINDS), log(KINDS, event_type=["view", "buy", "cart", "cart"]), log(KINDS, event_type=["a"] * 4)]
    renamed = log(KINDS.with_columns(pl.col("event_type").replace("view", "watch")))
    assert renamed.events.tolist() == log(KINDS).events.tolist()
    assert len({one.fingerprint for one in [*variants, renamed]}) == 5
    assert log(KINDS).fingerprint == log(KINDS.clone()).fingerprint


def test_event_types_without_names_and_names_without_types_are_refused():
    made = log(KINDS)
    with refused("event types and event_names go together"):
        dataclasses.replace(made, event_names=())
    with refused("event types and event_names go together"):
        dataclasses.replace(made, histories=made.histories.bare())


def test_events_are_weighted_by_their_type():
    plain = log(KINDS.drop("weight"))
    weighted = plain.weighted_by_event({"view": 1, "buy": 5, "cart": 2.5})
    assert weighted.weights.tolist() == [2.5, 1.0, 5.0, 5.0]
    assert weighted.weights.dtype == np.float32
    assert plain.weights is None


@pytest.mark.parametrize(
    ("frame", "weights", "words"),
    [
        (FRAME.drop("weight"), {"view": 1}, ["need event types", "--event"]),
        (KINDS, {"view": 1, "buy": 5, "cart": 3}, ["has weights already", "either weight= or event_weights="]),
        (KINDS.drop("weight"), {"view": 1, "buy": 5}, ["no weight for the event type 'cart'", "buy, cart, view"]),
        (KINDS.drop("weight"), {"view": 1, "buy": 5, "cart": 3, "cat": 1}, ["the event type 'cat', which no event is of"]),
        (KINDS.drop("weight"), {"view": 1, "buy": 5, "cart": float("nan")}, ["'cart' must be a finite number, not nan"]),
        (KINDS.drop("weight"), {"view": 1, "buy": 1e300, "cart": 1}, ["'buy' must be a finite number, not 1e+300"]),
    ],
)
def test_weights_that_do_not_fit_the_event_types_are_refused(frame, weights, words):
    with refused(*words, error=ConfigError):
        log(frame).weighted_by_event(weights)
