"""The tables in which the server keeps what must outlive it.

Their names begin with ``recsys_``, so that they can stand in a database beside others.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import BigInteger, Column, Float, Index, Integer, MetaData, Table, Text

METADATA: Final = MetaData()
_WHOLE: Final = BigInteger().with_variant(Integer, "sqlite")
"""SQLite takes INTEGER alone for its own row number."""

STATE: Final = Table(
    "recsys_state",
    METADATA,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("position", _WHOLE, nullable=False),
    Column("generation", _WHOLE, nullable=False),
)
"""A single row. A writer changes it first, which keeps other writers away until the commit: positions rise in the order in
which events become visible. The generation rises when events are removed."""

EVENTS: Final = Table(
    "recsys_events",
    METADATA,
    Column("position", _WHOLE, primary_key=True, autoincrement=False),
    Column("event_id", Text, nullable=False),
    Column("user_id", Text, nullable=False),
    Column("item_id", Text, nullable=False),
    Column("timestamp", _WHOLE, nullable=False),
    Column("event", Text),
    Column("weight", Float),
    Column("kind", Text, nullable=False),
    Column("request_id", Text),
    Index("recsys_events_event_id", "event_id", unique=True),
    Index("recsys_events_user_id", "user_id", "kind", "position"),
)

ITEM_CHANGES: Final = Table(
    "recsys_item_changes",
    METADATA,
    Column("item_id", Text, primary_key=True),
    Column("position", _WHOLE, nullable=False),
    Column("change", Text, nullable=False),
    Column("columns", Text),
    Index("recsys_item_changes_position", "position", unique=True),
)
"""The last state of each item that was put, patched or deleted; columns as JSON."""

PSEUDONYMS: Final = Table(
    "recsys_pseudonyms",
    METADATA,
    Column("digest", Text, primary_key=True),
    Column("pseudonym", Text, nullable=False),
    Index("recsys_pseudonyms_pseudonym", "pseudonym", unique=True),
)

FORGOTTEN: Final = Table(
    "recsys_forgotten",
    METADATA,
    Column("digest", Text, primary_key=True),
    Column("at", _WHOLE, nullable=False),
)
"""Whom a bundle may still know, and from when on (seconds since 1970) what they do counts again."""

PERSON_KEY: Final = Table(
    "recsys_person_key",
    METADATA,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("salt", Text, nullable=False),
    Column("key_id", Text),
    Column("users_key_id", Text),
)
"""A single row: how digests of users are made, and of which key their ids are pseudonyms; see :mod:`.person_digest`."""

KEYS: Final = Table(
    "recsys_keys",
    METADATA,
    Column("id", Text, primary_key=True),
    Column("sha256", Text, nullable=False),
    Column("name", Text),
    Column("role", Text, nullable=False),
    Column("rate", Text),
    Column("created", _WHOLE, nullable=False),
    Column("expires", _WHOLE),
    Column("revoked", _WHOLE),
)
"""Times are seconds since 1970."""

SCHEMA: Final = Table(
    "recsys_schema",
    METADATA,
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("program", Text, nullable=False),
    Column("applied", _WHOLE, nullable=False),
)
"""Which migrations have run, and which version of recsys ran them."""
