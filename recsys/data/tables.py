"""Open a table in any of the formats that logs and catalogues come in, as lazy polars frames."""

from __future__ import annotations

import glob
import gzip
import io
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, TypeAlias, get_args

import polars as pl

from recsys.errors import DataError

Format: TypeAlias = Literal["csv", "tsv", "movielens", "parquet", "ndjson"]
PathLike: TypeAlias = str | Path

_BY_SUFFIX: dict[str, Format] = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".txt": "tsv",
    ".dat": "movielens",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".ndjson": "ndjson",
    ".jsonl": "ndjson",
}


def expand(path: PathLike | Sequence[PathLike]) -> list[Path]:
    """The files that a path, a glob, a folder or a list of these stands for.

    A folder's or a glob's files come in sorted order; a list keeps its own.

    Raises
    ------
    DataError
        Nothing is there, or a file is named twice.
    """
    if not isinstance(path, str | Path):
        listed = [file for one in path for file in expand(one)]
        if not listed:
            raise DataError("the list of files is empty; name at least one")
        twice = [file for i, file in enumerate(listed) if file in listed[:i]]
        if twice:
            raise DataError(f"{twice[0]} is named twice; its rows would count double, so name each file once")
        return listed
    here = Path(path)
    if here.is_file():
        return [here]
    if here.is_dir():
        files = sorted(f for f in here.iterdir() if f.is_file() and _suffix(f) in _BY_SUFFIX)
        if not files:
            raise DataError(f"the folder {here} holds no file ending in {', '.join(_BY_SUFFIX)} (or these with .gz)")
        return files
    files = sorted(Path(f) for f in glob.glob(str(path), recursive=True) if Path(f).is_file())
    if not files:
        raise DataError(f"no file at {path}")
    return files


def _suffix(file: Path) -> str:
    suffixes = [s.lower() for s in file.suffixes]
    if suffixes and suffixes[-1] == ".gz":
        suffixes.pop()
    return suffixes[-1] if suffixes else ""


def format_of(file: Path) -> Format:
    """The format that a file's name stands for.

    Raises
    ------
    DataError
        The ending says nothing.
    """
    found = _BY_SUFFIX.get(_suffix(file))
    if found is None:
        raise DataError(
            f"{file}: the format cannot be told from the name; say format= (--format) one of {', '.join(get_args(Format))}"
        )
    return found


def _read_text(file: Path) -> str:
    data = file.read_bytes()
    if file.suffix.lower() == ".gz":
        data = gzip.decompress(data)
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data.decode("latin-1")  # the encoding of MovieLens 1M; every byte is valid in it


def _scan_movielens(file: Path, columns: Sequence[str]) -> pl.LazyFrame:
    text = _read_text(file)
    if not text.strip():
        raise DataError(f"{file} is empty")
    # No separator of more than one byte is known to the CSV reader: read whole lines, then split them.
    lines = pl.read_csv(
        io.StringIO(text), has_header=False, new_columns=["line"], separator="\x1f", quote_char=None, infer_schema=False
    )
    fields = len(columns)
    counts = lines.select(pl.col("line").str.count_matches("::", literal=True) + 1)["line"]
    wrong = (counts != fields).arg_true()
    if len(wrong):
        row = int(wrong[0])
        raise DataError(
            f"{file}: row {row + 1} has {counts[row]} fields between '::' where {fields} are expected "
            f"({', '.join(columns)}): {lines['line'][row]!r}"
        )
    split = pl.col("line").str.split_exact("::", fields - 1).struct.rename_fields(list(columns))
    return lines.lazy().select(split.alias("row")).unnest("row")


def scan(file: Path, fmt: Format | None, movielens_columns: Sequence[str]) -> pl.LazyFrame:
    """Open one file lazily; text columns of CSV and TSV are left as strings.

    Parameters
    ----------
    file : Path
        An existing file; text formats may be gzipped.
    fmt : Format or None
        None: told from the file's ending.
    movielens_columns : sequence of str
        Names of the ``::``-separated fields, which carry no header.

    Raises
    ------
    DataError
        The file is empty or is not of this format.
    """
    fmt = format_of(file) if fmt is None else fmt
    if fmt not in get_args(Format):
        raise DataError(f"{file}: format {fmt!r} is not known; use one of {', '.join(get_args(Format))}")
    if file.stat().st_size == 0:
        raise DataError(f"{file} is empty")
    if fmt == "movielens":
        return _scan_movielens(file, movielens_columns)
    if fmt == "parquet":
        return pl.scan_parquet(file)
    if fmt == "ndjson":
        return pl.scan_ndjson(file, infer_schema_length=None)  # a key first met late in the file is a column too
    return pl.scan_csv(file, separator="," if fmt == "csv" else "\t", infer_schema=False)


def collect(file: Path, fmt: Format | None, movielens_columns: Sequence[str], wanted: dict[str, str]) -> pl.DataFrame:
    """Read the wanted columns of one file under our names.

    Parameters
    ----------
    file, fmt, movielens_columns
        As for :func:`scan`.
    wanted : dict
        Our column name → the file's column name.

    Raises
    ------
    DataError
        A column is missing, the file has no rows, or it is broken.
    """
    try:
        lazy = scan(file, fmt, movielens_columns)
        present = lazy.collect_schema().names()
        for ours, theirs in wanted.items():
            if theirs not in present:
                raise DataError(
                    f"{file} has no column {theirs!r} (asked for as {ours}); its columns are {', '.join(present)}"
                )
        frame = lazy.select(pl.col(theirs).alias(ours) for ours, theirs in wanted.items()).collect()
    except (pl.exceptions.NoDataError, EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{file} is empty or cut off: {error}") from error
    except (pl.exceptions.PolarsError, OSError) as error:
        reason = str(error).splitlines()[0]
        raise DataError(f"{file} cannot be read as {fmt or format_of(file)}: {reason}") from error
    if frame.height == 0:
        raise DataError(f"{file} has no rows")
    return frame
