"""Find the files of a data set in folders and archives."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from tarfile import TarError, TarFile
from zipfile import BadZipFile, ZipFile

from recsys.data.recipes.spec import TABLES, PublicSet, Source
from recsys.errors import DataError

_ARCHIVES = (".zip", ".tar", ".tgz", ".tar.gz", ".tar.bz2")
_SHOWN = 12


@dataclass(frozen=True)
class Member:
    """A file: on the disk, or within an archive that is on the disk."""

    path: Path
    inside: str = ""

    @property
    def name(self) -> str:
        """Its name without folders."""
        return PurePosixPath(self.inside).name if self.inside else self.path.name

    def __str__(self) -> str:
        return f"{self.path}/{self.inside}" if self.inside else str(self.path)

    def unpacked(self, folder: Path) -> Path:
        """Where its bytes can be read; a member of an archive is copied into ``folder``."""
        if not self.inside:
            return self.path
        folder.mkdir(exist_ok=True)
        target = folder / self.name
        with target.open("wb") as out:
            if self.path.name.lower().endswith(".zip"):
                with ZipFile(self.path) as archive, ZipFile.open(archive, self.inside) as stream:
                    shutil.copyfileobj(stream, out)
            else:
                with TarFile.open(self.path) as tar:
                    copy = tar.extractfile(self.inside)
                    if copy is None:
                        raise DataError(f"{self} is not a file; unpack {self.path.name} yourself")
                    shutil.copyfileobj(copy, out)
        return target


@dataclass(frozen=True)
class Chosen:
    """A way in which a table is published, and the files that are there."""

    source: Source
    members: tuple[Member, ...]


def members_of(paths: Sequence[Path]) -> list[Member]:
    """The files of folders and archives, and files named themselves.

    Raises
    ------
    DataError
        A path does not exist, or an archive is damaged.
    """
    found = list[Member]()
    for path in paths:
        if not path.exists():
            raise DataError(f"{path} does not exist; name the folder, archive or files as they were downloaded (--from)")
        inside = sorted(one for one in path.rglob("*") if one.is_file()) if path.is_dir() else [path]
        for file in inside:
            found += _archived(file) if file.name.lower().endswith(_ARCHIVES) else [Member(file)]
    return [one for one in found if not one.name.startswith(".") and "__MACOSX" not in str(one)]


def _archived(file: Path) -> list[Member]:
    try:
        if file.name.lower().endswith(".zip"):
            with ZipFile(file) as archive:
                return [Member(file, one.filename) for one in archive.infolist() if not one.is_dir()]
        with TarFile.open(file) as tar:
            return [Member(file, one.name) for one in tar.getmembers() if one.isfile()]
    except (BadZipFile, TarError, EOFError) as error:
        raise DataError(f"{file} is no archive or is damaged ({error}); download it again") from error


def choose(one: PublicSet, members: Sequence[Member]) -> dict[str, Chosen]:
    """For each table of a data set, the files to read.

    Raises
    ------
    DataError
        The files of a table that it needs are not there, or several files may be meant.
    """
    ways: Mapping[str, Sequence[Source]] = {"log": one.log, "items": one.items, "users": one.users}
    found = dict[str, Chosen]()
    for table in TABLES:
        tried = [Chosen(source, _matching(source, members)) for source in ways[table]]
        whole = next((way for way in tried if way.members), None)
        if whole is not None:
            found[table] = whole
        elif tried and table not in one.optional:
            raise DataError(_missing(one, [source.files for source in ways[table]], members))
    return found


def _matching(source: Source, members: Sequence[Member]) -> tuple[Member, ...]:
    """One file of each pattern where every one is needed, otherwise the one file of any pattern; none if a file lacks."""
    patterns = source.files if source.every else (source.files,)
    found = list[Member]()
    for pattern in patterns:
        names = (pattern,) if isinstance(pattern, str) else pattern
        fitting = [one for one in members if _fits(one.name, names)]
        if len(fitting) > 1:
            raise DataError(
                f"several files may be meant: {', '.join(map(str, fitting[:_SHOWN]))}; name the files to read, "
                f"--from FILE FILE"
            )
        if not fitting:
            return ()
        found += fitting
    return tuple(found)


def _fits(name: str, patterns: Iterable[str]) -> bool:
    bare = name.removesuffix(".gz")
    return any(fnmatchcase(bare, pattern) for pattern in patterns)


def _missing(one: PublicSet, ways: Sequence[Sequence[str]], members: Sequence[Member]) -> str:
    expected = "; or ".join(", ".join(way) for way in ways)
    there = sorted({member.name for member in members})
    shown = ", ".join(there[:_SHOWN]) + (f" and {len(there) - _SHOWN:,} more" if len(there) > _SHOWN else "")
    return (
        f"{one.title} is read from {expected} (or these with .gz), and no such file is there; found: "
        f"{shown or 'nothing'}; download it from {one.url}, or name another folder (--from)"
    )
