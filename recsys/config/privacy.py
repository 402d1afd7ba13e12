"""The options of training with differential privacy."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Literal

from recsys.config.options import checked_options, settle
from recsys.errors import ConfigError


@checked_options
@dataclass(frozen=True, kw_only=True)
class PrivacyOptions:
    """Differential privacy by user: how much the trained weights may tell of any one person's whole history.

    Raises
    ------
    ConfigError
        A value is not allowed, or an option is set without epsilon.

    Examples
    --------
    >>> recsys.PrivacyOptions(epsilon=8.0).delta
    1e-06
    >>> recsys.PrivacyOptions(epsilon=0.0)
    Traceback (most recent call last):
    recsys.errors.ConfigError: epsilon must be above 0, not 0.0; leave it out to train without differential privacy
    """

    epsilon: float | None = None
    """Train with differential privacy by user at this budget: below 1 is strong, above 10 promises little."""
    delta: float = 1e-6
    """Probability that the promise of epsilon fails; it must be below one in the number of users."""
    user_norm: float = 0.5
    """Clip the gradient of each user's window to this norm, so that nobody moves a step further."""
    users_per_step: int = 512
    """Expected users in a step, each drawn on its own; more of them drown more noise and cost more time."""
    accountant: Literal["prv", "rdp"] = "prv"
    """How the budget of all steps is reckoned: prv numerically, rdp by Rényi divergences, which asks for more noise."""
    noise_seed: int | None = None
    """Seed of the noise and of who is drawn, for tests alone, as it takes the promise away; none: nobody can repeat it."""

    def __post_init__(self) -> None:
        settle(self)
        if self.epsilon is None:
            idle = [one.name for one in fields(self) if getattr(self, one.name) != one.default]
            if idle:
                raise ConfigError(f"{', '.join(idle)} belongs to a private training; set epsilon (--epsilon) too")
            return
        if not self.epsilon > 0:
            raise ConfigError(
                f"epsilon must be above 0, not {self.epsilon}; leave it out to train without differential privacy"
            )
        if not 0.0 < self.delta < 1.0:
            raise ConfigError(f"delta is a probability above 0 and below 1, not {self.delta}")
        if not self.user_norm > 0:
            raise ConfigError(f"user_norm must be above 0, not {self.user_norm}")
        if self.users_per_step < 1:
            raise ConfigError(f"users_per_step must be at least 1, not {self.users_per_step}")
        if self.noise_seed is not None and not 0 <= self.noise_seed < 2**63:
            raise ConfigError(f"noise_seed must be a whole number from 0 to 2^63 - 1, not {self.noise_seed}")
