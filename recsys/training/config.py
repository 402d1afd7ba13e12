"""How to train: one small frozen dataclass, checked when it is made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

from recsys.errors import ConfigError

LossName: TypeAlias = Literal["auto", "softmax", "sampled"]
Precision: TypeAlias = Literal["auto", "fp32", "bf16"]

FULL_SOFTMAX_LIMIT = 100_000
"""``loss="auto"`` means full softmax up to this many items."""


@dataclass(frozen=True, kw_only=True)
class Training:
    """Options of a training run.

    Attributes
    ----------
    epochs : int
        Passes over the log, at most.
    batch_tokens : int
        Positions per step.
    learning_rate : float
        Peak of AdamW's rate, after ``warmup``; it then falls along a cosine to a fiftieth.
    weight_decay : float
        On matrices; not on norms, biases, positions or the temperature.
    warmup : float
        Share of all steps over which the rate rises.
    clip_norm : float
        Largest norm of the whole gradient.
    loss : str
        ``"softmax"`` over all items, ``"sampled"`` softmax with logQ, or ``"auto"``: full up to 100,000 items.
    negatives : int
        Uniform negatives per step of the sampled softmax, beside the batch's own items.
    patience : int
        Epochs without a better validation figure after which training stops; 0: never.
    monitor : str
        The validation figure that picks the best epoch, such as ``"ndcg@10"``.
    validate_users : int
        Validation users judged per epoch (the first ones); 0: all.
    precision : str
        ``"fp32"``, ``"bf16"`` (autocast), or ``"auto"``: bf16 on GPUs; on CPUs that have it, in the loss alone.
    device : str
        ``"auto"``, ``"cpu"`` or ``"cuda"``.
    seed : int
        Everything random follows from it.
    """

    epochs: int = 30
    batch_tokens: int = 4096
    learning_rate: float = 1e-3
    weight_decay: float = 0.01
    warmup: float = 0.05
    clip_norm: float = 1.0
    loss: LossName = "auto"
    negatives: int = 2048
    patience: int = 5
    monitor: str = "ndcg@10"
    validate_users: int = 10_000
    precision: Precision = "auto"
    device: str = "auto"
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_tokens", "negatives"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, not {getattr(self, name)}")
        for name in ("learning_rate", "clip_norm"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"{name} must be above 0, not {getattr(self, name)}")
        for name in ("weight_decay", "patience", "validate_users"):
            if not getattr(self, name) >= 0:
                raise ConfigError(f"{name} must not be negative, but is {getattr(self, name)}")
        if not 0.0 <= self.warmup < 1.0:
            raise ConfigError(f"warmup is a share of all steps in [0, 1), not {self.warmup}")
        for name, allowed in (("loss", get_args(LossName)), ("precision", get_args(Precision))):
            if getattr(self, name) not in allowed:
                raise ConfigError(f"{name} must be one of {', '.join(allowed)}, not {getattr(self, name)!r}")
        metric, _, cut = self.monitor.partition("@")
        if metric not in ("recall", "hit_rate", "precision", "ndcg", "mrr", "map") or not cut.isdecimal() or int(cut) < 1:
            raise ConfigError(f"monitor must be a metric and a k, such as ndcg@10, not {self.monitor!r}")

    def softmax_over(self, n_items: int) -> Literal["softmax", "sampled"]:
        """The loss that ``loss`` stands for with this many items."""
        if self.loss == "auto":
            return "softmax" if n_items <= FULL_SOFTMAX_LIMIT else "sampled"
        return self.loss
