"""The form and the weight of a transition memory, chosen on validation beside the scores of fitted towers."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from recsys.core.ragged import Float32, Int64, Ragged, is_in, ragged_positions
from recsys.core.ranking import SparseScores
from recsys.index.item_index import ItemIndex
from recsys.transitions.learn import Form, TransitionKind, learn_from, window_of
from recsys.transitions.memory import TransitionMemory
from recsys.transitions.pairs import PairSums, pair_sums

Float64: TypeAlias = NDArray[np.float64]

_DEPTH = 100
_TARGETS = 5
"""Targets of a user that are counted: the next ones."""
_LEARN_EVENTS = 2_000_000
"""Forms are compared on tables learned from at most so many events; the chosen one is learned from all."""
_DECAYS = (1.5, 3.0, 6.0, 12.0)
_REGULARISATIONS = (50.0, 800.0)
_WEIGHTS = tuple(float(2.0**power) for power in np.arange(-4, 4.5, 0.5))


@dataclass(frozen=True, eq=False)
class Asked:
    """Held-out users in the model's item rows, and their vectors.

    Attributes
    ----------
    histories, targets : Ragged (n)
    queries : float32 (n, D)
    index : ItemIndex
        The towers' item vectors.
    filter_seen : bool
    """

    histories: Ragged
    targets: Ragged
    queries: Float32
    index: ItemIndex
    filter_seen: bool


@dataclass(frozen=True, eq=False)
class Tried:
    """One form that was tried.

    Attributes
    ----------
    form : Form
    weight : float
        The best one beside the towers.
    gains : float64 (n,)
        What each validation user adds to NDCG@100 with it.
    """

    form: Form
    weight: float
    gains: Float64

    @property
    def ndcg(self) -> float:
        """Their mean."""
        return float(self.gains.mean())


@dataclass(frozen=True, eq=False)
class Choice:
    """What was chosen, and why.

    Attributes
    ----------
    memory : TransitionMemory or None
        None: the towers alone were as good.
    towers_ndcg, ndcg : float
        NDCG@100 of the towers alone, and with the memory.
    tried : list of Tried
    """

    memory: TransitionMemory | None
    towers_ndcg: float
    ndcg: float
    tried: list[Tried]


def choose(
    train: Ragged, n_items: int, asked: Asked, *, kind: TransitionKind = "auto", ordered: bool = True, entries: int = 200
) -> Choice:
    """Learn tables of several forms, weigh each beside the towers, and keep the best, if it is better than none.

    The decay is chosen with count tables, which cost next to nothing; then ridge is tried at that decay, half and twice it.
    Another regularisation, or counts instead of ridge, must be really better (paired, by two standard errors): on most logs
    ridge is ahead, and a few hundred users cannot tell.

    Parameters
    ----------
    train : Ragged (n_users)
        Item rows of the training log.
    n_items : int
    asked : Asked
        Validation, on other events than ``train`` has.
    kind : {"auto", "ridge", "counts"}
        What to try.
    ordered : bool
        Whether histories have an order.
    entries : int
        Most entries in a row.
    """
    trial = _Trial(_some(train), n_items, asked)
    decays = _DECAYS if ordered else (np.inf,)
    forms = [Form("counts", decay, window_of(decay), entries=entries) for decay in decays]
    best = max((trial.of(form) for form in forms), key=lambda one: one.ndcg)
    if kind != "counts":
        around = [decay for decay in _DECAYS if 0.5 <= decay / best.form.decay <= 2] or [np.inf]
        ridge = [replace(best.form, kind="ridge", decay=decay, window=window_of(decay)) for decay in around]
        first = max((trial.of(form) for form in ridge), key=lambda one: one.ndcg)
        for value in _REGULARISATIONS:
            other = trial.of(replace(first.form, regularisation=value))
            first = other if _really_better(other, first) else first
        best = best if kind == "auto" and _really_better(best, first) else first
    alone = float(trial.alone.mean())
    if best.ndcg <= alone:
        return Choice(None, alone, alone, trial.tried)
    table = learn_from(pair_sums(train, n_items, best.form.window, best.form.decay), best.form)
    return Choice(TransitionMemory(table, best.form, best.weight), alone, best.ndcg, trial.tried)


def _really_better(one: Tried, other: Tried) -> bool:
    """Whether a form is better than the standing one by more than two standard errors of the users' differences."""
    difference = one.gains - other.gains
    return bool(difference.mean() > 2 * difference.std() / np.sqrt(len(difference)))


def _some(train: Ragged) -> Ragged:
    """Users at random, with about as many events as forms are compared on."""
    if len(train.rows) <= _LEARN_EVENTS:
        return train
    order = np.random.default_rng(0).permutation(len(train))
    enough = int(np.searchsorted(np.cumsum(train.lengths[order]), _LEARN_EVENTS))
    return train.take(np.sort(order[: max(1, enough)]))


