"""What a private training may spend, and the noise that keeps to it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from recsys.bundle.privacy import privacy_sentence
from recsys.config.privacy import PrivacyOptions
from recsys.privacy.accounting import epsilon_of, noise_for
from recsys.training.private.checks import check_delta
from recsys.training.private.users import UserBatches


@dataclass(frozen=True)
class Budget:
    """What a private training spends, and how.

    Attributes
    ----------
    epsilon, delta : float
        Spent, for each user's whole history.
    noise : float
        Standard deviation of the noise on a step's sum, as a multiple of ``norm``.
    norm : float
        What each user's gradient is clipped to.
    rate : float
        Probability with which a user is drawn for a step.
    steps, users : int
    accountant : str
    secure : bool
        False: the noise had a seed, and nothing is promised.
    options : PrivacyOptions
        What was asked for.
    """

    epsilon: float
    delta: float
    noise: float
    norm: float
    rate: float
    steps: int
    users: int
    accountant: str
    secure: bool
    options: PrivacyOptions

    def __str__(self) -> str:
        return privacy_sentence(self.to_dict())

    def to_dict(self) -> dict[str, Any]:
        """As JSON can hold it."""
        return asdict(self)


def budget_of(privacy: PrivacyOptions, batches: UserBatches, epochs: int) -> Budget:
    """The noise that keeps the budget over a training.

    Raises
    ------
    ConfigError
        ``delta`` allows too much, or no noise keeps the budget.
    DependencyError
        opacus is not installed.
    """
    assert privacy.epsilon is not None  # noqa: S101 - the caller asked
    users, steps = len(batches.eligible), epochs * batches.steps
    check_delta(privacy, users)
    how = (privacy.delta, batches.rate, steps, privacy.accountant)
    noise = noise_for(privacy.epsilon, *how)
    return Budget(
        epsilon=epsilon_of(noise, *how),
        delta=privacy.delta,
        noise=noise,
        norm=privacy.user_norm,
        rate=batches.rate,
        steps=steps,
        users=users,
        accountant=privacy.accountant,
        secure=batches.noise.secure,
        options=privacy,
    )
