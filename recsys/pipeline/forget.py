"""Forget users everywhere: in a bundle, a store, a server's database and exported files; and search all files for them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from recsys.bundle.manifest import read_manifest
from recsys.core.destination import prove_file
from recsys.core.files import sha256_of
from recsys.core.progress import log
from recsys.core.pseudonym_key import PseudonymKey, checked_key
from recsys.core.ragged import Bool
from recsys.core.schema import USER
from recsys.data.store.forget import forget as forget_in_store
from recsys.data.store.manifest import FILE as MANIFEST
from recsys.data.store.reader import read_store
from recsys.errors import ConfigError, DamagedError, DataError, RecsysError
from recsys.privacy.exports import forget_in_file, tables_in
from recsys.privacy.receipt import Receipt, Removed, default_place
from recsys.privacy.search import Searched, leftovers, search

_SQLITE: Final = "sqlite:///"
KEY: Final = "pseudonym_key"
"""In the data of a bundle's manifest: the key whose pseudonyms its users are."""


class TracesError(RecsysError):
    """People who are in files that should not hold them."""


@dataclass(frozen=True)
class Places:
    """Where people may be.

    Attributes
    ----------
    bundle, out : Path or None
        A bundle, and where the smaller one goes; without ``out`` the bundle is replaced.
    store : Path or None
    database : str or None
        URL of a server's database.
    exports : tuple of Path
        Files of rows, and folders of them.
    column : str
        The column of user ids in exported files.

    Raises
    ------
    ConfigError
        There is none.
    """

    bundle: Path | None = None
    out: Path | None = None
    store: Path | None = None
    database: str | None = None
    exports: tuple[Path, ...] = ()
    column: str = USER

    def __post_init__(self) -> None:
        if not (self.bundle or self.store or self.database or self.exports):
            raise ConfigError("name where users are to be forgotten: a bundle (RUN), --store, --db or --exports")

    @property
    def database_file(self) -> Path | None:
        """The file of SQLite."""
        url = self.database or ""
        return Path(url.removeprefix(_SQLITE)) if url.startswith(_SQLITE) else None

    @property
    def first(self) -> Path:
        """The place beside which a receipt goes."""
        every = (self.out or self.bundle, self.store, self.database_file, *self.exports)
        return next((one for one in every if one is not None), Path("database"))

    def files(self) -> list[Path]:
        """All files and folders that may hold somebody: the places, and what was written, or left half-written, beside."""
        found, bundle = list(self.exports), self.out or self.bundle
        if bundle is not None:
            beside = bundle.resolve()
            found += [bundle, *(beside.parent / name / beside.name for name in ("logs", "checkpoints")), *leftovers(bundle)]
            found += sorted(one for one in beside.parent.iterdir() if one.name.startswith(f"{beside.name}-"))
        if self.store is not None:
            found += [self.store, *leftovers(self.store)]
        if (file := self.database_file) is not None:
            found += [file, *(file.with_name(f"{file.name}{end}") for end in ("-wal", "-shm", "-journal"))]
        return [one for one in found if one.exists()]


@dataclass(frozen=True, eq=False)
class ForgetResult:
    """What a run of forgetting did.

    Attributes
    ----------
    receipt : Receipt
    file : Path
        Where the receipt lies.
    unknown : list of str
        Who was found nowhere.
    searched : Searched
        What the search of all files found afterwards.
    """

    receipt: Receipt
    file: Path
    unknown: list[str]
    searched: Searched


def forget_users(
    places: Places, users: Sequence[str], *, receipt: Path | None = None, key: PseudonymKey | None = None
) -> ForgetResult:
    """Forget users in every place, write a receipt, and search all files for them.

    Each place is changed as a whole or not at all, one after the other; whoever is interrupted runs the same again. The
    receipt is written before the first change and after each one.

    Parameters
    ----------
    places : Places
    users : sequence of str
        Raw ids; repeated ones count once.
    receipt : Path, optional
        The file of the receipt; by default beside the first place.
    key : PseudonymKey, optional
        For places that hold pseudonyms, and to name people in the receipt.

    Returns
    -------
    ForgetResult

    Raises
    ------
    ConfigError, DataError, BundleError, StoreUnavailableError, UnsupportedError
        A place cannot be read or changed: those before it are done, and the receipt says so.
    OSError
        There is no room.
    """
    asked = list(dict.fromkeys(users))
    if not asked:
        raise ConfigError("there is nobody to forget: users is empty")
    names = _Names.of(places, asked, key)
    _check_out(places)
    files, others = tables_in(places.exports)
    told = Receipt.begun(len(asked), None if key is None else key.id, None if key is None else key.of(asked).to_list())
    place = receipt or default_place(places.first, told)
    prove_file(place, option="--receipt")
    told.write(place)
    known = np.zeros(len(asked), dtype=np.bool_)
    jobs: list[Any] = [
        *([(_in_bundle, places.bundle, names.bundle, places.out)] if places.bundle else []),
        *([(_in_store, places.store, names.store)] if places.store else []),
        *([(_in_database, places.database, names.every, key)] if places.database else []),
        *((forget_in_file, file, names.every, places.column) for file in files),
    ]
    for do, *given in jobs:
        removed, found = do(*given)
        known |= found.reshape(-1, len(asked)).any(axis=0)
        told = replace(told, removed=(*told.removed, removed))
        told.write(place)
        log(_sentence(removed))
    for other in others:
        log(f"{other} is no table and was left as it is; it is searched")
    searched = search(places.files(), names.every, places.column)
    unknown = [one for one, here in zip(asked, known.tolist(), strict=True) if not here]
    told = replace(told, nowhere=len(unknown), search=searched.to_dict(), finished=True)
    told.write(place)
    return ForgetResult(told, place, unknown, searched)


