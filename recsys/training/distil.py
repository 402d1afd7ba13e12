"""Distil an ensemble into one member of its width."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from recsys.config.model import ModelConfig
from recsys.config.training import Objective, Training
from recsys.core.arguments import instance_or_none
from recsys.core.progress import log as say
from recsys.core.ragged import Int64
from recsys.data.catalog import Catalog
from recsys.data.interactions import Interactions
from recsys.data.relations import ItemRelations
from recsys.data.split import Holdout
from recsys.errors import ConfigError
from recsys.evaluation.evaluate import evaluate
from recsys.models.members import member
from recsys.models.networks.two_tower import TwoTowerNetwork
from recsys.models.towers import TwoTowerModel
from recsys.training.cold import completed
from recsys.training.exposure import with_floors
from recsys.training.logs import TrainingLog
from recsys.training.losses.soft import soft_label_loss
from recsys.training.next_item_loss import NextItemLoss
from recsys.training.plan.options import Options
from recsys.training.prepare import Inputs
from recsys.training.tower_ranker import TowerRanker
from recsys.training.trainer import train
from recsys.training.windows import Batch
from recsys.transitions.memory import TransitionMemory

_EPOCHS, _RATE = 1 / 3, 0.5
"""Of those of the ensemble's training: the student begins with trained weights."""


class Teacher:
    """Fitted towers that judge the batches of another training; no part of the network that is trained.

    Parameters
    ----------
    towers : TwoTowerModel
        In evaluation mode from now on.
    share : float
        Of the label, in (0, 1].
    """

    def __init__(self, towers: TwoTowerModel, share: float) -> None:
        self.net, self.table, self.share = towers.net.eval(), towers.table, share
        self.vectors = towers.item_vectors

    @torch.no_grad()
    def queries(self, batch: Batch) -> Tensor:
        """What the teacher asks for at each position of a batch, float (N, D), divided by its temperature."""
        states = self.net.users(F.embedding(batch.inputs, self.table), batch.context)
        queries: Tensor = self.net.scale() * self.net.for_score(states.flatten(0, 1)[batch.positions].float())
        return queries


class DistilLoss(NextItemLoss):
    """Predict what a teacher predicts, and the next item, at every position of a window.

    Parameters
    ----------
    net : TwoTowerNetwork
        The student's.
    objective : Objective
        Of a softmax.
    counts : int64 (n_items,)
    teacher : Teacher
    seed : int
        As for :class:`NextItemLoss`.
    """

    def __init__(self, net: TwoTowerNetwork, objective: Objective, counts: Tensor, *, teacher: Teacher, seed: int) -> None:
        super().__init__(net, objective, counts, seed=seed)
        self.teacher = teacher

    def _loss(self, batch: Batch, candidates: Tensor | None, log_q: Tensor | None) -> Tensor:
        net = self.net
        table = net.items()  # (n_items, D)
        states = net.users(F.embedding(batch.inputs, table), batch.context)  # (B, T, D)
        queries = net.scale() * net.for_score(states.flatten(0, 1)[batch.positions].float())
        vectors, known, targets = net.for_score(table.float()), self.teacher.vectors, batch.targets
        if candidates is not None:
            vectors, known, targets = vectors[candidates], known[candidates], torch.searchsorted(candidates, targets)
        asked = self.teacher.queries(batch), known
        return soft_label_loss(queries, vectors, asked, targets, log_q=log_q, share=self.teacher.share)


@dataclass(frozen=True, eq=False)
class Distilled:
    """One member: its towers, its options, the log of the further training, and its memory."""

    towers: TwoTowerModel
    model: ModelConfig
    record: TrainingLog
    memory: TransitionMemory | None


