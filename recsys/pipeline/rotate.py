"""Move the pseudonyms of a bundle or a store to a key that came from theirs, without any raw id."""

from __future__ import annotations

import contextlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl

from recsys.bundle import manifest, saved_tables
from recsys.bundle.io import assembled
from recsys.core.files import atomic_folder, exclusive
from recsys.core.id_map import IdMap
from recsys.core.opened import Source
from recsys.core.place_checks import refuse_loss
from recsys.core.processes import begin_threads
from recsys.core.pseudonym_key import PseudonymKey
from recsys.data.store.manifest import Import
from recsys.data.store.merge import assembled as contents_of
from recsys.data.store.reader import read_store
from recsys.data.store.writer import write_store
from recsys.errors import ConfigError

_WAIT = 60.0
_REPORT, _KEY = "report.json", "pseudonym_key"


def rotate_bundle(folder: Path, old: PseudonymKey, new: PseudonymKey) -> int:
    """Replace a bundle by one whose users have pseudonyms under a newer key; all else is copied bit by bit.

    Returns
    -------
    int
        Number of users.

    Raises
    ------
    ConfigError
        Its users are not pseudonyms under ``old``, or ``new`` did not come from it.
    BundleError, DataError
        There is no bundle, it is damaged, or others write to it.
    """
    begin_threads()
    with contextlib.ExitStack() as stack:
        target = stack.enter_context(exclusive(folder, wait=_WAIT)).target
        refuse_loss(target)
        told, source = manifest.opened(target)
        stack.callback(source.close)
        _check(told["data"].get(_KEY), old, folder)
        bundle = assembled(told, source, "cpu")
        users = IdMap(old.rotated(bundle.users.ids, new), "user")
        holdout = None if bundle.holdout is None else replace(bundle.holdout, users=users)
        towers = replace(bundle.towers, users=users)
        moved = replace(bundle, corpus=replace(bundle.corpus, towers=towers), users=users, holdout=holdout)
        with atomic_folder(target, replace=True) as temporary:
            saved_tables.write(moved, temporary)
            written = {"users.parquet", "holdout.parquet"}
            if _REPORT in source:
                (temporary / _REPORT).write_text(_report(source, old, new), encoding="utf-8")
                written.add(_REPORT)
            for name, file in source.files.items():
                if name not in written:
                    file.copy(temporary / name)
            manifest.write(temporary, told["data"] | {_KEY: new.id}, told["metrics"], **manifest.further(told))
        return len(users)


def rotate_store(folder: Path, old: PseudonymKey, new: PseudonymKey) -> int:
    """Replace a store by one whose users have pseudonyms under a newer key; returns their number.

    Raises
    ------
    ConfigError
        As :func:`rotate_bundle`.
    DataError, DamagedError
        There is no store, it is damaged, or others write to it.
    """
    with exclusive(folder, wait=_WAIT) as held:
        store = read_store(held.target, verify=True)
        _check(store.manifest.pseudonym_key, old, folder)
        contents = contents_of(store)
        users = IdMap(old.rotated(contents.users.ids, new), "user")
        moved = replace(contents, users=users, pseudonym_key=new.id)
        imports = (*store.manifest.imports, Import((f"key {old.id} to {new.id}",), 0, 0, 0, 0, ""))
        write_store(held.target, moved, imports=imports, overwrite=True, held=held)
        return len(users)


def _check(wanted: str | None, old: PseudonymKey, place: Path) -> None:
    if wanted is None:
        raise ConfigError(f"the users of {place} have their own ids, no pseudonyms; nothing can be moved to another key")
    if wanted != old.id:
        raise ConfigError(f"the users of {place} are pseudonyms under the key {wanted}, and the key {old.id} was given")


def _report(source: Source, old: PseudonymKey, new: PseudonymKey) -> str:
    """The figures of a report with the newer names of the users in its examples."""
    figures: dict[str, Any] = json.loads(source.read(_REPORT))
    figures["headline"]["data"][_KEY] = new.id
    for one in figures["examples"]["users"]:
        if one["user"] != "new user":
            one["user"] = str(old.rotated(pl.Series([one["user"]]), new)[0])
    return json.dumps(figures, indent=1, allow_nan=False, ensure_ascii=False) + "\n"
