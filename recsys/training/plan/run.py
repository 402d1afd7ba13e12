"""Train as a plan says; where it was too long for the log, train once more with a schedule that ends in time."""

from __future__ import annotations

from dataclasses import dataclass, replace

from recsys.config.augment import Augment
from recsys.core.progress import log as say
from recsys.data.catalog import Catalog
from recsys.data.interactions import Interactions
from recsys.data.split import Holdout
from recsys.data.user_table import UserTable
from recsys.training.logs import TrainingLog
from recsys.training.plan.decide import Plan
from recsys.training.plan.options import Options
from recsys.training.plan.rules import Decision
from recsys.training.prepare import Inputs, prepare
from recsys.training.trainer import RunOptions, train

_BEYOND = 1.25
"""A schedule that ends this much after the best epoch of a longer one, whose rate was still high there."""


@dataclass(frozen=True, eq=False)
class Trained:
    """What a training made: towers in ``inputs``, its log, and the options of the run that was kept."""

    inputs: Inputs
    record: TrainingLog
    options: Options


def train_plan(
    plan: Plan,
    log: Interactions,
    catalog: Catalog | None,
    *,
    validation: Holdout | None,
    augment: Augment | None,
    users: UserTable | None,
    run: RunOptions,
) -> Trained:
    """Train towers with a plan's options.

    A run of decided length that ended early, because validation no longer became better, was annealed too late: it is
    made again with a schedule that ends soon after the best epoch, and the better one of the two is kept. Where that
    second run was interrupted and is resumed, it is kept.

    Parameters
    ----------
    plan : Plan
    log, catalog, validation, augment, users
        As for :meth:`recsys.TwoTower.fit`.
    run : RunOptions
    """

    def once(options: Options, decisions: list[Decision], run: RunOptions) -> Trained:
        inputs = prepare(options.model, log, catalog, training=options.training, augment=augment, users=users)
        run = replace(run, decisions=tuple(one.to_dict() for one in decisions), deciding_seconds=plan.seconds)
        record = train(inputs, validation, options.training, objective=options.objective, augmentation=augment, options=run)
        return Trained(inputs, record, options)

    first = once(plan.options, plan.decisions, run)
    epochs = _shorter(first) if any(one.option == "training.epochs" for one in plan.decisions) else None
    if epochs is None:
        return first
    why = f"validation was best after epoch {first.record.best_epoch} of {plan.options.training.epochs}"
    say(f"training again with a schedule of {epochs} epochs: {why}")
    shorter = {"training.epochs": epochs, "training.patience": 0}
    decisions = [one for one in plan.decisions if one.option not in shorter]
    decisions += [Decision(name, value, why, str(plan.options.get(name))) for name, value in shorter.items()]
    second = once(plan.options.changed(shorter), decisions, replace(run, resume=False))
    best = f"val_{plan.options.training.monitor}"
    if _best(second.record, best) < _best(first.record, best):
        say("the longer schedule was better and is kept")
        return first
    seconds = (first.record.seconds + second.record.seconds, first.record.cpu_seconds + second.record.cpu_seconds)
    second.record.seconds, second.record.cpu_seconds = seconds
    return second


def _shorter(first: Trained) -> int | None:
    """Epochs of a schedule that ends in time; None if the run went on to its end."""
    training, record = first.options.training, first.record
    if not training.patience or len(record.epochs) >= training.epochs:
        return None
    return min(training.epochs - 1, max(1, round(_BEYOND * record.best_epoch)))


def _best(record: TrainingLog, figure: str) -> float:
    return max(row[figure] for row in record.epochs if figure in row)