def distilled(
    towers: TwoTowerModel,
    options: Options,
    log: Interactions,
    catalog: Catalog,
    validation: Holdout,
    *,
    share: float,
    record: TrainingLog,
    training: Training | None = None,
    relations: ItemRelations | None = None,
) -> Distilled:
    """Train one member further, on what all members together say.

    Parameters
    ----------
    towers : TwoTowerModel
        An ensemble; they stay as they are.
    options : Options
        What they were trained with.
    log, catalog, validation
        What they were trained and validated on, the first two in their rows.
    share : float
        Of the label that the ensemble has, in (0, 1]; the next item has the rest.
    record : TrainingLog
        Of the ensemble's training.
    training : Training, optional
        Of the further training.
    relations : ItemRelations, optional
        Between items, as in the fit.

    Returns
    -------
    Distilled
        The best member as it was, where no epoch of its further training was better on validation.

    Raises
    ------
    ConfigError
        There is one member only, the share is outside, several processes train, or the objective is no plain softmax.
    """
    instance_or_none(training, Training, "training")
    size = options.model.ensemble_size
    if size == 1:
        raise ConfigError("one member cannot be distilled further; fit an ensemble, ensemble_size=3 (--ensemble-size)")
    if not 0.0 < share <= 1.0:
        raise ConfigError(f"share must be above 0 and at most 1, not {share}")
    learned = options.objective
    if learned.weighs or learned.mask_history or learned.loss == "mse":
        names = {"mask_history": learned.mask_history, "weighted": learned.weighted, "groups": learned.grouped}
        what = next((name for name, asked in names.items() if asked), "loss='mse'")
        raise ConfigError(f"distil compares softmaxes over all items, which is not what {what} learned; fit without it")
    if options.training.devices > 1:
        raise ConfigError("distil trains in one process; load the bundle in a process of its own")
    if training is None:
        epochs, rate = round(_EPOCHS * options.training.epochs), _RATE * options.training.learning_rate
        training = replace(
            options.training, epochs=max(1, epochs), learning_rate=rate, patience=0, validate_every=1, checkpoint_steps=0
        )
    judged = validation.sample(training.validate_users) if training.validate_users else validation
    metric, _, cut = training.monitor.partition("@")

    def figure(one: TwoTowerModel) -> float:
        return evaluate(TowerRanker(one), judged, int(cut), filter_seen=not training.keep_seen)[f"{metric}@{cut}"]

    members = [member(towers, options.model, number) for number in range(size)]
    figures = [figure(one) for one in members]
    best = max(range(size), key=figures.__getitem__)
    alone = ", ".join(f"{value:.4f}" for value in figures)
    say(f"distilling {size} members: validation {training.monitor} {figure(towers):.4f} together, {alone} each alone")
    objective = Objective(negatives=learned.negatives, cold_negatives=learned.cold_negatives)
    student = member(towers, options.model, best)
    made = _trained(student, Teacher(towers, share), log, catalog, validation, training, objective)
    reached = max(row[f"val_{training.monitor}"] for row in made.epochs if f"val_{training.monitor}" in row)
    if reached <= figures[best]:
        say(f"no epoch was better than the best member as it was, which is kept ({reached:.4f})")
        student, made = members[best], TrainingLog(seconds=made.seconds, cpu_seconds=made.cpu_seconds)
    seconds, cpu = record.seconds + made.seconds, record.cpu_seconds + made.cpu_seconds
    kept = replace(made, seconds=seconds, cpu_seconds=cpu, decisions=record.decisions, distilled_from=size)
    model = replace(options.model, ensemble_size=1)
    student, beside = completed(student, log, validation, replace(options, model=model), relations)
    student, kept.exposure = with_floors(student, beside, catalog, validation, options.training)
    return Distilled(student, model, kept, beside)


def _trained(
    student: TwoTowerModel,
    teacher: Teacher,
    log: Interactions,
    catalog: Catalog,
    validation: Holdout,
    training: Training,
    objective: Objective,
) -> TrainingLog:
    features: Int64 | None = None if student.user_codes is None else student.user_codes.astype("int64")
    inputs = Inputs(towers=student, log=log, catalog=catalog, features=features)

    def loss_of(counts: Tensor) -> NextItemLoss:
        return DistilLoss(student.net, objective, counts, teacher=teacher, seed=training.seed).to(student.device)

    return train(inputs, validation, training, objective=objective, loss_of=loss_of)
