"""Open a table that is no file: a frame of polars or pandas, an Arrow table, or a stream of Arrow batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any, Protocol, TypeAlias, TypeGuard, runtime_checkable

import polars as pl

from recsys.core.arguments import described
from recsys.data.formats.pandas_frames import is_pandas, open_pandas
from recsys.errors import ConfigError, DataError, RecsysError


@runtime_checkable
class ArrowStream(Protocol):
    """What gives its rows as a stream of Arrow batches: tables of pyarrow, pandas and polars, relations of DuckDB."""

    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
        """A capsule of the stream."""


@runtime_checkable
class ArrowArray(Protocol):
    """What gives its rows as one Arrow batch."""

    def __arrow_c_array__(self, requested_schema: Any = None) -> Any:
        """Two capsules: of the schema and of the batch."""


@runtime_checkable
class ArrowDataset(Protocol):
    """What gives chosen columns by a scanner: data sets of pyarrow and of Lance."""

    def scanner(self, *, columns: list[str]) -> Any:
        """What has ``to_reader()``."""


Frame: TypeAlias = pl.LazyFrame | ArrowStream | ArrowArray | ArrowDataset
"""A table that is no file."""
Read: TypeAlias = Callable[[dict[str, str]], pl.DataFrame]
"""Our name → its name; gives these columns of all rows."""

_INSTEAD = {
    "to_pyarrow_dataset": "table.to_pyarrow_dataset()",
    "toArrow": "frame.toArrow()",
    "scan": "table.scan().to_arrow_batch_reader()",
    "to_arrow": "its .to_arrow()",
}
"""A method of tables that give no stream themselves, such as Delta's, Spark's and Iceberg's → what to pass."""


def is_frame(value: object) -> TypeGuard[Frame]:
    """Whether a value is a table in memory, or a stream of one; a single column is none."""
    if isinstance(value, type) or hasattr(value, "to_frame"):
        return False
    return is_pandas(value) or isinstance(value, pl.LazyFrame | ArrowStream | ArrowArray | ArrowDataset)


def no_frame(value: object, name: str, or_else: str = "") -> ConfigError:
    """The error about a value that is no frame, nor what else is taken: what it is, and what to pass."""
    hint = next((f"; pass {instead}" for method, instead in _INSTEAD.items() if hasattr(value, method)), "")
    if isinstance(value, dict | list | tuple):
        hint = "; pass polars.DataFrame(rows)"
    taken = f"{or_else}, a frame" if or_else else "a frame"
    return ConfigError(
        f"{name} must be {taken} of polars or pandas, an Arrow table, or anything with __arrow_c_stream__, "
        f"not {described(value)}{hint}"
    )


def open_frame(value: object, name: str) -> tuple[list[str], Read]:
    """Find the columns of a frame, and how to read some of them. A stream is read once only.

    Parameters
    ----------
    value : frame
        A frame of polars (lazy too) or pandas; a table, reader or data set of pyarrow; anything that gives an Arrow stream.
    name : str
        What messages call it.

    Raises
    ------
    ConfigError
        It is something else.
    DataError
        It is no table, or cannot be read.
    DependencyError
        A frame of pandas needs the package pyarrow, which is missing.
    """
    if not is_frame(value):
        raise no_frame(value, name)
    with _reported(name):
        columns, read = _opened(value, name)

    def reported(wanted: dict[str, str]) -> pl.DataFrame:
        with _reported(name):
            return read(wanted)

    return columns, reported


def frame_of(value: object, name: str) -> pl.DataFrame:
    """All columns of a frame, as polars holds them.

    Parameters
    ----------
    value : frame
        As for :func:`open_frame`.
    name : str
        What messages call it.

    Raises
    ------
    ConfigError, DataError, DependencyError
        As :func:`open_frame`.
    """
    if isinstance(value, pl.DataFrame):
        return value
    columns, read = open_frame(value, name)
    return read({column: column for column in columns})


def _opened(value: Any, name: str) -> tuple[list[str], Read]:
    if isinstance(value, pl.DataFrame | pl.LazyFrame):
        return value.lazy().collect_schema().names(), lambda wanted: _selected(value.lazy(), wanted)
    if is_pandas(value):
        return open_pandas(value, name)
    if isinstance(value, ArrowStream | ArrowDataset) and find_spec("pyarrow") is not None:
        return _open_arrow(value, name)
    whole = pl.DataFrame(value)
    return whole.columns, lambda wanted: _selected(whole.lazy(), wanted)


def _selected(frame: pl.LazyFrame, wanted: dict[str, str]) -> pl.DataFrame:
    return frame.select(pl.col(theirs).alias(ours) for ours, theirs in wanted.items()).collect()


