"""Items that were put, patched or deleted since the bundle was made: the living corpus, kept for the next bundle."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from sqlalchemy import delete, insert, select

from recsys.errors import DataError
from recsys.server.database import Database
from recsys.server.event_table import reserve
from recsys.server.events import LONGEST_ID, odd_text
from recsys.server.tables import ITEM_CHANGES

Change: TypeAlias = Literal["put", "patch", "delete"]
Value: TypeAlias = str | int | float | bool | list[str] | None
_LARGEST: Final = 1_000_000
"""Characters of an item's columns as JSON."""


@dataclass(frozen=True)
class ItemChange:
    """A change of an item of a bundle.

    Attributes
    ----------
    item_id : str
    position : int
        Rises with each change.
    change : {"put", "patch", "delete"}
        Make the item what ``columns`` say, change these columns alone, or remove the item.
    columns : mapping
        Name → value; empty for delete.
    """

    item_id: str
    position: int
    change: Change
    columns: Mapping[str, Value]


class ItemChanges:
    """The last state of each item that was changed: a patch is merged into what came before it.

    Examples
    --------
    >>> from recsys.server.database import open_database
    >>> database = open_database("sqlite:///events.db")
    >>> changes = ItemChanges(database)
    >>> first = changes.record("i1", "put", {"title": "Toys", "price": 3})
    >>> second = changes.record("i1", "patch", {"price": 4})
    >>> changes.since(0) == [second], second.change, dict(second.columns)
    (True, 'put', {'title': 'Toys', 'price': 4})
    >>> database.close()
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def record(self, item_id: str, change: Change, columns: Mapping[str, Value] | None = None) -> ItemChange:
        """Keep a change; it is on disk when this returns.

        Returns
        -------
        ItemChange
            The item's state with all changes before.

        Raises
        ------
        DataError
            The id or the columns cannot be stored, or a deleted item is patched.
        StoreUnavailableError
            The database cannot be written.
        """
        if odd := odd_text("item_id", item_id, LONGEST_ID):
            raise DataError(odd)
        with self._database.writing() as connection:
            position = reserve(connection, 1).position
            mine = ITEM_CHANGES.c.item_id == item_id
            before = connection.execute(select(ITEM_CHANGES.c.change, ITEM_CHANGES.c.columns).where(mine)).first()
            values = dict(columns or {})
            if change == "patch" and before is not None:
                if before.change == "delete":
                    raise DataError(f"item_id {item_id!r:.60} was deleted; put it anew before it is patched")
                change, values = before.change, json.loads(before.columns) | values
            text = _as_json(item_id, values)
            connection.execute(delete(ITEM_CHANGES).where(mine))
            row = {"item_id": item_id, "position": position, "change": change, "columns": text}
            connection.execute(insert(ITEM_CHANGES).values(row))
        return ItemChange(item_id, position, change, values)

    def since(self, position: int) -> list[ItemChange]:
        """The items that changed after a position, each in its last state, in the order of their positions.

        Raises
        ------
        StoreUnavailableError
            The database does not answer.
        """
        columns = (ITEM_CHANGES.c[name] for name in ItemChange.__dataclass_fields__)
        later = select(*columns).where(ITEM_CHANGES.c.position > position).order_by(ITEM_CHANGES.c.position)
        with self._database.reading() as connection:
            rows = connection.execute(later).all()
        return [ItemChange(row.item_id, row.position, row.change, json.loads(row.columns)) for row in rows]


def _as_json(item_id: str, columns: Mapping[str, Value]) -> str:
    try:
        text = json.dumps(columns, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise DataError(f"the columns of item_id {item_id!r:.60} cannot be stored: {error}") from error
    if len(text) > _LARGEST or "\\u0000" in text:
        raise DataError(f"the columns of item_id {item_id!r:.60} hold a zero byte, or more than {_LARGEST:,} characters")
    return text
