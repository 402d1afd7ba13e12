"""Every baseline keeps the contract of tests/contract.py; BPR and popularity, where they differ, say so."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from recsys.baselines import ALS, BPR, EASE, ItemKNN, Popularity, Transitions, ZeroShot
from recsys.core.ragged import Int32
from recsys.errors import UnsupportedError
from tests.contract import CHECKS, EVERYBODY, LOG, PERSONAL, Check, Make, ask, fitted


def make_als() -> ALS:
    return ALS(4, iterations=10)


def make_bpr() -> BPR:
    return BPR(4, learning_rate=0.1, iterations=200)


PERSONAL_BASELINES = [EASE, ItemKNN, Transitions, make_als, make_bpr]


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("make", [Popularity, *PERSONAL_BASELINES])
def test_a_baseline_keeps_the_contract(make: Make, check: Check) -> None:
    check(make)


@pytest.mark.parametrize("check", PERSONAL)
@pytest.mark.parametrize("make", PERSONAL_BASELINES)
def test_a_personal_baseline_finds_what_is_evident(make: Make, check: Check) -> None:
    check(make)


@pytest.fixture(scope="module")
def make_zero_shot(tiny_encoder: Path) -> Make:
    """It knows no word of the titles but the "a" of one world, and no more is needed to tell the worlds apart."""
    return lambda: ZeroShot(str(tiny_encoder))


@pytest.mark.parametrize("check", [*CHECKS, *PERSONAL])
def test_zero_shot_keeps_the_contract(make_zero_shot: Make, check: Check) -> None:
    check(make_zero_shot)


def test_popularity_ranks_alike_for_everybody() -> None:
    lists = ask(fitted(Popularity), EVERYBODY, 12).lists.to_lists()
    assert lists == [lists[0]] * len(EVERYBODY)


@pytest.mark.parametrize("users", [None, np.array([0, -1], dtype=np.int32)])
def test_bpr_refuses_a_history_without_a_known_user_and_says_why(users: Int32 | None) -> None:
    with pytest.raises(UnsupportedError, match="BPR only ranks for users that it was fitted on"):
        fitted(make_bpr).recommend_rows(LOG.histories.block(0, 2), 3, users=users)


@pytest.mark.parametrize("make", [Popularity, EASE, ItemKNN, make_als, "make_zero_shot"])
def test_the_other_baselines_serve_a_history_without_a_known_user(make: Make | str, request: pytest.FixtureRequest) -> None:
    make = request.getfixturevalue(make) if isinstance(make, str) else make
    histories = LOG.histories.take(EVERYBODY)
    anonymous = fitted(make).recommend_rows(histories, 5)
    assert anonymous.lists.to_lists() == ask(fitted(make), EVERYBODY, 5).lists.to_lists()
