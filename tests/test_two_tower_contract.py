"""The two towers keep every promise that the baselines keep."""

from collections.abc import Callable
from typing import Any

import pytest

from recsys.config.training import Training
from recsys.data.catalog import Catalog
from recsys.data.interactions import Interactions
from recsys.two_tower import TwoTower
from tests.contract import CHECKS, PERSONAL


class QuickTwoTower(TwoTower):
    """Small towers with a training of their own, since the contract says only ``fit(train, catalog)``."""

    def fit(self, train: Interactions, catalog: Catalog | None = None, **_: Any) -> "QuickTwoTower":  # type: ignore[override]
        super().fit(train, catalog, training=Training(epochs=60, learning_rate=1e-2, device="cpu"))
        return self


def make() -> TwoTower:
    return QuickTwoTower(encoder=None, dim=16, blocks=1, heads=1, dropout=0.0)


@pytest.mark.parametrize("check", CHECKS + PERSONAL, ids=lambda check: check.__name__)
def test_two_towers(check: Callable[..., None]) -> None:
    check(make)
