"""Fit a fast model: the transition memory alone, seconds for a million events."""

from __future__ import annotations

import time

from recsys.config.fast import changed, refuse_idle
from recsys.config.model import ModelConfig
from recsys.config.training import Training
from recsys.core.progress import log as say
from recsys.core.ragged import contained
from recsys.data.leakage import check_leakage
from recsys.data.relations import ItemRelations
from recsys.data.split import Holdout
from recsys.errors import ConfigError, DataError
from recsys.evaluation.evaluate import warn_about_repeats
from recsys.training.logs import TrainingLog
from recsys.training.prepare import Inputs
from recsys.training.trainer import check_processes
from recsys.training.transitions import chosen_memory, related_memory
from recsys.transitions.choose import learn_memory
from recsys.transitions.learn import default_form
from recsys.transitions.memory import TransitionMemory

_WEIGHT = 1.0


def check_fast(resume: object, on_epoch: object, users: object, **tables: object) -> None:
    """Refuse what says something about towers or their training.

    Raises
    ------
    ConfigError
        Something does.
    """
    for name, options in tables.items():
        refuse_idle(name, [] if options is None else changed(options))
    for given, what, flag in (
        (resume, "has no checkpoint to resume from", "resume (--resume)"),
        (on_epoch, "has no epochs", "on_epoch"),
        (users, "reads no features of users", "the table of users (--user-table)"),
    ):
        if given:
            raise ConfigError(f"a fast model {what}; leave out {flag}, or leave out fast (--fast)")


def fit_fast(
    inputs: Inputs,
    validation: Holdout | None,
    config: ModelConfig,
    training: Training,
    relations: ItemRelations | None = None,
) -> tuple[TrainingLog, TransitionMemory | None]:
    """Learn the memory of a model without towers.

    Parameters
    ----------
    inputs : Inputs
    validation : Holdout, optional
        The form is chosen on it; without it, it is ridge regression over the newest events.
    config : ModelConfig
    training : Training
    relations : ItemRelations, optional
        Weighed on the validation, which they need.

    Returns
    -------
    TrainingLog
        Of no epoch.
    TransitionMemory or None
        None: popularity alone is as good on validation.

    Raises
    ------
    ConfigError
        ``torchrun`` started more than one process.
    DataError
        No user has two events, or no validation user can be judged.
    LeakageError
        The validation targets are among the training events.
    """
    check_processes(training.devices)
    if not (inputs.log.histories.lengths > 1).any():
        raise DataError("no user has two events, so there is nothing that follows anything to learn from")
    begun, cpu = time.perf_counter(), time.process_time()
    if validation is None:
        log = inputs.log
        form = default_form(config.transitions, config.transition_entries, ordered=log.ordered)
        rows, n_items = log.histories.without_events(), len(log.items)
        memory: TransitionMemory | None = learn_memory(rows, n_items, form, _WEIGHT)
        say(f"transition memory: {form.kind}; nothing was held out to choose its form by")
    else:
        check_leakage(inputs.log, validation)
        if not training.keep_seen:
            repeats = contained(validation.targets, validation.histories, len(validation.items))
            warn_about_repeats(int(repeats.sum()), len(repeats))
        keep_seen = training.keep_seen
        memory = chosen_memory(inputs.towers, inputs.log, validation, config, keep_seen=keep_seen, weight=_WEIGHT)
        if relations is not None:
            memory = related_memory(memory, inputs.towers, relations, validation, config, inputs.log, keep_seen=keep_seen)
    return TrainingLog(seconds=time.perf_counter() - begun, cpu_seconds=time.process_time() - cpu), memory
