"""How to train: small frozen dataclasses, checked when they are made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from recsys.config.floors import read_floors
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

    Raises
    ------
    ConfigError
        A value or a combination of values is not allowed.

    Examples
    --------
    >>> objective = recsys.Objective(negatives=512)
    >>> objective.loss_for(n_items=1_000), objective.loss_for(n_items=1_000_000)
    ('softmax', 'sampled')
    """

    loss: LossName = "auto"
    """Loss at every position: softmax over all items, sampled softmax with logQ, auto (full up to 100,000 items), bce,
    gbce or bpr against negatives, or mse on weights.
    """
    sampler: SamplerName = "mixed"
    """Where sampled candidates come from: uniform, the batch's own targets (in-batch), both (mixed), or popularity."""
    negatives: int = 2048
    """Number of items drawn per step, beside the batch's own targets."""
    log_q: bool = True
    """Correct a sampled softmax by the probability of drawing each candidate, so that it estimates the full softmax."""
    label_smoothing: float = 0.0
    """Share of each target's probability that is spread over all candidates (softmax losses only)."""
    calibration: float = 0.75
    """The parameter t of gBCE: 0 is plain BCE, 1 undoes the effect of sampling."""
    mask_history: bool = False
    """Never count an item of the window's own history as a negative."""
    cold_negatives: bool = False
    """Count items without any interaction in training as negatives too, which pushes them away whatever their content
    says.
    """
    weighted: bool = False
    """Weight each position by the interaction's weight, such as a rating."""
    item_groups: str | None = None
    """Column of the catalogue by whose groups positives are weighted, those of groups with few events more."""
    user_groups: str | None = None
    """Column of the table of users by whose groups positives are weighted, those of groups with few events more."""
    group_power: float = 0.5
    """How much more a positive of a group with few events counts: the inverse frequency of its group to this power."""

    def __post_init__(self) -> None:
        settle(self)
        _at_least(self, 1, "negatives")
        if not 0.0 <= self.group_power <= 1.0:
            raise ConfigError(f"group_power is a power in [0, 1], not {self.group_power}")
        if self.grouped and self.loss == "mse":
            raise ConfigError("loss='mse' reads weights as ratings; leave out item_groups and user_groups with it")
        if not 0.0 <= self.label_smoothing < 1.0:
            raise ConfigError(f"label_smoothing is a share in [0, 1), not {self.label_smoothing}")
        if self.label_smoothing and self.loss not in ("auto", "softmax", "sampled"):
            raise ConfigError(f"label_smoothing belongs to the softmax losses; leave it out with loss={self.loss!r}")
        if self.label_smoothing and self.loss == "sampled" and self.sampler == "uniform":
            raise ConfigError("label_smoothing needs candidates that are negatives of every position; use sampler='mixed'")
        if not 0.0 <= self.calibration <= 1.0:
            raise ConfigError(f"calibration is gBCE's t in [0, 1], not {self.calibration}")

    @property
    def grouped(self) -> bool:
        """Whether positives are weighted by group."""
        return self.item_groups is not None or self.user_groups is not None

    @property
    def weighs(self) -> bool:
        """Whether positives have weights, of the log or by group."""
        return self.weighted or self.grouped

    def loss_for(self, n_items: int) -> LossName:
        """The loss that ``loss`` stands for with this many items."""
        if self.loss == "auto":
            return "softmax" if n_items <= FULL_SOFTMAX_LIMIT else "sampled"
        return self.loss


