"""Count rows: how many came in, how many were left out and why, how many came out."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass
class Waterfall:
    """The counts of one table while it is made.

    Attributes
    ----------
    read : int
        Rows of its files.
    left_out : dict
        Why → how many rows.
    written : int
        Rows of the table that was made; with those left out, they are the rows read.
    """

    read: int = 0
    left_out: dict[str, int] = field(default_factory=dict)
    written: int = 0

    def rows(self, count: int) -> None:
        """Rows have been read."""
        self.read += count

    def dropped(self, why: str, count: int) -> None:
        """Rows have been left out."""
        if count:
            self.left_out[why] = self.left_out.get(why, 0) + count

    def lines(self) -> list[tuple[str, int]]:
        """What to show, from top to bottom."""
        return [
            ("rows read", self.read),
            *((f"left out: {why}", -count) for why, count in self.left_out.items()),
            ("rows written", self.written),
        ]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return {"read": self.read, "left_out": dict(self.left_out), "written": self.written}
