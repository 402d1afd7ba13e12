"""Run a training: Lightning underneath, the best epoch by a ranking metric on top."""

from __future__ import annotations

import logging
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback, EarlyStopping, TQDMProgressBar
from lightning.pytorch.loggers import TensorBoardLogger
from torch import Tensor
from torch.utils.data import DataLoader

from recsys.data.interactions import Interactions
from recsys.data.leakage import check_leakage
from recsys.data.split import Holdout
from recsys.errors import DataError, RecsysError
from recsys.evaluation.evaluate import evaluate
from recsys.models.device import has_bf16, pick_device
from recsys.models.negatives import MixedNegatives
from recsys.models.towers import Towers
from recsys.progress import log, on_terminal
from recsys.training.batches import WindowBatches
from recsys.training.config import Training
from recsys.training.module import TowerModule


@dataclass
class TrainingLog:
    """What happened, epoch by epoch.

    Attributes
    ----------
    epochs : list of dict
        ``epoch``, ``loss`` (nats), ``seconds`` of training; with validation its figures and ``validation_seconds``.
    best_epoch : int
        The epoch whose weights were kept, counted from 1.
    seconds : float
        Training and validation together.
    """

    epochs: list[dict[str, float]] = field(default_factory=list)
    best_epoch: int = 0
    seconds: float = 0.0


class _Watch(Callback):
    """After each epoch: validate, keep the best weights, write a line."""

    def __init__(self, towers: Towers, validation: Holdout | None, config: Training, record: TrainingLog) -> None:
        self.towers = towers
        self.validation = validation
        self.config = config
        self.record = record
        self.best: tuple[float, dict[str, Tensor]] | None = None
        self.begun = 0.0

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.begun = time.monotonic()

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        row = {
            "epoch": float(trainer.current_epoch + 1),
            "loss": float(trainer.callback_metrics["loss"]),
            "seconds": time.monotonic() - self.begun,
        }
        if not row["loss"] < float("inf"):
            raise RecsysError(f"the loss became {row['loss']} in epoch {row['epoch']:.0f}; lower the learning rate")
        if self.validation is not None:
            self._validate(row, pl_module)
        self.record.epochs.append(row)
        figures = "  ".join(
            f"{name} {value:.4f}" for name, value in row.items() if "seconds" not in name and name != "epoch"
        )
        spent = f"{row['seconds']:.1f} s" + (f" + {row['validation_seconds']:.1f} s" if "validation_seconds" in row else "")
        log(f"epoch {row['epoch']:.0f}/{self.config.epochs}  {figures}  {spent}")

    def _validate(self, row: dict[str, float], pl_module: L.LightningModule) -> None:
        assert self.validation is not None  # noqa: S101 - asked by the caller
        begun = time.monotonic()
        pl_module.eval()
        judged = Towers(self.towers.net, self.towers.users, self.towers.items, None, None, device=str(pl_module.device))
        metric, _, cut = self.config.monitor.partition("@")
        report = evaluate(judged, self.validation, int(cut))
        pl_module.train()
        row |= {f"val_{name}@{cut}": report[f"{name}@{cut}"] for name in dict.fromkeys(("recall", "ndcg", metric))}
        pl_module.log_dict({name: value for name, value in row.items() if name.startswith("val_")})
        row["validation_seconds"] = time.monotonic() - begun
        score = report[self.config.monitor]
        if self.best is None or score > self.best[0]:
            self.best = (score, {name: value.detach().clone() for name, value in self.towers.net.state_dict().items()})
            self.record.best_epoch = int(row["epoch"])


