"""The training loop and its state; a checkpoint holds all of it."""

from __future__ import annotations

import math
import operator
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from torch import Tensor

from recsys.config.training import Training
from recsys.core.progress import log
from recsys.data.split import Holdout
from recsys.errors import CheckpointError, RecsysError
from recsys.evaluation.evaluate import evaluate
from recsys.models.towers import TwoTowerModel
from recsys.training.checkpoint import (
    Snapshot,
    check_shapes,
    load_snapshot,
    optimizer_tensors,
    restore_optimizer,
    save_snapshot,
)
from recsys.training.ema import MovingAverage
from recsys.training.fsdp import fill, gathered, like, single_numbers, unsplit, whole
from recsys.training.logs import TrainingLog
from recsys.training.next_item_loss import NextItemLoss
from recsys.training.optimizer import make_optimizer, moments_of, restore_moments, shrink, warmup_cosine
from recsys.training.tower_ranker import TowerRanker
from recsys.training.windows import Batch, WindowBatches

_GPU_CHECK = 50
"""Steps between two looks at the loss on a GPU, where each look waits for it."""
_PLACE = ("epoch", "place", "step", "stale", "positions")


class Run:
    """A running training.

    Parameters
    ----------
    fabric : Fabric
        Launched.
    towers : TwoTowerModel
        Training changes their network in place.
    loss : NextItemLoss
        Around that network.
    batches : WindowBatches
    validation : Holdout or None
    config : Training
    identity : dict
        What a checkpoint must agree on, as JSON values.
    constant : bool
        Leave the learning rate at its peak.
    moments : dict of Tensor, optional
        Of the optimiser of an earlier run, to go on with.
    """

    def __init__(
        self,
        fabric: L.Fabric,
        towers: TwoTowerModel,
        loss: NextItemLoss,
        batches: WindowBatches,
        validation: Holdout | None,
        config: Training,
        identity: dict[str, Any],
        *,
        constant: bool = False,
        moments: dict[str, Tensor] | None = None,
    ) -> None:
        self.fabric, self.towers, self.batches, self.validation, self.config = fabric, towers, batches, validation, config
        self.identity = identity
        self.loss = loss.to(fabric.device)
        self.module = fabric.setup_module(self.loss)
        self.optimizer = make_optimizer(self.loss, config)  # after the set-up, which may split the weights
        if moments is not None:
            restore_moments(self.optimizer, self.loss.weights(), moments)
        self.rate = _unchanged if constant else warmup_cosine(config.epochs * batches.steps, config.warmup)
        self.average = MovingAverage(self.loss.weights(), config.ema_decay) if config.ema_decay else None
        self.record = TrainingLog()
        self.epoch = self.place = self.step = 0  # epochs done, batches of the running epoch done, steps of the whole run
        self.stale = 0  # epochs without a better figure
        self.positions = 0  # targets of the running epoch
        self.total = torch.zeros((), dtype=torch.float64, device=fabric.device)  # of their losses
        self.sound = torch.ones((), dtype=torch.bool, device=fabric.device)  # all losses and gradients were finite
        self.best: tuple[float, dict[str, Tensor]] | None = None

    def go(
        self,
        checkpoint: Path | None,
        on_epoch: Callable[[dict[str, float]], None] | None,
        tick: Callable[[int, int], None],
    ) -> None:
        """Train to the end, from the current state."""
        clock = _Clock(self.record)
        while self.epoch < self.config.epochs and not self._stopped():
            epoch_clock = _Clock(TrainingLog())
            for batch in self.batches.epoch(self.epoch, self.place):
                self._train_on(batch.to(self.fabric.device))
                tick(self.place, self.epoch + 1)
                if checkpoint and self.config.checkpoint_steps and self.step % self.config.checkpoint_steps == 0:
                    clock.read()
                    self.save(checkpoint)
            self._end_epoch(epoch_clock.read(), on_epoch)
            clock.read()
            if checkpoint:
                self.save(checkpoint)
        self._finish()
        clock.read()

    def _train_on(self, batch: Batch) -> None:
        factor = self.rate(self.step)
        for group in self.optimizer.param_groups:
            group["lr"] = group["peak"] * factor
        if self.fabric.world_size > 1 and self.towers.net.items.encoder is not None:
            torch.distributed.broadcast(self.towers.net.items.text, 0)  # each process encodes other texts
        loss = self.module(batch)
        self.fabric.backward(loss)
        if self.fabric.world_size > 1 and self.config.strategy == "fsdp":
            for p in single_numbers(self.loss):
                assert p.grad is not None  # noqa: S101 - every trained weight takes part in the loss
                self.fabric.all_reduce(p.grad, reduce_op="mean")  # in place
        norm = self.fabric.clip_gradients(
            self.module, self.optimizer, max_norm=self.config.max_grad_norm, error_if_nonfinite=False
        )
        assert norm is not None  # noqa: S101 - there is a max_norm
        value = loss.detach().double()
        self.sound &= torch.isfinite(value) & torch.isfinite(whole(norm))
        self.step += 1
        self.place += 1
        if self.fabric.device.type == "cpu" or self.step % _GPU_CHECK == 0:
            self._check(value)
        self.optimizer.step()
        self.optimizer.zero_grad()
        if self.config.l1:
            shrink(self.optimizer, self.config.l1)
        if self.average is not None:
            self.average.update(self.step)
        self.total += value * len(batch.all_targets)
        self.positions += len(batch.all_targets)

    def _check(self, loss: Tensor) -> None:
        """Stop before a broken step reaches a checkpoint (on a CPU: before it reaches the weights)."""
        if not bool(self.sound):
            value = float(loss)
            what = "the gradient is not finite, though the loss is" if math.isfinite(value) else "the loss is"
            raise self._diverged(f"{what} {value:.4g}")

    def _check_weights(self) -> None:
        """Stop if the last step made weights that are not finite; no loss has shown it yet."""
        for name, weights in self.loss.weights().items():
            if not bool(torch.isfinite(whole(weights.detach())).all()):
                raise self._diverged(f"weights ({name}) are no longer finite")

    def _check_vectors(self, towers: TwoTowerModel) -> None:
        """Stop if finite weights make item vectors that are not finite; the epoch has ended."""
        if not np.isfinite(towers.vectors).all():
            raise self._diverged("item vectors are no longer finite", self.epoch)

    def _diverged(self, what: str, epoch: int | None = None) -> RecsysError:
        """Say what happened, when, and which option probably caused it: the one furthest above its default."""
        usual, now = Training(), self.config
        rates = {
            "the learning rate": now.learning_rate / usual.learning_rate,
            "max_grad_norm": now.max_grad_norm / usual.max_grad_norm,
        }
        if self.towers.net.items.encoder is not None:
            rates["encoder_learning_rate"] = now.encoder_learning_rate / usual.encoder_learning_rate
        values = {
            "the learning rate": now.learning_rate,
            "max_grad_norm": now.max_grad_norm,
            "encoder_learning_rate": now.encoder_learning_rate,
        }
        likely = max(rates, key=lambda name: rates[name])
        likely = likely if rates[likely] > 1 else "the learning rate"
        advice = f"lower {likely} ({values[likely]:.6g})"
        return RecsysError(
            f"the training diverged: {what} in step {self.step}, epoch {epoch or self.epoch + 1}; {advice}; "
            "the checkpoints were written before it"
        )

    def _end_epoch(self, spent: TrainingLog, on_epoch: Callable[[dict[str, float]], None] | None) -> None:
        total = self.fabric.all_reduce(self.total, reduce_op="mean")
        assert isinstance(total, Tensor)  # noqa: S101 - what goes in comes out
        mean = total / max(1, self.positions)
        self._check(mean)
        self._check_weights()
        row = {"epoch": self.epoch + 1.0, "loss": float(mean), "seconds": spent.seconds, "cpu_seconds": spent.cpu_seconds}
        self.epoch, self.place, self.positions = self.epoch + 1, 0, 0
        self.total.zero_()
        due = self.epoch % self.config.validate_every == 0 or self.epoch == self.config.epochs
        if self.validation is not None and due:
            row |= self._validate(self.validation)
        self.record.epochs.append(row)
        figures = {name: value for name, value in row.items() if "seconds" not in name and name != "epoch"}
        self.fabric.log_dict(figures, step=self.step)
        if self.fabric.is_global_zero:
            shown = "  ".join(f"{name} {value:.4f}" for name, value in figures.items())
            seconds = " + ".join(f"{row[name]:.1f} s" for name in ("seconds", "validation_seconds") if name in row)
            log(f"epoch {self.epoch}/{self.config.epochs}  {shown}  {seconds}")
        if on_epoch is not None:
            on_epoch(dict(row))

    def _validate(self, validation: Holdout) -> dict[str, float]:
        """Evaluate the weights (the averaged ones if they exist) and keep them if they are the best so far."""
        clock = _Clock(TrainingLog())
        if self.average is None:
            figures = self._judge(validation)
        else:
            with self.average.in_place():
                figures = self._judge(validation)
        return {f"val_{name}": value for name, value in figures.items()} | {"validation_seconds": clock.read().seconds}

    def _judge(self, validation: Holdout) -> dict[str, float]:
        metric, _, cut = self.config.monitor.partition("@")
        self.module.eval()
        figures: dict[str, float] = {}
        with gathered(self.loss):
            self.towers.net.items.refresh()  # in every process: text vectors are part of the state
            if self.fabric.is_global_zero:
                judged = replace(self.towers, device=str(self.fabric.device))  # a copy, which has cached no vectors yet
                self._check_vectors(judged)
                report = evaluate(TowerRanker(judged), validation, int(cut), filter_seen=not self.config.keep_seen)
                figures = {name: report[name] for name in (f"{one}@{cut}" for one in ("recall", "ndcg", metric))}
            figures = self.fabric.broadcast(figures)
        self.module.train()
        score = figures[self.config.monitor]
        if self.best is None or score > self.best[0]:
            self.best = (score, {name: value.detach().clone() for name, value in self.loss.weights().items()})
            self.record.best_epoch = self.epoch
        self.stale = self.epoch - self.record.best_epoch
        return figures

    def _stopped(self) -> bool:
        return bool(self.config.patience) and self.stale >= self.config.patience

    def _finish(self) -> None:
        """Leave the weights to keep, whole, with text vectors that belong to them."""
        if self.config.keep_moments:
            self.towers.moments = moments_of(self.optimizer, self.loss.weights())
        if self.best is not None:
            fill(self.loss.weights(), self.best[1])
        else:
            self.record.best_epoch = len(self.record.epochs)
            if self.average is not None:
                self.average.keep()
        unsplit(self.loss)
        self.module.eval()
        self.towers.net.items.refresh()
        if self.best is None:
            self._check_vectors(replace(self.towers, device=str(self.fabric.device)))  # a copy, as above

    def save(self, folder: Path) -> None:
        """Write a checkpoint: all processes gather the state, process 0 writes it."""
        self._check(self.total)
        tensors = {f"state.{name}": whole(value) for name, value in self.loss.state().items()}
        tensors |= {f"optimizer.{name}": value for name, value in optimizer_tensors(self.optimizer).items()}
        if self.average is not None:
            tensors |= {f"average.{name}": whole(value) for name, value in self.average.values.items()}
        if self.best is not None:
            tensors |= {f"best.{name}": whole(value) for name, value in self.best[1].items()}
        tensors |= {f"process.{name}": self._of_all(value) for name, value in self._own().items()}
        tensors["draws"] = self.loss.draws.get_state()
        place = {name: getattr(self, name) for name in _PLACE}
        place |= {"record": asdict(self.record), "best": None if self.best is None else self.best[0]}
        if self.fabric.is_global_zero:
            save_snapshot(Snapshot(tensors, place, self.identity), folder)

    def restore(self, folder: Path) -> None:
        """Return to where the checkpoint was written.

        Raises
        ------
        CheckpointError
            It is missing, damaged, or comes from another run.
        """
        snapshot = load_snapshot(folder, self.identity)
        try:
            self._take(snapshot, folder)
        except torch.OutOfMemoryError:
            raise
        except (KeyError, TypeError, ValueError, IndexError, AttributeError, RuntimeError) as error:
            raise CheckpointError(
                f"the checkpoint in {folder} is intact, but was not written by this version of recsys "
                f"({type(error).__name__}: {error}); start again without resume=True (--resume)"
            ) from error
        log(f"resumed at epoch {self.epoch + 1}, step {self.step}")

    def _take(self, snapshot: Snapshot, folder: Path) -> None:
        """Fill weights, optimiser, averages, place and random states from a checkpoint."""
        state = snapshot.part("state")
        check_shapes(folder, state, self.loss.state())
        fill(self.loss.state(), state)
        restore_optimizer(self.optimizer, snapshot.part("optimizer"))
        if self.average is not None:
            check_shapes(folder, snapshot.part("average"), self.average.values)
            fill(self.average.values, snapshot.part("average"))
        for name in _PLACE:
            setattr(self, name, operator.index(snapshot.place[name]))
        self.record = TrainingLog(**snapshot.place["record"])
        if not all(isinstance(row, dict) for row in self.record.epochs):
            raise TypeError("the training log is not a list of rows")
        if snapshot.place["best"] is not None:
            weights, best = self.loss.weights(), snapshot.part("best")
            check_shapes(folder, best, weights)
            self.best = (snapshot.place["best"], {name: like(best[name], weights[name]) for name in weights})
        rank = self.fabric.global_rank
        own = {name: values[rank].clone() for name, values in snapshot.part("process").items()}  # torch needs states apart
        self.total = own["total"].to(self.fabric.device)
        torch.set_rng_state(own["random"])
        if "cuda" in own:
            torch.cuda.set_rng_state(own["cuda"], self.fabric.device)
        self.loss.draws.set_state(snapshot.tensors["draws"])

    def _own(self) -> dict[str, Tensor]:
        """What differs from process to process."""
        own = {"total": self.total, "random": torch.get_rng_state()}
        if self.fabric.device.type == "cuda":
            own["cuda"] = torch.cuda.get_rng_state(self.fabric.device)
        return own

    def _of_all(self, value: Tensor) -> Tensor:
        """(processes, …): a tensor of each process."""
        every = self.fabric.all_gather(value.to(self.fabric.device))
        assert isinstance(every, Tensor)  # noqa: S101 - what goes in comes out
        return every.reshape(self.fabric.world_size, *value.shape)


def _unchanged(step: int) -> float:
    """The factor on a constant learning rate."""
    return 1.0


class _Clock:
    """Adds the time from now on to what a log already holds."""

    def __init__(self, record: TrainingLog) -> None:
        self.record = record
        self._begun = time.monotonic() - record.seconds, time.process_time() - record.cpu_seconds

    def read(self) -> TrainingLog:
        self.record.seconds, self.record.cpu_seconds = (
            time.monotonic() - self._begun[0],
            time.process_time() - self._begun[1],
        )
        return self.record
