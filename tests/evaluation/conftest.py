"""The ranker and the holdout made by hand, for the tests of evaluate()."""

from __future__ import annotations

import pytest

from recsys.data.split import Holdout
from tests.evaluation.fixed_lists import JUDGED, LETTERS, ORDERS, FixedLists, make_holdout


@pytest.fixture
def model() -> FixedLists:
    return FixedLists(LETTERS, ORDERS)


@pytest.fixture
def holdout() -> Holdout:
    return make_holdout(LETTERS, JUDGED)
