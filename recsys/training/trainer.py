"""Run a training: Lightning Fabric provides devices and processes, `loop` the steps."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from lightning.fabric.strategies.ddp import DDPStrategy
from lightning.fabric.strategies.model_parallel import ModelParallelStrategy
from torch import Tensor

from recsys.config.augment import Augment
from recsys.config.training import Objective, Training
from recsys.core.destination import process_number, prove_apart, prove_folder
from recsys.core.device import has_bf16, pick_device
from recsys.core.progress import log
from recsys.core.ragged import contained
from recsys.core.threads import considerate
from recsys.data.leakage import check_leakage
from recsys.data.split import Holdout
from recsys.errors import ConfigError, DataError
from recsys.evaluation.evaluate import warn_about_repeats
from recsys.training.checkpoint import claimed
from recsys.training.checks import check_objective
from recsys.training.forecast import forecast
from recsys.training.fsdp import split
from recsys.training.group_weights import weighed
from recsys.training.logs import TrainingLog, make_logger
from recsys.training.loop import Run
from recsys.training.next_item_loss import NextItemLoss
from recsys.training.prepare import Inputs
from recsys.training.surroundings import closed, own_determinism, progress_bar, quiet
from recsys.training.windows import WindowBatches

_FORECAST_STEPS = 50
"""Shorter runs end before anybody has read a forecast."""

_LEAST_FREE = 2**20
"""Bytes that a checkpoint may take besides its tensors."""

OnEpoch = Callable[[dict[str, float]], None]


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """Where a run writes its files, and what it calls after each epoch.

    Attributes
    ----------
    log_folder : Path or None
        Where the curves go.
    checkpoint : Path or None
        Folder of the checkpoint that is written during training.
    resume : bool
        Resume from the checkpoint there.
    on_epoch : callable or None
        Gets each epoch's row of the log right after its validation; what it raises ends the training and reaches the
        caller.
    decisions : tuple of dict
        What was decided before the run, to be kept in its log.
    deciding_seconds : float
        What that took.
    constant_rate : bool
        Leave the learning rate as it is from the first step to the last.
    moments : dict of Tensor or None
        Of the optimiser of an earlier run, to go on with.
    forecast : bool
        Tell how long a long run will take, which costs some forward passes.
    """

    log_folder: Path | None = None
    checkpoint: Path | None = None
    resume: bool = False
    on_epoch: OnEpoch | None = None
    decisions: tuple[dict[str, Any], ...] = ()
    deciding_seconds: float = 0.0
    constant_rate: bool = False
    moments: dict[str, Tensor] | None = None
    forecast: bool = True


def train(
    inputs: Inputs,
    validation: Holdout | None,
    config: Training,
    *,
    objective: Objective | None = None,
    augmentation: Augment | None = None,
    options: RunOptions | None = None,
    loss_of: Callable[[Tensor], NextItemLoss] | None = None,
    batches: WindowBatches | None = None,
) -> TrainingLog:
    """Fit the towers' network in place.

    The caller's random state does not change. Two runs from the same seed on the same machine give the same
    weights, bit by bit, whether or not they were interrupted and resumed.

    Parameters
    ----------
    inputs : Inputs
        Freshly prepared; the towers' network is fitted in place.
    validation : Holdout, optional
        Picks the best epoch and stops early; without it the last epoch is kept.
    config : Training
    objective : Objective, optional
    augmentation : Augment, optional
    options : RunOptions, optional
    loss_of : callable, optional
        Puts another loss on the network, from how often each item occurs in training, int64 (n_items,).
    batches : WindowBatches, optional
        Instead of those of the whole log.

    Returns
    -------
    TrainingLog

    Raises
    ------
    DataError
        No user has two events, or the loss needs weights that the log lacks.
    LeakageError
        The validation targets are among the training events.
    CheckpointError
        The checkpoint to resume from is damaged or comes from another run.
    ConfigError
        Training needs more memory than is free.
    RecsysError
        The loss is no longer a number.
    """
    objective, augmentation, options = objective or Objective(), augmentation or Augment(), options or RunOptions()
    towers, log_in = inputs.towers, inputs.log
    if options.resume and options.checkpoint is None:
        raise ConfigError("resume=True needs the folder of a checkpoint (checkpoint=...)")
    if validation is not None:
        check_leakage(log_in, validation)
        if not config.keep_seen:
            repeats = contained(validation.targets, validation.histories, len(validation.items))
            warn_about_repeats(int(repeats.sum()), len(repeats))
    check_objective(log_in, objective)
    check_processes(config.devices)
    device = pick_device(config.device)
    with quiet(), own_determinism(device), torch.random.fork_rng(enabled=True):
        fabric = make_fabric(config, device, options.log_folder)
        torch.manual_seed(config.seed + fabric.global_rank)
        if batches is None:
            positives = weighed(log_in, objective, inputs.catalog, towers.user_features, inputs.features)
            batches = make_batches(replace(inputs, log=positives), config, augmentation, process=fabric.global_rank)
        if loss_of is None:
            loss = make_loss(inputs, config, objective, device)
        else:
            loss = loss_of(torch.from_numpy(log_in.item_counts)).train()
        identity = inputs.identity | {
            "data": log_in.fingerprint,
            "items": len(towers.items),
            "validation": None if validation is None else _fingerprint(validation),
            "device": fabric.device.type,
            "training": asdict(config),
            "objective": asdict(objective),
            "augment": asdict(augmentation),
        }
        if validation is not None and config.validate_users:
            validation = validation.sample(config.validate_users)
        if options.forecast and config.epochs * batches.steps >= _FORECAST_STEPS:
            expected = forecast(fabric, loss, batches, copies=copies_of_weights(config, judged=validation is not None))
            if fabric.is_global_zero:
                log(str(expected))
        if options.checkpoint is not None and fabric.is_global_zero:
            prove_checkpoints(options.checkpoint, loss, 1 + copies_of_weights(config, judged=validation is not None))
        run = Run(
            fabric, towers, loss, batches, validation, config, identity,
            constant=options.constant_rate, moments=options.moments,
        )  # fmt: skip
        run.record.decisions, run.record.deciding_seconds = list(options.decisions), options.deciding_seconds
        if options.resume:
            assert options.checkpoint is not None  # noqa: S101 - asked above
            run.restore(options.checkpoint)
        with closed(fabric.loggers), progress_bar(batches.steps) as tick, considerate() as share_out:

            def each_step(place: int, epoch: int) -> None:
                if place == 1:
                    share_out()
                tick(place, epoch)

            run.go(options.checkpoint, options.on_epoch, each_step)
    return run.record


@contextmanager
def proven_places(log_folder: Path | None, checkpoint: Path | None, *, resume: bool, overwrite: bool) -> Iterator[None]:
    """Prove that a training can write its files, before anything costly, and keep other runs out until the block ends.

    Parameters
    ----------
    log_folder, checkpoint : Path or None
    resume, overwrite : bool
        As for :meth:`recsys.TwoTower.fit`.

    Raises
    ------
    ConfigError
        A folder cannot be written, or lies inside the other.
    CheckpointError, DataError
        As for :func:`recsys.training.checkpoint.claimed`.
    """
    if resume and checkpoint is None:
        raise ConfigError("resume=True needs the folder of a checkpoint (checkpoint=...)")
    if resume and overwrite:
        raise ConfigError("resume=True continues from the checkpoint and overwrite=True replaces it; choose one")
    places = {"curves": log_folder, "checkpoints": checkpoint}
    prove_apart({what: place for what, place in places.items() if place is not None})
    if process_number():  # the first process writes, and does this for all
        yield
        return
    for what, place in places.items():
        if place is not None:
            prove_folder(place, option=f"the place of the {what}")
    with nullcontext() if checkpoint is None else claimed(checkpoint, resume=resume, overwrite=overwrite):
        yield


def prove_checkpoints(folder: Path, loss: NextItemLoss, copies: float) -> None:
    """Prove that the checkpoints of a training fit on the disk: two at a time, of so many copies of the weights.

    Raises
    ------
    DataError
        They do not.
    """
    bytes_ = sum(p.numel() * p.element_size() for p in loss.weights().values())
    prove_folder(folder, option="the place of the checkpoints", needs=int(2 * copies * bytes_) + _LEAST_FREE)


def make_fabric(config: Training, device: str, log_folder: Path | None = None) -> L.Fabric:
    """Launch device, processes and logger of a run.

    Raises
    ------
    ConfigError
        The logger's package is absent.
    """
    on_gpu = torch.device(device).type == "cuda"
    here: Any = int(os.environ.get("LOCAL_WORLD_SIZE", config.devices)) if config.devices > 1 else 1
    strategy: Any = "auto"
    started = "WORLD_SIZE" in os.environ  # by torchrun, which may start a single process
    if config.strategy == "fsdp" and (config.devices > 1 or started):
        strategy = ModelParallelStrategy(split, data_parallel_size=config.devices, tensor_parallel_size=1)
    elif config.devices > 1 or (config.strategy == "ddp" and started):
        strategy = DDPStrategy(broadcast_buffers=False)  # the one that changes is sent in Run
    fabric = L.Fabric(
        accelerator="gpu" if on_gpu else "cpu",
        devices=[torch.device(device).index or 0] if on_gpu and config.devices == 1 else here,
        num_nodes=max(1, config.devices // here),
        strategy=strategy,
        loggers=make_logger(config.logger, log_folder) if log_folder else None,
    )
    fabric.launch()
    return fabric


def make_batches(inputs: Inputs, config: Training, augmentation: Augment, *, process: int = 0) -> WindowBatches:
    """Make the batches of a process."""
    batches = WindowBatches(
        inputs.log,
        length=inputs.towers.net.users.max_length,
        tokens=config.batch_tokens,
        seed=config.seed,
        options=augmentation,
        neighbours=inputs.neighbours,
        features=inputs.features,
        target_event=inputs.towers.net.users.event_heads is not None,
        processes=config.devices,
        process=process,
    )
    if batches.steps == 0:
        raise DataError("no user has two events, so there is no next item to learn from")
    return batches


def make_loss(inputs: Inputs, config: Training, objective: Objective, device: str) -> NextItemLoss:
    """Put the loss on top of the network, in training mode."""
    counts = torch.from_numpy(inputs.log.item_counts)
    loss = NextItemLoss(inputs.towers.net, objective, counts, **halves(config, device), seed=config.seed)
    if config.compile:
        inputs.towers.net.users.compile(dynamic=True)
    return loss.train()


def halves(config: Training, device: str) -> dict[str, bool]:
    """What a loss makes in bfloat16: ``bf16`` and ``autocast`` of :class:`NextItemLoss`."""
    able, on_gpu = has_bf16(device), torch.device(device).type == "cuda"
    return {
        "bf16": config.precision != "fp32" and able,
        "autocast": config.precision == "bf16" or (config.precision == "auto" and on_gpu and able),
    }


def check_processes(devices: int) -> None:
    """Refuse to train in more or fewer processes than ``torchrun`` started.

    Raises
    ------
    ConfigError
        The two numbers differ.
    """
    started = int(os.environ.get("WORLD_SIZE", "1"))
    if devices != started:
        raise ConfigError(
            f"devices={devices}, but the number of started processes is {started}; each device needs its own process: "
            f"torchrun --nproc_per_node {devices} -m recsys fit ... --devices {devices}"
        )


def copies_of_weights(config: Training, *, judged: bool) -> float:
    """How many more copies of the weights training holds: gradients, AdamW's two moments, average, best.

    With split weights, a process holds its part of each and, during a step, all weights and their gradients.
    """
    held = 3 + bool(config.ema_decay) + judged
    return 2 + held / config.devices if config.strategy == "fsdp" and config.devices > 1 else held


def _fingerprint(holdout: Holdout) -> str:
    """sha256 over the held-out users, their histories and their targets."""
    digest = hashlib.sha256()
    before, asked = holdout.histories, holdout.targets
    for rows in (holdout.user_rows, before.offsets, before.rows, before.times, before.events, asked.offsets, asked.rows):
        digest.update(b"|none" if rows is None else b"|" + np.ascontiguousarray(rows).tobytes())
    return digest.hexdigest()
