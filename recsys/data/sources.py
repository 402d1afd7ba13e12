"""What the readers take: paths of files and folders, and frames of any kind."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TypeAlias

import polars as pl

from recsys.core.arguments import listed, place, text
from recsys.core.progress import naming
from recsys.data.formats.dialect import Dialect
from recsys.data.formats.frames import Frame, Read, is_frame, no_frame, open_frame
from recsys.data.formats.paths import Format, PathLike, TableFile, expand, format_of, table_files
from recsys.data.formats.pieces import Pieces, Prover
from recsys.data.formats.remote import RemoteFile, is_remote, remote_files
from recsys.data.formats.table import Table, open_table, table_of, with_dialect
from recsys.errors import ConfigError, DataError, RecsysError

Listed: TypeAlias = Sequence[PathLike] | Sequence[Frame | Table]
Source: TypeAlias = PathLike | Frame | Table | Listed
"""A path, a pattern, a folder, a frame or an opened table; or a list of paths, or of frames."""


def sources(value: object) -> Listed:
    """The paths, or the frames, that an argument means.

    Raises
    ------
    ConfigError
        It is something else, or holds both paths and frames.
    """
    if isinstance(value, str | os.PathLike):
        return [_path(value)]
    if isinstance(value, Table) or is_frame(value):
        return [value]
    try:
        found = listed(value, "source", "paths or frames")
    except ConfigError as error:
        raise no_frame(value, "source", or_else="a path") from error
    frames: list[Frame | Table] = [one for one in found if isinstance(one, Table) or is_frame(one)]
    if frames and len(frames) < len(found):
        raise ConfigError("source must be a list of paths or a list of frames, not of both; read the files as frames")
    return frames or [_path(one) for one in found]


def _path(value: object) -> PathLike:
    if not isinstance(value, str | os.PathLike):
        raise no_frame(value, "each of source", or_else="a path")
    return text(value, "source") if isinstance(value, str) else place(value, "source")


def tables_of(source: Source, fmt: Format | None, movielens_columns: Sequence[str], dialect: Dialect) -> Iterator[Table]:
    """Open each file or frame when its turn comes.

    Parameters
    ----------
    source : path, frame, or list
        As for :func:`sources`.
    fmt, movielens_columns, dialect
        As for :func:`recsys.data.formats.table.open_table`.

    Raises
    ------
    ConfigError, DataError
        One cannot be opened, or a frame is given with a format.
    """
    source = sources(source)
    paths = [one for one in source if isinstance(one, str | os.PathLike)]
    if len(paths) == len(source):
        for one in local_tables(paths, fmt):
            yield table_in(one, movielens_columns, dialect)
        return
    if fmt is not None:
        raise ConfigError("format= is for files, and a frame is none; leave it out")
    for number, frame in enumerate(source, 1):
        name = "the frame" if len(source) == 1 else f"frame {number}"
        yield with_dialect(frame if isinstance(frame, Table) else table_of(name, *open_frame(frame, name)), dialect)


def table_in(one: TableFile, movielens_columns: Sequence[str], dialect: Dialect) -> Table:
    """Open one file; messages call it by its name, and one that was fetched by its address.

    Raises
    ------
    ConfigError, DataError
        As for :func:`recsys.data.formats.table.open_table`.
    """
    with _called(one):
        table = open_table(one.file, one.format, movielens_columns, dialect, one.constants)
    return replace(table, name=one.name, read=_reading(table, one), pieces=_piecing(table, one), prove=_proving(table, one))


def files_of(paths: Sequence[PathLike], fmt: Format | None) -> list[TableFile | RemoteFile]:
    """List the files of paths and addresses; nothing is fetched.

    Raises
    ------
    ConfigError, DataError, DependencyError
        As :func:`recsys.data.formats.paths.table_files` and :func:`recsys.data.formats.remote.remote_files`.
    """
    if not any(is_remote(path) for path in paths):
        return [*table_files(paths, fmt)]
    listed_ = [remote_files(str(path), fmt) if is_remote(path) else table_files(path, fmt) for path in paths]
    files: list[TableFile | RemoteFile] = [file for some in listed_ for file in some]
    names = [one.name if isinstance(one, RemoteFile) else str(one.file.resolve()) for one in files]
    if twice := next((name for place, name in enumerate(names) if name in names[:place]), None):
        raise DataError(f"{twice} is named twice, so its rows would count double; name each file once")
    return files


@contextmanager
def at_hand(one: TableFile | RemoteFile) -> Iterator[TableFile]:
    """A file of this machine; that of an address is fetched, and removed when the block ends.

    Raises
    ------
    DataError
        It cannot be fetched.
    """
    if isinstance(one, TableFile):
        yield one
        return
    with one.fetched() as file:
        yield TableFile(file, one.format, one.constants, one.name)


def local_tables(paths: Sequence[PathLike], fmt: Format | None) -> Iterator[TableFile]:
    """List the files of paths; those of an address are fetched when their turn comes, and removed when the next one's has.

    Raises
    ------
    ConfigError, DataError, DependencyError
        As :func:`files_of` and :func:`at_hand`.
    """
    for one in files_of(paths, fmt):
        with at_hand(one) as file:
            yield file


def formats_of(paths: Sequence[PathLike], fmt: Format | None) -> set[Format]:
    """The formats of the files of paths; nothing is fetched.

    Raises
    ------
    ConfigError, DataError, DependencyError
        As :func:`local_tables`.
    """
    if fmt is not None:
        return {fmt}
    here = [path for path in paths if not is_remote(path)]
    there = [one.format for path in paths if is_remote(path) for one in remote_files(str(path))]
    return {*there, *(format_of(file) for file in (expand(here, report=False) if here or not there else ()))}


def _reading(table: Table, one: TableFile) -> Read:
    def read(wanted: dict[str, str]) -> pl.DataFrame:
        with _called(one):
            return table.read(wanted)

    return read


def _proving(table: Table, one: TableFile) -> Prover:
    def prove(column: str, values: pl.Series) -> None:
        with _called(one):
            table.prove(column, values)

    return prove


def _piecing(table: Table, one: TableFile) -> Pieces:
    def pieces(wanted: dict[str, str], rows: int) -> Iterator[tuple[pl.DataFrame, float]]:
        found = table.pieces(wanted, rows)
        while True:
            with _called(one):  # what the caller logs between two pieces names its own files
                piece = next(found, None)
            if piece is None:
                return
            yield piece

    return pieces


@contextmanager
def _called(one: TableFile) -> Iterator[None]:
    """Call a fetched file by its address in what the block logs and raises."""
    if one.name == str(one.file):
        yield
        return
    with naming(str(one.file), one.name):
        try:
            yield
        except RecsysError as error:
            raise type(error)(str(error).replace(str(one.file), one.name)) from error.__cause__
