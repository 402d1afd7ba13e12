"""Forget users in exported files: Parquet and CSV tables lose their rows, and keep all others as they are."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl

from recsys.core.files import atomic_file, beside_of, digest_beside, exclusive, sha256_of
from recsys.core.ragged import Bool
from recsys.core.schema import RANK, USER
from recsys.data.formats.delimited import Delimited
from recsys.data.formats.dialect import Dialect
from recsys.errors import DataError
from recsys.privacy.receipt import Removed

_TABLES: Final = {".parquet": "parquet", ".pq": "parquet", ".csv": "csv", ".tsv": "tsv"}
_FOOTER: Final = "recsys"
"""Under which a batch's shard tells of itself."""
_BATCH_LOCK: Final = ".recsys-lock"
_LINE_END: Final = 10


def tables_in(places: Sequence[Path]) -> tuple[list[Path], list[Path]]:
    """The tables among files and in folders, and the other files of the folders, which are left alone.

    Raises
    ------
    DataError
        A place is not there, a file that is named is no Parquet, CSV or TSV, or a folder holds none.
    """
    found, others = dict[Path, None](), list[Path]()
    for place in places:
        if not os.path.lexists(place):
            raise DataError(f"--exports {place} does not exist")
        if place.is_file():
            if place.suffix.lower() not in _TABLES:
                raise DataError(f"--exports {place}: rows are removed from {', '.join(_TABLES)}; rewrite it yourself")
            found[place] = None
            continue
        inside = sorted(file for file in place.rglob("*") if file.is_file() and not file.name.startswith("."))
        tables = [file for file in inside if file.suffix.lower() in _TABLES]
        if not tables:
            raise DataError(f"--exports {place} holds no file that ends in {', '.join(_TABLES)}")
        found |= dict.fromkeys(tables)
        others += [file for file in inside if file.suffix.lower() not in _TABLES and not _belongs(file)]
    return list(found), others


def _belongs(file: Path) -> bool:
    """Whether a file is the plan or the mark of a batch of recommendations: no rows of anybody."""
    return file.name in ("_plan.json", "_SUCCESS")


def forget_in_file(file: Path, users: Sequence[str], column: str = USER) -> tuple[Removed, Bool]:
    """Remove the rows of users from a table.

    The file is replaced as a whole or not at all, and only if it holds one of them. Of Parquet the other rows keep their
    order and values; of CSV and TSV they keep their bytes, and so does the header. The digest beside a shard of a batch is
    written anew.

    Parameters
    ----------
    file : Path
        It ends in .parquet, .pq, .csv or .tsv.
    users : sequence of str
    column : str
        The column of user ids; a file without it is left as it is, and that is noted.

    Returns
    -------
    Removed
    bool (n,)
        Whether the file held each user.

    Raises
    ------
    DataError
        The file cannot be read, or its lines cannot be told apart; it is as it was.
    OSError
        It cannot be written.
    """
    before = sha256_of(file)
    with _held(file):
        kind = _TABLES[file.suffix.lower()]
        try:
            gone = (_in_parquet if kind == "parquet" else _in_text)(file, users, column)
        except pl.exceptions.ColumnNotFoundError:
            note = f"it has no column {column!r}, and was left as it is; name the one of the users (--exports-user)"
            nobody = np.zeros(len(users), dtype=np.bool_)
            return Removed("file", str(file), 0, before=before, after=before, notes=(note,)), nobody
        except pl.exceptions.PolarsError as error:
            raise DataError(f"{file} cannot be read: {str(error).splitlines()[0]}; nothing of it was changed") from error
    after = sha256_of(file) if len(gone) else before
    distinct = gone.unique()
    known = np.array([belongs_to(distinct, [one]).any() for one in users] if len(gone) else [False] * len(users))
    counts = {"rows": len(gone)} if len(gone) else {}
    return Removed("file", str(file), int(known.sum()), counts, before, after), known


@contextmanager
def _held(file: Path) -> Iterator[None]:
    """Keep a batch that is being written, or another run of this, away from a file."""
    batch = file.parent / "_plan.json"
    lock = (file.parent, file.parent / _BATCH_LOCK) if batch.is_file() else (file, None)
    with exclusive(*lock):
        yield


