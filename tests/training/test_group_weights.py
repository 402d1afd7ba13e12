"""Positives weighted by the group of their item or user."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
import torch

import recsys
from recsys.config.training import Objective, Training
from recsys.data.catalog import Catalog
from recsys.data.interactions import Interactions
from recsys.data.split import Split
from recsys.data.user_table import UserTable
from recsys.errors import ConfigError
from recsys.training.group_weights import check_groups, weighed
from recsys.two_tower import TwoTower
from tests.conftest import make_items

KINDS = ["a", "a|b", "b", None, "c"]


@pytest.fixture(scope="module")
def kinds() -> Catalog:
    items = make_items().with_columns(pl.Series("kind", [KINDS[i % 5] for i in range(32)]))
    return Catalog.from_frame(items, text=["title"])


@pytest.fixture(scope="module")
def people(ring: Interactions) -> UserTable:
    ids = ring.users.ids
    sex = pl.Series("sex", ["f" if i % 4 == 0 else None if i % 7 == 0 else "m" for i in range(len(ids))])
    return UserTable.from_frame(pl.DataFrame({"user_id": ids, "sex": sex}), categorical=["sex"])


def _oracle(groups: list[list[str]], power: float) -> list[float]:
    """The weight of each event, given the groups that it is in."""
    counts: dict[str, int] = {}
    for each in groups:
        for one in each:
            counts[one] = counts.get(one, 0) + 1
    raw = [sum(counts[one] ** -power for one in each) / len(each) if each else None for each in groups]
    known = [one for one in raw if one is not None]
    mean = sum(known) / len(known)
    return [1.0 if one is None else one / mean for one in raw]


@pytest.mark.parametrize("power", [0.0, 0.5, 1.0])
def test_weights_are_inverse_frequencies_to_a_power(
    ring: Interactions, kinds: Catalog, people: UserTable, power: float
) -> None:
    log = ring.with_items(kinds.items.ids)
    objective = Objective(item_groups="kind", user_groups="sex", group_power=power)
    found = weighed(log, objective, kinds, people.features, people.codes.astype(np.int64))
    of_items = [(KINDS[int(row) % 5] or "").split("|") for row in log.histories.rows]
    of_items = [[one for one in each if one] for each in of_items]
    names = ["", *(people.features[0].categories or ())]
    of_users = [[names[people.codes[int(user), 0]]] for user in log.histories.list_index()]
    of_users = [[one for one in each if one] for each in of_users]
    wanted = np.array(_oracle(of_items, power)) * np.array(_oracle(of_users, power))
    assert found.weights is not None
    np.testing.assert_allclose(found.weights, wanted, rtol=1e-5)


def test_they_multiply_the_weights_of_the_log(ring: Interactions, kinds: Catalog) -> None:
    log = ring.with_items(kinds.items.ids)
    stars = np.linspace(1, 2, len(log)).astype(np.float32)
    rated = Interactions(log.users, log.items, log.histories, stars)
    alone = weighed(rated, Objective(item_groups="kind"), kinds, (), None).weights
    both = weighed(rated, Objective(item_groups="kind", weighted=True), kinds, (), None).weights
    assert alone is not None
    assert both is not None
    np.testing.assert_allclose(both, alone * stars, rtol=1e-6)
    assert weighed(rated, Objective(), kinds, (), None) is rated


def test_training_takes_them_up(ring_split: Split, kinds: Catalog, people: UserTable) -> None:
    training = Training(epochs=1, batch_tokens=64, learning_rate=0.01)
    plain, even, tilted = (
        TwoTower(encoder=None, dim=8, blocks=1, max_length=8, transitions="none")
        .fit(ring_split.train, kinds, users=people, training=training, objective=Objective(**options))
        .towers.net.state_dict()
        for options in (
            {},
            {"item_groups": "kind", "user_groups": "sex", "group_power": 0.0},
            {"item_groups": "kind", "user_groups": "sex", "group_power": 1.0},
        )
    )
    name = "items.id.weight"
    torch.testing.assert_close(even[name], plain[name], rtol=1e-3, atol=1e-4)
    assert not torch.allclose(tilted[name], plain[name], rtol=1e-3, atol=1e-3)


def test_what_the_tables_do_not_declare_is_refused(ring_split: Split, kinds: Catalog, people: UserTable) -> None:
    for objective, catalog, users, said in (
        (Objective(item_groups="kind"), None, None, "--catalog"),
        (Objective(item_groups="colour"), kinds, None, "colour"),
        (Objective(user_groups="sex"), kinds, None, "--user-table"),
        (Objective(user_groups="age"), kinds, people, "read for sex"),
    ):
        with pytest.raises(ConfigError, match=said):
            check_groups(objective, catalog, users)
    alike = Catalog.from_frame(make_items().with_columns(kind=pl.lit("a")), text=["title"])
    with pytest.raises(ConfigError, match="the one value 'a'"):
        recsys.TwoTower(encoder=None).fit(ring_split.train, alike, objective=Objective(item_groups="kind"))
    with pytest.raises(ConfigError, match="reads weights as ratings"):
        Objective(loss="mse", item_groups="kind")
    with pytest.raises(ConfigError, match="power"):
        Objective(group_power=2.0)
