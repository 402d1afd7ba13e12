"""Whether a log can feed a loss, and whether arguments are what they should be, before anything is trained."""

from __future__ import annotations

import numpy as np

from recsys.config.augment import Augment
from recsys.config.privacy import PrivacyOptions
from recsys.config.training import Objective, Training
from recsys.core.arguments import instance, instance_or_none
from recsys.core.progress import log
from recsys.core.ragged import Bool, Float32
from recsys.data.catalog import Catalog
from recsys.data.interactions import Interactions
from recsys.data.relations import ItemRelations
from recsys.data.split import Holdout
from recsys.data.user_table import UserTable
from recsys.errors import DataError

_LARGEST, _LARGEST_SQUARED, _SMALLEST = 1e30, 1e15, 1e-30
"""Weights outside these make sums over a batch infinite, or 0."""


def check_data(
    train: Interactions,
    catalog: Catalog | None,
    validation: Holdout | None,
    users: UserTable | None,
    relations: ItemRelations | None = None,
) -> None:
    """Refuse what is of another type."""
    instance(train, Interactions, "train")
    instance_or_none(catalog, Catalog, "catalog")
    instance_or_none(validation, Holdout, "validation")
    instance_or_none(users, UserTable, "users")
    instance_or_none(relations, ItemRelations, "relations")


def check_options(
    training: Training | None, objective: Objective | None, augment: Augment | None, privacy: PrivacyOptions | None
) -> None:
    """Refuse what is of another type."""
    instance_or_none(training, Training, "training")
    instance_or_none(objective, Objective, "objective")
    instance_or_none(augment, Augment, "augment")
    instance_or_none(privacy, PrivacyOptions, "privacy")


def check_objective(log_in: Interactions, objective: Objective) -> None:
    """Refuse a loss that the log cannot feed.

    Raises
    ------
    DataError
        The loss needs weights and there are none, or they are negative, not finite, too large for 32 bits, or all 0.
    """
    needs = "loss='mse'" if objective.loss == "mse" else "weighted=True" if objective.weighted else None
    if needs is None and log_in.weights is not None:
        log(
            "the weights of interactions are read, but training does not use them; if it should: weighted=True (--weighted)"
        )
    if needs and log_in.weights is None:
        raise DataError(f"{needs} needs a weight for each interaction: name the column of ratings (--weight)")
    if needs and log_in.weights is not None:
        _check_weights(log_in, log_in.weights, needs, squared=objective.loss == "mse", counted=objective.weighted)


def _check_weights(log_in: Interactions, weights: Float32, needs: str, *, squared: bool, counted: bool) -> None:
    """Refuse weights from which no finite loss can be computed."""

    def refuse(wrong: Bool, what: str, remedy: str) -> None:
        if wrong.any():
            at = int(np.argmax(wrong))
            user = log_in.users.ids[int(log_in.histories.list_index()[at])]
            item = log_in.items.ids[int(log_in.histories.rows[at])]
            raise DataError(
                f"{needs} reads the weights of interactions, and {wrong.sum():,} of {len(weights):,} {what}, such as "
                f"{weights[at]:g} of user {user!r} and item {item!r}; {remedy}"
            )

    refuse(~np.isfinite(weights), "are not finite", "correct them, or remove these rows")
    if counted:
        refuse(weights < 0, "are below 0", "weights must be 0 or more: shift them, or remove these rows")
    largest = _LARGEST_SQUARED if squared else _LARGEST
    refuse(
        np.abs(weights) > largest, f"are above {largest:g}", "their sums do not fit into 32 bits: divide the whole column"
    )
    if counted and float(weights.max(initial=0)) < _SMALLEST:
        raise DataError(
            f"{needs} reads the weights of interactions, and all {len(weights):,} are "
            f"{'0' if not weights.any() else f'below {_SMALLEST:g}'}, so nothing would be learned; name another "
            f"column (--weight), or train without weights"
        )
