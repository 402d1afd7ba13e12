"""From a budget to the noise that keeps it, and back: the one door to opacus, whose accountants reckon both."""

from __future__ import annotations

import logging
import warnings
from functools import cache
from typing import Any, Literal

from recsys.errors import ConfigError, DependencyError

Accountant = Literal["prv", "rdp"]

_FINEST = 0.01
"""How far below a small target the epsilon that is spent may stay; below a large one, 2 % of it."""
_MOST = 1000.0
"""Noise that leaves nothing to be learned from any log."""


@cache
def noise_for(epsilon: float, delta: float, rate: float, steps: int, accountant: Accountant = "prv") -> float:
    """The least noise multiplier that keeps a budget, up to what the accountant can tell apart.

    Parameters
    ----------
    epsilon, delta : float
        The budget: for two logs that differ by all events of one user, no set of outcomes is more than ``exp(epsilon)``
        times as likely under one than under the other, but for a probability ``delta``.
    rate : float
        Probability in (0, 1] with which each user is drawn for a step, independently of the others.
    steps : int
    accountant : {"prv", "rdp"}
        Gopi et al., "Numerical composition of differential privacy" (arXiv 2106.02848), or Mironov et al., "Rényi
        differential privacy of the sampled Gaussian mechanism" (arXiv 1908.10530).

    Returns
    -------
    float
        Standard deviation of the noise on the sum over users, as a multiple of the norm that each user is clipped to.

    Raises
    ------
    DependencyError
        opacus is not installed.
    ConfigError
        No noise keeps the budget, or the accountant cannot reckon it.
    """
    utils = _opacus("accountants.utils")
    wanted = f"epsilon={epsilon:g} and delta={delta:g} over {steps:,} steps that draw {rate:.2%} of the users"
    less = "allow a higher epsilon, fewer epochs, or accountant='rdp' (--accountant)"
    try:
        if epsilon_of(_MOST, delta, rate, steps, accountant) > epsilon:
            raise ConfigError(f"not even noise of {_MOST:,.0f} times the norm keeps {wanted}; {less}")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # RDP's hint that more orders would be tighter: it stays an upper bound
            found = utils.get_noise_multiplier(
                target_epsilon=epsilon,
                target_delta=delta,
                sample_rate=rate,
                steps=steps,
                accountant=accountant,
                epsilon_tolerance=max(_FINEST, epsilon / 50),
                **_orders(accountant),
            )
    except (ValueError, RuntimeError, OverflowError) as error:
        if isinstance(error, ConfigError):
            raise
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ConfigError(f"the accountant {accountant} cannot tell the noise for {wanted} ({reason}); {less}") from error
    return float(found)


@cache
def epsilon_of(noise: float, delta: float, rate: float, steps: int, accountant: Accountant = "prv") -> float:
    """What a training with this noise multiplier spends; the other arguments are those of :func:`noise_for`."""
    made = _opacus("accountants").create_accountant(accountant)
    made.history = [(noise, rate, steps)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return float(made.get_epsilon(delta, **_orders(accountant)))


def _orders(accountant: Accountant) -> dict[str, Any]:
    """Whole Rényi orders: a broken one takes a series to reckon, and any choice of them gives an upper bound."""
    return {"alphas": [*range(2, 64), *range(64, 513, 8)]} if accountant == "rdp" else {}


def _opacus(module: str) -> Any:
    root = logging.getLogger()
    before = list(root.handlers)
    try:
        if module == "accountants":
            from opacus import accountants  # noqa: PLC0415

            return accountants
        from opacus.accountants import utils  # noqa: PLC0415
    except ImportError as error:
        raise DependencyError(
            "training with differential privacy needs opacus, whose accountants tell how much noise a budget needs: "
            "pip install 'recsys[privacy]'"
        ) from error
    finally:
        root.handlers = before  # its import sets the whole program's logging up, and each line would be told twice
    return utils
