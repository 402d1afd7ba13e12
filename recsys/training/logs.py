"""The log of a training, and the loggers that draw its curves."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from recsys.config.training import LoggerName
from recsys.errors import ConfigError


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
    cpu_seconds : float
        Processor time of the same, over all threads of this process.
    decisions : list of dict
        What was decided from the log: ``option``, ``value``, ``because``, ``against``.
    deciding_seconds : float
        What that took, before the training.
    refitted_events : int
        Events that the kept weights were trained on again after validation; 0 if they were not.
    distilled_from : int
        Members of the ensemble that the kept weights were distilled from; 0 if they were not.
    privacy : dict or None
        What a training with differential privacy spent, what that covers and what not; None: there was no such promise.
    exposure : dict or None
        What floors of exposure did and cost on validation, see :func:`recsys.training.exposure.with_floors`; None: there
        were none.
    """

    epochs: list[dict[str, float]] = field(default_factory=list)
    best_epoch: int = 0
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    decisions: list[dict[str, Any]] = field(default_factory=list)
    deciding_seconds: float = 0.0
    refitted_events: int = 0
    distilled_from: int = 0
    privacy: dict[str, Any] | None = None
    exposure: dict[str, Any] | None = None


def make_logger(name: LoggerName, folder: Path) -> Any:
    """A Lightning logger that writes under ``folder``.

    Raises
    ------
    ConfigError
        The package behind it is not installed.
    """
    package = {"tensorboard": "tensorboard", "mlflow": "mlflow", "wandb": "wandb"}[name]
    if importlib.util.find_spec(package) is None:
        raise ConfigError(f"logger={name!r} needs the package {package}: pip install {package}")
    if name == "mlflow":
        from lightning.pytorch.loggers import MLFlowLogger  # noqa: PLC0415

        return MLFlowLogger(experiment_name=folder.name, save_dir=str(folder / "mlruns"))
    if name == "wandb":
        from lightning.pytorch.loggers import WandbLogger  # noqa: PLC0415

        folder.mkdir(parents=True, exist_ok=True)
        return WandbLogger(project=folder.name, save_dir=str(folder))
    from lightning.fabric.loggers.tensorboard import TensorBoardLogger  # noqa: PLC0415

    return TensorBoardLogger(folder.parent, name=folder.name)
