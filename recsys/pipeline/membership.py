"""Train models on halves of the users, and see how well an attack tells one half from the other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from recsys.core.arguments import instance, instance_or_none, whole_number
from recsys.core.progress import log as say
from recsys.core.ragged import Bool
from recsys.data.catalog import Catalog
from recsys.data.interactions import Interactions
from recsys.errors import ConfigError, DataError
from recsys.two_tower import Recipe, TwoTower

if TYPE_CHECKING:
    from recsys.privacy.membership import Attack, Losses

_FEWEST = 20
"""Users below which an attack says nothing."""


@dataclass(frozen=True)
class Membership:
    """How well two attacks tell members from strangers.

    Attributes
    ----------
    threshold, shadow : Attack
        By the loss alone, and by the losses under shadow models; of a fast model its loss is
        :func:`recsys.privacy.membership.table_losses`.
    privacy : dict or None
        What the attacked model's training spent; None: it made no promise.
    """

    threshold: Attack
    shadow: Attack
    privacy: dict[str, Any] | None

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"threshold": self.threshold.to_dict(), "shadow": self.shadow.to_dict(), "privacy": self.privacy}

    def __str__(self) -> str:
        promise = "no privacy" if self.privacy is None else f"epsilon {self.privacy['epsilon']:.3g}"
        return f"{promise}: {self.threshold}\n{promise}: {self.shadow}"


def membership_test(
    recipe: Recipe,
    log: Interactions,
    catalog: Catalog | None = None,
    *,
    users: int | None = None,
    shadows: int = 4,
    seed: int = 0,
) -> Membership:
    """Attack models of a recipe: how well does one tell from them whom they were trained on.

    Users are split into random halves. The attacked model is trained on one half, each shadow model on a random half of all
    of them, in complementary pairs, so that each user is in half of the shadow models. All are trained for the epochs of
    the recipe on everything that their users did; nothing is validated.

    Parameters
    ----------
    recipe : Recipe
        With or without an epsilon.
    log : Interactions
    catalog : Catalog, optional
    users : int, optional
        How many users to take part, drawn at random; by default all with two events or more.
    shadows : int
        Even, at least 2. Each costs one training.
    seed : int
        Of the halves.

    Returns
    -------
    Membership

    Raises
    ------
    ConfigError
        ``shadows`` is odd.
    DataError
        Fewer than twenty users have two events.
    """
    from recsys.privacy.membership import shadow_attack, threshold_attack  # noqa: PLC0415

    instance(recipe, Recipe, "recipe")
    instance(log, Interactions, "log")
    instance_or_none(catalog, Catalog, "catalog")
    shadows, seed = whole_number(shadows, "shadows", 2), whole_number(seed, "seed", 0)
    if shadows % 2:
        raise ConfigError(f"shadows come in pairs of complementary halves; make {shadows} even")
    able = np.flatnonzero(log.histories.lengths >= 2)
    generator = np.random.default_rng(seed)
    drawn = generator.permutation(able)[: None if users is None else whole_number(users, "users", _FEWEST)]
    if len(drawn) < _FEWEST:
        raise DataError(f"{len(drawn)} users have two events; an attack needs {_FEWEST} to be judged on")
    chosen = np.sort(drawn)

    def half() -> Bool:
        inside = np.zeros(len(chosen), dtype=np.bool_)
        inside[generator.permutation(len(chosen))[: len(chosen) // 2]] = True
        return inside

    members, halves = half(), [one for _ in range(shadows // 2) for one in _with_complement(half())]
    model, losses = _losses(recipe, log, catalog, chosen, members)
    others = []
    for number, inside in enumerate(halves):
        say(f"shadow model {number + 1} of {shadows}")
        others.append((_losses(recipe, log, catalog, chosen, inside)[1], inside))
    assert model.log is not None  # noqa: S101 - it is fitted
    found = threshold_attack(losses, members, seed=seed), shadow_attack(losses, members, others, seed=seed)
    return Membership(*found, model.log.privacy)


def _with_complement(inside: Bool) -> tuple[Bool, Bool]:
    return inside, ~inside


def _losses(
    recipe: Recipe, log: Interactions, catalog: Catalog | None, chosen: Any, inside: Bool
) -> tuple[TwoTower, Losses]:
    """A model of the users that are inside, and the losses of all that were chosen under it."""
    from recsys.privacy.membership import table_losses, user_losses  # noqa: PLC0415

    mine = np.zeros(len(log.users), dtype=np.bool_)
    mine[chosen[inside]] = True
    model = recipe.fit(log.select(mine[log.histories.list_index()]), catalog)
    rows = model.items.find_rows(log.items.ids)
    histories = log.histories.take(chosen).remap(rows)
    if recipe.model.fast:
        return model, table_losses(model.transitions, model.vectors, histories)
    return model, user_losses(model.towers, histories)
