"""Read columns of a pandas frame; pandas itself is imported by whoever passes one."""

from __future__ import annotations

import math
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import polars as pl

from recsys.errors import DataError, DependencyError

_REMEDIES = {
    "period": "turn it into times, frame[{0!r}].dt.to_timestamp()",
    "interval": "turn it into text, frame[{0!r}].astype(str)",
    "Sparse": "make it dense, frame[{0!r}].sparse.to_dense()",
    "complex": "leave it out, or turn it into text",
}
"""How the name of a type begins that has no meaning here → what to do."""


def is_pandas(value: object) -> bool:
    """Whether a value is a pandas frame."""
    return any(f"{kind.__module__.partition('.')[0]}.{kind.__name__}" == "pandas.DataFrame" for kind in type(value).__mro__)


def open_pandas(frame: Any, name: str) -> tuple[list[str], Callable[[dict[str, str]], pl.DataFrame]]:
    """Find the columns of a pandas frame, and how to read some of them.

    Parameters
    ----------
    frame : pandas.DataFrame
    name : str
        What messages call it.

    Raises
    ------
    DataError
        Its index holds values, its columns stand in levels, or a column holds values of several types, or of one that has
        no meaning here.
    DependencyError
        The package pyarrow is missing.
    """
    if find_spec("pyarrow") is None:
        raise DependencyError("frames of pandas are read through the package pyarrow: pip install 'recsys[arrow]'")
    if frame.columns.nlevels > 1:
        raise DataError(f"{name}: its columns stand in {frame.columns.nlevels} levels; give each column one name")
    _check_index(frame.index, name)
    columns = [str(column) for column in frame.columns]

    def read(wanted: dict[str, str]) -> pl.DataFrame:
        return pl.DataFrame(
            [
                _column(frame.iloc[:, columns.index(theirs)], theirs, f"{name}, column {theirs!r}").alias(ours)
                for ours, theirs in wanted.items()
            ]
        )

    return columns, read


def _check_index(index: Any, name: str) -> None:
    """Refuse an index that holds more than the numbers of rows, since only columns are read."""
    named = [one for one in index.names if one is not None]
    if named or index.dtype.kind not in "iub":
        holds = ", ".join(repr(one) for one in named) or f"values such as {index[0]!r}" if len(index) else "values"
        raise DataError(
            f"{name}: its index holds {holds}, and only columns are read; pass frame.reset_index(), or "
            f"frame.reset_index(drop=True) to leave the index out"
        )


def _column(column: Any, theirs: str, where: str) -> pl.Series:
    kind = str(column.dtype)
    if remedy := next((text for begin, text in _REMEDIES.items() if kind.startswith(begin)), None):
        raise DataError(f"{where}: is of type {kind}; {remedy.format(theirs)}")
    if kind == "object":
        _check_objects(column, theirs, where)
    try:
        return pl.from_pandas(column.to_frame()).to_series()
    except (ValueError, TypeError, ArithmeticError, RuntimeError, pl.exceptions.PolarsError) as error:
        first = _first_kinds(column)
        several = f"holds {_joined(first)}" if len(first) > 1 else f"cannot be read ({str(error).splitlines()[0]})"
        raise DataError(f"{where}: {several}; make it one type, such as text: frame[{theirs!r}].astype(str)") from error


def _check_objects(column: Any, theirs: str, where: str) -> None:
    """Refuse dates beside datetimes, which would lose their times of day."""
    import pandas as pd  # type: ignore[import-not-found,unused-ignore]  # noqa: PLC0415 - who passes a frame has it

    if pd.api.types.infer_dtype(column, skipna=True) == "date" and len(first := _first_kinds(column)) > 1:
        raise DataError(f"{where}: holds {_joined(first)}; make it one type: pandas.to_datetime(frame[{theirs!r}])")


def _first_kinds(column: Any) -> dict[str, int]:
    """Name of each type among the values → the number of its first row, counted from 1."""
    found = dict[str, int]()
    for row, value in enumerate(column, 1):
        if not (isinstance(value, float) and math.isnan(value)):
            found.setdefault(type(value).__name__, row)
    return {kind: row for kind, row in found.items() if kind not in ("NoneType", "NAType", "NaTType")}


def _joined(first: dict[str, int]) -> str:
    return " and ".join(f"{kind} (row {row})" for kind, row in list(first.items())[:3])
