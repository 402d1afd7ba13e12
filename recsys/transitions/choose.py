"""The form and the weight of a transition memory, chosen on validation beside the scores of fitted towers."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from recsys.core.ragged import Bool, Int64, Ragged
from recsys.transitions.borrow import Alike, borrowed
from recsys.transitions.learn import Form, TransitionKind, debiased, learn_from, relearn, touched_items, window_of
from recsys.transitions.memory import TransitionMemory
from recsys.transitions.pairs import Matrix, PairSums, pair_sums
from recsys.transitions.update import Counted
from recsys.transitions.weigh import Asked, Float64, Scale, really_better

_LEARN_EVENTS = 2_000_000
"""Forms are compared on tables learned from at most so many events; the chosen one is learned from all."""
_DECAYS = (1.5, 3.0, 6.0, 12.0)
_REGULARISATIONS = (50.0, 800.0)
_DEBIASES = (0.15, 0.3, 0.5)
_BORROWED = (20.0, 200.0)


@dataclass(frozen=True, eq=False)
class Tried:
    """One form that was tried.

    Attributes
    ----------
    form : Form
    weight : float
        The best one beside the towers, or the given one.
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
    train: Ragged,
    n_items: int,
    asked: Asked,
    *,
    kind: TransitionKind = "auto",
    ordered: bool = True,
    entries: int = 200,
    weight: float | None = None,
    alike: Alike | None = None,
) -> Choice:
    """Learn tables of several forms, weigh each beside the towers, and keep the best, if it is better than none.

    The decay is chosen with count tables, which cost next to nothing; then ridge is tried at that decay, half and twice it.
    Another regularisation, lighter columns of popular items, or counts instead of ridge, must be really better (paired, by
    two standard errors): on most logs ridge is ahead, and a few hundred users cannot tell.

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
    weight : float, optional
        Of the memory; by default the best one of each form.
    alike : Alike, optional
        Items of like text, from which items with few events may borrow; that too must be really better.
    """
    trial = _Trial(_some(train), n_items, asked, weight, alike)
    decays = _DECAYS if ordered else (np.inf,)
    forms = [Form("counts", decay, window_of(decay), entries=entries) for decay in decays]
    best = trial.best(forms)
    if kind != "counts":
        around = [decay for decay in _DECAYS if 0.5 <= decay / best.form.decay <= 2] or [np.inf]
        ridge = [replace(best.form, kind="ridge", decay=decay, window=window_of(decay)) for decay in around]
        first = trial.best(ridge)
        for value in _REGULARISATIONS:
            first = trial.better(first, replace(first.form, regularisation=value))
        for value in _DEBIASES:
            first = trial.better(first, replace(first.form, debias=value))
        best = best if kind == "auto" and really_better(best.gains, first.gains) else first
    for value in () if alike is None else _BORROWED:
        best = trial.better(best, replace(best.form, borrow=value))
    alone = float(trial.alone.mean())
    if best.ndcg <= alone:
        return Choice(None, alone, alone, trial.tried)
    if trial.train is train and best.form in trial.made:
        memory = replace(trial.made[best.form], weight=best.weight)
    else:
        memory = learn_memory(train, n_items, best.form, best.weight, alike)
    return Choice(memory, alone, best.ndcg, trial.tried)


def relearned_memory(memory: TransitionMemory, histories: Ragged, n_items: int, new: Bool) -> TransitionMemory | None:
    """A memory of more events for the cost of their items; None: one of this form is learned anew as fast, or not at all.

    Parameters
    ----------
    memory : TransitionMemory
        Learned from the events that are not new.
    histories : Ragged (n)
        All events.
    n_items : int
    new : bool (len(histories.rows),)
    """
    form = memory.form
    if form.kind != "ridge" or form.borrow:
        return None
    window = np.inf if np.isinf(form.decay) else form.window
    touched = touched_items(histories, new, n_items, window)
    sums = pair_sums(histories, n_items, form.window, form.decay)
    longer = memory.extended(n_items)
    learned = relearn(sums, form, longer.alone, touched)
    return replace(longer, table=learned, learned=None).with_related(longer.related)


