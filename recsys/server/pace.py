"""How long the next batches will take, as the latest ones tell."""

from __future__ import annotations

from typing import Final

_SMOOTHING: Final = 0.1
"""Weight of the newest batch."""


class Pace:
    """A line through requests and seconds of the latest batches: a part for each batch, a part for each request.

    Examples
    --------
    >>> pace = Pace()
    >>> for requests in (1, 10, 1, 10):
    ...     pace.note(requests, 0.02 + 0.001 * requests)
    >>> round(pace.seconds(5), 6)
    0.025
    """

    def __init__(self) -> None:
        self._weight = self._requests = self._seconds = self._squares = self._products = 0.0

    def note(self, requests: int, seconds: float) -> None:
        """Take note of a batch."""
        kept = 1 - _SMOOTHING
        self._weight = kept * self._weight + 1
        self._requests = kept * self._requests + requests
        self._seconds = kept * self._seconds + seconds
        self._squares = kept * self._squares + requests * requests
        self._products = kept * self._products + requests * seconds

    def seconds(self, requests: float) -> float:
        """Seconds of a batch of so many requests; 0 before the first.

        Where all had the same size, a smaller one is expected to take as long, and a larger one longer in proportion.
        """
        if self._weight == 0:
            return 0.0
        size, took = self._requests / self._weight, self._seconds / self._weight
        spread = self._squares / self._weight - size * size
        if spread < 0.01:
            return took * max(1.0, requests / size)
        each = (self._products / self._weight - size * took) / spread
        each = min(max(0.0, each), took / size)
        return took + each * (requests - size)
