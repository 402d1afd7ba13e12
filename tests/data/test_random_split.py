"""random_split: logs without order are judged on random items, and every split knows that they have no last event."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest

import recsys
from recsys.data.interactions import Interactions
from recsys.data.leakage import check_disjoint, check_leakage
from recsys.data.split import Holdout
from recsys.errors import ConfigError, DataError, LeakageError


def plays(users: int = 200, items: int = 6, repeats: int = 1) -> pl.DataFrame:
    rows = [(f"u{user}", f"i{item}") for user in range(users) for item in range(items)] * repeats
    return pl.DataFrame(rows, schema=["user_id", "item_id"], orient="row")


def unordered(**options: Any) -> Interactions:
    return Interactions.from_frame(plays(**options), unordered=True)


def pairs(holdout: Holdout) -> list[tuple[Any, Any]]:
    users = holdout.users.to_ids(holdout.user_rows).to_list()
    return list(zip(users, holdout.items.to_ids(holdout.targets.rows).to_list(), strict=True))


def test_each_user_has_one_item_to_find_and_another_for_validation() -> None:
    log = unordered(users=50)
    split = recsys.random_split(log)
    assert split.validation is not None
    assert len(split.test) == len(split.validation) == 50
    assert (split.test.targets.lengths == 1).all()
    check_disjoint([split.test, split.validation])
    check_leakage(split.train, split.test)
    check_leakage(split.train, split.validation)
    assert len(split.train) == len(log) - 100
    for user in range(50):
        whole = set(log.histories[user].tolist())
        test, second = split.test.targets[user][0], split.validation.targets[user][0]
        assert set(split.test.histories[user].tolist()) == whole - {test}
        assert set(split.validation.histories[user].tolist()) == whole - {test, second}
        assert set(split.train.histories[user].tolist()) == whole - {test, second}


def test_every_item_is_equally_likely() -> None:
    counts = np.bincount(recsys.random_split(unordered(users=3000)).test.targets.rows, minlength=6)
    assert (abs(counts - 500) < 5 * np.sqrt(500)).all()


def test_the_seed_alone_decides() -> None:
    log = unordered()
    assert pairs(recsys.random_split(log, seed=3).test) == pairs(recsys.random_split(log, seed=3).test)
    assert pairs(recsys.random_split(log, seed=3).test) != pairs(recsys.random_split(log, seed=4).test)


def test_all_events_of_a_held_out_item_leave_training() -> None:
    split = recsys.random_split(unordered(repeats=3, users=20))
    assert split.validation is not None
    assert len(split.train) == 20 * 4 * 3
    check_leakage(split.train, split.test)
    shown = split.test.histories.to_lists()
    assert not any(target in shown[user] for user, target in enumerate(split.test.targets.rows))


def test_users_with_too_few_items_are_trained_on_and_not_judged() -> None:
    frame = pl.concat([plays(users=5), pl.DataFrame({"user_id": ["few"] * 4, "item_id": ["i0", "i1", "i0", "i1"]})])
    split = recsys.random_split(Interactions.from_frame(frame, unordered=True))
    assert "few" not in dict(pairs(split.test))
    assert split.train.frame().filter(user_id="few").height == 4
    without = recsys.random_split(Interactions.from_frame(frame, unordered=True), validation=False)
    assert without.validation is None
    assert "few" in dict(pairs(without.test))
    with pytest.raises(DataError, match="needs users with at least 3 different items"):
        recsys.random_split(unordered(items=2))


def test_the_protocol_says_that_there_is_no_order() -> None:
    assert recsys.random_split(unordered()).test.protocol == "random split (the log has no order), test"
    assert recsys.random_split(Interactions.from_frame(plays())).test.protocol == "random split, test"


def test_times_and_event_types_come_along_from_a_log_that_has_them() -> None:
    frame = plays(users=10)
    kinds = pl.Series(["a", "b"] * (frame.height // 2))
    frame = frame.with_columns(timestamp=pl.int_range(pl.len()), event_type=kinds)
    log = Interactions.from_frame(frame)
    test = recsys.random_split(log).test
    assert test.times is not None
    when = dict(zip(zip(frame["user_id"], frame["item_id"], strict=True), frame["timestamp"], strict=True))
    assert test.times.tolist() == [when[pair] for pair in pairs(test)]
    assert test.event_names == ("a", "b")
    assert test.histories.events is not None


@pytest.mark.parametrize("seed", [-1, 1.5, "0", True, None])
def test_a_seed_is_a_whole_number(seed: Any) -> None:
    with pytest.raises(ConfigError, match="seed must be"):
        recsys.random_split(unordered(), seed=seed)


def test_no_event_of_a_log_without_order_is_the_last() -> None:
    with pytest.raises(DataError, match=r"leave-last-out needs an order.*recsys\.random_split\(log\) \(--split random\)"):
        recsys.leave_last_out(unordered())


def test_splits_by_time_say_that_there_is_no_order_at_all() -> None:
    for split in (recsys.time_split, recsys.rolling_splits):
        with pytest.raises(LeakageError, match="needs timestamps; this log has no order at all"):
            split(unordered())  # type: ignore[operator]


def test_held_out_users_are_shown_random_events_only() -> None:
    log = unordered()
    with pytest.raises(ConfigError, match=r"it has no first events; show random ones: user_split\(\.\.\., random=True\)"):
        recsys.user_split(log)
    assert len(recsys.user_split(log, random=True).test) == 20


def test_cold_items_are_found_from_all_that_is_hot_and_hot_ones_at_random() -> None:
    split = recsys.item_split(unordered(), share=0.34)
    assert len(split.cold) == 200
    assert (split.cold.histories.lengths == 4).all()
    assert split.skipped == 0
    assert not np.isin(split.train.histories.rows, split.cold_rows).any()
    assert len(split.hot) == 200
