"""What a caller says about a log: the columns to read, and how its events are ordered."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from recsys.core.arguments import flag
from recsys.core.arguments import text as column
from recsys.core.arguments import text_or_none as column_or_none
from recsys.core.schema import EVENT, ITEM, ORDER, TIMESTAMP, USER, WEIGHT
from recsys.data.formats.table import Table
from recsys.data.order import Ties, check_ties, nothing_to_tie
from recsys.data.times.units import TimeUnit
from recsys.errors import ConfigError

DROP_HINT = ", or leave them out with drop_unordered=True (--drop-unordered)"
"""What to do about events without an order."""


@dataclass(frozen=True)
class LogRequest:
    """The arguments of :func:`recsys.read_interactions` about columns and order, checked.

    Raises
    ------
    ConfigError
        Two of them contradict each other, or one is of a wrong type.
    """

    user: str = USER
    item: str = ITEM
    timestamp: str | None = None
    time_unit: TimeUnit | None = None
    order: str | None = None
    ties: Ties = "file"
    weight: str | None = None
    event: str | None = None
    event_weights: Mapping[str, float] | None = None
    drop_unordered: bool = False
    unordered: bool = False
    drop_duplicates: bool = False

    def __post_init__(self) -> None:
        for name, asked in (("user", self.user), ("item", self.item)):
            column(asked, name)
        columns = (("timestamp", self.timestamp), ("order", self.order), ("weight", self.weight), ("event", self.event))
        for name, given in columns:
            column_or_none(given, name)
        if self.user == self.item:
            raise ConfigError(
                f"user= (--user) and item= (--item) both name the column {self.user!r}; name one column for each"
            )
        if self.event_weights is not None and self.weight is not None:
            raise ConfigError("give either weight= (--weight) or event_weights= (--event-weights), not both")
        if self.event_weights is not None and self.event is None:
            raise ConfigError("event_weights= (--event-weights) needs event= (--event), the column of event types")
        for name, yes in (
            ("unordered", self.unordered),
            ("drop_duplicates", self.drop_duplicates),
            ("drop_unordered", self.drop_unordered),
        ):
            object.__setattr__(self, name, flag(yes, name))
        check_ties(self.ties, self.unordered)
        if self.unordered and (self.timestamp is not None or self.order is not None or self.drop_unordered):
            raise ConfigError("unordered=True (--unordered) cannot be combined with timestamp=, order= or drop_unordered=")

    def columns_of(self, table: Table) -> dict[str, str]:
        """Our name → the table's, of the columns to read.

        Raises
        ------
        ConfigError
            Ties are to be ordered by item, and no column orders the events of this table.
        """
        named = self.timestamp
        if named is None and self.order is None and TIMESTAMP in table.columns and not self.unordered:
            named = TIMESTAMP
        if self.ties == "item" and named is None and self.order is None:
            raise nothing_to_tie(table.name)
        columns = {
            USER: self.user, ITEM: self.item, TIMESTAMP: named, ORDER: self.order, WEIGHT: self.weight, EVENT: self.event,
        }  # fmt: skip
        return {ours: theirs for ours, theirs in columns.items() if theirs is not None}
