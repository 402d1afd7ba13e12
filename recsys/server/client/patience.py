"""How long a client waits, and how often it asks again."""

from __future__ import annotations

from dataclasses import dataclass

from recsys.errors import ConfigError


@dataclass(frozen=True)
class Patience:
    """How long a client waits, and how often it asks again.

    Attributes
    ----------
    timeout : float
        Seconds for one attempt to connect, and for the server to send something.
    retries : int
        Most further attempts.
    total_timeout : float
        Seconds after which no further attempt begins.
    within : float, optional
        Seconds in which a question must be answered, all attempts together; the server is told, and drops what is late.
    """

    timeout: float
    retries: int
    total_timeout: float
    within: float | None = None

    def __post_init__(self) -> None:
        if not (self.timeout > 0 and self.total_timeout > 0):
            raise ConfigError(f"timeout={self.timeout!r} and total_timeout={self.total_timeout!r} must be above 0 seconds")
        if self.within is not None and not 0.001 <= self.within <= 600:
            raise ConfigError(f"a time limit must be from 0.001 to 600 seconds, not {self.within!r}")
        if self.retries < 0:
            raise ConfigError(f"retries must be at least 0, not {self.retries!r}")
