"""Search every file for people: byte by byte, and in columns of users where an id is too short for that."""

from __future__ import annotations

import gzip
import json
import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl

from recsys.core.id_hash import hash_ids
from recsys.core.leftovers import OLD, WRITING
from recsys.core.schema import USER
from recsys.data.formats.delimited import Delimited
from recsys.data.formats.dialect import Dialect
from recsys.errors import DataError
from recsys.privacy.exports import belongs_to
from recsys.privacy.patterns import Patterns, is_distinctive

_SQLITE: Final = b"SQLite format 3\0"
_GZIP: Final = b"\x1f\x8b"
_OWNERS: Final = ("user", "person", "customer", "member")
"""Words in the names of columns that hold people."""


@dataclass(frozen=True)
class Trace:
    """Where somebody was found.

    Attributes
    ----------
    file : str
    where : str
        Such as ``column user_id``.
    people : int
        How many of those who were looked for.
    """

    file: str
    where: str
    people: int

    def __str__(self) -> str:
        return f"{self.file} ({self.where}): {self.people:,}"


@dataclass(frozen=True)
class Searched:
    """What a search looked at, and found.

    Attributes
    ----------
    files, bytes : int
    by_bytes : int
        People whose ids were looked for in every byte; of the others, whose ids are short or numbers, the columns of users
        were compared, and every byte was searched for hashes of them.
    traces : tuple of Trace
    unsure : tuple of str
        What could not be looked into.
    """

    files: int
    bytes: int
    by_bytes: int
    traces: tuple[Trace, ...]
    unsure: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return vars(self) | {"traces": [vars(one) for one in self.traces], "unsure": list(self.unsure)}


def search(places: Sequence[Path], users: Sequence[str], column: str = USER) -> Searched:
    """Search files for people.

    Every byte of every file is compared with each id as it is written, also in JSON, HTML and addresses, with its plain
    SHA-256 and with the hash by which stores find it; of files of gzip, of what they hold. Parquet is decoded, SQLite is
    read with its free pages and its log. Ids of fewer than six bytes, and whole numbers, which stand in every file by
    chance, are compared with the columns of users instead: those named ``column``, or with a word such as user in their
    name.

    Parameters
    ----------
    places : sequence of Path
        Files, and folders with all that is in them.
    users : sequence of str
        Distinct ids.
    column : str
        A column of user ids.

    Raises
    ------
    OSError
        A file cannot be read.
    """
    patterns, columns = Patterns.of(users), _Columns(users, column)
    files, size, traces, unsure = 0, 0, list[Trace](), list[str]()
    for file in files_of(places):
        files, size = files + 1, size + file.stat().st_size
        with file.open("rb") as stream:
            head = stream.read(len(_SQLITE))
            stream.seek(0)
            found = patterns.within(stream)
        if head.startswith(_GZIP):
            with gzip.open(file) as packed:
                found |= patterns.within(packed)  # type: ignore[arg-type]
        if found:
            traces.append(Trace(str(file), "its bytes", len(found)))
        if named := sum(one in file.name for one in users if is_distinctive(one)):
            traces.append(Trace(str(file), "its name", named))
        try:
            for where, count in columns.of(file, head):
                if count:
                    traces.append(Trace(str(file), where, count))
                else:
                    unsure.append(f"{file}: {where}")
        except (DataError, pl.exceptions.PolarsError, sqlite3.Error, ValueError, RecursionError) as error:
            unsure.append(f"{file} cannot be read as what its name says: {str(error).splitlines()[0]}")
    return Searched(files, size, sum(map(is_distinctive, users)), tuple(traces), tuple(unsure))


def files_of(places: Sequence[Path]) -> Iterator[Path]:
    """Every file of some places, once; links are not followed out of a folder."""
    seen = set[str]()
    for place in places:
        for file in sorted(place.rglob("*")) if place.is_dir() else [place]:
            if file.is_file() and not (file.is_symlink() and file != place):
                real = os.path.realpath(file)
                if real not in seen:
                    seen.add(real)
                    yield file


def leftovers(place: Path) -> list[Path]:
    """What writers of a folder or file have left half-written, or moved aside, beside it."""
    kinds = tuple(f"{place.name}.{kind}-" for kind in (WRITING, OLD))
    parent = place.absolute().parent
    return sorted(one for one in parent.iterdir() if one.name.startswith(kinds)) if parent.is_dir() else []


