"""The plan of a training: what was left open, decided from the log, with the reason of each decision."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from recsys.config.augment import Augment
from recsys.config.model import ModelConfig
from recsys.config.options import value_text
from recsys.config.training import Training
from recsys.core.device import pick_device
from recsys.core.progress import log as say
from recsys.core.progress import muted
from recsys.data.catalog import Catalog
from recsys.data.interactions import Interactions
from recsys.data.split import Holdout
from recsys.data.user_table import UserTable
from recsys.errors import CheckpointError, DataError
from recsys.training.checkpoint import read_snapshot
from recsys.training.estimate import estimate
from recsys.training.plan.cost import CPU_RATE, GPU_RATE, epoch_seconds
from recsys.training.plan.facts import LogFacts, measure
from recsys.training.plan.options import Options, open_options
from recsys.training.plan.rules import Decision, first_decisions, spent_on
from recsys.training.plan.trials import TrialData, decided_by_trials

_SECONDS_PER_EVENT, _SECONDS_PER_USER, _LEAST_SECONDS, _MOST_SECONDS = 2.5e-3, 18e-3, 60.0, 1800.0
_TRIALS, _TOWERS = 0.2, 0.75
"""Shares of the budget; the rest is for the transition memory, validation and evaluation."""


@dataclass(frozen=True)
class Plan:
    """Options, and why they are what they are.

    Attributes
    ----------
    options : Options
        What to train with; nothing in them is left open.
    decisions : list of Decision
        Empty if everything was set by the user.
    seconds : float
        What deciding took.
    """

    options: Options
    decisions: list[Decision] = field(default_factory=list)
    seconds: float = 0.0

    def __str__(self) -> str:
        rows = [(one.option, value_text(one.value), one.because, one.against) for one in self.decisions]
        rows = [("option", "value", "because", "instead of"), *rows]
        widths = [max(len(row[at]) for row in rows) for at in range(3)]
        return "\n".join(
            "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[3]]) for row in rows
        )


def budget(facts: LogFacts, training: Training) -> float:
    """Seconds that a training may take, decisions included: as asked, or by the size of the log, up to half an hour."""
    if training.minutes:
        return 60 * training.minutes
    by_size = _SECONDS_PER_EVENT * facts.events + _SECONDS_PER_USER * facts.users
    return min(_MOST_SECONDS, max(_LEAST_SECONDS, by_size))


def decide(
    asked: Options,
    log: Interactions,
    catalog: Catalog | None = None,
    *,
    validation: Holdout | None = None,
    augment: Augment | None = None,
    users: UserTable | None = None,
    trials: bool = True,
) -> Plan:
    """Decide what was left open: first by counts, then by short trials on validation, last by the budget.

    Without ``minutes``, the plan depends on the data, the options and the kind of device alone, not on its speed: costs are
    reckoned, not measured.

    Parameters
    ----------
    asked : Options
        What is at its default may be changed; see :func:`recsys.training.plan.options.open_options`.
    log : Interactions
        What may be learned from.
    catalog, validation, augment, users
        As for :meth:`recsys.TwoTower.fit`.
    trials : bool
        Whether there may be trials; there are none without validation, or where several processes train.

    Raises
    ------
    ConfigError
        ``minutes`` is set where nothing is left open.
    DataError, EncoderError
        As for :func:`recsys.training.prepare.prepare`.
    """
    undecided = open_options(asked)
    if not undecided:
        return Plan(asked)
    begun = time.monotonic()
    facts = measure(log, catalog, asked.model)
    if not facts.positions:
        raise DataError("no user has two events, so there is no next item to learn from")
    seconds = budget(facts, asked.training)
    say(f"deciding what was left open, for {facts}; the budget is {seconds / 60:,.1f} min (--minutes)")
    decisions = [one for one in first_decisions(facts, asked) if one.option in undecided]
    if asked.model.encoder == ModelConfig().encoder and not facts.words:
        why = "no item has a text" if catalog is not None else "there is no catalogue (--catalog)"
        decisions.insert(0, Decision("model.encoder", None, why, str(asked.model.encoder)))
    options = asked.changed({one.option: one.value for one in decisions})
    on_gpu = torch.device(pick_device(asked.training.device)).type == "cuda"
    rate = GPU_RATE if on_gpu else CPU_RATE
    alone = asked.training.devices == 1
    if asked.training.minutes and alone:
        rate *= _speed(options, log, catalog, users, augment or Augment(), facts, rate)
    made: list[Decision] = []
    if trials and validation is not None and alone:
        data = TrialData(log, catalog, users, augment, validation, facts)
        epochs = next(
            one.value
            for one in spent_on(facts, options, undecided, _TOWERS * seconds, rate)
            if one.option == "training.epochs"
        )
        options, made = decided_by_trials(options, undecided, data, epochs, _TRIALS * seconds, rate)
    decided = {one.option for one in made}
    decisions = [one for one in decisions if one.option not in decided] + made
    left = (_TOWERS if made else _TOWERS + _TRIALS) * seconds
    if asked.training.minutes and alone:
        left = min(left, _TOWERS / (_TOWERS + 0.05) * (seconds - (time.monotonic() - begun)))
    last = [one for one in spent_on(facts, options, undecided, max(left, 1.0), rate) if one.option in undecided]
    decisions += last
    plan = Plan(_settled(asked, decisions), decisions, time.monotonic() - begun)
    say(f"decided in {plan.seconds:,.0f} s:\n{plan}")
    return plan


def plan_of(checkpoint: Path, asked: Options) -> Plan:
    """The plan of a run that was interrupted; whether the rest is as it was, the checkpoint's identity tells.

    Parameters
    ----------
    checkpoint : Path
        Folder of its checkpoint.
    asked : Options
        What is asked for now; if nothing in it is left open, it is the plan.

    Raises
    ------
    CheckpointError
        The checkpoint is damaged or was not written by this version.
    """
    if not open_options(asked):
        return Plan(asked)
    record = read_snapshot(checkpoint).place["record"]
    try:
        decisions = [Decision(**one) for one in record["decisions"]]
    except (KeyError, TypeError) as error:
        raise CheckpointError(
            f"the checkpoint in {checkpoint} was not written by this version of recsys ({error}); start again without "
            "resume=True (--resume)"
        ) from error
    return Plan(_settled(asked, decisions), decisions)


def _settled(asked: Options, decisions: list[Decision]) -> Options:
    """What is asked for with what was decided; nothing is left open."""
    options = asked.changed({one.option: one.value for one in decisions})
    return replace(options, training=replace(options.training, adapt="off", minutes=0.0))


def _speed(
    options: Options,
    log: Interactions,
    catalog: Catalog | None,
    users: UserTable | None,
    augment: Augment,
    facts: LogFacts,
    rate: float,
) -> float:
    """How many times as fast as reckoned this machine trains, by a few steps."""
    with muted():
        found = estimate(options.model, options.objective, augment, options.training, log, catalog, users)
    return epoch_seconds(facts, options, rate) / max(found.forecast.seconds, 1e-3)
