"""Find the files of a path, the format that each name means, and the columns that folders give."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Literal, TypeAlias, get_args
from urllib.parse import unquote

from recsys.core.progress import log
from recsys.data.formats.versioned_tables import refuse_versioned
from recsys.errors import DataError

Format: TypeAlias = Literal["csv", "tsv", "movielens", "parquet", "ndjson", "arrow"]
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
    ".arrow": "arrow",
    ".arrows": "arrow",
    ".ipc": "arrow",
    ".feather": "arrow",
}
_OTHERS: dict[str, str] = dict.fromkeys((".xlsx", ".xls", ".ods"), "save the sheet as CSV") | {
    ".json": "write one object a line, and name it .ndjson",
    **dict.fromkeys((".avro", ".orc", ".pkl", ".pickle", ".h5"), "convert it to Parquet"),
    **dict.fromkeys((".zip", ".7z", ".bz2", ".xz", ".zst", ".tar", ".tgz"), "unpack it, or pack it by gzip"),
}
_BY_CONTENT: dict[bytes, Format] = {b"PAR1": "parquet", b"ARROW1": "arrow"}
"""How a file begins that needs no ending."""
_HIVE_NULL = "__HIVE_DEFAULT_PARTITION__"


def _suffix(file: Path | str) -> str:
    suffixes = [s.lower() for s in Path(file).suffixes]
    if suffixes and suffixes[-1] == ".gz":
        suffixes.pop()
    return suffixes[-1] if suffixes else ""


def is_table_name(name: str) -> bool:
    """Whether the ending of a name means a format."""
    return _suffix(name) in _BY_SUFFIX


def format_of(file: Path | str) -> Format:
    """Find the format that a file's name means, or the first bytes of an existing file where its name means none.

    Raises
    ------
    DataError
        Neither shows it.
    """
    found = _BY_SUFFIX.get(_suffix(file)) or _format_within(file)
    if found is None:
        remedy = _OTHERS.get(_suffix(file))
        why = (
            f"{_suffix(file)} files are not read: {remedy}; if the name misleads,"
            if remedy
            else "the format is not clear from the name;"
        )
        raise DataError(f"{file}: {why} set format= (--format), one of {', '.join(get_args(Format))}")
    return found


def _format_within(file: Path | str) -> Format | None:
    """The format that the first bytes of an existing file show."""
    if isinstance(file, str) or not file.is_file():
        return None
    with file.open("rb") as stream:
        first = stream.read(max(map(len, _BY_CONTENT)))
    return next((fmt for begin, fmt in _BY_CONTENT.items() if first.startswith(begin)), None)


@dataclass(frozen=True)
class TableFile:
    """A file to read as a table.

    Attributes
    ----------
    file : Path
    format : Format
    constants : mapping
        Columns with one value for all rows, as the file's folders give them.
    name : str
        What messages call it: its path, or the address that it was fetched from.
    """

    file: Path
    format: Format
    constants: Mapping[str, str | None]
    name: str


def table_files(path: PathLike | Sequence[PathLike], fmt: Format | None = None) -> list[TableFile]:
    """List the tables of a path; see :func:`expand`.

    Parameters
    ----------
    path : path, pattern, folder, or a list of these
    fmt : Format, optional
        By default, each file's ending shows it.

    Raises
    ------
    DataError
        As for :func:`expand`, or a file's ending means no format.
    """
    return [
        TableFile(file, format_of(file) if fmt is None else fmt, partition_values(path, file), str(file))
        for file in expand(path, fmt)
    ]


def expand(path: PathLike | Sequence[PathLike], fmt: Format | None = None, *, report: bool = True) -> list[Path]:
    """List the files of a path, a pattern, a folder or a list of these.

    A path is a name first: it is a pattern (``*``, ``?``, ``[...]``) only if no such file or folder exists. A folder means
    its tables in sorted order, with those of its partitions (``year=2024/part.parquet``); a list keeps its own order. Names
    that begin with ``.`` or ``_`` are left out, as Spark and Hive do.

    Parameters
    ----------
    path : path, pattern, folder, or a list of these
    fmt : Format, optional
        If it is given, the files of a folder may have any ending, unless some have a known one.
    report : bool
        Log the files of a pattern, and the files of a folder that are not read.

    Raises
    ------
    DataError
        The path has no file, a file is named twice, or a folder holds tables both beside and within ordinary folders.
    """
    if not isinstance(path, str | Path):
        listed = [file for one in path for file in expand(one, fmt, report=report)]
        if not listed:
            raise DataError("the list of files is empty; name at least one")
        _refuse_twice(listed)
        return listed
    here = Path(path)
    if here.is_file():
        return [here]
    if here.is_dir():
        return _tables_of(here, fmt, report)
    matches = sorted(Path(match) for match in glob.glob(str(path), recursive=True))
    matches = [match for match in matches if not any(_hidden(part) for part in match.parts if not _named(part, here))]
    files = [file for file in matches if file.is_file()]
    if files:
        _refuse_twice(files)
        for file in files:
            refuse_versioned(file.parents[: len(_below(here, file)) + 1])
        if report:
            log(f"no file is called {path}; as a pattern, it matches {_counted(files)}")
        return files
    folders = [folder for folder in matches if folder.is_dir()]
    if folders:
        raise DataError(
            f"the pattern {path} matches only folders, such as {folders[0]}; name a folder, or its files by {path}/*"
        )
    raise DataError(_nothing_at(str(path)))


def _nothing_at(path: str) -> str:
    """Why nothing can be read at a path, and what to do."""
    if path == "-":
        return "- (standard input) cannot be read as a table, which is read twice; write it to a file"
    if Path(path).exists():
        return f"{path} is no file but a pipe or a device, and a table is read twice; write it to a file"
    if "://" in path:
        return f"{path} is an address, and only files of this machine are read; {_fetched(path)}"
    if Path(path).parts[:1] == ("~",):
        return (
            f"{path} does not exist: ~ means the home folder only where a shell expands it; write {Path(path).expanduser()}"
        )
    if (expanded := os.path.expandvars(path)) != path:
        return f"{path} does not exist: variables are only expanded by a shell; write {expanded}"
    if glob.has_magic(path):
        return f"no file matches the pattern {path}"
    return f"{path} does not exist"


def _fetched(address: str) -> str:
    scheme, _, rest = address.partition("://")
    return f"write {unquote(rest)}" if scheme == "file" else "download it first"


def partition_values(path: PathLike | Sequence[PathLike], file: Path) -> dict[str, str | None]:
    """Find the columns that a file's folders give: those below the folder, or the fixed part of the pattern, that is named.

    ``year=2024/part.parquet`` gives ``{"year": "2024"}``. Values are decoded as Hive and Spark encode them:
    ``S%C3%A3o%20Paulo`` is ``São Paulo``, and ``__HIVE_DEFAULT_PARTITION__`` is null.

    Raises
    ------
    DataError
        Two folders give one column.
    """
    if not isinstance(path, str | Path):
        return next((values for one in path if (values := partition_values(one, file))), {})
    return partition_columns(_below(Path(path), file), str(file))


def partition_columns(folders: Sequence[str], name: str) -> dict[str, str | None]:
    """The columns that the names of folders give, as :func:`partition_values`; ``name`` is the file's, for messages."""
    found = dict[str, str | None]()
    for part in folders:
        key, equals, value = part.partition("=")
        if key and equals:
            if (column := unquote(key)) in found:
                raise DataError(f"{name}: its folders name {column!r} twice, so its value is not clear; read an inner one")
            found[column] = None if value == _HIVE_NULL else unquote(value)
    return found


