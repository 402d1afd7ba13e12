"""The tables of a log as jobs: opened one after the other here, or by whichever process of a cluster reads them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from recsys.core.schema import MOVIELENS_INTERACTIONS
from recsys.data.formats.dialect import Dialect
from recsys.data.formats.paths import Format, PathLike, TableFile
from recsys.data.formats.remote import RemoteFile
from recsys.data.log_request import LogRequest
from recsys.data.quarantine import Quarantine
from recsys.data.sources import Source, files_of, sources, tables_of
from recsys.data.streaming.bounds import Bounds
from recsys.data.streaming.read_table import ReadJob, Told, Unopened
from recsys.errors import ConfigError


@dataclass(frozen=True)
class ReadJobs:
    """How the tables of a log are read; the attributes are those of :class:`~recsys.data.streaming.read_table.ReadJob`."""

    request: LogRequest
    folder: Path
    bounds: Bounds
    dialect: Dialect
    null_values: str | Sequence[str] | None
    aside: Quarantine | None

    def here(self, source: Source, fmt: Format | None, tell: Told) -> Iterator[ReadJob]:
        """A job for each table, which is opened when its turn comes.

        Raises
        ------
        ConfigError, DataError
            As :func:`recsys.data.sources.tables_of`.
        """
        dialect = self.dialect if self.aside is None else replace(self.dialect, damaged=self.aside.tell)
        for number, table in enumerate(tables_of(sources(source), fmt, MOVIELENS_INTERACTIONS, dialect)):
            how = (self.request, self.folder, self.bounds, self.null_values, self.aside, tell)
            yield ReadJob(number, table, *how)

    def elsewhere(self, source: Source, fmt: Format | None) -> Iterator[ReadJob]:
        """A job for each file, which another process opens; what it sets aside comes back with what it read.

        Raises
        ------
        ConfigError
            The source is no file.
        DataError
            There is no such file.
        """
        paths = refuse_frames(source)
        for number, file in enumerate(files_of(paths, fmt)):
            aside = None if self.aside is None else self.aside.empty()
            dialect = self.dialect if aside is None else replace(self.dialect, damaged=aside.tell)
            how = (self.request, self.folder, self.bounds, self.null_values, aside)
            yield ReadJob(number, Unopened(_absolute(file), dialect), *how)


def refuse_frames(source: Source) -> list[PathLike]:
    """The paths of a source.

    Raises
    ------
    ConfigError
        It is a frame or the result of a query, which other processes do not see.
    """
    listed = sources(source)
    paths = [one for one in listed if isinstance(one, str | os.PathLike)]
    if len(paths) < len(listed):
        raise ConfigError(
            "engine='ray' (--engine ray) reads files, which all its workers see, and a frame or a query is none; write it "
            "to files, or import it here"
        )
    return paths


def _absolute(file: TableFile | RemoteFile) -> TableFile | RemoteFile:
    """The same file under a path that means it in every folder; its name stays."""
    return replace(file, file=file.file.absolute()) if isinstance(file, TableFile) else file