def belongs_to(ids: pl.Series, users: Sequence[str]) -> Bool:
    """bool (n,): whether each value of a column of ids is one of these people's; as text ``42.0`` is 42 too."""
    if ids.dtype.is_integer():
        numbers = pl.Series(list(users), dtype=pl.String).cast(pl.Int64, strict=False)
        whole = numbers.filter((numbers.cast(pl.String) == pl.Series(list(users), dtype=pl.String)).fill_null(value=False))
        return _true(ids.cast(pl.Int64, strict=False).is_in(whole.implode()))
    text = ids.cast(pl.String)
    forms = [*users, *(f"{one}.0" for one in users if one.removeprefix("-").isdigit())]
    return _true(text.is_in(pl.Series(forms, dtype=pl.String).implode()))


def _true(found: pl.Series) -> Bool:
    return found.fill_null(value=False).to_numpy().astype(np.bool_)


def _in_parquet(file: Path, users: Sequence[str], column: str) -> pl.Series:
    """Remove rows from a Parquet file; the ids that stood in them."""
    frame = pl.scan_parquet(file, glob=False, hive_partitioning=False)
    if column not in frame.collect_schema().names():
        raise pl.exceptions.ColumnNotFoundError(column)
    ids = frame.select(column).collect().to_series()
    mine = belongs_to(ids, users)
    if not mine.any():
        return ids.clear()
    told = {name: text for name, text in pl.read_parquet_metadata(file).items() if name != "ARROW:schema"}
    kept = pl.Series(~mine)
    with (digest_beside if beside_of(file).is_file() else atomic_file)(file) as temporary:
        if not told:
            frame.filter(kept).sink_parquet(temporary, maintain_order=True)
        else:
            left = frame.collect().filter(kept)
            if _FOOTER in told:
                told[_FOOTER] = _recounted(told[_FOOTER], left)
            left.write_parquet(temporary, metadata=told)
    return ids.filter(pl.Series(mine))


def _recounted(footer: str, left: pl.DataFrame) -> str:
    """The footer of a batch's shard for fewer rows."""
    told = json.loads(footer)
    users = int((left[RANK] == 1).sum()) if RANK in left.columns else told.get("users")
    return json.dumps(told | {"rows": left.height, "users": users})


def _in_text(file: Path, users: Sequence[str], column: str) -> pl.Series:
    """Remove lines from a CSV or TSV file; the ids that stood in them."""
    table = Delimited.open(file, _TABLES[file.suffix.lower()], Dialect())
    if column not in table.columns:
        raise pl.exceptions.ColumnNotFoundError(column)
    ids = table.read({USER: column})[USER]
    mine = belongs_to(ids, users)
    if not mine.any():
        return ids.clear()
    data = np.fromfile(file, dtype=np.uint8)
    starts = _starts(data, table.quote)
    if len(starts) - 2 != len(ids):
        raise DataError(
            f"{file}: its lines cannot be told apart ({len(ids):,} rows were read, and there are {len(starts) - 2:,} lines "
            f"behind the header); write it as UTF-8 without blank lines, or remove the rows yourself"
        )
    gone = np.flatnonzero(mine) + 1
    with atomic_file(file) as temporary, temporary.open("wb") as stream:
        for one, other in pairwise([-1, *gone.tolist(), len(starts) - 1]):
            stream.write(data[starts[one + 1] : starts[other]].data)
    return ids.filter(pl.Series(mine))


def _starts(
    data: np.ndarray[tuple[int], np.dtype[np.uint8]], quote: str | None
) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Where each record of a text begins, and the end of the last one; line ends within quotes end none."""
    ends = np.flatnonzero(data == _LINE_END)
    if quote:
        quotes = np.flatnonzero(data == ord(quote))
        ends = ends[np.searchsorted(quotes, ends) % 2 == 0]
    starts = np.concatenate([[0], ends + 1])
    return starts if starts[-1] == len(data) else np.append(starts, len(data))
