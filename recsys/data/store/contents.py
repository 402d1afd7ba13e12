"""What a store holds, whichever parts it lies in."""

from __future__ import annotations

from dataclasses import dataclass

from recsys.core.id_map import IdMap
from recsys.core.ragged import Float32, Ragged
from recsys.data.clean.waterfall import Waterfall
from recsys.data.order import Ties


@dataclass(frozen=True, eq=False)
class Contents:
    """The fields of :class:`~recsys.data.interactions.Interactions`, which see."""

    users: IdMap
    items: IdMap
    histories: Ragged
    weights: Float32 | None
    event_names: tuple[str, ...]
    ordered: bool
    order_column: str | None
    ties: Ties
    waterfalls: tuple[Waterfall, ...] = ()
    pseudonym_key: str | None = None
