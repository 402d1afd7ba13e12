"""Places that will be written are proven before the work begins whose result goes there."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from recsys.core.files import Held, exclusive, followed
from recsys.core.leftovers import WRITING, name_beside
from recsys.core.place_checks import refuse_loss, refuse_place
from recsys.errors import ConfigError, DataError

CHECKPOINT = "state.safetensors"
"""The file of a checkpoint in its folder."""
_LOCK = len("..lock")
"""What the name of a lock has more than that of what it locks."""
_LEAST = 2**20
"""Bytes without which nothing is begun."""


def prove_file(file: Path, *, option: str = "--out") -> None:
    """Refuse a file that could not be written.

    Parameters
    ----------
    file : Path
        Itself not touched.
    option : str
        What it was given by, for the error.

    Raises
    ------
    ConfigError
        As :func:`prove_folder`, or it is a folder.
    """
    if file.is_dir():
        raise ConfigError(f"{option} {file} is a folder; name a file")
    _prove_name(file, option)
    prove_folder(file.absolute().parent, option=option)


def prove_folder(folder: Path, *, option: str = "--out", needs: int = _LEAST) -> None:
    """Refuse a folder into which nothing can be written, by writing something; nothing of it is left.

    Parameters
    ----------
    folder : Path
        It may be there or not.
    option : str
        What it was given by, for the error.
    needs : int
        Bytes that are to be written, roughly.

    Raises
    ------
    ConfigError
        It is a file or below one, cannot be written, has too long a name, leads through a link to nothing, or there is too
        little room.
    """
    _prove_name(folder, option)
    folder = folder.absolute()
    made: list[Path] = []
    try:
        target = followed(folder)
        if target.exists() and not target.is_dir():
            raise ConfigError(f"{option} {folder} is a file; name a folder")
        there = next(one for one in (target, *target.parents) if os.path.lexists(one))
        if not there.is_dir():
            what = "a link to nothing" if there.is_symlink() else "a file"
            raise ConfigError(f"{option} {folder}: {there} is {what}, so there can be no folder in it")
        for one in reversed([one for one in (target, *target.parents) if one != there and there in one.parents]):
            one.mkdir()
            made.append(one)
        probe = name_beside(target / "probe", WRITING)
        try:
            probe.write_bytes(b"probe")
        finally:
            probe.unlink(missing_ok=True)
        free = shutil.disk_usage(target).free
    except DataError as error:
        raise ConfigError(f"{option} {folder}: {error}") from error
    except OSError as error:
        raise ConfigError(
            f"{option} {folder} cannot be written: {error.strerror or error} ({error.filename or folder}); "
            "name another place"
        ) from error
    finally:
        for one in reversed(made):
            one.rmdir()
    if free < needs:
        raise ConfigError(
            f"{option} {folder}: {free / 2**20:,.0f} MiB are free there and about {needs / 2**20:,.0f} MiB are needed; "
            "make room, or name another place"
        )


def _prove_name(path: Path, option: str) -> None:
    if "\0" in str(path):
        raise ConfigError(f"{option} {str(path)!r} is no path: it holds a zero byte")
    try:
        refuse_place(path)
    except DataError as error:
        raise ConfigError(f"{option} {error}") from error
    there = path.absolute()
    try:
        while not there.is_dir():
            there = there.parent
        longest = os.pathconf(there, "PC_NAME_MAX")
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise ConfigError(
                f"{option} {path} cannot be written: {error.strerror or error}; name another place"
            ) from error
        longest = 255
    except AttributeError:  # Windows
        longest = 255
    for part in path.parts:
        if len(os.fsencode(part)) + _LOCK > longest:
            raise ConfigError(
                f"{option}: the name {part[:40]!r}... has {len(os.fsencode(part))} bytes; at most {longest - _LOCK} can be "
                "written; name another place"
            )


def prove_apart(places: Mapping[str, Path]) -> None:
    """Refuse places of which one is, or lies in, another one.

    Parameters
    ----------
    places : mapping
        What goes there → where.

    Raises
    ------
    ConfigError
    """
    resolved = {what: Path(os.path.realpath(place)) for what, place in places.items()}
    for what, place in resolved.items():
        for other, outer in resolved.items():
            if what != other and (place == outer or outer in place.parents):
                raise ConfigError(
                    f"{other} would be written to {places[other]}, and {what} of the same run into it, to {places[what]}; "
                    "name another place (--out)"
                )


def process_number() -> int:
    """Which of the processes that ``torchrun`` started this is; 0 where there is but one."""
    return int(os.environ.get("RANK", "0"))


@dataclass(frozen=True)
class FitPlaces:
    """Where ``recsys fit`` writes.

    Attributes
    ----------
    out : Path
        The bundle.
    logs, checkpoint : Path
        Training curves and the state of the run, in folders beside the bundle.
    """

    out: Path
    logs: Path
    checkpoint: Path

    @classmethod
    def of(cls, out: str | Path) -> FitPlaces:
        """The places that belong to a bundle's."""
        out = Path(out)
        if out.name in ("", ".."):
            out = out.resolve()
        return cls(out, out.parent / "logs" / out.name, out.parent / "checkpoints" / out.name)

    @property
    def state(self) -> Path:
        """The checkpoint's file."""
        return self.checkpoint / CHECKPOINT

    @contextmanager
    def claimed(self, *, overwrite: bool) -> Iterator[Held | None]:
        """Prove the places, and keep other writers away from the bundle's until the block ends.

        Gives the lock; None where another process holds it for this one.

        Raises
        ------
        ConfigError
            Something cannot be written, would lie in another, or is there already.
        DataError
            Another writer is at it.
        """
        prove_apart({"the bundle": self.out, "curves": self.logs, "checkpoints": self.checkpoint})
        _refuse_occupied(self.out, overwrite)
        if process_number():
            yield None
            return
        with claimed_bundle(self.out, overwrite=overwrite, beside=(self.logs, self.checkpoint)) as held:
            yield held


@contextmanager
def claimed_bundle(out: Path, *, overwrite: bool, beside: Sequence[Path] = ()) -> Iterator[Held]:
    """Prove the place of a bundle, and keep other writers away from it until the block ends.

    Parameters
    ----------
    out : Path
    overwrite : bool
        Whether a bundle there may be replaced.
    beside : sequence of Path
        Other folders that will be written.

    Raises
    ------
    ConfigError
        Something cannot be written, or is there already.
    DataError
        Another writer is at it.
    """
    _refuse_occupied(out, overwrite)
    for place in (out, *beside):
        if place != out or not out.exists():
            prove_folder(place)
    prove_folder(out.absolute().parent)  # the bundle is written beside its place and exchanged for it
    with exclusive(out) as held:
        _refuse_occupied(out, overwrite)  # once more: another writer may just have ended
        yield held


def _refuse_occupied(out: Path, overwrite: bool) -> None:
    occupied = out.exists() and not (out.is_dir() and not any(out.iterdir()))
    if occupied and not overwrite:
        raise ConfigError(f"{out} already exists; choose another --out, or add --overwrite")
    if occupied and not (out / "manifest.json").is_file():
        raise ConfigError(f"{out} is not a recsys bundle; it is not overwritten: choose another --out")
    if occupied:
        refuse_loss(out)
