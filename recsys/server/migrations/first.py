"""1: events, living corpus, pseudonyms, forgotten users, keys."""

from __future__ import annotations

from alembic.operations import Operations
from sqlalchemy import BigInteger, Column, Float, Integer, Text

_WHOLE = BigInteger().with_variant(Integer, "sqlite")


def upgrade(change: Operations) -> None:
    """Make the tables; later modules change them, and this module stays as it is."""
    state = change.create_table(
        "recsys_state",
        Column("id", Integer, primary_key=True, autoincrement=False),
        Column("position", _WHOLE, nullable=False),
        Column("generation", _WHOLE, nullable=False),
    )
    change.bulk_insert(state, [{"id": 1, "position": 0, "generation": 0}])
    change.create_table(
        "recsys_events",
        Column("position", _WHOLE, primary_key=True, autoincrement=False),
        Column("event_id", Text, nullable=False),
        Column("user_id", Text, nullable=False),
        Column("item_id", Text, nullable=False),
        Column("timestamp", _WHOLE, nullable=False),
        Column("event", Text),
        Column("weight", Float),
        Column("kind", Text, nullable=False),
        Column("request_id", Text),
    )
    change.create_index("recsys_events_event_id", "recsys_events", ["event_id"], unique=True)
    change.create_index("recsys_events_user_id", "recsys_events", ["user_id", "kind", "position"])
    change.create_table(
        "recsys_item_changes",
        Column("item_id", Text, primary_key=True),
        Column("position", _WHOLE, nullable=False),
        Column("change", Text, nullable=False),
        Column("columns", Text),
    )
    change.create_index("recsys_item_changes_position", "recsys_item_changes", ["position"], unique=True)
    change.create_table(
        "recsys_pseudonyms", Column("user_sha256", Text, primary_key=True), Column("pseudonym", Text, nullable=False)
    )
    change.create_index("recsys_pseudonyms_pseudonym", "recsys_pseudonyms", ["pseudonym"], unique=True)
    change.create_table(
        "recsys_forgotten",
        Column("user_sha256", Text, primary_key=True),
        Column("at", _WHOLE, nullable=False),
    )
    change.create_table(
        "recsys_keys",
        Column("id", Text, primary_key=True),
        Column("sha256", Text, nullable=False),
        Column("name", Text),
        Column("role", Text, nullable=False),
        Column("rate", Text),
        Column("created", _WHOLE, nullable=False),
        Column("expires", _WHOLE),
        Column("revoked", _WHOLE),
    )
    change.create_table(
        "recsys_schema",
        Column("version", Integer, primary_key=True, autoincrement=False),
        Column("program", Text, nullable=False),
        Column("applied", _WHOLE, nullable=False),
    )
