"""The living corpus is kept as the last state of each item that was changed."""

from __future__ import annotations

from pathlib import Path

import pytest

from recsys.errors import DataError
from recsys.server.database import open_database
from recsys.server.item_changes import ItemChanges


def test_the_last_state_of_each_item_is_kept_in_the_order_of_the_changes(tmp_path: Path) -> None:
    database = open_database(f"sqlite:///{tmp_path / 'events.db'}")
    changes = ItemChanges(database)
    changes.record("a", "put", {"title": "A", "tags": ["x"]})
    changes.record("b", "patch", {"price": 1})
    changes.record("c", "delete")
    seen = changes.record("a", "patch", {"title": "é"}).position
    changes.record("b", "patch", {"stock": None})
    found = [(one.item_id, one.change, dict(one.columns)) for one in ItemChanges(database).since(0)]
    assert found == [
        ("c", "delete", {}), ("a", "put", {"title": "é", "tags": ["x"]}), ("b", "patch", {"price": 1, "stock": None}),
    ]  # fmt: skip
    assert [one.item_id for one in changes.since(seen)] == ["b"]
    with pytest.raises(DataError, match="was deleted; put it anew"):
        changes.record("c", "patch", {"price": 1})
    with pytest.raises(DataError, match="item_id is empty"):
        changes.record("", "put")
    with pytest.raises(DataError, match="cannot be stored"):
        changes.record("d", "put", {"price": float("nan")})
    assert [one.item_id for one in changes.since(0)] == ["c", "a", "b"]
    database.close()