def search_users(places: Places, users: Sequence[str], *, key: PseudonymKey | None = None) -> Searched:
    """Search all files of some places for users, by their ids and their pseudonyms; nothing is changed.

    Raises
    ------
    ConfigError
        There is nobody to look for, or no place.
    OSError
        A file cannot be read.
    """
    asked = list(dict.fromkeys(users))
    if not asked:
        raise ConfigError("there is nobody to look for: users is empty")
    for one in (places.bundle, places.store, places.database_file, *places.exports):
        if one is not None and not one.exists():
            raise ConfigError(f"{one} does not exist")
    if places.database is not None and places.database_file is None:
        raise ConfigError("--check searches files, and --db names a server of databases: ask it itself")
    return search(places.files(), _Names.of(places, asked, key).every, places.column)


@dataclass(frozen=True)
class _Names:
    """What people are called in each place.

    Attributes
    ----------
    bundle, store : list of str (n)
        In the bundle and in the store.
    every : list of str (n or 2n)
        Everywhere: the raw ids and, where there is a key, the pseudonyms behind them.
    """

    bundle: list[str]
    store: list[str]
    every: list[str]

    @classmethod
    def of(cls, places: Places, asked: list[str], key: PseudonymKey | None) -> _Names:
        """Refuses a place of pseudonyms whose key was not given, before anything is changed."""
        under = None if key is None else key.of(asked).to_list()
        bundle = store = asked
        if places.bundle is not None:
            wanted = read_manifest(places.bundle)["data"].get(KEY)
            bundle = asked if checked_key(key, wanted, str(places.bundle)) is None else under or asked
        if places.store is not None:
            try:
                wanted = read_store(places.store, verify=False).manifest.pseudonym_key
            except DamagedError as error:
                raise DataError(str(error)) from error
            store = asked if checked_key(key, wanted, str(places.store)) is None else under or asked
        return cls(bundle, store, [*asked, *(under or [])])


def _check_out(places: Places) -> None:
    out = places.out
    if out is not None and out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ConfigError(
            f"{out} already holds something; name a new folder, or replace {places.bundle} itself (--overwrite)"
        )


def _in_bundle(folder: Path, users: list[str], out: Path | None) -> tuple[Removed, Bool]:
    from recsys.pipeline.forget_bundle import forget_in_bundle  # noqa: PLC0415 - torch
    from recsys.report import bundle_files  # noqa: PLC0415

    removed, rows = forget_in_bundle(folder, users, out=out, report=bundle_files)
    return removed, rows >= 0


def _in_store(folder: Path, users: list[str]) -> tuple[Removed, Bool]:
    before = sha256_of(folder / MANIFEST)
    try:
        found = forget_in_store(folder, users)
    except DamagedError as error:
        raise DataError(str(error)) from error
    counts = {"users": found.users, "events": found.events, "items_of_nobody_else": found.items}
    after = sha256_of(folder / MANIFEST)
    notes = ("who has the older store open reads it on until it is closed",) if found.users else ()
    return Removed("store", str(folder), found.users, counts if found.users else {}, before, after, notes), found.rows >= 0


def _in_database(url: str, users: list[str], key: PseudonymKey | None) -> tuple[Removed, Bool]:
    from recsys.server.extras import require_serve  # noqa: PLC0415

    require_serve()
    from recsys.server.forgetting import forget_users as forget_in_database  # noqa: PLC0415 - SQLAlchemy

    found = forget_in_database(url, users, key)
    counts = {name: getattr(found, name) for name in ("interactions", "impressions", "pseudonyms")}
    notes = ["each is noted under a keyed digest, so that no bundle answers for them from what it holds until now"]
    if found.file is None:
        notes.append("PostgreSQL keeps dead rows until VACUUM, and copies in its log, replicas and backups")
    known = np.array(found.known, dtype=np.bool_)
    removed = Removed("database", found.where, int(known.sum()), counts, found.before, found.after, tuple(notes))
    return removed, known


def _sentence(one: Removed) -> str:
    counts = ", ".join(f"{count:,} {what.replace('_', ' ')}" for what, count in one.counts.items())
    return f"{one.place}: {counts or 'none of them is in it'}" + "".join(f"; {note}" for note in one.notes)
