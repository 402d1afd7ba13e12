"""The training loop and its state, all of which a checkpoint holds."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import lightning as L
import torch
from torch import Tensor

from recsys.data.split import Holdout
from recsys.errors import RecsysError
from recsys.evaluation.evaluate import evaluate
from recsys.models.towers import Towers
from recsys.progress import log
from recsys.training.averaging import MovingAverage
from recsys.training.batches import WindowBatches
from recsys.training.checkpoint import (
    Snapshot,
    check_shapes,
    load_snapshot,
    optimizer_tensors,
    restore_optimizer,
    save_snapshot,
)
from recsys.training.config import Training
from recsys.training.logs import TrainingLog
from recsys.training.module import NextItemLoss
from recsys.training.optimizer import make_optimizer, shrink
from recsys.training.schedule import warmup_cosine

_GPU_CHECK = 50
"""Steps between two looks at the loss on a GPU, where each look waits for it."""


class Run:
    """A training on its way.

    Parameters
    ----------
    fabric : Fabric
        Launched.
    towers : Towers
        Their network is trained in place.
    loss : NextItemLoss
        Around that network.
    batches : WindowBatches
    validation : Holdout or None
    config : Training
    """

    def __init__(
        self,
        fabric: L.Fabric,
        towers: Towers,
        loss: NextItemLoss,
        batches: WindowBatches,
        validation: Holdout | None,
        config: Training,
    ) -> None:
        self.fabric, self.towers, self.batches, self.validation, self.config = fabric, towers, batches, validation, config
        self.plain = loss
        loss = loss.to(fabric.device)
        self.module, self.optimizer = fabric.setup(loss, make_optimizer(loss, config))
        self.rate = warmup_cosine(config.epochs * batches.steps, config.warmup)
        self.average = MovingAverage(loss, config.average) if config.average else None
        self.identity: dict[str, Any] = {}
        self.record = TrainingLog()
        self.epoch = self.place = self.step = self.stale = 0
        self.positions = 0
        self.total = torch.zeros((), dtype=torch.float64, device=fabric.device)  # of losses in the running epoch
        self.best: tuple[float, dict[str, Tensor]] | None = None

    def go(
        self,
        checkpoint: Path | None,
        on_epoch: Callable[[dict[str, float]], None] | None,
        tick: Callable[[int, int], None],
    ) -> None:
        """Train to the end, from wherever the run stands."""
        begun, cpu, earlier = time.monotonic(), time.process_time(), (self.record.seconds, self.record.cpu_seconds)

        def clock() -> None:
            self.record.seconds = earlier[0] + time.monotonic() - begun
            self.record.cpu_seconds = earlier[1] + time.process_time() - cpu

        while self.epoch < self.config.epochs and not self._stopped():
            epoch_begun, epoch_cpu = time.monotonic(), time.process_time()
            for batch in self.batches.epoch(self.epoch, self.place):
                self._train_on(batch.to(self.fabric.device))
                tick(self.place, self.epoch + 1)
                if checkpoint and self.config.checkpoint_steps and self.step % self.config.checkpoint_steps == 0:
                    clock()
                    self.save(checkpoint)
            self._end_epoch(time.monotonic() - epoch_begun, time.process_time() - epoch_cpu, on_epoch)
            clock()
            if checkpoint:
                self.save(checkpoint)
        if self.best is not None:
            self.plain.load_state_dict(self.best[1], strict=False)
        else:
            self.record.best_epoch = len(self.record.epochs)
            if self.average is not None:
                self.average.keep()
        clock()

    def _train_on(self, batch: Any) -> None:
        factor = self.rate(self.step)
        for group in self.optimizer.param_groups:
            group["lr"] = group["peak"] * factor
        loss = self.module(batch)
        self.fabric.backward(loss)
        self.fabric.clip_gradients(self.module, self.optimizer, max_norm=self.config.clip_norm, error_if_nonfinite=False)
        value = loss.detach().double()
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
        """Stop before a broken step reaches the weights, and so before any checkpoint."""
        if not bool(torch.isfinite(loss)):
            raise RecsysError(
                f"the loss became {float(loss)} in step {self.step} of epoch {self.epoch + 1}; lower the learning rate "
                f"({self.config.learning_rate}); checkpoints hold the last good state"
            )

    def _end_epoch(self, seconds: float, cpu_seconds: float, on_epoch: Callable[[dict[str, float]], None] | None) -> None:
        total = self.fabric.all_reduce(self.total, reduce_op="mean")
        assert isinstance(total, Tensor)  # noqa: S101 - what goes in comes out
        loss = float(total) / max(1, self.positions)
        self._check(torch.tensor(loss))
        self.epoch, self.place, self.positions = self.epoch + 1, 0, 0
        self.total.zero_()
        row = {"epoch": float(self.epoch), "loss": loss, "seconds": seconds, "cpu_seconds": cpu_seconds}
        due = self.epoch % self.config.validate_every == 0 or self.epoch == self.config.epochs
        if self.validation is not None and due:
            self._validate(row)
        self.record.epochs.append(row)
        self.fabric.log_dict({k: v for k, v in row.items() if "seconds" not in k and k != "epoch"}, step=self.step)
        spent = f"{seconds:.1f} s" + (f" + {row['validation_seconds']:.1f} s" if "validation_seconds" in row else "")
        figures = "  ".join(f"{k} {v:.4f}" for k, v in row.items() if "seconds" not in k and k != "epoch")
        if self.fabric.is_global_zero:
            log(f"epoch {self.epoch}/{self.config.epochs}  {figures}  {spent}")
        if on_epoch is not None:
            on_epoch(dict(row))

    def _validate(self, row: dict[str, float]) -> None:
        """Judge on process 0, let all know, and keep the weights if they are the best so far."""
        assert self.validation is not None  # noqa: S101 - asked by the caller
        begun = time.monotonic()
        metric, _, cut = self.config.monitor.partition("@")
        wanted = [f"{name}@{cut}" for name in dict.fromkeys(("recall", "ndcg", metric))]
        if self.average is None:
            figures = self._judge(wanted, int(cut))
        else:
            with self.average.in_place():
                figures = self._judge(wanted, int(cut))
        row |= {f"val_{name}": value for name, value in figures.items()}
        row["validation_seconds"] = time.monotonic() - begun

    def _judge(self, wanted: list[str], cut: int) -> dict[str, float]:
        assert self.validation is not None  # noqa: S101 - asked by the caller
        self.module.eval()
        figures: dict[str, float] = {}
        if self.fabric.is_global_zero:
            self.towers.net.items.refresh()
            judged = Towers(
                self.towers.net, self.towers.users, self.towers.items, None, None, device=str(self.fabric.device)
            )
            report = evaluate(judged, self.validation, cut)
            figures = {name: report[name] for name in wanted}
        figures = self.fabric.broadcast(figures)
        self.module.train()
        score = figures[self.config.monitor]
        if self.best is None or score > self.best[0]:
            self.best = (score, {name: value.detach().clone() for name, value in self._trained().items()})
            self.record.best_epoch, self.stale = self.epoch, 0
        else:
            self.stale += 1
        return figures

    def _stopped(self) -> bool:
        return bool(self.config.patience) and self.stale >= self.config.patience

    def _trained(self) -> dict[str, Tensor]:
        return {name: p for name, p in self.plain.named_parameters() if p.requires_grad}

    def save(self, folder: Path) -> None:
        """Write a checkpoint (process 0 alone)."""
        if not self.fabric.is_global_zero:
            return
        tensors = {f"weights.{name}": value for name, value in self._trained().items()}
        tensors |= {f"optimizer.{name}": value for name, value in optimizer_tensors(self.optimizer).items()}
        if self.average is not None:
            tensors |= {f"average.{name}": value for name, value in self.average.values.items()}
        if self.best is not None:
            tensors |= {f"best.{name}": value for name, value in self.best[1].items()}
        tensors |= {"random.torch": torch.get_rng_state(), "random.draws": self.plain.draws.get_state()}
        if self.fabric.device.type == "cuda":
            tensors["random.cuda"] = torch.cuda.get_rng_state(self.fabric.device)
        tensors["total"] = self.total
        place = {name: getattr(self, name) for name in ("epoch", "place", "step", "stale", "positions")}
        place |= {"record": asdict(self.record), "best": None if self.best is None else self.best[0]}
        save_snapshot(Snapshot(tensors, place, self.identity), folder)

    def restore(self, folder: Path) -> None:
        """Stand where the checkpoint was written.

        Raises
        ------
        CheckpointError
            It is missing, damaged, or of another run.
        """
        snapshot = load_snapshot(folder, self.identity)
        weights = snapshot.part("weights")
        check_shapes(folder, weights, self._trained())
        self.plain.load_state_dict(weights, strict=False)
        restore_optimizer(self.optimizer, snapshot.part("optimizer"))
        if self.average is not None:
            self.average.restore(snapshot.part("average"))
        for name in ("epoch", "place", "step", "stale", "positions"):
            setattr(self, name, snapshot.place[name])
        self.record = TrainingLog(**snapshot.place["record"])
        if snapshot.place["best"] is not None:
            best = {name: value.to(self.fabric.device) for name, value in snapshot.part("best").items()}
            self.best = (snapshot.place["best"], best)
        self.total = snapshot.tensors["total"].to(self.fabric.device)
        random = snapshot.part("random")
        torch.set_rng_state(random["torch"])
        self.plain.draws.set_state(random["draws"])
        if "cuda" in random:
            torch.cuda.set_rng_state(random["cuda"], self.fabric.device)
        log(f"resumed at epoch {self.epoch + 1}, step {self.step}")
