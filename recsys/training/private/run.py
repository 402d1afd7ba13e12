"""Train with differential privacy by user: DP-SGD over users, with what it spends kept beside the weights."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import lightning as L
import torch

from recsys.bundle.privacy import COVERED, NOT_COVERED
from recsys.config.augment import Augment
from recsys.config.privacy import PrivacyOptions
from recsys.config.training import Training
from recsys.core.device import pick_device
from recsys.core.progress import log as say
from recsys.core.progress import warn
from recsys.core.threads import considerate
from recsys.data.catalog import Catalog
from recsys.data.interactions import Interactions
from recsys.data.user_table import UserTable
from recsys.errors import DataError
from recsys.models.towers import TwoTowerModel
from recsys.privacy.noise import Noise
from recsys.training.logs import TrainingLog
from recsys.training.loop import Run
from recsys.training.next_item_loss import NextItemLoss
from recsys.training.optimizer import shrink
from recsys.training.plan.options import Options
from recsys.training.plan.run import Trained
from recsys.training.prepare import Inputs, prepare
from recsys.training.private.budget import Budget, budget_of
from recsys.training.private.checks import private_options, public_items
from recsys.training.private.gradients import UserLoss, clipped_sum
from recsys.training.private.users import UserBatches
from recsys.training.surroundings import closed, own_determinism, progress_bar, quiet
from recsys.training.trainer import RunOptions, copies_of_weights, make_fabric, prove_checkpoints
from recsys.training.windows import Batch


class PrivateRun(Run):
    """A running training whose steps see noisy sums of clipped gradients, and which validates nothing.

    Parameters
    ----------
    fabric, towers, loss, batches, config, identity
        As for :class:`Run`.
    budget : Budget
    """

    def __init__(
        self,
        fabric: L.Fabric,
        towers: TwoTowerModel,
        loss: NextItemLoss,
        batches: UserBatches,
        config: Training,
        identity: dict[str, Any],
        budget: Budget,
    ) -> None:
        super().__init__(fabric, towers, loss, batches, None, config, identity)
        self.budget, self.noise = budget, batches.noise
        self.of_users = UserLoss(towers.net, loss.objective).train()

    def _train_on(self, batch: Batch) -> None:
        factor = self.rate(self.step)
        for group in self.optimizer.param_groups:
            group["lr"] = group["peak"] * factor
        budget = self.budget
        found = clipped_sum(self.of_users, batch, budget.norm, self.of_users.draw(self.loss.draws))
        expected = budget.rate * budget.users  # how many were drawn is private
        for name, p in self.loss.weights().items():
            noise = torch.from_numpy(self.noise.normal(p.numel())).view(p.shape).to(p.device)
            summed = found.gradients[name]
            self.sound &= torch.isfinite(summed).all()
            p.grad = ((summed.double() + budget.noise * budget.norm * noise) / expected).to(p.dtype)
        self.sound &= torch.isfinite(found.loss)
        self.step += 1
        self.place += 1
        self._check(found.loss / max(1, found.users))
        self.optimizer.step()
        self.optimizer.zero_grad()
        if self.config.l1:
            shrink(self.optimizer, self.config.l1)
        if self.average is not None:
            self.average.update(self.step)
        self.total += found.loss
        self.positions += found.users


def train_privately(
    asked: Options,
    privacy: PrivacyOptions,
    log: Interactions,
    catalog: Catalog | None,
    *,
    augment: Augment | None,
    users: UserTable | None,
    run: RunOptions,
) -> Trained:
    """Train towers on the items of the catalogue with differential privacy by user.

    Parameters
    ----------
    asked : Options
    privacy : PrivacyOptions
        With an epsilon.
    log, catalog, augment, users
        As for :meth:`recsys.TwoTower.fit`.
    run : RunOptions

    Returns
    -------
    Trained
        Its record says what was spent (``privacy``).

    Raises
    ------
    ConfigError
        Something is asked for that would tell of private events, or no noise keeps the budget.
    DataError
        An item of the log is not in the catalogue, or no user has two events.
    DependencyError
        opacus is not installed.
    """
    log = public_items(log, catalog)
    options = private_options(asked, items=len(log.items), log=log, users=users)
    batches = UserBatches(
        log,
        length=options.model.max_length,
        tokens=options.training.batch_tokens,
        seed=options.training.seed,
        options=augment or Augment(),
        users_per_step=privacy.users_per_step,
        noise=Noise(privacy.noise_seed),
    )
    if batches.steps == 0:
        raise DataError("no user has two events, so there is no next item to learn from")
    budget = budget_of(privacy, batches, options.training.epochs)
    say(str(budget))
    say(f"that covers {COVERED}; it does not cover {NOT_COVERED}")
    if not budget.secure:
        warn("noise_seed makes the noise repeatable: whoever knows the seed can take it off, and nothing is promised")
    inputs = prepare(options.model, log, catalog, training=options.training, augment=augment, public=True)
    batches.neighbours = inputs.neighbours
    return Trained(inputs, _train(inputs, options, batches, budget, run), options)


def _train(inputs: Inputs, options: Options, batches: UserBatches, budget: Budget, run: RunOptions) -> TrainingLog:
    config = options.training
    device = pick_device(config.device)
    with quiet(), own_determinism(device), torch.random.fork_rng(enabled=True):
        fabric = make_fabric(config, device, run.log_folder)
        torch.manual_seed(config.seed)
        counts = torch.ones(len(inputs.log.items), dtype=torch.int64)  # all items alike: how often each occurs is private
        loss = NextItemLoss(inputs.towers.net, options.objective, counts, seed=config.seed).train()
        identity = inputs.identity | {
            "data": inputs.log.fingerprint,
            "items": len(inputs.log.items),
            "device": fabric.device.type,
            "training": asdict(config),
            "objective": asdict(options.objective),
            "augment": asdict(batches.options),
            "privacy": asdict(budget.options),
        }
        going = PrivateRun(fabric, inputs.towers, loss, batches, config, identity, budget)
        if run.checkpoint is not None:
            prove_checkpoints(run.checkpoint, loss, 1 + copies_of_weights(config, judged=False))
        if run.resume:
            assert run.checkpoint is not None  # noqa: S101 - proven with the places
            going.restore(run.checkpoint)
        going.record.privacy = budget.to_dict()
        with closed(fabric.loggers), progress_bar(batches.steps) as tick, considerate() as share_out:

            def each_step(place: int, epoch: int) -> None:
                if place == 1:
                    share_out()
                tick(place, epoch)

            going.go(run.checkpoint, run.on_epoch, each_step)
    return going.record