def learn_memory(train: Ragged, n_items: int, form: Form, weight: float, alike: Alike | None = None) -> TransitionMemory:
    """The memory of a form, with what items of few events borrow from items of like text if the form says so."""
    sums = pair_sums(train, n_items, form.window, form.decay)
    return _memory(learn_from(sums, form), sums, form, weight, alike, np.bincount(train.rows, minlength=n_items))


def _memory(
    table: Matrix, sums: PairSums, form: Form, weight: float, alike: Alike | None, counts: Int64
) -> TransitionMemory:
    """Of a table learned from these sums, before anything is borrowed."""
    if alike is not None and form.borrow:
        table = borrowed(table, alike, counts, form.borrow, form.entries)
    takes_events = form.kind == "counts" and not form.borrow
    return TransitionMemory(table, form, weight, Counted(sums.squares, sums.targets) if takes_events else None)


def _some(train: Ragged) -> Ragged:
    """Users at random, with about as many events as forms are compared on."""
    if len(train.rows) <= _LEARN_EVENTS:
        return train
    order = np.random.default_rng(0).permutation(len(train))
    enough = int(np.searchsorted(np.cumsum(train.lengths[order]), _LEARN_EVENTS))
    return train.take(np.sort(order[: max(1, enough)]))


class _Trial:
    """Judges forms on the same users, beside the same best items of the towers.

    ``made`` holds the memories of the best form, with and without what it borrows and what makes it lighter: they are not
    learned twice.
    """

    def __init__(self, train: Ragged, n_items: int, asked: Asked, weight: float | None, alike: Alike | None) -> None:
        self.train, self.n_items, self.asked, self.weight, self.alike = train, n_items, asked, weight, alike
        self._counts = np.bincount(train.rows, minlength=n_items)
        self.tried: list[Tried] = []
        self.made: dict[Form, TransitionMemory] = {}
        self._sums: tuple[tuple[int, float], PairSums] | None = None
        self._scale = Scale(asked, n_items)
        self.alone = self._scale.alone

    def best(self, forms: list[Form]) -> Tried:
        """The form with the highest mean."""
        found = self.of(forms[0])
        for form in forms[1:]:
            other = self.of(form)
            found = self._kept(other if other.ndcg > found.ndcg else found)
        return found

    def better(self, found: Tried, form: Form) -> Tried:
        """Another form where it is really better, else the one that was found."""
        other = self.of(form)
        return self._kept(other if really_better(other.gains, found.gains) else found)

    def _kept(self, found: Tried) -> Tried:
        wanted = found.form, replace(found.form, borrow=0.0), _plain(found.form)
        self.made = {form: memory for form, memory in self.made.items() if form in wanted}
        return found

    def of(self, form: Form) -> Tried:
        """Learn a table, and find its best weight."""
        key = (form.window, form.decay)
        if self._sums is None or self._sums[0] != key:
            self._sums = key, pair_sums(self.train, self.n_items, *key)
        sums, plain = self._sums[1], _plain(form)
        if plain not in self.made:
            self.made[plain] = _memory(learn_from(sums, plain), sums, plain, 1.0, None, self._counts)
        table = debiased(self.made[plain].table, sums.targets, form.debias)
        memory = self.made[form] = _memory(table, sums, form, 1.0, self.alike, self._counts)
        sparse = memory.scores(self.asked.histories)
        if self.weight is None:
            weight, gains = self._scale.best(sparse)
        else:
            weight, gains = self.weight, self._scale.gains(sparse, self.weight)
        self.tried.append(Tried(form, weight, gains))
        return self.tried[-1]


def _plain(form: Form) -> Form:
    """The form before anything is borrowed or made lighter."""
    return replace(form, borrow=0.0, debias=0.0)
