"""The two towers, and the retriever that serves them, keep every promise that the baselines keep."""

from __future__ import annotations

from typing import Any

import pytest

from recsys.config.training import Training
from recsys.core.id_map import IdMap
from recsys.core.ragged import Ragged
from recsys.core.ranking import Ranked
from recsys.data.catalog import Catalog
from recsys.data.interactions import Interactions
from recsys.errors import NotFittedError
from recsys.evaluation.protocol import Traits
from recsys.serving.retriever import Retriever
from recsys.two_tower import TwoTower
from tests.contract import CHECKS, PERSONAL, Check, Make


class QuickTwoTower(TwoTower):
    """Small towers with a training of their own, since the contract says only ``fit(train, catalog)``."""

    def fit(self, train: Interactions, catalog: Catalog | None = None, **_: Any) -> QuickTwoTower:  # type: ignore[override]
        super().fit(train, catalog, training=Training(epochs=30, learning_rate=1e-2, device="cpu"))
        return self


def make() -> TwoTower:
    return QuickTwoTower(encoder=None, dim=16, blocks=1, heads=1, dropout=0.0)


class Served:
    """A retriever that is made by ``fit``, as the contract asks for it."""

    name = "served two towers"

    def __init__(self) -> None:
        self._retriever: Retriever | None = None

    @property
    def retriever(self) -> Retriever:
        if self._retriever is None:
            raise NotFittedError("call fit first")
        return self._retriever

    @property
    def users(self) -> IdMap:
        return self.retriever.users

    @property
    def items(self) -> IdMap:
        return self.retriever.items

    @property
    def traits(self) -> Traits:
        return self.retriever.traits

    def fit(self, train: Interactions, catalog: Catalog | None = None) -> Served:
        self._retriever = make().fit(train, catalog).retriever()
        return self

    def recommend_rows(self, histories: Ragged, k: int, **options: Any) -> Ranked:
        return self.retriever.recommend_rows(histories, k, **options)


@pytest.mark.parametrize("check", CHECKS + PERSONAL, ids=lambda check: check.__name__)
@pytest.mark.parametrize("make", [make, Served])
def test_two_towers(make: Make, check: Check) -> None:
    check(make)
