"""Forget users in a saved bundle: files that hold something of people are written anew, the others copied bit by bit."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from recsys.bundle import config as saved_config
from recsys.bundle import manifest, saved_tables, saved_towers
from recsys.bundle.contents import Bundle
from recsys.bundle.io import assembled
from recsys.bundle.without_users import SINCE_TRAINING, WithoutUsers, without_users
from recsys.core.files import atomic_folder, exclusive, followed, sha256_of
from recsys.core.leftovers import sweep
from recsys.core.opened import Source
from recsys.core.place_checks import refuse_loss
from recsys.core.processes import begin_threads
from recsys.core.ragged import Int32
from recsys.errors import BundleError
from recsys.privacy.receipt import Removed
from recsys.transitions import io as transition_files

_REPORT, _CARD = "report.json", "MODEL_CARD.md"
_OF_PEOPLE: Final = {"users.parquet", "histories.parquet", "holdout.parquet", "checked_users.npy", _REPORT, _CARD}
_WAIT: Final = 60.0
"""Seconds to wait for another change of the bundle."""


@dataclass(frozen=True, eq=False)
class _Changed:
    """A bundle that was read together with its files, and what it is without the users."""

    told: dict[str, Any]
    source: Source
    without: WithoutUsers | None


def forget_in_bundle(
    folder: Path,
    users: Sequence[str],
    *,
    out: Path | None = None,
    report: Callable[[dict[str, Any]], dict[str, str]],
) -> tuple[Removed, Int32]:
    """Forget users in a bundle: ids, features, histories, held-out events, the examples of its report, and counts.

    Tables, the transition memory and the report are written anew; all other files, such as the weights, the vectors and the
    index of towers, are copied bit by bit. The folder is exchanged as a whole: who is killed leaves the old bundle or the
    new one, and a repetition removes what was half-written.

    Parameters
    ----------
    folder : Path
    users : sequence of str
        Distinct ids, as the bundle holds them.
    out : Path, optional
        A new folder for the smaller bundle; by default ``folder`` is replaced.
    report : callable
        Makes the files of a bundle's report from its figures.

    Returns
    -------
    Removed
    int32 (n,)
        The row of each user; −1 for those whom the bundle did not know.

    Raises
    ------
    BundleError, DataError, UnsupportedError
        There is no bundle, or it is damaged; others keep files in its folder; nobody would be left in it; or its transition
        memory cannot be learned anew.
    """
    begin_threads()
    with contextlib.ExitStack() as stack:
        target = stack.enter_context(exclusive(folder if out is None else out, wait=_WAIT)).target
        if out is None:
            refuse_loss(target)
        before = sha256_of(folder / manifest.FILE) if (folder / manifest.FILE).is_file() else None
        rows = np.empty(0, dtype=np.int32)

        def read(told: dict[str, Any], source: Source) -> _Changed:
            nonlocal rows
            with contextlib.ExitStack() as failed:
                failed.callback(source.close)
                bundle = _loaded(told, source)
                rows = bundle.users.find_rows(list(users))
                known = np.unique(rows[rows >= 0]).astype(np.int32)
                found = _Changed(told, source, without_users(bundle, known) if len(known) else None)
                failed.pop_all()  # the files stay open, to be copied from
            return found

        changed = manifest.reading(folder, read)
        stack.callback(changed.source.close)
        if changed.without is None and out is None:
            sweep(followed(target).absolute().parent)  # what a killed run left beside it
            return Removed("bundle", str(folder), 0, before=before, after=before), rows
        with atomic_folder(target, replace=out is None) as temporary:
            _write(changed, temporary, report)
        found = changed.without
        counts, notes = dict[str, int](), list[str]()
        if found is not None:
            counts = {"users": found.users, "events": found.events, "held_out_users": found.held_out}
            notes = _notes(found)
        place = target if out is None else out
        if out is not None:
            notes.append(f"{folder}, from which this bundle was made, still holds them")
        after = sha256_of(place / manifest.FILE)
        return Removed("bundle", str(place), counts.get("users", 0), counts, before, after, tuple(notes)), rows


def _loaded(told: dict[str, Any], source: Source) -> Bundle:
    """The bundle, every file of it proven."""
    bundle = assembled(told, source, "cpu")
    for file in source.files.values():
        if not file.proven:
            file.check()
    return bundle


def _notes(found: WithoutUsers) -> list[str]:
    bundle = found.bundle
    notes = [f"weights were trained with them ({SINCE_TRAINING}: {bundle.data[SINCE_TRAINING]})"]
    if bundle.towers.fast:
        notes = ["popularity was counted anew; form and weight of the transition memory were chosen with them"]
    if found.memory != "none":
        exact = "exactly as without them" if found.reproduced else "the older one was of further events, too"
        notes.append(f"the transition memory was learned anew from those who stay: {exact}")
    if bundle.holdout is None and found.held_out:
        notes.append("nobody is held out any more")
    notes.append("metrics in the manifest and in the report are those of the training, means over users with them")
    return notes


def _write(changed: _Changed, target: Path, report: Callable[[dict[str, Any]], dict[str, str]]) -> None:
    """Write the files of a smaller bundle, or of the same one where nobody goes."""
    source, found = changed.source, changed.without
    new = set[str]()
    data = changed.told["data"]
    if found is not None:
        bundle, data = found.bundle, found.bundle.data
        saved_tables.write(bundle, target)
        saved_towers.write_users(bundle, target)
        new = set(_OF_PEOPLE)
        if bundle.holdout is None:
            saved_config.write(bundle, target)
            new.add(saved_config.FILE)
        if bundle.corpus.transitions is not None:
            transition_files.write(bundle.corpus.transitions, target)
            new |= {transition_files.TABLE, transition_files.FORM}
        if bundle.towers.fast:
            saved_towers.write(bundle, target)
            new |= {file.name for file in target.iterdir()} - {"items.parquet"}
        if _REPORT in source:
            for name, text in report(_figures(source, found, data)).items():
                (target / name).write_text(text, encoding="utf-8")
        elif _CARD in source:
            new -= {_CARD}
    for name, file in source.files.items():
        if name not in new:
            file.copy(target / name)
    manifest.write(target, data, changed.told["metrics"], **manifest.further(changed.told))


def _figures(source: Source, found: WithoutUsers, data: dict[str, Any]) -> dict[str, Any]:
    """The figures of a report without the examples of those who go, and with what is told of the data now.

    Raises
    ------
    BundleError
        The report is not one.
    """
    try:
        figures: dict[str, Any] = json.loads(source.read(_REPORT))
        figures["headline"]["data"] |= data
        known = found.bundle.users.cast([one["user"] for one in figures["examples"]["users"]])
        stays = found.bundle.users.find_rows(known) >= 0
        shown = zip(figures["examples"]["users"], stays, strict=True)
        figures["examples"]["users"] = [one for one, here in shown if here or one["user"] == "new user"]
    except (ValueError, KeyError, TypeError) as error:
        raise BundleError(f"{source.folder / _REPORT} is not a report: {type(error).__name__}: {error}") from error
    return figures
