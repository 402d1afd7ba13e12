"""Weights of positives by the declared group of their item or user, so that groups with few events count for more."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from recsys.config.training import Objective
from recsys.core.progress import log as say
from recsys.core.ragged import Int64
from recsys.data.catalog import Catalog
from recsys.data.interactions import Interactions
from recsys.data.user_table import UserFeature, UserTable
from recsys.errors import ConfigError


def check_groups(objective: Objective, catalog: Catalog | None, users: UserTable | None) -> None:
    """Refuse groups that the tables do not declare, before anything is trained.

    Raises
    ------
    ConfigError
        There is no catalogue, no table of users, or no such column in it, or all are in one group.
    """
    if objective.item_groups is not None:
        if catalog is None:
            raise ConfigError("item_groups (--item-groups) names a column of the catalogue, and there is none (--catalog)")
        _several(catalog.memberships(objective.item_groups)[1], f"the column {objective.item_groups!r} of the catalogue")
    if objective.user_groups is not None:
        if users is None:
            raise ConfigError(
                "user_groups (--user-groups) names a column of the table of users, and there is none (--user-table)"
            )
        at = _feature(users.features, objective.user_groups)
        known = np.unique(users.codes[:, at])
        _several(known[known > 0].tolist(), f"the column {objective.user_groups!r} of the table of users")


def weighed(
    log: Interactions,
    objective: Objective,
    catalog: Catalog,
    features: tuple[UserFeature, ...],
    codes: Int64 | None,
) -> Interactions:
    """The log with the weights that its events have as positives; as it is where the objective names no groups.

    An event of a group with n of all N events weighs ``(N / n) ** group_power``, divided so that the mean over all events
    is 1: inverse-frequency weights at power 1, all alike at 0, as inverse propensities are tempered (Schnabel et al.,
    "Recommendations as treatments", ICML 2016, arXiv 1602.05352; Cui et al., CVPR 2019, arXiv 1901.05555). An item with
    several values has the mean of their weights, and what has none weighs 1. Groups of items and of users multiply, and so
    do the weights of the log where the objective reads them.

    Parameters
    ----------
    log : Interactions
    objective : Objective
    catalog : Catalog
        In the log's item rows.
    features : tuple of UserFeature
        What the codes mean.
    codes : int64 (n_users, F) or None
        In the log's user rows.

    Raises
    ------
    ConfigError
        As :func:`check_groups`.
    """
    if not objective.grouped:
        return log
    weights = np.ones(len(log))
    if objective.weighted and log.weights is not None:
        weights *= log.weights
    if objective.item_groups is not None:
        matrix, names = catalog.memberships(objective.item_groups)
        each = inverse_frequency(matrix, log.item_counts, objective.group_power)
        _tell(objective.item_groups, names, matrix, log.item_counts, objective.group_power)
        weights *= each[log.histories.rows]
    if objective.user_groups is not None:
        if codes is None:
            raise ConfigError("user_groups (--user-groups) needs the table of users (--user-table)")
        at = _feature(features, objective.user_groups)
        column = codes[:, at]
        known = np.flatnonzero(column > 0)
        shape = (len(column), features[at].cardinality)
        matrix = sp.csr_matrix((np.ones(len(known), dtype=np.bool_), (known, column[known])), shape=shape)
        each = inverse_frequency(matrix, log.histories.lengths, objective.group_power)
        _tell(objective.user_groups, _named(features[at]), matrix, log.histories.lengths, objective.group_power)
        weights *= each[log.histories.list_index()]
    return replace(log, weights=weights.astype(np.float32))


def inverse_frequency(members: sp.csr_matrix[np.bool_], counts: Int64, power: float) -> NDArray[np.float64]:
    """What an event of each item or user weighs, by how many events its groups have.

    Parameters
    ----------
    members : bool CSR (n, groups)
    counts : int64 (n,)
        Events of each.
    power : float
        In [0, 1].

    Returns
    -------
    float64 (n,)
        Of mean 1 over the events of those that are in a group; 1 for the others.

    Examples
    --------
    >>> import numpy as np, scipy.sparse as sp
    >>> from recsys.training.group_weights import inverse_frequency
    >>> members = sp.csr_matrix([[True, False], [False, True]])
    >>> inverse_frequency(members, np.array([9, 1]), 1.0).round(3).tolist()
    [0.556, 5.0]
    """
    inside = members.astype(np.float64)
    events = inside.T @ counts
    by_group = np.where(events > 0, np.maximum(events, 1.0) ** -power, 0.0)
    groups = np.diff(members.indptr)
    found = np.where(groups > 0, (inside @ by_group) / np.maximum(groups, 1), 0.0)
    total = float(counts[groups > 0].sum())
    mean = float((found * counts).sum()) / total if total else 0.0
    return np.where(groups > 0, found / mean if mean else 1.0, 1.0)


def _feature(features: tuple[UserFeature, ...], name: str) -> int:
    names = [one.name for one in features]
    if name not in names:
        raise ConfigError(
            f"user_groups (--user-groups) names the column {name!r}, and the table of users is read for "
            f"{', '.join(names) or 'none'}; name one of these, or read that column too (--categorical)"
        )
    return names.index(name)


def _named(feature: UserFeature) -> list[str]:
    known = feature.categories or tuple(f"bucket {at}" for at in range(1, feature.cardinality))
    return ["unknown", *known]


def _several(groups: list[object] | list[str], where: str) -> None:
    if len(groups) < 2:
        raise ConfigError(
            f"{where} has {'no value' if not groups else f'the one value {groups[0]!r}'}; weights by group need two groups"
        )


def _tell(column: str, names: list[str], members: sp.csr_matrix[np.bool_], counts: Int64, power: float) -> None:
    """Say which groups weigh least and most."""
    events = members.astype(np.float64).T @ counts
    there = np.flatnonzero(events > 0)
    if not len(there):
        return
    few, many = there[np.argmin(events[there])], there[np.argmax(events[there])]
    ratio = float(events[many] / events[few]) ** power
    say(
        f"events are weighed by {column}: one of {names[few]} ({events[few]:,.0f} events) counts {ratio:.3g} times as much "
        f"as one of {names[many]} ({events[many]:,.0f})"
    )
