"""What an argument may be: one rule, told in plain words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from recsys.core.arguments import flag, instance, listed, share, whole_number
from recsys.core.ranking import check_k
from recsys.data.split import Holdout
from recsys.errors import ConfigError


@pytest.mark.parametrize("k", [1, 10, np.int64(10), np.int8(3), np.uint16(500), 10**9])
def test_a_k_is_any_whole_number_of_1_or_more_and_comes_back_as_an_int(k: Any) -> None:
    assert check_k(k) == k
    assert type(check_k(k)) is int


@pytest.mark.parametrize(
    ("k", "says"),
    [
        (2.5, "not 2.5"),
        (10.0, "not 10.0"),
        (True, "not True"),
        (np.bool_(True), r"not np\.True_"),
        ("10", "not the text '10'"),
        (None, "not None"),
        ([10], "not a list"),
        (np.array(10), r"not an array of shape \(\) and dtype int64"),
        (float("nan"), "not nan"),
    ],
)
def test_a_k_that_is_no_whole_number_is_refused_and_named(k: Any, says: str) -> None:
    with pytest.raises(ConfigError, match=f"k must be a whole number of 1 or more, {says}"):
        check_k(k)


@pytest.mark.parametrize("k", [0, -3, np.int64(0)])
def test_a_k_below_1_asks_for_nothing(k: Any) -> None:
    with pytest.raises(ConfigError, match=f"k must be at least 1, not {k}"):
        check_k(k)


def test_a_whole_number_has_its_own_least_and_fits_an_int64() -> None:
    assert whole_number(0, "seed", least=0) == 0
    with pytest.raises(ConfigError, match="seed must be at least 0, not -1"):
        whole_number(-1, "seed", least=0)
    with pytest.raises(ConfigError, match="seed must be at most 9223372036854775807, not 9223372036854775808"):
        whole_number(2**63, "seed", least=0)


@pytest.mark.parametrize("value", [0.0, 1.0, -0.1, float("nan"), 2])
def test_a_share_lies_between_0_and_1(value: float) -> None:
    with pytest.raises(ConfigError, match="share must lie between 0 and 1, not"):
        share(value, "share")


@pytest.mark.parametrize("value", ["0.5", None, True, [0.5]])
def test_a_share_is_a_number(value: Any) -> None:
    with pytest.raises(ConfigError, match="share must be a number between 0 and 1, not"):
        share(value, "share")


@pytest.mark.parametrize("value", ["false", 0, 1, None, [True]])
def test_a_flag_is_true_or_false_and_nothing_that_merely_counts_as_such(value: Any) -> None:
    with pytest.raises(ConfigError, match="resume must be True or False, not"):
        flag(value, "resume")


@pytest.mark.parametrize(
    "value",
    [[1, 2], (1, 2), range(1, 3), (n for n in (1, 2)), np.array([1, 2]), pl.Series([1, 2])],
)
def test_a_list_may_be_anything_that_has_an_order_a_generator_too(value: Any) -> None:
    assert listed(value, "items", "ids") == [1, 2]


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (None, "not None"),
        ("abc", "not the text 'abc'"),
        (5, "not 5"),
        (Path("log.csv"), "not the path 'log.csv'"),
        ({1, 2}, "not a set"),
        ({1: 2}, "not a dict"),
        (np.array(5), r"not an array of shape \(\)"),
        (np.ones((2, 2)), r"not an array of shape \(2, 2\)"),
        (pl.DataFrame({"a": [1]}), "not a polars.DataFrame"),
    ],
)
def test_what_is_no_list_is_refused_and_named(value: Any, says: str) -> None:
    with pytest.raises(ConfigError, match=f"items must be a list of ids, {says}"):
        listed(value, "items", "ids")


def test_a_value_of_another_kind_is_refused_with_what_to_pass() -> None:
    with pytest.raises(
        ConfigError, match="holdout must be a Holdout, not the text 'log.csv'; pass the .test or .validation"
    ):
        instance("log.csv", Holdout, "holdout")
