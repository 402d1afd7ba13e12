"""One way to make one part of a bundle smaller or faster."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from recsys.bundle.contents import Bundle


@dataclass(frozen=True)
class Step:
    """A change of a bundle.

    Attributes
    ----------
    part : str
        Steps of one part exclude each other.
    name : str
    change : callable
        The bundle with this step taken.
    """

    part: str
    name: str
    change: Callable[[Bundle], Bundle]
