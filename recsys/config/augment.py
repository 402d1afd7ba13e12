"""The options of sequence augmentation."""

from __future__ import annotations

from dataclasses import dataclass

from recsys.config.options import checked_options, settle
from recsys.errors import ConfigError


@checked_options
@dataclass(frozen=True, kw_only=True)
class Augment:
    """How training windows are varied; everything is off by default.

    Crop, delete and reorder follow CL4SRec (arXiv 2010.14395, section 3.3), substitute follows CoSeRec (arXiv 2108.06479,
    section 4.2) with the similarity of texts in place of its item correlations.

    Raises
    ------
    ConfigError
        A value is not allowed.

    Examples
    --------
    >>> recsys.Augment(crop=0.2, delete=0.1)
    Augment(crop=0.2, delete=0.1, reorder=0.0, substitute=0.0, neighbours=10, ahead=0.0)
    >>> recsys.Augment(crop=2.0)
    Traceback (most recent call last):
    recsys.errors.ConfigError: crop is a probability in [0, 1], not 2.0
    """

    crop: float = 0.0
    """Probability of cropping a window to a random shorter stretch of at least two events."""
    delete: float = 0.0
    """Probability of leaving out an event; a window keeps at least two."""
    reorder: float = 0.0
    """Probability of shuffling a random stretch of two to a third of a window's events, if it has six or more."""
    substitute: float = 0.0
    """Probability of replacing an input by one of the items with the nearest texts; targets stay what really happened."""
    neighbours: int = 10
    """Number of nearest texts that substitute draws from."""
    ahead: float = 0.0
    """Probability of predicting the event after the next one instead of the next, of going on to the one after that, and so
    forth within a window: what somebody does later counts too, the less the later.
    """

    def __post_init__(self) -> None:
        settle(self)
        for name in ("crop", "delete", "reorder", "substitute"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ConfigError(f"{name} is a probability in [0, 1], not {getattr(self, name)}")
        if not 0.0 <= self.ahead < 1.0:
            raise ConfigError(f"ahead is a probability in [0, 1), not {self.ahead}")
        if self.neighbours < 1:
            raise ConfigError(f"neighbours must be at least 1, not {self.neighbours}")