def train(
    towers: Towers, log_in: Interactions, validation: Holdout | None, config: Training, log_folder: Path | None = None
) -> TrainingLog:
    """Fit the towers' network in place.

    The caller's random state is left as it was found; two runs from the same seed on the same machine give the same
    weights, bit by bit.

    Parameters
    ----------
    towers : Towers
        Freshly initialised.
    log_in : Interactions
        In the towers' item rows.
    validation : Holdout, optional
        Picks the best epoch and stops early; without it the last epoch is kept.
    config : Training
    log_folder : Path, optional
        Where TensorBoard events go.

    Returns
    -------
    TrainingLog

    Raises
    ------
    DataError
        No user has two events.
    LeakageError
        What validation asks for is among what is trained on.
    RecsysError
        The loss is no longer a number.
    """
    device = pick_device(config.device)
    if validation is not None:
        check_leakage(log_in, validation)
    batches = WindowBatches(
        log_in.histories, length=towers.net.users.max_length, tokens=config.batch_tokens, seed=config.seed
    )
    if batches.steps == 0:
        raise DataError("no user has two events, so there is no next item to learn from")
    negatives = None
    if config.softmax_over(len(towers.items)) == "sampled":
        negatives = MixedNegatives(torch.from_numpy(log_in.item_counts), config.negatives)
    on_gpu = torch.device(device).type == "cuda"
    module = TowerModule(
        towers.net,
        config,
        negatives,
        bf16_loss=config.precision != "fp32" and has_bf16(device),
        total_steps=config.epochs * batches.steps,
    )
    record = TrainingLog()
    if validation is not None and config.validate_users:
        validation = validation.head(config.validate_users)
    watch = _Watch(towers, validation, config, record)
    callbacks: list[Callback] = [watch]
    if validation is not None and config.patience:
        callbacks.append(
            EarlyStopping(f"val_{config.monitor}", mode="max", patience=config.patience, check_on_train_epoch_end=True)
        )
    if on_terminal():
        callbacks.append(_Bar(batches.steps))
    autocast = config.precision == "bf16" or (config.precision == "auto" and on_gpu and has_bf16(device))
    begun = time.monotonic()
    with _quiet_lightning(), _own_determinism(), torch.random.fork_rng(enabled=True):
        torch.manual_seed(config.seed)
        trainer = L.Trainer(
            accelerator="gpu" if on_gpu else "cpu",
            devices=[torch.device(device).index or 0] if on_gpu else 1,
            precision="bf16-mixed" if autocast else "32-true",
            max_epochs=config.epochs,
            logger=TensorBoardLogger(log_folder.parent, name=log_folder.name) if log_folder else False,
            log_every_n_steps=max(1, batches.steps // 10),
            callbacks=callbacks,
            enable_checkpointing=False,
            enable_progress_bar=on_terminal(),
            enable_model_summary=False,
            deterministic="warn" if on_gpu else True,
        )
        try:
            trainer.fit(module, DataLoader(batches, batch_size=None))
        except SystemExit:
            if trainer.interrupted:  # Lightning turns an interrupt into an exit of the whole process
                raise KeyboardInterrupt from None
            raise
    if watch.best is not None:
        towers.net.load_state_dict(watch.best[1])
    else:
        record.best_epoch = len(record.epochs)
    towers.net.eval()
    towers.net.to(device)
    record.seconds = time.monotonic() - begun
    return record


class _Bar(TQDMProgressBar):
    """A bar that knows about how many steps an epoch has, which the supply of batches itself finds out only at its end."""

    def __init__(self, steps: int) -> None:
        super().__init__(leave=False)
        self._steps = steps

    @property
    def total_train_batches(self) -> int | float:
        return self._steps


@contextmanager
def _own_determinism() -> Iterator[None]:
    """Give the caller back the determinism that it had chosen for its own work."""
    enabled, warn_only = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(enabled, warn_only=warn_only)


@contextmanager
def _quiet_lightning() -> Iterator[None]:
    """Keep Lightning's advice about workers and devices off our users' screens."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    before: list[Any] = [one.level for one in loggers]
    for one in loggers:
        one.setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"lightning\..*")
        try:
            yield
        finally:
            for one, level in zip(loggers, before, strict=True):
                one.setLevel(level)
