"""A folder of Parquet shards that a killed run can go on filling: its plan, its one writer, and the mark that it is whole.

``_plan.json`` is written first and holds what determines the content. Each ``part-00000.parquet`` appears whole, with the
plan it belongs to in its footer, and its digest in ``.part-00000.parquet.sha256``. ``_SUCCESS`` is written last: who sees
it sees all. Only the shards have names that readers of Parquet folders (pyarrow, pandas, Spark, DuckDB) do not skip.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from recsys.core.files import Held, atomic_file, check_beside, digest_beside, exclusive
from recsys.core.progress import warn
from recsys.core.schema import RANK
from recsys.errors import ConfigError, DamagedError, DataError

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

PLAN, SUCCESS, LOCK = "_plan.json", "_SUCCESS", ".recsys-lock"
FORMAT = "recsys-recommendations"
FORMAT_VERSION = 1
_FOOTER = "recsys"
_OURS = re.compile(
    r"(?:_plan\.json|_SUCCESS|(?P<dot>\.)?part-(?P<shard>\d+)\.parquet(?(dot)\.sha256))(?P<half>\.writing-.*)?"
)
_MOST_SHARDS = 100_000  # what five digits can name in order


@dataclass(frozen=True)
class Plan:
    """What determines the content of the shards; two runs of one plan write the same, whichever of them writes a shard.

    Attributes
    ----------
    bundle : str
        Fingerprint of the model, its ids and its histories.
    k : int
    filter_seen : bool
    users : int
        How many the batch is for.
    user_list : str
        Digest of who they are, in which order.
    shard_users : int
        Users of a shard; the last one may have fewer.
    request_time : int or None
        Clock of the requests in seconds, of a model that reads it.
    where : str or None
        A predicate that the items must satisfy.
    exclude, eligible : list of str or None
        Items that nobody gets; the only items that anybody gets.
    version : int
        Of this format.

    Raises
    ------
    ConfigError
        A shard would have no user, or there would be too many shards to name.
    """

    bundle: str
    k: int
    filter_seen: bool
    users: int
    user_list: str
    shard_users: int
    request_time: int | None = None
    where: str | None = None
    exclude: list[str] | None = None
    eligible: list[str] | None = None
    version: int = FORMAT_VERSION

    def __post_init__(self) -> None:
        if self.shard_users < 1:
            raise ConfigError(f"shard_users (--shard-users) must be at least 1, not {self.shard_users}")
        if self.shards > _MOST_SHARDS:
            raise ConfigError(
                f"{self.users:,} users at {self.shard_users:,} a shard make {self.shards:,} shards, more than "
                f"{_MOST_SHARDS:,}; raise shard_users (--shard-users)"
            )

    @property
    def shards(self) -> int:
        """Number of shards."""
        return -(-self.users // self.shard_users)

    @property
    def digest(self) -> str:
        """Hexadecimal sha256 of the plan."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()

    def slice_of(self, shard: int) -> slice:
        """The users of a shard, as a slice of the users of the batch."""
        start = shard * self.shard_users
        return slice(start, min(start + self.shard_users, self.users))

    def size_of(self, shard: int) -> int:
        """How many users a shard has."""
        part = self.slice_of(shard)
        return int(part.stop - part.start)


def shard_file(folder: Path, shard: int) -> Path:
    """Where a shard lies."""
    return folder / f"part-{shard:05d}.parquet"


def read_plan(folder: Path) -> dict[str, Any] | None:
    """The plan that a folder was begun with; None if it has none.

    Raises
    ------
    DataError
        ``_plan.json`` is damaged, or of something else.
    """
    file = folder / PLAN
    if not file.exists():
        return None
    try:
        plan: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        if plan.pop("format") != FORMAT:
            raise ValueError("another format")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{file} is damaged, or not the plan of a batch; nothing there is touched: {error!r}") from error
    return plan


def check_folder(folder: Path) -> None:
    """Refuse to write where something else lies.

    Raises
    ------
    DataError
        ``folder`` is a file, or holds files and no plan.
    """
    if folder.exists() and not folder.is_dir():
        raise DataError(f"{folder} is a file; name a folder, or a file that ends in .parquet")
    if not folder.is_dir() or read_plan(folder) is not None:
        return
    for name in sorted(os.listdir(folder)):
        ours = _OURS.fullmatch(name)
        if name != LOCK and not (ours and ours["half"]):
            raise DataError(f"{folder} holds {name} and no {PLAN}: it is no batch of recommendations; name a new folder")


def only_writer(folder: Path) -> AbstractContextManager[Held]:
    """Keep other writers out of a folder until the block ends; see :func:`recsys.core.files.exclusive`.

    Raises
    ------
    DataError
        Another writer is at it.
    """
    return exclusive(folder, folder / LOCK)


