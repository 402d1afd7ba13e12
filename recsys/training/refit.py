"""Train a validated model again on more events, which the figures of validation then no longer tell apart."""

from __future__ import annotations

from dataclasses import replace

from recsys.config.augment import Augment
from recsys.core.id_map import IdMap
from recsys.core.progress import log as say
from recsys.data.catalog import Catalog
from recsys.data.interactions import Interactions
from recsys.data.user_table import UserTable
from recsys.training.logs import TrainingLog
from recsys.training.plan.options import Options
from recsys.training.prepare import Inputs, prepare
from recsys.training.trainer import RunOptions, train
from recsys.training.transitions import alike_of
from recsys.transitions.choose import learn_memory
from recsys.transitions.memory import TransitionMemory


def refitted(
    options: Options,
    record: TrainingLog,
    log: Interactions,
    catalog: Catalog | None,
    *,
    augment: Augment | None,
    users: UserTable | None,
    memory: TransitionMemory | None,
    items: IdMap,
) -> tuple[Inputs, TrainingLog, TransitionMemory | None]:
    """Train anew on a log, for the epochs after which validation was best, and learn the memory of the same form from it.

    Parameters
    ----------
    options : Options
        What the model was trained with.
    record : TrainingLog
        Of that training.
    log : Interactions
        What may be learned from now.
    catalog, augment, users
        As before.
    memory : TransitionMemory or None
        Its form and its weight are kept, and what relations add to it.
    items : IdMap
        Its rows.

    Returns
    -------
    Inputs
        With the new towers.
    TrainingLog
        That of before, with the events that were trained on again and the time of both.
    TransitionMemory or None
    """
    training = replace(options.training, epochs=max(1, record.best_epoch), patience=0)
    epochs = "" if options.model.fast else f", for {training.epochs} epochs"
    say(f"training again on {len(log):,} events{epochs}")
    inputs = prepare(options.model, log, catalog, training=training, augment=augment, users=users)
    again = TrainingLog()
    if not options.model.fast:
        again = train(inputs, None, training, objective=options.objective, augmentation=augment, options=RunOptions())
    if memory is not None:
        train_on, n = inputs.log.histories.without_events(), len(inputs.towers.items)
        alike = alike_of(inputs.towers) if memory.form.borrow else None
        related, form, weight = memory.related, memory.form, memory.weight
        if related is not None:
            related = related.moved(inputs.towers.items.find_rows(items.ids), n)
        memory = learn_memory(train_on, n, form, weight, alike).with_related(related)
    seconds, cpu_seconds = record.seconds + again.seconds, record.cpu_seconds + again.cpu_seconds
    return inputs, replace(record, seconds=seconds, cpu_seconds=cpu_seconds, refitted_events=len(log)), memory
