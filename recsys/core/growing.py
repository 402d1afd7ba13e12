"""Tables that grow at the end, with spare room, so that a row more costs what a row costs."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

_GROWTH = 1.25
_LEAST = 64


@dataclass(eq=False)
class _Room:
    """A buffer that several tables share, each a prefix of it, and how many of its rows are taken."""

    buffer: Tensor
    taken: int
    lock: threading.Lock = field(default_factory=threading.Lock)


@dataclass(frozen=True, eq=False)
class GrowingTensor:
    """A table that never changes; a longer one shares its memory.

    Rows are written behind the end of the shorter table, where none of its readers looks. If another table has taken these
    rows already, the longer one is a copy.

    Attributes
    ----------
    length : int
        Rows of this table.
    """

    room: _Room = field(repr=False)
    length: int

    @classmethod
    def of(cls, table: Tensor) -> GrowingTensor:
        """Hold a table (n, ...) without copying it; the first row that is added copies it."""
        return cls(_Room(table, len(table)), len(table))

    @property
    def rows(self) -> Tensor:
        """The table, (n, ...): a view."""
        return self.room.buffer[: self.length]

    def __len__(self) -> int:
        return self.length

    def __getstate__(self) -> dict[str, Any]:
        """Without the spare room and the lock."""
        return {"table": self.rows.clone()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        object.__setattr__(self, "room", _Room(state["table"], len(state["table"])))
        object.__setattr__(self, "length", len(state["table"]))

    def appended(self, more: Tensor) -> GrowingTensor:
        """This table and ``more`` (m, ...) behind it."""
        import torch  # noqa: PLC0415 - core is light

        room, stop = self.room, self.length + len(more)
        with torch.inference_mode(mode=False), torch.no_grad():
            with room.lock:
                free = room.taken == self.length and stop <= len(room.buffer)
                if free:
                    room.taken = stop
            if not free:
                shape = (max(int(stop * _GROWTH), stop + _LEAST), *room.buffer.shape[1:])
                room = _Room(torch.empty(shape, dtype=room.buffer.dtype, device=room.buffer.device), stop)
                room.buffer[: self.length] = self.rows
            room.buffer[self.length : stop] = more.to(room.buffer)
        return GrowingTensor(room, stop)

    def replaced(self, where: Tensor, values: Tensor) -> GrowingTensor:
        """A copy with other values (m, ...) at some rows, int64 (m,)."""
        import torch  # noqa: PLC0415 - core is light

        with torch.inference_mode(mode=False), torch.no_grad():
            table = self.rows.clone()
            table[where.to(table.device)] = values.to(table)
        return GrowingTensor.of(table)
