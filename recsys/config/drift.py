"""How to look at drift, and from when on a model is to be updated or trained again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from recsys.config.options import checked_options, settle
from recsys.errors import ConfigError

BacktestName: TypeAlias = Literal["memory", "full", "none"]
Advice: TypeAlias = Literal["leave", "update", "retrain", "check"]


@checked_options
@dataclass(frozen=True, kw_only=True)
class DriftOptions:
    """Options of :func:`recsys.drift`.

    Raises
    ------
    ConfigError
        A value is not allowed.

    Examples
    --------
    >>> recsys.config.drift.DriftOptions(update_at=0.05).update_at
    0.05
    """

    windows: int = 8
    """Number of earlier windows of the log that tell what is usual."""
    backtest: BacktestName = "memory"
    """What is trained at earlier moments to see how a model ages: memory, the transition memory alone, which takes seconds;
    full, the model itself, as often as it was trained, which takes hours where it did; none.
    """
    judged: int = 1000
    """Number of events in each window that models are judged by."""
    update_at: float = 0.02
    """Expected loss of recall@10, as a share, from which on an update is advised."""
    retrain_at: float = 0.4
    """Expected loss of recall@10, as a share, from which on training anew is advised."""
    growth_at: float = 0.5
    """Events since the last training from nothing, as a share of those it had, from which on training anew is advised."""
    forgotten_at: int = 1
    """People forgotten since the training whom the weights were trained with, from which on training anew is advised."""
    seed: int = 0
    """Seed of what is drawn."""

    def __post_init__(self) -> None:
        settle(self)
        for name, least in (("windows", 4), ("judged", 1), ("forgotten_at", 1)):
            if getattr(self, name) < least:
                raise ConfigError(f"{name} must be at least {least}, not {getattr(self, name)}")
        for name in ("update_at", "retrain_at"):
            if not 0.0 < getattr(self, name) < 1.0:
                raise ConfigError(f"{name} is a share between 0 and 1, not {getattr(self, name)}")
        if self.retrain_at < self.update_at:
            raise ConfigError(
                f"retrain_at (--retrain-at) is {self.retrain_at}, below update_at (--update-at), {self.update_at}: "
                f"training anew is for larger losses"
            )
        if not self.growth_at > 0:
            raise ConfigError(f"growth_at must be above 0, not {self.growth_at}")
        if not 0 <= self.seed < 2**63:
            raise ConfigError(f"seed must be a whole number from 0 to 2^63 - 1, not {self.seed}")
