"""When an updated model may take the place of the one before."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from recsys.config.options import checked_options, settle
from recsys.errors import ConfigError


@checked_options
@dataclass(frozen=True, kw_only=True)
class GateOptions:
    """By what, and how strictly, an updated model is judged before it may serve.

    Raises
    ------
    ConfigError
        A value is not allowed.

    Examples
    --------
    >>> recsys.config.gate.GateOptions(margin=0.05).margin
    0.05
    """

    judge_share: float = 0.2
    """Last share of the new events that the update is judged by before it learns from them too; 0: judge nothing."""
    margin: float = 0.1
    """Share of the figures before the update that it may be worse by: smaller needs more events to be shown."""
    least_judged: int = 30
    """Users of a group without whom nothing is said about it."""
    most_judged: int = 20_000
    """Events that are judged at most, drawn at random: they cost time, and more tell little more."""
    when_unsure: Literal["refuse", "accept"] = "refuse"
    """What to do where the events are too few to tell whether the update is worse for all users together."""

    def __post_init__(self) -> None:
        settle(self)
        if not 0.0 <= self.judge_share < 1.0:
            raise ConfigError(f"judge_share is a share of 0 or more and below 1, not {self.judge_share}")
        if not 0.0 <= self.margin <= 1.0:
            raise ConfigError(f"margin is a share in [0, 1], not {self.margin}")
        for name in ("least_judged", "most_judged"):
            if getattr(self, name) < 2:
                raise ConfigError(f"{name} must be at least 2, not {getattr(self, name)}")
