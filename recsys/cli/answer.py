"""What a command gives back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Answer:
    """A command's result, for people and for programs, and its exit code."""

    text: str
    data: Any
    code: int = 0
