"""Check what was read of a Parquet file against its checksums of pages, ranges and counts of nulls."""

from __future__ import annotations

import contextlib
import struct
import zlib
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

import polars as pl

from recsys.core.progress import log
from recsys.core.schema import ITEM, USER
from recsys.data.formats.pieces import Pieces, Prover, Reader, sliced
from recsys.errors import DataError

Struct: TypeAlias = dict[int, Any]
"""A Thrift structure: field number → value."""

_LARGEST_FOOTER = 1 << 22
"""Files of thousands of columns are read without this proof: parsing their footers would cost more than reading them."""
_PAGE_HEADER = 1 << 20
_MANY_SLICES = 8
"""Slices of one row group from which on their cost is told: the group is unpacked anew for each."""
_INTEGERS = {1: "<i", 2: "<q"}
_BYTES = 6
_UNKNOWN = (IndexError, KeyError, struct.error, UnicodeDecodeError, NotImplementedError)
"""What is raised where a footer is written in an unknown way."""


def open_parquet(file: Path) -> tuple[list[str], Reader, Pieces, Prover]:
    """Find the columns of a Parquet file, how to read some of them at once or piece by piece, and how to prove ids.

    The range of a column of ids is left to the prover: it is found faster among distinct ids.
    """
    stored = pl.scan_parquet(file, glob=False, hive_partitioning=False)

    def read(wanted: dict[str, str]) -> pl.DataFrame:
        frame = stored.select(pl.col(theirs).alias(ours) for ours, theirs in wanted.items()).collect()
        prove_parquet(file, {ours: _seen(frame[ours], ours) for ours in wanted}, wanted)
        return frame

    def pieces(wanted: dict[str, str], rows: int) -> Iterator[tuple[pl.DataFrame, float]]:
        groups = groups_of(file) or [stored.select(pl.len()).collect().item()]
        if max(groups) > _MANY_SLICES * rows:
            log(
                f"{file}: a row group holds {max(groups):,} rows, and is read {rows:,} rows at a time, each time from its "
                f"start; smaller row groups are read faster"
            )
        seen = dict[str, Seen]()
        for frame, share in sliced(stored, wanted, rows, groups):
            for ours in wanted:
                new = _seen(frame[ours], ours)
                seen[ours] = seen[ours].joined(new) if ours in seen else new
            if share == 1.0:
                prove_parquet(file, seen, wanted)
            yield frame, share

    def prove(theirs: str, values: pl.Series) -> None:
        with file.open("rb") as stream, contextlib.suppress(*_UNKNOWN):  # which reading has logged
            if chunks := _chunks(stream).get(theirs):
                seen = Seen.of(values)
                _check_range(replace(seen, nulls=None), chunks, f"{file}, column {theirs!r}")

    return stored.collect_schema().names(), read, pieces, prove


def _seen(column: pl.Series, ours: str) -> Seen:
    return Seen(column.dtype, column.null_count(), None, None) if ours in (USER, ITEM) else Seen.of(column)


@dataclass(frozen=True)
class Seen:
    """What was read of a column.

    Attributes
    ----------
    dtype : DataType
    nulls : int or None
        None: not known.
    low, high : object
        The least and the greatest value of text and whole numbers; None: there is none.
    """

    dtype: pl.DataType
    nulls: int | None
    low: Any
    high: Any

    @classmethod
    def of(cls, column: pl.Series) -> Seen:
        """Look through a column."""
        if column.dtype != pl.String and not column.dtype.is_integer():
            return cls(column.dtype, column.null_count(), None, None)
        return cls(column.dtype, column.null_count(), column.min(), column.max())

    def joined(self, other: Seen) -> Seen:
        """What was read of two pieces of a column."""
        lows = [one.low for one in (self, other) if one.low is not None]
        highs = [one.high for one in (self, other) if one.high is not None]
        nulls = None if self.nulls is None or other.nulls is None else self.nulls + other.nulls
        return Seen(self.dtype, nulls, min(lows, default=None), max(highs, default=None))


def groups_of(file: Path) -> list[int] | None:
    """The rows of each row group; None if the footer is very large or cannot be read."""
    try:
        with file.open("rb") as stream:
            return [group[3] for group in _footer(stream).get(4, ())] or None
    except (IndexError, KeyError, struct.error, UnicodeDecodeError, NotImplementedError, TypeError):
        return None


def prove_parquet(file: Path, seen: Mapping[str, Seen], wanted: Mapping[str, str]) -> None:
    """Refuse columns that contradict the file's footer or checksums.

    Parameters
    ----------
    file : Path
    seen : mapping
        Our name → what was read of the column.
    wanted : mapping
        Our name → the file's.

    Raises
    ------
    DataError
        A page's checksum is wrong, or a column's values lie outside the range in the footer or have another number of
        nulls: the file is damaged.
    """
    with file.open("rb") as stream:
        try:
            chunks = _chunks(stream)
            for ours, theirs in wanted.items():
                if theirs in chunks:
                    _check_pages(stream, chunks[theirs], f"{file}, column {theirs!r}")
                    _check_range(seen[ours], chunks[theirs], f"{file}, column {theirs!r}")
        except _UNKNOWN as error:
            log(f"{file}: read, but not checked against its own checksums, which are written in an unknown way ({error!r})")
        except (TypeError, AttributeError, OverflowError) as error:  # a field of another type than the format gives it
            raise DataError(f"{file}: its footer is damaged ({error}); fetch the file again") from error