class _Trial:
    """Judges forms on the same users, beside the same best items of the towers."""

    def __init__(self, train: Ragged, n_items: int, asked: Asked) -> None:
        self.train, self.n_items, self.asked = train, n_items, asked
        self.tried: list[Tried] = []
        self._sums: tuple[tuple[int, float], PairSums] | None = None
        self._seen = asked.histories.without_events() if asked.filter_seen else Ragged.empty(len(asked.histories))
        self._best = asked.index.search(asked.queries, _DEPTH, self._seen)
        nothing = SparseScores(Ragged.empty(len(asked.targets)), np.empty(0, np.float32))
        self.alone = self._gains(nothing, [0.0])[0]

    def of(self, form: Form) -> Tried:
        """Learn a table, and find its best weight."""
        key = (form.window, form.decay)
        if self._sums is None or self._sums[0] != key:
            self._sums = key, pair_sums(self.train, self.n_items, *key)
        memory = TransitionMemory(learn_from(self._sums[1], form), form, weight=1.0)
        sparse = memory.scores(self.asked.histories)
        unit = self._unit(sparse)
        weights = [unit * one for one in _WEIGHTS]
        gains = self._gains(sparse, weights)
        at = int(np.argmax([one.mean() for one in gains]))
        self.tried.append(Tried(form, weights[at], gains[at]))
        return self.tried[-1]

    def _unit(self, sparse: SparseScores) -> float:
        """The weight at which the memory's best item is worth what lies between the towers' best and 100th item."""
        lists = self._best.lists
        filled = np.flatnonzero(lists.lengths > 1)
        spread = self._best.scores[lists.offsets[filled]] - self._best.scores[lists.offsets[filled + 1] - 1]
        tops = np.zeros(len(sparse), dtype=np.float32)
        np.maximum.at(tops, sparse.lists.list_index(), sparse.scores)
        top = float(tops[tops > 0].mean()) if (tops > 0).any() else 1.0
        wide = float(spread.mean()) if len(filled) else 1.0
        return (wide if wide > 0 else 1.0) / top

    def _gains(self, sparse: SparseScores, weights: list[float]) -> list[Float64]:
        """For each weight float64 (n,): the mean over a user's targets of ``1 / log2(1 + rank)``, 0 beyond rank 100."""
        keys, values = self._candidates(sparse)
        owners, rows = np.divmod(keys, self.n_items)
        dense = self.asked.index.scores(self.asked.queries, owners, rows)
        starts = np.searchsorted(owners, np.arange(len(self.asked.targets) + 1))
        gains = [np.zeros(len(self.asked.targets)) for _ in weights]
        counted = np.minimum(self.asked.targets.lengths, _TARGETS)
        for users, targets in self._target_slots():
            wanted = users * self.n_items + targets
            place = np.minimum(np.searchsorted(keys, wanted), max(len(keys) - 1, 0))
            met = keys[place] == wanted if len(keys) else np.zeros(len(wanted), dtype=np.bool_)
            found, place = users[met], place[met]
            lengths = starts[found + 1] - starts[found]
            pairs = ragged_positions(starts[found], lengths)
            own, earlier = np.repeat(np.arange(len(found)), lengths), pairs < np.repeat(place, lengths)
            for at, weight in enumerate(weights):
                scores = dense + np.float32(weight) * values
                bar = np.repeat(scores[place], lengths)
                before = (scores[pairs] > bar) | ((scores[pairs] == bar) & earlier)
                ranks = np.bincount(own[before], minlength=len(found))
                gains[at][found] += np.where(ranks < _DEPTH, 1 / np.log2(ranks + 2), 0) / counted[found]
        return gains

    def _candidates(self, sparse: SparseScores) -> tuple[Int64, Float32]:
        """Users' best and touched items, as ``user * n_items + row`` ascending, int64 (P,), and their sparse scores."""
        n = self.n_items
        touched = sparse.lists.list_index() * n + sparse.lists.rows  # ascending, none twice
        kept = ~is_in(touched, np.sort(self._seen.list_index() * n + self._seen.rows))
        touched = touched[kept]
        best = self._best.lists.list_index() * n + self._best.lists.rows
        alone = best[~is_in(best, touched)]
        keys = np.concatenate([touched, alone])
        order = np.argsort(keys, kind="stable")
        values = np.concatenate([sparse.scores[kept], np.zeros(len(alone), dtype=np.float32)])
        return keys[order], values[order]

    def _target_slots(self) -> list[tuple[Int64, Int64]]:
        """The first target of each user, the second of those who have two, and so on: users and rows, int64 (m,) each."""
        targets, slots = self.asked.targets, []
        for slot in range(min(_TARGETS, int(targets.lengths.max()))):
            users = np.flatnonzero(targets.lengths > slot)
            slots.append((users, targets.rows[targets.offsets[users] + slot].astype(np.int64)))
        return slots
