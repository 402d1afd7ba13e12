"""One guard for every reader: what polars and the operating system raise becomes one plain error."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import polars as pl

from recsys.core.processes import begin_threads
from recsys.errors import DataError


@contextmanager
def guarded(file: Path, kind: str) -> Iterator[None]:
    """Turn the errors and panics of reading a file into a DataError that names it.

    A panic of polars is no ``Exception`` and passes every ``except Exception``; it stands for a damaged file here.

    Parameters
    ----------
    file : Path
    kind : str
        The format, for the message.

    Raises
    ------
    DataError
        The block raised an error of polars, of the operating system or of unzipping.
    """
    begin_threads()
    try:
        yield
    except (pl.exceptions.NoDataError, EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{file} is empty or cut off: {error}") from error
    except (pl.exceptions.PolarsError, OSError) as error:
        raise DataError(f"{file} cannot be read as {kind}: {_first_line(error)}") from error
    except pl.exceptions.PanicException as error:
        raise DataError(f"{file} cannot be read as {kind}: it is damaged ({_first_line(error)})") from error


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
