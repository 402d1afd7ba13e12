"""One member in the place of an ensemble, trained further on what all members together say."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, fields, replace
from functools import cache

import numpy as np

from recsys.bundle.contents import Bundle
from recsys.compression.networks import MEMBERS, with_towers
from recsys.compression.step import Step
from recsys.config.training import Objective, Training
from recsys.core.progress import log as say
from recsys.core.ragged import Ragged
from recsys.data.split import Holdout
from recsys.errors import ConfigError, UnsupportedError
from recsys.training.distil import distilled
from recsys.training.logs import TrainingLog
from recsys.training.plan.options import Options

_SHARE, _RATE = 0.5, 0.5
"""Of each label the ensemble's; of the learning rate of the fit, as :meth:`recsys.TwoTower.distil` has both."""


def distilled_steps(bundle: Bundle, epochs: int) -> Iterator[Step]:
    """The step that distils an ensemble; none where nothing can be distilled, which a line then says.

    Parameters
    ----------
    bundle : Bundle
        With the events that it was trained on and those of its validation, which lie between these and what is held out.
    epochs : int
        Of the further training; 0: none is tried.
    """
    size = bundle.towers.net.users.ensemble_size if not bundle.towers.fast else 1
    if epochs == 0 or size == 1:
        return
    try:
        validation = _validation(bundle)
    except UnsupportedError as error:
        say(f"not tried: {error}")
        return
    made = cache(lambda: _distilled(bundle, validation, epochs))
    yield Step(MEMBERS, f"one distilled of {size}, {epochs} epochs", lambda _: made())


def _validation(bundle: Bundle) -> Holdout:
    """The first event of each held-out user after those that were trained on.

    Raises
    ------
    UnsupportedError
        There is none: the model was trained on all that comes before what is held out, privately, or on another log.
    """
    if bundle.record.get("privacy"):
        raise UnsupportedError("a private model is not distilled, which would train on the log again without noise")
    if bundle.trained is None or bundle.holdout is None:
        raise UnsupportedError("the bundle does not hold the events that it was trained on, to distil its members by")
    held, before = bundle.holdout, bundle.trained[bundle.holdout.user_rows]
    able = np.flatnonzero((held.histories.lengths > before) & (before > 0))
    if not len(able):
        raise UnsupportedError("no event lies between the training and what is held out, to distil the members by")
    histories, before = held.histories.take(able), before[able]
    place = histories.offsets[:-1] + before
    targets = Ragged.from_lengths(np.ones(len(able), dtype=np.int64), histories.rows[place])
    times = None if histories.times is None else histories.times[place]
    return Holdout(
        held.users, held.items, held.user_rows[able], histories.head(before), targets, "validation", times, held.event_names
    )


def _distilled(bundle: Bundle, validation: Holdout, epochs: int) -> Bundle:
    log = bundle.trained_on
    assert log is not None  # noqa: S101 - the validation was made of the same
    training, objective = bundle.training or Training(), bundle.objective or Objective()
    further = replace(
        training, epochs=epochs, learning_rate=_RATE * training.learning_rate, patience=0, validate_every=1,
        validate_users=2000, checkpoint_steps=0, devices=1,
    )  # fmt: skip
    record = TrainingLog(**{one.name: bundle.record[one.name] for one in fields(TrainingLog) if one.name in bundle.record})
    try:
        made = distilled(
            bundle.towers, Options(bundle.config, objective, training), log, bundle.catalog, validation, share=_SHARE,
            record=record, training=further,
        )  # fmt: skip
    except ConfigError as error:
        raise UnsupportedError(f"the members cannot be distilled: {error}") from error
    memory = bundle.corpus.transitions
    if made.memory is not None and (memory is None or memory.related is None):  # relations are weighed in the fit alone
        memory = made.memory
    smaller = with_towers(bundle, made.towers, made.model)
    smaller = replace(smaller, record=bundle.record | asdict(made.record))
    return smaller if memory is None else replace(smaller, corpus=smaller.corpus.with_transitions(memory))
