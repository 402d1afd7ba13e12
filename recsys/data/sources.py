"""What the readers take: paths of files and folders, and frames of any kind."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import TypeAlias

from recsys.core.arguments import listed, place, text
from recsys.data.formats.dialect import Dialect
from recsys.data.formats.frames import Frame, is_frame, no_frame
from recsys.data.formats.paths import Format, PathLike, table_files
from recsys.data.formats.table import Table, as_table, open_table
from recsys.errors import ConfigError

Source: TypeAlias = PathLike | Frame | Sequence[PathLike] | Sequence[Frame]
"""A path, a pattern, a folder or a frame; or a list of paths, or of frames."""


def sources(value: object) -> list[PathLike] | list[Frame]:
    """The paths, or the frames, that an argument means.

    Raises
    ------
    ConfigError
        It is something else, or holds both paths and frames.
    """
    if isinstance(value, str | os.PathLike):
        return [_path(value)]
    if is_frame(value):
        return [value]
    try:
        found = listed(value, "source", "paths or frames")
    except ConfigError as error:
        raise no_frame(value, "source", or_else="a path") from error
    frames = [one for one in found if is_frame(one)]
    if frames and len(frames) < len(found):
        raise ConfigError("source must be a list of paths or a list of frames, not of both; read the files as frames")
    return frames or [_path(one) for one in found]


def _path(value: object) -> PathLike:
    if not isinstance(value, str | os.PathLike):
        raise no_frame(value, "each of source", or_else="a path")
    return text(value, "source") if isinstance(value, str) else place(value, "source")


def tables_of(
    source: list[PathLike] | list[Frame], fmt: Format | None, movielens_columns: Sequence[str], dialect: Dialect
) -> Iterator[Table]:
    """Open each file or frame when its turn comes.

    Parameters
    ----------
    source : list of paths, or of frames
        From :func:`sources`.
    fmt, movielens_columns, dialect
        As for :func:`recsys.data.formats.table.open_table`.

    Raises
    ------
    ConfigError, DataError
        One cannot be opened, or a frame is given with a format.
    """
    paths = [one for one in source if isinstance(one, str | os.PathLike)]
    if len(paths) == len(source):
        for one in table_files(paths, fmt):
            yield open_table(one.file, one.format, movielens_columns, dialect, one.constants)
        return
    if fmt is not None:
        raise ConfigError("format= is for files, and a frame is none; leave it out")
    for number, frame in enumerate(source, 1):
        yield as_table(frame, "the frame" if len(source) == 1 else f"frame {number}", dialect)