@checked_options
@dataclass(frozen=True, kw_only=True)
class Training:
    """Options of a training run.

    Raises
    ------
    ConfigError
        A value or a combination of values is not allowed.

    Examples
    --------
    >>> recsys.Training(epochs=5, learning_rate=3e-4).epochs
    5
    >>> recsys.Training(epochs=0)
    Traceback (most recent call last):
    recsys.errors.ConfigError: epochs must be at least 1, not 0
    """

    epochs: int = 30
    """Largest number of passes over the log."""
    batch_tokens: int = 4096
    """Positions per step, over all devices together; memory grows with it."""
    learning_rate: float = 1e-3
    """Peak learning rate of AdamW, reached after the warm-up; it then falls along a cosine to a fiftieth."""
    encoder_learning_rate: float = 1e-4
    """Peak learning rate of a fine-tuned text encoder."""
    weight_decay: float = 0.01
    """Decoupled L2 penalty on weight matrices; norms, biases, positions and the temperature have none."""
    l1: float = 0.0
    """L1 penalty on the same matrices: a soft threshold, times the learning rate, after each step."""
    warmup: float = 0.05
    """Share of all steps over which the learning rate rises."""
    max_grad_norm: float = 1.0
    """Clip the norm of the whole gradient to this value."""
    ema_decay: float = 0.0
    """Decay per step of an exponential moving average of the weights, which is then evaluated and kept; 0: no average."""
    patience: int = 5
    """Stop after this many epochs without a better validation figure; 0: never stop early."""
    monitor: str = "ndcg@10"
    """Validation figure that picks the best epoch, such as ndcg@10."""
    validate_every: int = 1
    """Epochs between two validations; the last epoch is always validated."""
    validate_users: int = 10_000
    """Number of validation users to evaluate each time, always the same random ones; 0: all of them."""
    keep_seen: bool = False
    """Recommend items that the user already has too, in validation and in every later evaluation of the bundle."""
    cold_price: float = 0.01
    """Largest share of recall@10 and NDCG@10 on validation that items without events may cost; beyond it their scores are
    lowered; 1: as trained.
    """
    exposure_floors: tuple[str, ...] = ()
    """Least shares of the places in the lists, such as genres:Documentary=0.05: scores of such items are raised for it, as
    far as validation asks for.
    """
    exposure_k: int = 10
    """Length of the lists whose places are counted for it."""
    precision: Precision = "auto"
    """fp32, bf16 (autocast), or auto: bf16 on GPUs, and in the loss alone on CPUs that have it."""
    device: str = "auto"
    """auto, cpu or cuda."""
    devices: int = 1
    """Number of processes that share each batch, one device each; start more than one with torchrun."""
    strategy: Strategy = "auto"
    """How processes share the work: ddp copies the weights, fsdp splits them; auto is ddp for several processes."""
    keep_moments: bool = False
    """Keep the optimiser's moments in the bundle, so that updates go on with them; doubles or triples its size."""
    compile: bool = False
    """Compile the user tower, which pays on GPUs."""
    checkpoint_steps: int = 0
    """Steps between two checkpoints; 0: one checkpoint after each epoch."""
    logger: LoggerName = "tensorboard"
    """Where training curves go: tensorboard, mlflow or wandb."""
    adapt: Literal["auto", "on", "off"] = "auto"
    """Decide from the log, with short trials on validation, what keeps its default: on: each such option; auto: all that a
    plan decides (dim, blocks, dropout, loss, epochs and so on), if none of these is set; off: none.
    """
    minutes: float = 0.0
    """Minutes for what is decided from the log, twice that where a schedule is too long; 0: by the size of the log."""
    seed: int = 0
    """Seed of everything random."""

    def __post_init__(self) -> None:
        settle(self)
        _at_least(self, 1, "epochs", "batch_tokens", "validate_every", "devices")
        for name in ("learning_rate", "encoder_learning_rate", "max_grad_norm"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"{name} must be above 0, not {getattr(self, name)}")
        if self.keep_moments and self.strategy == "fsdp":
            raise ConfigError(
                "keep_moments (--keep-moments) keeps those of whole weights; leave it out with strategy='fsdp'"
            )
        if not 0.0 <= self.cold_price <= 1.0:
            raise ConfigError(f"cold_price is a share in [0, 1], not {self.cold_price}")
        read_floors(self.exposure_floors, self.exposure_k)
        for name in ("weight_decay", "l1", "patience", "validate_users", "checkpoint_steps", "minutes"):
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
