"""Short trials on validation, by successive halving, of what counts cannot decide."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from recsys.config.augment import Augment
from recsys.config.options import value_text
from recsys.core.progress import log as say
from recsys.core.progress import muted, warn
from recsys.data.catalog import Catalog
from recsys.data.interactions import Interactions
from recsys.data.split import Holdout
from recsys.data.user_table import UserTable
from recsys.errors import RecsysError
from recsys.training.plan.cost import epoch_seconds
from recsys.training.plan.facts import LogFacts
from recsys.training.plan.options import Options
from recsys.training.plan.rules import Decision
from recsys.training.prepare import prepare
from recsys.training.trainer import train
from recsys.training.transitions import asked_of
from recsys.transitions.learn import Form, learn, window_of
from recsys.transitions.memory import TransitionMemory
from recsys.transitions.weigh import Float64, Scale, really_better

_LEAST_USERS = 300
"""With fewer validation users nothing can be told apart."""
_LEAST_POSITIONS = 200_000
"""Fewer positions in a second round, and less than all, decide nothing."""
_WIDTH = 64
"""Trials are made with towers of this width at most: what they decide holds for wider ones too."""
_RATE = 2e-3
"""Learning rate of trials at least: all are short, so that none wins because it learns faster."""
_LEAST_SHARE = 0.02
"""Of the users, in a trial that has no time for all."""
_DOUBLINGS = 2.0
"""The lead of an alternative is continued for so many doublings of the epochs at most."""
_FILTER = 16
"""Events that a filter on short histories blends."""
_KEPT = 2
"""Alternatives that reach the second round, beside the first plan."""


@dataclass(frozen=True, eq=False)
class TrialData:
    """What all trials of a plan share."""

    log: Interactions
    catalog: Catalog | None
    users: UserTable | None
    augment: Augment | None
    validation: Holdout
    facts: LogFacts


@dataclass(frozen=True)
class Alternative:
    """A change of the first plan that is worth a trial: options by name, and how to call it."""

    name: str
    changes: dict[str, Any]


def alternatives(options: Options, undecided: frozenset[str], facts: LogFacts) -> list[Alternative]:
    """What is worth a trial beside the first plan, of what was left open."""
    found = []
    model = options.model
    if "model.use_ids" in undecided and facts.words and model.encoder is not None:
        found.append(Alternative(f"use_ids {value_text(not model.use_ids)}", {"model.use_ids": not model.use_ids}))
    if "model.score" in undecided:
        other = "cosine" if model.score == "dot" else "dot"
        found.append(Alternative(f"score {other}", {"model.score": other}))
    if "model.dropout" in undecided:
        dropout = 0.3 if facts.short else 0.2 if facts.dense else 0.4
        found.append(Alternative(f"dropout {dropout}", {"model.dropout": dropout}))
    if "model.filter_length" in undecided and facts.short and facts.ordered:
        found.append(Alternative(f"filter_length {_FILTER}", {"model.filter_length": _FILTER}))
    return found


def decided_by_trials(
    options: Options, undecided: frozenset[str], data: TrialData, epochs: int, seconds: float, rate: float
) -> tuple[Options, list[Decision]]:
    """Try the alternatives beside the first plan, and take each that is really better.

    All train for as long in a first round; the best two, and the first plan, anew for twice as long in a second. The
    figure is the NDCG@100 of validation users, in the mean of the towers alone and beside a quickly counted memory, which
    hides much of what towers differ by. What learns fast need not end well: the lead of an alternative is continued as it
    went from the first round to the second, for each user, to the epochs of the training (log-linear in epochs, two
    doublings at most), and must then be above 0 by two standard errors.

    Parameters
    ----------
    options : Options
    undecided : frozenset of str
        Options that may be changed.
    data : TrialData
    epochs : int
        Of the training to come.
    seconds : float
        For all trials together.
    rate : float
        Operations a second.

    Returns
    -------
    Options
    list of Decision
        One for each alternative; empty where there is nothing to try, or too little to judge it by.
    """
    tried = alternatives(options, undecided, data.facts)
    if not tried or len(data.validation) < _LEAST_USERS or seconds <= 0:
        return options, []
    units = len(tried) + 1 + 2 * (min(_KEPT, len(tried)) + 1)
    trials = _Trials(data, seconds / units, rate)
    if trials.passes(options, 2.0) * data.facts.positions < min(_LEAST_POSITIONS, data.facts.positions):
        return options, []
    say(f"deciding by short trials: {len(tried) + 1} plans, about {seconds:,.0f} s")
    first = {"": trials.run(options, 1.0)}
    for one in list(tried):
        try:
            first[one.name] = trials.run(options.changed(one.changes), 1.0)
        except (RecsysError, RuntimeError, MemoryError) as error:
            warn(f"the trial with {one.name} failed ({type(error).__name__}: {error}); it is left out")
            tried.remove(one)
    kept = sorted(tried, key=lambda one: -float(first[one.name].mean()))[:_KEPT]
    second = {"": trials.run(options, 2.0)}
    for one in kept:
        try:
            second[one.name] = trials.run(options.changed(one.changes), 2.0)
        except (RecsysError, RuntimeError, MemoryError) as error:
            warn(f"the longer trial with {one.name} failed ({type(error).__name__}: {error}); it is left out")
    one_epochs, two_epochs = trials.passes(options, 1.0), trials.passes(options, 2.0)
    further = min(_DOUBLINGS, max(0.0, np.log2(epochs / two_epochs))) / max(1.0, np.log2(two_epochs / one_epochs))
    decisions, found = [], options
    for one in tried:
        early, taken = first[one.name] - first[""], False
        why = f"{one.name}: validation NDCG@100 {early.mean():+.4f} after {one_epochs:.2g} epochs"
        if one.name in second:
            late = second[one.name] - second[""]
            expected = late + further * (late - early)
            taken = really_better(expected, np.zeros(len(expected)))
            why += f", {late.mean():+.4f} after {two_epochs:.2g}, {expected.mean():+.4f} expected ({len(late):,} users)"
        found = found.changed(one.changes) if taken else found
        for option, value in one.changes.items():
            other = options.get(option) if taken else value
            decisions.append(Decision(option, value if taken else options.get(option), why, value_text(other)))
    return found, decisions


class _Trials:
    """Trains towers on a log for some time, and judges them."""

    def __init__(self, data: TrialData, seconds: float, rate: float) -> None:
        self.data, self.seconds, self.rate = data, seconds, rate
        self._memory: TransitionMemory | None = None

    def epochs(self, options: Options, share: float) -> float:
        """How many epochs a share of a round's seconds is enough for."""
        return self.seconds * share / epoch_seconds(self.data.facts, _narrow(options), self.rate)

    def passes(self, options: Options, share: float) -> float:
        """Passes over the log that it is used for: whole ones, or a part of one."""
        wanted = self.epochs(options, share)
        return float(int(wanted)) if wanted >= 1 else max(wanted, _LEAST_SHARE)

    def run(self, options: Options, share: float) -> Float64:
        """What each validation user gains, float64 (n,), after training for a share of a round's seconds."""
        data, passes, options = self.data, self.passes(options, share), _narrow(options)
        model, epochs = options.model, int(passes)
        log = data.log if epochs else _some(data.log, passes, options.training.seed)
        rate = max(_RATE, options.training.learning_rate)
        training = replace(options.training, epochs=max(1, epochs), patience=0, checkpoint_steps=0, learning_rate=rate)
        with muted():
            inputs = prepare(model, log, data.catalog, training=training, augment=data.augment, users=data.users)
            train(inputs, None, training, objective=options.objective, augmentation=data.augment)
            asked = asked_of(inputs.towers, data.validation, filter_seen=not training.keep_seen)
            n = len(inputs.towers.items)
            if self._memory is None:
                form = Form("counts") if log.ordered else Form("counts", np.inf, window_of(np.inf))
                whole = data.log if data.catalog is None else data.log.with_items(data.catalog.items.ids)
                self._memory = TransitionMemory(learn(whole.histories.without_events(), n, form), form, 1.0)
            scale = Scale(asked, n)
            return (scale.alone + scale.best(self._memory.scores(asked.histories))[1]) / 2


def _narrow(options: Options) -> Options:
    """Of the width of a trial, with one member and without a memory."""
    heads = options.model.heads
    width = min(options.model.dim, max(heads, _WIDTH - _WIDTH % heads))
    return replace(options, model=replace(options.model, dim=width, ensemble_size=1, transitions="none"))


def _some(log: Interactions, share: float, seed: int) -> Interactions:
    """A share of the users at random."""
    kept = np.random.default_rng(seed).random(len(log.users)) < share
    return log.select(kept[log.histories.list_index()])
