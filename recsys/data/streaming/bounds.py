"""How much is held in memory at once."""

from __future__ import annotations

from dataclasses import dataclass

from recsys.core.memory import available_memory
from recsys.errors import ConfigError

LEAST = 1 << 28
"""Bytes below which a bound cannot be kept: Python and its libraries take half of them."""
_DEFAULT = 1 << 32
_PER_ROW, _PER_EVENT = 2048, 256
"""Bytes that one row of a piece, and one event of a bucket, take with all that is made of them, at most."""


@dataclass(frozen=True)
class Bounds:
    """What is held at once, beside the ids.

    Attributes
    ----------
    rows : int
        Rows of a piece of a file.
    events : int
        Events of a bucket, unless one user has more.
    memory : int
        Bytes.
    """

    rows: int
    events: int
    memory: int

    @classmethod
    def of(cls, memory: int | None) -> Bounds:
        """Divide so many bytes; None: half of what the system has left, and 4 GiB at most.

        Raises
        ------
        ConfigError
            They are fewer than 256 MiB.
        """
        if memory is None:
            memory = max(min((available_memory() or 2 * _DEFAULT) // 2, _DEFAULT), LEAST)
        if memory < LEAST:
            raise ConfigError(f"memory= (--memory) is {memory:,} bytes, and less than {LEAST >> 20} MiB cannot be kept to")
        return cls(min(memory // _PER_ROW, 1 << 21), memory // _PER_EVENT, memory)
