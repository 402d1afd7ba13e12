"""How to train: small frozen dataclasses, checked when they are made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from recsys.config.options import checked_options, settle
from recsys.errors import ConfigError

LossName: TypeAlias = Literal["auto", "softmax", "sampled", "bce", "gbce", "bpr", "mse"]
SamplerName: TypeAlias = Literal["mixed", "uniform", "in-batch", "popularity"]
Precision: TypeAlias = Literal["auto", "fp32", "bf16"]
LoggerName: TypeAlias = Literal["tensorboard", "mlflow", "wandb"]
Strategy: TypeAlias = Literal["auto", "ddp", "fsdp"]

FULL_SOFTMAX_LIMIT = 100_000
"""``loss="auto"`` means full softmax up to this many items."""


def _at_least(owner: object, least: float, *names: str) -> None:
    for name in names:
        value = getattr(owner, name)
        if not value >= least:
            raise ConfigError(f"{name} must be at least {least}, not {value}")


@checked_options
@dataclass(frozen=True, kw_only=True)
class Objective:
    """What is learned: the loss at every position, and what a positive is contrasted with.

    Attributes
    ----------
    loss : str
        ``"softmax"`` over all items; ``"sampled"`` softmax with logQ; ``"auto"``: full up to 100,000 items; ``"bce"``,
        ``"gbce"`` and ``"bpr"`` against sampled negatives; ``"mse"`` on the interactions' weights (ratings).
    sampler : str
        Where sampled candidates come from: ``"uniform"``, the batch's own targets (``"in-batch"``), both (``"mixed"``), or
        ``"popularity"``.
    negatives : int
        Items drawn per step, beside the batch's own.
    log_q : bool
        Correct a sampled softmax by the probability with which each candidate was drawn, so that it estimates the full
        one; without it, positives have fewer rivals and rare items weigh more.
    label_smoothing : float
        Share of each target's probability that is spread over all candidates (softmax losses).
    calibration : float
        gBCE's t: 0 is plain BCE, 1 undoes the sampling altogether.
    mask_history : bool
        Never count an item of the window's own history as a negative.
    cold_negatives : bool
        Count items without any interaction in training as negatives too. They are never a positive, so that every step
        would push them away, whatever their content says.
    weighted : bool
        Count each position by its interaction's weight (a rating, an event's worth).
    """

    loss: LossName = "auto"
    sampler: SamplerName = "mixed"
    negatives: int = 2048
    log_q: bool = True
    label_smoothing: float = 0.0
    calibration: float = 0.75
    mask_history: bool = False
    cold_negatives: bool = False
    weighted: bool = False

    def __post_init__(self) -> None:
        settle(self)
        _at_least(self, 1, "negatives")
        if not 0.0 <= self.label_smoothing < 1.0:
            raise ConfigError(f"label_smoothing is a share in [0, 1), not {self.label_smoothing}")
        if self.label_smoothing and self.loss not in ("auto", "softmax", "sampled"):
            raise ConfigError(f"label_smoothing belongs to the softmax losses; leave it out with loss={self.loss!r}")
        if self.label_smoothing and self.loss == "sampled" and self.sampler == "uniform":
            raise ConfigError("label_smoothing needs candidates that are rivals of every position; take sampler='mixed'")
        if not 0.0 <= self.calibration <= 1.0:
            raise ConfigError(f"calibration is gBCE's t in [0, 1], not {self.calibration}")

    def loss_for(self, n_items: int) -> LossName:
        """The loss that ``loss`` stands for with this many items."""
        if self.loss == "auto":
            return "softmax" if n_items <= FULL_SOFTMAX_LIMIT else "sampled"
        return self.loss


@checked_options
@dataclass(frozen=True, kw_only=True)
class Training:
    """Options of a training run.

    Attributes
    ----------
    epochs : int
        Passes over the log, at most.
    batch_tokens : int
        Positions per step, over all devices together.
    learning_rate : float
        Peak of AdamW's rate, after ``warmup``; it then falls along a cosine to a fiftieth.
    encoder_learning_rate : float
        The same for a text encoder that is trained along.
    weight_decay : float
        On matrices (L2, decoupled); not on norms, biases, positions or the temperature.
    l1 : float
        Soft threshold on the same matrices, times the learning rate, after each step.
    warmup : float
        Share of all steps over which the rate rises.
    max_grad_norm : float
        Largest norm of the whole gradient.
    ema_decay : float
        Decay per step of an exponential moving ema_decay of the weights, which is what is judged and kept; 0: none.
    patience : int
        Epochs without a better validation figure after which training stops; 0: never.
    monitor : str
        The validation figure that picks the best epoch, such as ``"ndcg@10"``.
    validate_every : int
        Epochs between two validations; the last epoch always has one.
    validate_users : int
        Validation users judged each time (the same random ones); 0: all.
    keep_seen : bool
        Rank items that the user has had too, in validation and wherever the bundle is judged: for logs in which people
        come back to the same items.
    precision : str
        ``"fp32"``, ``"bf16"`` (autocast), or ``"auto"``: bf16 on GPUs; on CPUs that have it, in the loss alone.
    device : str
        ``"auto"``, ``"cpu"`` or ``"cuda"``.
    devices : int
        Processes that share each batch, one device each; more than one is started by ``torchrun``.
    strategy : str
        How they share: ``"ddp"`` (weights copied) or ``"fsdp"`` (weights split); ``"auto"`` is ddp.
    compile : bool
        Compile the user tower (pays on GPUs).
    checkpoint_steps : int
        Steps between two checkpoints, where a folder for them is given; 0: one after each epoch.
    logger : str
        Where curves go: ``"tensorboard"``, ``"mlflow"`` or ``"wandb"``.
    seed : int
        Everything random follows from it.
    """

    epochs: int = 30
    batch_tokens: int = 4096
    learning_rate: float = 1e-3
    encoder_learning_rate: float = 1e-4
    weight_decay: float = 0.01
    l1: float = 0.0
    warmup: float = 0.05
    max_grad_norm: float = 1.0
    ema_decay: float = 0.0
    patience: int = 5
    monitor: str = "ndcg@10"
    validate_every: int = 1
    validate_users: int = 10_000
    keep_seen: bool = False
    precision: Precision = "auto"
    device: str = "auto"
    devices: int = 1
    strategy: Strategy = "auto"
    compile: bool = False
    checkpoint_steps: int = 0
    logger: LoggerName = "tensorboard"
    seed: int = 0

    def __post_init__(self) -> None:
        settle(self)
        _at_least(self, 1, "epochs", "batch_tokens", "validate_every", "devices")
        for name in ("learning_rate", "encoder_learning_rate", "max_grad_norm"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"{name} must be above 0, not {getattr(self, name)}")
        for name in ("weight_decay", "l1", "patience", "validate_users", "checkpoint_steps"):
            if not getattr(self, name) >= 0:
                raise ConfigError(f"{name} must not be negative, but is {getattr(self, name)}")
        if not 0 <= self.seed < 2**63:
            raise ConfigError(f"seed must be a whole number from 0 to 2^63 - 1, not {self.seed}")
        if not 0.0 <= self.warmup < 1.0:
            raise ConfigError(f"warmup is a share of all steps in [0, 1), not {self.warmup}")
        if not 0.0 <= self.ema_decay < 1.0:
            raise ConfigError(f"ema_decay is a decay in [0, 1), not {self.ema_decay}")
        metric, _, cut = self.monitor.partition("@")
        if metric not in ("recall", "hit_rate", "precision", "ndcg", "mrr", "map") or not cut.isdecimal() or int(cut) < 1:
            raise ConfigError(f"monitor must be a metric and a k, such as ndcg@10, not {self.monitor!r}")
