"""``recsys prepare``: from the files of a public data set, as they were downloaded, to what ``recsys fit`` reads."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

import polars as pl

from recsys.core.arguments import choice, flag, listed, place, text
from recsys.core.files import atomic_folder
from recsys.core.schema import ITEM, USER
from recsys.data.quarantine import Quarantine
from recsys.data.recipes.blocks import BLOCK
from recsys.data.recipes.make import Made, make_table
from recsys.data.recipes.places import choose, members_of
from recsys.data.recipes.readme import readme
from recsys.data.recipes.sieve import OnBadRow, Sieve
from recsys.data.recipes.spec import PublicSet, public_set
from recsys.data.recipes.waterfall import Waterfall
from recsys.errors import ConfigError

LOG, ITEMS, USERS = "interactions.parquet", "items.parquet", "users.parquet"
_FILES = {"log": LOG, "items": ITEMS, "users": USERS}
_COUNTS = "counts.json"
"""Every prepared folder holds it: what has it may be replaced."""


@dataclass(frozen=True)
class Prepared:
    """A public data set, ready to be read.

    Attributes
    ----------
    name : str
        Of the recipe.
    folder : Path
    rows : dict
        Table (log, items, users) → its counts: rows read, left out by reason, written.
    sizes : dict
        Number of interactions, and of users and items with one.
    notes : tuple of str
        What is not as its makers say, or is missing.
    fit : str
        The command that fits it.
    with_users : str
        What to add to it so that the model reads the features of users; empty where none are published.
    """

    name: str
    folder: Path
    rows: dict[str, Waterfall]
    sizes: dict[str, int]
    notes: tuple[str, ...]
    fit: str
    with_users: str

    def __str__(self) -> str:
        parts = list[str]()
        for table, counted in self.rows.items():
            lines = [f"  {why:<70}{count:>14,}" for why, count in counted.lines()]
            parts.append("\n".join([str(self.folder / _FILES[table]), *lines]))
        facts = ", ".join(f"{count:,} {what}" for what, count in self.sizes.items())
        users = [f"with features of users: {self.with_users}"] if self.with_users else []
        return "\n".join([*parts, facts, *self.notes, "next:", f"  {self.fit}", *users])

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return {
            "name": self.name,
            "folder": str(self.folder),
            "rows": {table: counted.to_dict() for table, counted in self.rows.items()},
            "sizes": self.sizes,
            "notes": list(self.notes),
            "fit": self.fit,
            "with_users": self.with_users,
        }


def prepare(
    name: str,
    source: str | Path | Sequence[str | Path],
    out: str | Path,
    *,
    overwrite: bool = False,
    on_error: OnBadRow = "drop",
    quarantine: str | Path | None = None,
    quarantine_limit: float = 0.1,
) -> Prepared:
    r"""Turn the files of a public data set, as they were downloaded, into a log and a catalogue.

    Memory does not grow with the files, but with the number of items.

    Parameters
    ----------
    name : str
        Of a recipe, such as ``ml-1m``; ``recsys prepare --list`` shows all.
    source : path or sequence of paths
        The folder, archive (zip, tar) or files.
    out : path
        The folder to write: ``interactions.parquet``, ``items.parquet``, where published ``users.parquet``, ``README.md``
        (licence, citation, what was left out and why, the command that fits it) and ``counts.json``.
    overwrite : bool
        Whether to replace a folder that was prepared before.
    on_error : {"drop", "raise", "quarantine"}
        What to do about a row without an id, time or number, or with one that cannot be read: leave it out and count it,
        refuse the files, or set the row aside. Quarantine sets damaged rows aside too (another number of fields, a quote
        where none may be, no JSON); ``drop`` leaves out lines of a text without quotes that have another number of fields,
        and refuses other damage. What the recipe itself leaves out, such as cancelled invoices, is counted in any case.
    quarantine : path, optional
        The new folder for rows that are set aside: ``rows.parquet`` (file, row, line, reason, and the raw values) and
        ``counts.json``.
    quarantine_limit : float
        The largest share of a table's rows that may be set aside.

    Returns
    -------
    Prepared
        With the counts: rows written and left out (or set aside) are the rows read.

    Raises
    ------
    ConfigError
        There is no such recipe, ``out`` holds something else or the source, or ``quarantine`` holds something or lies in
        ``out``.
    DataError
        A file is missing or damaged, or a column is; a row cannot be used and ``on_error`` is "raise"; or more rows than
        ``quarantine_limit`` allows.

    Examples
    --------
    >>> _ = Path("ml-latest").mkdir()
    >>> _ = Path("ml-latest/ratings.csv").write_text("userId,movieId,rating,timestamp\n1,7,4.5,964982703\n")
    >>> _ = Path("ml-latest/movies.csv").write_text("movieId,title,genres\n7,Alien (1979),Horror|Sci-Fi\n")
    >>> done = recsys.prepare("ml-latest", "ml-latest", "prepared")
    >>> done.sizes
    {'interactions': 1, 'users': 1, 'items': 1}
    >>> recsys.read_catalog("prepared/items.parquet", text=["title", "genres"]).texts.to_list()
    ['Alien (1979). Horror, Sci-Fi']
    """
    bad: dict[str, Any] = {"on_error": on_error, "quarantine": quarantine, "quarantine_limit": quarantine_limit}
    return prepared(name, source, out, overwrite=overwrite, **bad)


def prepared(
    name: str,
    source: str | Path | Sequence[str | Path],
    out: str | Path,
    *,
    overwrite: bool = False,
    on_error: OnBadRow = "drop",
    quarantine: str | Path | None = None,
    quarantine_limit: float = 0.1,
    size: int = BLOCK,
) -> Prepared:
    """:func:`prepare` with blocks of ``size`` bytes."""
    one, target = public_set(text(name, "name")), place(out, "out")
    given = [source] if isinstance(source, str | Path) else listed(source, "source", "paths, or one path")
    paths = [place(path, "source") for path in given]
    again = _may_replace(target, paths, overwrite=flag(overwrite, "overwrite"))
    choice(on_error, "on_error", get_args(OnBadRow))
    aside = Quarantine.of(
        "quarantine" if on_error == "quarantine" else "raise", quarantine, quarantine_limit, keep_unordered=False
    )
    if aside is not None:
        aside.apart_from(target)
    ways = choose(one, members_of(paths))
    with ExitStack() as after, atomic_folder(target, replace=again) as folder:
        scratch = folder / ".parts"
        scratch.mkdir()
        made = dict[str, Made]()
        for table, way in ways.items():
            sieve = Sieve(Waterfall(), on_error, None if aside is None else aside.empty(), way.source.needed)
            made[table] = make_table(table, way, folder / _FILES[table], scratch, sieve, size)
            if aside is not None and sieve.aside is not None:
                aside.take(sieve.aside)
        if (catalogue := made["log"].catalogue) is not None:
            catalogue.write_parquet(folder / ITEMS)
            columns = tuple(catalogue.columns)
            counted = Waterfall(read=catalogue.height, written=catalogue.height)
            made["items"] = Made(counted, made["log"].files, columns)
        _remove(scratch)
        done = _described(one, made, folder, target)
        if aside is not None:
            done = replace(done, notes=(*done.notes, *_set_aside(aside)))
            after.enter_context(aside.kept())  # takes its name after the folder
        (folder / _COUNTS).write_text(json.dumps(done.to_dict(), indent=1) + "\n", encoding="utf-8")
        (folder / "README.md").write_text(
            readme(one, made, done.sizes, done.notes, (done.fit, done.with_users)), encoding="utf-8"
        )
    return done


def _set_aside(aside: Quarantine) -> list[str]:
    count = aside.counts()["quarantined"]
    told = f"{count:,} of the rows left out lie in {aside.folder / 'rows.parquet'}, with file, line and reason"
    return [told] if count else []


def _may_replace(target: Path, sources: Sequence[Path], *, overwrite: bool) -> bool:
    real = target.resolve()
    for one in sources:
        if real == one.resolve() or real in one.resolve().parents:
            raise ConfigError(f"--out {target} holds the source {one}, which would be replaced; name another folder")
    if overwrite and target.is_dir() and any(target.iterdir()) and not (target / _COUNTS).is_file():
        raise ConfigError(f"--out {target} holds something that was not prepared by recsys; name another folder")
    return overwrite


def _remove(scratch: Path) -> None:
    for inner in sorted(scratch.rglob("*"), reverse=True):
        inner.rmdir() if inner.is_dir() else inner.unlink()
    scratch.rmdir()


def _described(one: PublicSet, made: dict[str, Made], folder: Path, target: Path) -> Prepared:
    log = pl.scan_parquet(folder / LOG, glob=False)
    users, items = (log.select(pl.col(name).n_unique()).collect(engine="streaming").item() for name in (USER, ITEM))
    sizes = {"interactions": made["log"].counted.written, "users": int(users), "items": int(items)}
    notes = [
        f"the makers count {count:,} {what}, these files hold {sizes[what]:,}"
        for what, count in one.published.items()
        if sizes[what] != count
    ]
    if "items" in made:
        known = pl.scan_parquet(folder / ITEMS, glob=False).select(ITEM)
        missing = log.select(ITEM).unique().join(known, on=ITEM, how="anti").select(pl.len())
        if count := int(missing.collect(engine="streaming").item()):
            notes.append(f"{count:,} items of the log are not in the catalogue")
    elif one.items:
        expected = " or ".join(", ".join(source.files) for source in one.items)
        notes.append(f"there is no catalogue: no file {expected} was found; the model will know items by their ids alone")
    rows = {table: done.counted for table, done in made.items()}
    users = ["--user-table", str(target / USERS), *one.user_flags] if "users" in made else []
    return Prepared(one.name, target, rows, sizes, tuple(notes), _fit(one, made, target), shlex.join(users))


def _fit(one: PublicSet, made: dict[str, Made], target: Path) -> str:
    words = ["recsys", "fit", str(target / LOG), *one.fit]
    if "items" in made and one.text:
        words += ["--catalog", str(target / ITEMS), "--text", *one.text]
    return shlex.join([*words, "--out", f"runs/{one.name}"])