def settle(folder: Path, plan: Plan, *, overwrite: bool) -> list[int | None]:
    """Begin a folder, or go on with it; for its only writer.

    What a killed run left half-written is removed, and the mark of success where a shard is missing or damaged.

    Parameters
    ----------
    folder : Path
    plan : Plan
    overwrite : bool
        Whether what an earlier run wrote is removed first.

    Returns
    -------
    list of int or None (plan.shards)
        Rows of each finished shard; None for a shard that is still to be made.

    Raises
    ------
    DataError
        The folder was begun with another plan; the message names what differs. Or it holds what no batch wrote.
    """
    check_folder(folder)
    begun, wanted = read_plan(folder), asdict(plan)
    if overwrite:
        clear(folder)
    elif begun is not None and begun != wanted:
        names = [name for name in {**begun, **wanted} if begun.get(name) != wanted.get(name)]
        told = (f"{name} is {_short(begun.get(name))} there and {_short(wanted.get(name))} here" for name in names)
        raise DataError(
            f"{folder} was begun with another plan: {', '.join(told)}; name a new one, or ask to overwrite it (--overwrite)"
        )
    sweep(folder)
    for file, ours in _ours(folder):
        if ours["shard"] and int(ours["shard"]) >= plan.shards:
            raise DataError(f"{file} is not of this batch, which has {plan.shards:,} shards; move it away")
    if begun is None or overwrite:
        with _written(folder / PLAN) as stream:
            stream.write(f"{json.dumps({'format': FORMAT, **wanted}, indent=2)}\n".encode())
    rows = [rows_of(folder, plan, shard) for shard in range(plan.shards)]
    if None in rows:
        (folder / SUCCESS).unlink(missing_ok=True)
    return rows


def _short(value: object) -> object:
    return value[:8] if isinstance(value, str) else value


def _ours(folder: Path) -> list[tuple[Path, re.Match[str]]]:
    """The files that a batch wrote, whole or half, with what their names say."""
    return [(file, ours) for file in folder.iterdir() if (ours := _OURS.fullmatch(file.name))]


def sweep(folder: Path) -> None:
    """Remove what a writer that died left half-written."""
    for file, ours in _ours(folder):
        if ours["half"]:
            file.unlink(missing_ok=True)


def clear(folder: Path) -> None:
    """Remove what a batch wrote, and nothing else: the mark of success first, the plan last."""
    order = {SUCCESS: 0, PLAN: 2}
    for file, _ in sorted(_ours(folder), key=lambda one: order.get(one[0].name, 1)):
        file.unlink()


def write_shard(folder: Path, plan: Plan, shard: int, frame: pl.DataFrame) -> None:
    """Write one shard, which appears only when it is whole.

    Raises
    ------
    OSError
        It cannot be written, as on a full disk; nothing of it is left.
    """
    footer = {"plan": plan.digest, "shard": shard, "rows": frame.height, "users": int((frame[RANK] == 1).sum())}
    with _written(shard_file(folder, shard), digest_beside) as stream:
        frame.write_parquet(stream, metadata={_FOOTER: json.dumps(footer)})


@dataclass(frozen=True)
class Counts:
    """What a shard's footer tells.

    Attributes
    ----------
    rows : int
    users : int
        Those who have rows.
    """

    rows: int
    users: int


def rows_of(folder: Path, plan: Plan, shard: int) -> int | None:
    """Rows of a shard; None where it is missing, is not what was written, or belongs to another plan or place."""
    file = shard_file(folder, shard)
    if not file.exists():
        return None
    try:
        check_beside(file)
        footer = json.loads(pl.read_parquet_metadata(file)[_FOOTER])
        counts = Counts(footer["rows"], footer["users"])
    except (DamagedError, pl.exceptions.PolarsError, KeyError, ValueError, TypeError) as error:
        warn(f"{file} is made again: {str(error).splitlines()[0]}")
        return None
    if footer != {"plan": plan.digest, "shard": shard, "rows": counts.rows, "users": counts.users}:
        warn(f"{file} is of another batch and made again")
        return None
    return counts.rows


def counts_of(folder: Path, shard: int) -> Counts:
    """Rows and users of a finished shard."""
    footer = json.loads(pl.read_parquet_metadata(shard_file(folder, shard))[_FOOTER])
    return Counts(footer["rows"], footer["users"])


def finish(folder: Path, plan: Plan, *, rows: int, seconds: float) -> None:
    """Write ``_SUCCESS``."""
    facts = {"rows": rows, "users": plan.users, "shards": plan.shards, "seconds": round(seconds, 3)}
    with _written(folder / SUCCESS) as stream:
        stream.write(f"{json.dumps(facts)}\n".encode())


def join(folder: Path, plan: Plan, target: Path) -> None:
    """Stream all shards into one file, which appears only when it is whole.

    Raises
    ------
    OSError
        It cannot be written; the shards stay.
    """
    files = [shard_file(folder, shard) for shard in range(plan.shards)]
    with _written(target) as stream:
        pl.scan_parquet(files, glob=False).sink_parquet(stream)


class _Stream(io.FileIO):
    """A file that keeps the error of the system, of which polars tells in words alone."""

    error: OSError | None = None

    def write(self, data: ReadableBuffer, /) -> int:
        try:
            return super().write(data)
        except OSError as error:
            self.error = error
            raise


@contextmanager
def _written(file: Path, whole: Callable[[Path], AbstractContextManager[Path]] = atomic_file) -> Iterator[_Stream]:
    """A stream that becomes ``file`` when it is whole; an error of the system says that nothing finished is lost."""
    try:
        with whole(file) as temporary, _Stream(temporary, "wb") as stream:
            try:
                yield stream
            except pl.exceptions.PolarsError as error:
                raise (stream.error or error) from error
    except OSError as error:
        why = f"{error.strerror or error}; what is finished is kept, and the same command goes on there"
        raise OSError(error.errno, why, str(file)) from error
