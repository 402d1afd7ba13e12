"""A transition memory and popularity with differential privacy by user: one noisy sum, and what is made of it.

Noise on a sum of what 6,000 people did drowns the gradients of a tower long before it drowns which item follows which:
there a user adds to some hundred numbers that others add to as well, and the sum is released once. This is the private
item-to-item table of McSherry and Mironov, "Differentially private recommender systems" (KDD 2009), with users as the unit.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import scipy.sparse as sp
import torch
from numpy.typing import NDArray

from recsys.bundle.privacy import NOT_COVERED, covered
from recsys.config.privacy import PrivacyOptions
from recsys.core.progress import log as say
from recsys.core.progress import warn
from recsys.core.ragged import Int64, Ragged
from recsys.data.catalog import Catalog
from recsys.data.interactions import Interactions
from recsys.data.user_table import UserTable
from recsys.errors import ConfigError, DataError
from recsys.models.build import popularity_network
from recsys.privacy.accounting import epsilon_of, noise_for
from recsys.privacy.noise import Noise
from recsys.training.logs import TrainingLog
from recsys.training.plan.options import Options
from recsys.training.plan.run import Trained
from recsys.training.prepare import prepare
from recsys.training.private.budget import Budget
from recsys.training.private.checks import check_delta, private_options, public_items
from recsys.transitions.decay import ages, decays
from recsys.transitions.learn import Form, default_form, pruned
from recsys.transitions.memory import TransitionMemory

MOST_ITEMS: Final = 20_000
"""Every pair of items of the catalogue gets noise, those that nobody made too: 400 million take minutes."""
_CERTAIN: Final = 4.0
"""Pairs below so many standard deviations of the noise are left out: of a million without events, some thirty pass."""
_BLOCK: Final = 4_000_000
"""Numbers with noise that are held at once."""
_PAIRS: Final = 20_000_000
"""Pairs of events of some users that are held at once."""


def fit_fast_privately(
    asked: Options, privacy: PrivacyOptions, log: Interactions, catalog: Catalog | None, *, users: UserTable | None
) -> tuple[Trained, TransitionMemory | None]:
    """Learn the memory and the popularity of a model without towers with differential privacy by user.

    Parameters
    ----------
    asked : Options
    privacy : PrivacyOptions
        With an epsilon.
    log, catalog, users
        As for :meth:`recsys.TwoTower.fit`.

    Returns
    -------
    Trained, TransitionMemory or None
        The record says what was spent (``privacy``). None: no pair of items stood out of the noise.

    Raises
    ------
    ConfigError
        Something is asked for that would tell of private events, there are too many items, or no noise keeps the budget.
    DataError
        An item of the log is not in the catalogue, or no user has two events.
    DependencyError
        opacus is not installed.
    """
    begun, cpu = time.perf_counter(), time.process_time()
    log = public_items(log, catalog)
    options = private_options(asked, items=len(log.items), log=log, users=users)
    if len(log.items) > MOST_ITEMS:
        raise ConfigError(
            f"the catalogue has {len(log.items):,} items, and a private table adds noise to every pair of them: "
            f"{MOST_ITEMS:,} are the most; name a smaller catalogue, or train towers (leave out --fast)"
        )
    people = int((log.histories.lengths > 1).sum())
    if not people:
        raise DataError("no user has two events, so there is nothing that follows anything to learn from")
    budget = _budget(privacy, people)
    say(str(budget))
    say(f"that covers {covered(budget.to_dict())}; it does not cover {NOT_COVERED}")
    noise = Noise(privacy.noise_seed)
    if not noise.secure:
        warn("noise_seed makes the noise repeatable: whoever knows the seed can take it off, and nothing is promised")
    inputs = prepare(options.model, log, catalog, training=options.training, public=True)
    form = default_form("counts", options.model.transition_entries, ordered=log.ordered)
    sums = user_sums(log.histories.without_events(), len(log.items), form)
    table, popularity = released(sums, budget.noise, noise, form.entries)
    net = popularity_network(torch.from_numpy(np.log1p(popularity).astype(np.float32))[:, None]).to(inputs.towers.device)
    inputs = replace(inputs, towers=replace(inputs.towers, net=net.eval()))
    memory = TransitionMemory(table, form, weight=1.0) if table.nnz else None
    say(f"transition memory: {table.nnz:,} pairs of items stand out of the noise")
    record = TrainingLog(seconds=time.perf_counter() - begun, cpu_seconds=time.process_time() - cpu)
    record.privacy = budget.to_dict()
    return Trained(inputs, record, options), memory


def _budget(privacy: PrivacyOptions, people: int) -> Budget:
    assert privacy.epsilon is not None  # noqa: S101 - the caller asked
    check_delta(privacy, people)
    how = (privacy.delta, 1.0, 1, privacy.accountant)
    noise = noise_for(privacy.epsilon, *how)
    return Budget(
        epsilon=epsilon_of(noise, *how),
        delta=privacy.delta,
        noise=noise,
        norm=1.0,
        rate=1.0,
        steps=1,
        users=people,
        accountant=privacy.accountant,
        secure=privacy.noise_seed is None,
        options=privacy,
    )


@dataclass(frozen=True, eq=False)
class UserSums:
    """What all users add up to, each of Euclidean norm 1 at most over both parts together.

    Attributes
    ----------
    pairs : CSR float64 (n_items, n_items)
        How often an item came after another, weighted by distance; each user's of norm ``1 / √2``.
    items : float64 (n_items,)
        Who met each item; each user's of norm ``1 / √2``.
    """

    pairs: sp.csr_matrix[np.float64]
    items: NDArray[np.float64]


def user_sums(histories: Ragged, n_items: int, form: Form) -> UserSums:
    """Add up what each user did, scaled to one norm, so that nobody has more of a part in it than another.

    **Sensitivity.** A user's part is a vector of the counts of pairs, divided by its norm times √2, beside one of the
    items, likewise: of norm 1 at most, 0 of somebody without two events. It depends on that user's history alone. So two
    logs of which one has one more user have sums that differ by 1 at most.

    Parameters
    ----------
    histories : Ragged (n)
        Item rows, in time order.
    n_items : int
    form : Form
        Its window and decay.
    """
    total = sp.csr_matrix((n_items, n_items), dtype=np.float64)
    items = np.zeros(n_items)
    most = np.cumsum(histories.lengths) * form.window
    start = 0
    while start < len(histories):
        done = int(most[start - 1]) if start else 0
        stop = max(start + 1, int(np.searchsorted(most, done + _PAIRS, side="right")))
        some = histories.block(start, stop)
        owners, first, second, values = _pairs(some, n_items, form)
        squares = np.bincount(owners, weights=values**2, minlength=len(some))
        scaled = values / np.sqrt(2.0 * squares[owners])
        total = total + sp.csr_matrix((scaled, (first, second)), shape=total.shape)
        met = np.unique(some.list_index() * n_items + some.rows)
        who, what = np.divmod(met, n_items)
        sizes = np.bincount(who, minlength=len(some))
        counted = some.lengths[who] > 1  # the number of people is of those who have two events
        items += np.bincount(what[counted], weights=1.0 / np.sqrt(2.0 * sizes[who[counted]]), minlength=n_items)
        start = stop
    return UserSums(sp.csr_matrix(total), items)


def _pairs(histories: Ragged, n_items: int, form: Form) -> tuple[Int64, Int64, Int64, NDArray[np.float64]]:
    """Each pair of items of each user once: user, item before, item after, and the sum of the weights of its distances."""
    left, owners, rows = ages(histories), histories.list_index(), histories.rows.astype(np.int64)
    if np.isinf(form.decay):
        window, weights = int(histories.lengths.max(initial=1)), np.ones(int(histories.lengths.max(initial=1)))
    else:
        window, weights = form.window, decays(form.window, form.decay).astype(np.float64)
    keys, values = [np.empty(0, dtype=np.int64)], [np.empty(0)]
    for distance in range(1, window + 1):
        before = np.flatnonzero(left >= distance)
        if not len(before):
            break
        after = before + distance
        keys.append((owners[before] * n_items + rows[before]) * n_items + rows[after])
        values.append(np.full(len(before), weights[min(distance, len(weights)) - 1]))
    every, place = np.unique(np.concatenate(keys), return_inverse=True)
    summed = np.bincount(place, np.concatenate(values), len(every)).astype(np.float64)
    pair, second = np.divmod(every, n_items)
    owner, first = np.divmod(pair, n_items)
    return owner, first, second, summed


def released(
    sums: UserSums, sigma: float, noise: Noise, entries: int
) -> tuple[sp.csr_matrix[np.float32], NDArray[np.float64]]:
    """Add Gaussian noise to every number of the sums, and make a table and popularity of what stands out of it.

    Every pair gets noise, those that nobody made too, so that it is the Gaussian mechanism on the whole sum. What follows
    costs nothing more: pairs below four standard deviations are left out, and the others are divided as a table of counts
    is, ``C_ji / sqrt((p_j + 4σ)(p_i + 4σ))``, by the popularity that was released, at least 0.

    Parameters
    ----------
    sums : UserSums
    sigma : float
        Standard deviation of the noise; the sums move by 1 at most with one user.
    noise : Noise
    entries : int
        Most entries in a row.

    Returns
    -------
    CSR float32 (n_items, n_items)
        Positive entries, columns ascending.
    float64 (n_items,)
        Popularity, 0 or more.
    """
    n = len(sums.items)
    popularity = np.maximum(sums.items + sigma * noise.normal(n), 0.0)
    scale = 1.0 / np.sqrt(popularity + _CERTAIN * sigma)
    parts, step = [], max(1, _BLOCK // n)
    for start in range(0, n, step):
        rows = sums.pairs[start : start + step].toarray()
        rows += sigma * noise.normal(rows.size).reshape(rows.shape)
        rows[rows < _CERTAIN * sigma] = 0.0
        parts.append(sp.csr_matrix((rows * scale[start : start + step, None] * scale).astype(np.float32)))
    table = sp.csr_matrix(sp.vstack(parts, format="csr"))
    return pruned(table, entries), popularity
