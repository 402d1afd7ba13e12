"""What cleaning left out: events, users and items before, after each rule, and at the end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import polars as pl

from recsys.errors import DataError


@dataclass(frozen=True)
class Step:
    """One rule, applied.

    Attributes
    ----------
    rule : str
        The key of the rule.
    why : str
        What it asks for, in words.
    dropped : int
        Events that it left out.
    events, users, items : int
        What is left: events, and the users and items that have some.
    """

    rule: str
    why: str
    dropped: int
    events: int
    users: int
    items: int


@dataclass(frozen=True)
class Waterfall:
    """The counts of one cleaning.

    Attributes
    ----------
    rules : dict
        What was asked for, as :meth:`recsys.CleaningRules.to_dict` gives it.
    events, users, items : int
        Before cleaning: events, and the users and items that have some.
    steps : tuple of Step
        One per rule that is set, in the order in which they act.

    Raises
    ------
    DataError
        The counts do not add up.
    """

    rules: Mapping[str, Any]
    events: int
    users: int
    items: int
    steps: tuple[Step, ...]

    def __post_init__(self) -> None:
        before = self.events
        for step in self.steps:
            if before - step.dropped != step.events:
                raise DataError(
                    f"the rule {step.rule} left {step.events:,} of {before:,} events and dropped {step.dropped:,}"
                )
            before = step.events

    @property
    def events_left(self) -> int:
        """Events after cleaning."""
        return self.steps[-1].events if self.steps else self.events

    def frame(self) -> pl.DataFrame:
        """A row for the log as it was, and one per rule: ``rule``, ``dropped``, ``events``, ``users``, ``items``."""
        first = {"rule": "before", "dropped": 0, "events": self.events, "users": self.users, "items": self.items}
        rows = [{name: vars(step)[name] for name in first} | {"rule": step.why} for step in self.steps]
        return pl.DataFrame([first, *rows])

    def __str__(self) -> str:
        return "\n".join(told(self.to_dict()))

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        before = {"rules": dict(self.rules), "events": self.events, "users": self.users, "items": self.items}
        return before | {"steps": [dict(vars(step)) for step in self.steps]}

    @classmethod
    def from_dict(cls, saved: Mapping[str, Any]) -> Self:
        """Make one from what :meth:`to_dict` gave."""
        return cls(**{**saved, "steps": tuple(Step(**step) for step in saved["steps"])})


def told(saved: Mapping[str, Any]) -> list[str]:
    """What :meth:`Waterfall.to_dict` gave, as the lines of a table."""
    frame = Waterfall.from_dict(saved).frame()
    rows = [frame.columns, *([f"{cell:,}" if isinstance(cell, int) else cell for cell in row] for row in frame.rows())]
    rows[1][1] = ""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in rows]
