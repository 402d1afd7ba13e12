"""How often a key may ask: as many requests as its rate says within any such span of time."""

from __future__ import annotations

import time
from collections import deque
from functools import cache
from typing import Final

from limits import RateLimitItem, parse

from recsys.errors import ConfigError

_RATE: Final = "rate must be like 100/second or 5000/minute, not {!r}"


@cache
def rate_of(text: str) -> RateLimitItem:
    """A rate such as ``100/second``.

    Raises
    ------
    ConfigError
        It is none.

    Examples
    --------
    >>> print(rate_of("100/second"))
    100 per 1 second
    """
    try:
        found = parse(text)
    except ValueError as error:
        raise ConfigError(_RATE.format(text)) from error
    if found.amount < 1:
        raise ConfigError(_RATE.format(text))
    return found


class Windows:
    """The latest requests of each key, by a clock that nobody sets: one that is put right locks nobody out.

    For one thread. The storage in memory of the package ``limits`` goes by the time of day, moves all it knows of a key at
    each request, and starts a thread a hundred times a second.

    Examples
    --------
    >>> windows = Windows()
    >>> [windows.hit("key", rate_of("2/minute"), now) for now in (0.0, 20.0, 30.0, 61.0)]
    [0.0, 0.0, 30.0, 0.0]
    """

    def __init__(self) -> None:
        self._latest = dict[str, deque[float]]()

    def hit(self, key: str, rate: RateLimitItem, now: float | None = None) -> float:
        """Count a request.

        Parameters
        ----------
        key : str
        rate : RateLimitItem
        now : float, optional
            Seconds, by default of ``time.monotonic``.

        Returns
        -------
        float
            0.0 if it may pass, else seconds until one may; then it is not counted.
        """
        now = time.monotonic() if now is None else now
        latest, start = self._latest.setdefault(key, deque()), now - rate.get_expiry()
        while latest and latest[0] <= start:
            latest.popleft()
        if len(latest) >= rate.amount:
            return latest[0] - start
        latest.append(now)
        return 0.0
