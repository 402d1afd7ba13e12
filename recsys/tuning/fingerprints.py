"""Fingerprints of the data of a search, so that a study never continues with other data."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from typing import Any

import numpy as np
import polars as pl

from recsys.core.id_map import IdMap
from recsys.data.catalog import Catalog
from recsys.data.interactions import Interactions
from recsys.data.split import Holdout
from recsys.data.user_table import UserTable

_BLOCK = 65_536
"""Elements of a column that are digested at once."""


def fingerprints(
    train: Interactions, catalog: Catalog | None, validation: Holdout, users: UserTable | None
) -> dict[str, str | None]:
    """Name of each part of the data → its fingerprint, None if there is no such part."""
    held_out = IdMap(validation.users.to_ids(validation.user_rows), "user")
    sides = [
        Interactions(held_out, validation.items, lists).fingerprint for lists in (validation.histories, validation.targets)
    ]
    return {
        "the training log": train.fingerprint,
        "the validation users": digest([*sides, validation.times]),
        "the catalogue": None
        if catalog is None
        else digest([catalog.items.ids, catalog.texts, *catalog.columns.iter_columns()]),
        "the user table": None if users is None else digest([users.users.ids, repr(users.features), users.codes]),
    }


def digest(parts: Iterable[Any]) -> str:
    """sha256 of strings, columns, arrays and Nones, each as JSON; columns and arrays by the block, to save memory."""
    found = hashlib.sha256()
    for part in parts:
        if isinstance(part, pl.Series | np.ndarray):
            found.update(b"[")
            for start in range(0, len(part), _BLOCK):
                block = part[start : start + _BLOCK]
                values = block.to_list() if isinstance(block, pl.Series) else block.tolist()
                found.update((", " if start else "").encode() + json.dumps(values, default=str)[1:-1].encode())
            found.update(b"]")
        else:
            found.update(json.dumps(part).encode())
    return found.hexdigest()