class _Columns:
    """Compares columns of users, whatever holds them, with ids that mean nothing elsewhere; Parquet with all ids."""

    def __init__(self, users: Sequence[str], column: str) -> None:
        self._column = column
        self._short = [one for one in users if not is_distinctive(one)]
        self._long = [one for one in users if is_distinctive(one)]

    def of(self, file: Path, head: bytes) -> Iterator[tuple[str, int]]:
        """Where, and how many people, a file holds."""
        readers: dict[str, Callable[[Path], Iterator[tuple[str, int]]]] = {
            ".parquet": self._parquet, ".pq": self._parquet, ".csv": self._text, ".tsv": self._text, ".json": self._json,
            ".npy": self._hashes,
        }  # fmt: skip
        if head == _SQLITE:
            yield from self._sqlite(file)
        elif head and (reader := readers.get(file.suffix.lower())):
            yield from reader(file)

    def _owns(self, name: str) -> bool:
        return name == self._column or any(word in name.lower() for word in _OWNERS)

    def _parquet(self, file: Path) -> Iterator[tuple[str, int]]:
        frame = pl.scan_parquet(file, glob=False, hive_partitioning=False)
        for name, dtype in frame.collect_schema().items():
            inner = dtype
            while isinstance(inner, pl.List | pl.Array):
                inner = inner.inner  # type: ignore[assignment]
            asked = [*self._short, *self._long] if self._owns(name) else self._long
            is_text = inner in (pl.String, pl.Categorical, pl.Enum)
            if not asked or not (is_text or self._owns(name)):
                continue
            values = frame.select(name).collect().to_series()
            while isinstance(values.dtype, pl.List | pl.Array):
                values = values.explode()
            values = values.drop_nulls().unique()
            count = values.filter(pl.Series(belongs_to(values, asked), dtype=pl.Boolean)).n_unique()
            if not count and is_text and self._long and len(values):
                count = int(values.cast(pl.String).str.contains_any(self._long).sum())
            if count:
                yield f"column {name}", count

    def _hashes(self, file: Path) -> Iterator[tuple[str, int]]:
        """The table by which a store finds users: it holds a hash of each id, of a number one to one."""
        if self._short and self._owns(file.name):
            table = np.load(file, mmap_mode="r", allow_pickle=False)
            if table.dtype == np.uint64:
                numbers = pl.Series(self._short).cast(pl.Int64, strict=False)
                whole = numbers.filter((numbers.cast(pl.String) == pl.Series(self._short)).fill_null(value=False))
                found = np.isin(hash_ids(pl.Series(self._short)), table).sum() + np.isin(hash_ids(whole), table).sum()
                if found:
                    yield "hashes of ids", int(found)

    def _text(self, file: Path) -> Iterator[tuple[str, int]]:
        table = Delimited.open(file, file.suffix.lower().removeprefix("."), Dialect())
        for name in table.columns if self._short else ():
            if self._owns(name):
                values = table.read({USER: name})[USER]
                if count := values.filter(pl.Series(belongs_to(values, self._short), dtype=pl.Boolean)).n_unique():
                    yield f"column {name}", count

    def _json(self, file: Path) -> Iterator[tuple[str, int]]:
        if self._short:
            found, short = set[str](), set(self._short)
            self._walk(json.loads(file.read_bytes()), short, found)
            if found:
                yield "a key of users", len(found)

    def _walk(self, node: Any, short: set[str], found: set[str], key: str = "") -> None:
        if isinstance(node, dict):
            for name, value in node.items():
                self._walk(value, short, found, name)
        elif isinstance(node, list):
            for one in node:
                self._walk(one, short, found, key)
        elif str(node) in short and ((isinstance(node, str) and self._owns(key)) or key == self._column):
            found.add(str(node))  # a number under another key may count users

    def _sqlite(self, file: Path) -> Iterator[tuple[str, int]]:
        connection = sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True)
        try:
            tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
            for table in tables:
                quoted = '"' + table.replace('"', '""') + '"'
                for row in connection.execute(f"PRAGMA table_info({quoted})").fetchall():
                    name = str(row[1])
                    if not self._owns(name):
                        continue
                    column = '"' + name.replace('"', '""') + '"'
                    found = set[str]()
                    asked = [*self._short, *self._long]
                    for start in range(0, len(asked), 500):
                        part = asked[start : start + 500]
                        marks = ", ".join("?" * len(part))
                        query = f"SELECT DISTINCT CAST({column} AS TEXT) FROM {quoted} WHERE CAST({column} AS TEXT) IN ({marks})"  # noqa: S608, E501 - names are quoted
                        found |= {one for (one,) in connection.execute(query, part)}
                    if found:
                        yield f"table {table}, column {name}", len(found)
            free = connection.execute("PRAGMA freelist_count").fetchone()[0]
            if free and self._short:
                yield f"{free} free pages, which may hold ids that are too short to be searched for; VACUUM it", 0
        finally:
            connection.close()