def _footer(stream: BinaryIO) -> Struct:
    """The metadata of the file; empty if they are too large to parse."""
    size = stream.seek(0, 2)
    stream.seek(max(size - 8, 0))
    length, magic = struct.unpack("<I4s", stream.read(8))
    if magic != b"PAR1" or length > min(size - 8, _LARGEST_FOOTER):
        return {}
    stream.seek(size - 8 - length)
    return _structure(stream.read(length), 0)[0]


def _chunks(stream: BinaryIO) -> dict[str, list[Struct]]:
    """Column → the metadata of its part in each group of rows; only columns that are not part of another one."""
    found: dict[str, list[Struct]] = defaultdict(list)
    for group in _footer(stream).get(4, ()):
        for column in group[1]:
            if len(column[3][3]) == 1:
                found[column[3][3][0].decode()].append(column[3])
    return found


def _check_pages(stream: BinaryIO, chunks: list[Struct], where: str) -> None:
    for group, chunk in enumerate(chunks, 1):
        at = min(chunk[9], chunk.get(11) or chunk[9])
        end = at + chunk[7]
        while at < end:
            stream.seek(at)
            header, used = _structure(stream.read(min(_PAGE_HEADER, end - at)), 0)
            if 4 not in header:
                break  # this writer gives no checksums
            stream.seek(at + used)
            if zlib.crc32(stream.read(header[3])) != header[4] & 0xFFFFFFFF:
                raise DataError(
                    f"{where}: the checksum of a page in row group {group} is wrong, so the file is damaged; fetch it again"
                )
            at += used + header[3]


def _check_range(seen: Seen, chunks: list[Struct], where: str) -> None:
    stated = [chunk.get(12, {}) for chunk in chunks]
    known = seen.nulls is not None and all(3 in one for one in stated)
    if known and (nulls := sum(one[3] for one in stated)) != seen.nulls:
        raise DataError(f"{where}: has {seen.nulls:,} nulls, but {nulls:,} by the file's footer; the file is damaged")
    stated = [one for one, chunk in zip(stated, chunks, strict=True) if one.get(3) != chunk[5]]
    text = seen.dtype == pl.String and chunks[0][1] == _BYTES
    whole = seen.dtype.is_integer() and chunks[0][1] in _INTEGERS
    if not (text or whole) or not stated or not all(5 in one and 6 in one for one in stated):
        return
    lows, highs = [one[6] for one in stated], [one[5] for one in stated]
    low, high = seen.low, seen.high
    if low is None:
        return
    if text:
        low, high = low.encode(), high.encode()
    else:
        form = _INTEGERS[chunks[0][1]].upper() if seen.dtype.is_unsigned_integer() else _INTEGERS[chunks[0][1]]
        lows, highs = ([struct.unpack(form, one)[0] for one in side] for side in (lows, highs))
    if low < min(lows) or high > max(highs):
        raise DataError(
            f"{where}: holds {low if low < min(lows) else high!r}, outside the range in the file's "
            f"footer; the file is damaged"
        )


def _structure(data: bytes, at: int) -> tuple[Struct, int]:
    """Parse a structure in Thrift's compact protocol; return also where it ends."""
    found: Struct = {}
    number = 0
    while (head := data[at]) != 0:
        at += 1
        if head >> 4:
            number += head >> 4
        else:
            number, at = _zigzag(data, at)
        found[number], at = (head & 15 == 1, at) if head & 15 in (1, 2) else _value(data, at, head & 15)
    return found, at + 1


def _value(data: bytes, at: int, kind: int) -> tuple[Any, int]:
    if kind in (1, 2):
        return data[at] == 1, at + 1
    if kind == 3:
        return data[at], at + 1
    if kind in (4, 5, 6):
        return _zigzag(data, at)
    if kind == 7:
        return struct.unpack_from("<d", data, at)[0], at + 8
    if kind == 8:
        length, at = _varint(data, at)
        return data[at : at + length], at + length
    if kind in (9, 10):
        head, at = data[at], at + 1
        count, at = (head >> 4, at) if head >> 4 < 15 else _varint(data, at)
        values = []
        for _ in range(count):
            value, at = _value(data, at, head & 15)
            values.append(value)
        return values, at
    if kind == 12:
        return _structure(data, at)
    raise NotImplementedError(f"a Thrift value of kind {kind}")


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
        shift += 7


def _zigzag(data: bytes, at: int) -> tuple[int, int]:
    value, at = _varint(data, at)
    return (value >> 1) ^ -(value & 1), at
