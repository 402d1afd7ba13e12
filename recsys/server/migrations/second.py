"""2: digests of users are keyed; those of before were the plain SHA-256 of ids, which who knows ids can compute."""

from __future__ import annotations

import hashlib
import hmac
import secrets

from alembic.operations import Operations
from sqlalchemy import Column, Integer, MetaData, Table, Text, select, update


def upgrade(change: Operations) -> None:
    """Salt each digest, without the id that it stands for; the new name of the column keeps older programs out."""
    connection = change.get_bind()
    key = change.create_table(
        "recsys_person_key",
        Column("id", Integer, primary_key=True, autoincrement=False),
        Column("salt", Text, nullable=False),
        Column("key_id", Text),
        Column("users_key_id", Text),
    )
    salt = secrets.token_bytes(32)
    change.bulk_insert(key, [{"id": 1, "salt": salt.hex(), "key_id": None, "users_key_id": None}])
    for name in ("recsys_forgotten", "recsys_pseudonyms"):
        change.execute(f"ALTER TABLE {name} RENAME COLUMN user_sha256 TO digest")
        table = Table(name, MetaData(), Column("digest", Text))
        for plain in list(connection.execute(select(table.c.digest)).scalars()):
            keyed = hmac.digest(salt, plain.encode(), hashlib.sha256).hex()
            connection.execute(update(table).where(table.c.digest == plain).values(digest=keyed))