def _below(path: Path, file: Path) -> tuple[str, ...]:
    """The folders of a file below the folder, or the fixed part of the pattern, that the caller named."""
    if not path.exists() and glob.has_magic(str(path)):
        fixed = next(place for place, part in enumerate(path.parts) if glob.has_magic(part))
        path = Path(*path.parts[:fixed])
    elif not path.is_dir():
        return ()
    return file.relative_to(path).parts[:-1] if file.is_relative_to(path) else ()


def _hidden(name: str) -> bool:
    return name.startswith((".", "_"))


def _named(part: str, pattern: Path) -> bool:
    """Tell whether the caller wrote this part of a path, or a pattern of hidden names that matches it."""
    return part in pattern.parts or part in (".", "..") or any(_hidden(one) and fnmatch(part, one) for one in pattern.parts)


def _counted(files: Sequence[Path]) -> str:
    return str(files[0]) if len(files) == 1 else f"{len(files):,} files, {files[0]} ... {files[-1].name}"


def _refuse_twice(files: Sequence[Path]) -> None:
    seen = set[Path]()
    for file in files:
        real = file.resolve()
        if real in seen:
            raise DataError(f"{file} is named twice, so its rows would count double; name each file once")
        seen.add(real)


def _walk(folder: Path) -> Iterator[Path]:
    """List every file below a folder, except hidden ones and those in hidden folders; follow links to a folder once."""
    entered = set[str]()
    for base, folders, names in os.walk(folder, followlinks=True):
        if (real := os.path.realpath(base)) in entered:
            folders.clear()
            continue
        entered.add(real)
        refuse_versioned([Path(base)])
        folders[:] = sorted(name for name in folders if not _hidden(name))
        yield from (Path(base, name) for name in names if not _hidden(name))


def _tables_of(folder: Path, fmt: Format | None, report: bool) -> list[Path]:
    found = sorted(file for file in _walk(folder) if file.is_file())
    tables = [file for file in found if _suffix(file) in _BY_SUFFIX]
    if not tables and fmt is not None:
        tables = found
    if not tables:
        raise DataError(f"the folder {folder} holds no file ending in {', '.join(_BY_SUFFIX)} (or these with .gz)")
    inner = [file for file in tables if any("=" not in part for part in file.relative_to(folder).parts[:-1])]
    if inner and len(inner) < len(tables):
        outer = next(file for file in tables if file not in inner)
        raise DataError(
            f"the folder {folder} holds tables beside its inner folders and within them: {outer} and {inner[0]}; name the "
            f"files to read, or all of them by {folder}/**/*"
        )
    _refuse_twice(tables)
    if report and (left := [file for file in found if file not in set(tables)]):
        log(f"{folder}: not read, as the ending means no known format: {_counted(left)}")
    return tables