def _open_arrow(value: Any, name: str) -> tuple[list[str], Read]:
    """Read the chosen columns batch by batch, so that the others are never in memory together."""
    import pyarrow as pa  # noqa: PLC0415 - an extra

    if isinstance(value, ArrowDataset):
        dataset: Any = value
        return list(dataset.schema.names), lambda wanted: from_batches(
            dataset.scanner(columns=list(dict.fromkeys(wanted.values()))).to_reader(), wanted, name
        )
    reader: Any = value.to_reader() if isinstance(value, pa.Table) else pa.RecordBatchReader.from_stream(value)

    def read(wanted: dict[str, str]) -> pl.DataFrame:
        frame = from_batches(reader, wanted, name)
        if frame.height == 0:
            raise DataError(f"{name} has no rows; a stream gives its rows once only: was it read before?")
        return frame

    return list(reader.schema.names), read


def from_batches(reader: Any, wanted: dict[str, str], name: str) -> pl.DataFrame:
    """Read columns of all batches of a stream.

    Parameters
    ----------
    reader : pyarrow.RecordBatchReader
    wanted : dict
        Our name → its name.
    name : str
        What messages call it.

    Raises
    ------
    DataError
        A column is of a type that only its own library knows.
    """
    import pyarrow as pa  # noqa: PLC0415 - an extra

    if frames := list(each_batch(reader, wanted, name)):
        return pl.concat(frames, rechunk=False)
    return _plain(pa.record_batch([pa.array([], field.type) for field in reader.schema], schema=reader.schema), wanted)


def each_batch(reader: Any, wanted: dict[str, str], name: str) -> Iterator[pl.DataFrame]:
    """Yield the columns of each batch that has rows; takes and raises what :func:`from_batches` does."""
    for theirs in wanted.values():
        _refuse_foreign(reader.schema.field(theirs).type, f"{name}, column {theirs!r}")
    for batch in reader:
        if batch.num_rows:
            yield _plain(batch, wanted)


def _plain(batch: Any, wanted: dict[str, str]) -> pl.DataFrame:
    """The chosen columns of a batch; UUIDs as text, other types of libraries as what they are stored as.

    Views of strings become strings in pyarrow itself: before version 25 it crashed where it handed short ones to another
    library (https://github.com/apache/arrow/issues/49740).
    """
    import pyarrow as pa  # noqa: PLC0415 - an extra

    columns = {ours: batch.column(theirs) for ours, theirs in wanted.items()}
    uuids = [ours for ours, column in columns.items() if _is_uuid(column.type)]
    stored = {ours: one.storage if isinstance(one.type, pa.BaseExtensionType) else one for ours, one in columns.items()}
    safe = [one.cast(pa.large_string()) if one.type == pa.string_view() else one for one in stored.values()]
    frame = pl.DataFrame(pa.record_batch(safe, names=list(stored)))
    return frame.with_columns(_as_uuid(ours) for ours in uuids) if uuids else frame


def _is_uuid(dtype: Any) -> bool:
    return str(dtype) == "extension<arrow.uuid>"


def _as_uuid(name: str) -> pl.Expr:
    digits = pl.col(name).bin.encode("hex")
    parts = [digits.str.slice(start, length) for start, length in ((0, 8), (8, 4), (12, 4), (16, 4), (20, 12))]
    return pl.concat_str(parts, separator="-").alias(name)


def _refuse_foreign(dtype: Any, where: str) -> None:
    """Refuse bytes whose meaning only their own library knows, such as a network address of PostgreSQL."""
    import pyarrow as pa  # noqa: PLC0415 - an extra

    if isinstance(dtype, pa.BaseExtensionType) and not _is_uuid(dtype) and pa.types.is_binary(dtype.storage_type):
        kind = f"{dtype.type_name} of {dtype.vendor_name}" if isinstance(dtype, pa.OpaqueType) else str(dtype)
        raise DataError(f"{where}: is of the type {kind}, which is not read; make it text, in SQL by CAST(... AS text)")


@contextmanager
def _reported(name: str) -> Iterator[None]:
    """Turn the errors and panics of other libraries while they give rows into a DataError that names the frame.

    A panic of polars is not an ``Exception``; here it means a type of column that polars does not hold.
    """
    try:
        yield
    except RecsysError:
        raise
    except (pl.exceptions.PolarsError, ValueError, TypeError, LookupError, ArithmeticError, OSError, RuntimeError) as error:
        raise DataError(f"{name} cannot be read: {_first_line(error)}") from error
    except pl.exceptions.PanicException as error:
        raise DataError(f"{name} has a column of a type that polars does not hold ({_first_line(error)})") from error


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
