"""Which options a fast model reads: it has no towers, and all others say nothing to it."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import fields
from typing import Any, Final

from recsys.errors import ConfigError

_READ: Final[dict[str, Collection[str]]] = {
    "model": ("fast", "transitions", "transition_entries"),
    "objective": (),
    "augment": (),
    "training": ("keep_seen", "device", "seed"),
    "privacy": ("epsilon", "delta", "accountant", "noise_seed"),
}
"""Table of a recipe → the options that a fast model reads."""


def refuse_idle(table: str, given: Collection[str]) -> None:
    """Refuse options that a fast model does not read.

    Parameters
    ----------
    table : {"model", "objective", "augment", "training", "privacy"}
    given : collection of str
        Names of the options that were given.

    Raises
    ------
    ConfigError
        There is one.
    """
    idle = [name for name in given if name not in _READ[table]]
    if idle:
        flags = ", ".join(f"--{name.replace('_', '-')}" for name in idle)
        raise ConfigError(
            f"a fast model has no towers, and {', '.join(idle)} ({flags}) says something about towers; leave "
            f"{'it' if len(idle) == 1 else 'them'} out, or leave out fast (--fast)"
        )


def changed(options: Any) -> list[str]:
    """Names of the options of a dataclass that are neither their default nor None."""
    return [one.name for one in fields(options) if getattr(options, one.name) not in (one.default, None)]
