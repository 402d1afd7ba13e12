"""Receipts of forgetting: what was removed where, with digests before and after, and nobody's name."""

from __future__ import annotations

import json
import secrets
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

from recsys.core.files import atomic_file
from recsys.core.sealed import sealed
from recsys.core.version import __version__

FORMAT: Final = "recsys-forget-receipt"
FORMAT_VERSION: Final = 1
Kind: TypeAlias = Literal["bundle", "store", "database", "file"]


@dataclass(frozen=True)
class Removed:
    """What was removed from one place.

    Attributes
    ----------
    kind : {"bundle", "store", "database", "file"}
    place : str
        Path or URL, without a password.
    users : int
        People who were found there.
    counts : dict of int
        What was removed, by its kind.
    before, after : str or None
        sha256 before and after: of the manifest of a bundle or store, which names all its files with their digests, or of
        a file. None for a server of databases.
    notes : tuple of str
        What a reader must know beside the counts.
    """

    kind: Kind
    place: str
    users: int
    counts: dict[str, int] = field(default_factory=dict)
    before: str | None = None
    after: str | None = None
    notes: tuple[str, ...] = ()

    @property
    def changed(self) -> bool:
        """Whether anything was written there."""
        return self.users > 0 or self.before != self.after


@dataclass(frozen=True)
class Receipt:
    """What one run of forgetting did.

    Attributes
    ----------
    receipt : str
        Its own random name.
    at : str
        When it began, ISO 8601 in UTC.
    asked : int
        How many people were to be forgotten.
    nowhere : int or None
        How many of them were found in no place; None until all places were looked into.
    key_id : str or None
        The key of the pseudonyms.
    people : tuple of str or None
        Their pseudonyms under that key; None without a key, since anything else would lead back to them.
    removed : tuple of Removed
    search : dict or None
        What a search of all files found afterwards.
    finished : bool
        False while it goes on, and for ever where it was interrupted: run it again, which gets a receipt of its own.
    """

    receipt: str
    at: str
    asked: int
    nowhere: int | None = None
    key_id: str | None = None
    people: tuple[str, ...] | None = None
    removed: tuple[Removed, ...] = ()
    search: dict[str, Any] | None = None
    finished: bool = False

    @classmethod
    def begun(cls, asked: int, key_id: str | None = None, people: Sequence[str] | None = None) -> Receipt:
        """A receipt of now, with nothing done yet."""
        now = datetime.now(UTC).isoformat(timespec="seconds")
        return cls(secrets.token_hex(8), now, asked, None, key_id, None if people is None else tuple(people))

    def to_dict(self) -> dict[str, Any]:
        """Plain values, sealed by their own digest."""
        told = {"format": FORMAT, "format_version": FORMAT_VERSION, "recsys": __version__} | asdict(self)
        return sealed(told)

    def write(self, file: Path) -> None:
        """Write it as JSON, whole or not at all."""
        with atomic_file(file) as temporary:
            temporary.write_text(json.dumps(self.to_dict(), indent=2) + "\n", encoding="utf-8")


def default_place(beside: Path, receipt: Receipt) -> Path:
    """Where a receipt goes that nobody has named a file for: beside what was changed first."""
    return beside.absolute().parent / f"{beside.resolve().name}-forgotten-{receipt.at[:10]}-{receipt.receipt}.json"
