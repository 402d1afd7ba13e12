"""Read Arrow IPC files (Feather version 2 too), in the form of a file or of a stream."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import polars as pl

from recsys.data.formats.arrow_messages import CONTINUED, Message, check_packed, check_packed_file
from recsys.errors import DataError

_FILE, _FEATHER_1, _GZIP = b"ARROW1", b"FEA1", b"\x1f\x8b"


def open_arrow_file(file: Path) -> tuple[list[str], Callable[[dict[str, str]], pl.DataFrame]]:
    """Find the columns of an Arrow IPC file, and how to read some of them.

    Parameters
    ----------
    file : Path
        In the form of a file or of a stream, which its first bytes show; its buffers may be packed by lz4 or zstd.

    Raises
    ------
    DataError
        It is neither, or is cut off.
    """
    with file.open("rb") as stream:
        first = stream.read(len(_FILE))
        stream.seek(-min(len(_FILE), file.stat().st_size), 2)
        last = stream.read()
    if first.startswith(_FEATHER_1):
        raise DataError(
            f"{file} is Feather of version 1; write it in version 2: pyarrow.feather.write_feather(table, file)"
        )
    if first.startswith(_GZIP):
        raise DataError(f"{file} is packed by gzip; unpack it, or pack its buffers within: compression='zstd'")
    if first == _FILE:
        if last != _FILE:
            raise DataError(f"{file} is cut off: it begins as an Arrow file, but does not end as one; fetch it again")
        with file.open("rb") as stream:
            check_packed_file(stream, file)
        stored = pl.scan_ipc(file, glob=False, hive_partitioning=False)
        return stored.collect_schema().names(), lambda wanted: _renamed(stored, wanted).collect()
    with file.open("rb") as stream:
        rows = _rows_of_stream(stream, file)

    def read_stream(wanted: dict[str, str]) -> pl.DataFrame:
        whole = pl.read_ipc_stream(file, columns=list(dict.fromkeys(wanted.values())))
        if whole.height != rows:
            raise DataError(f"{file}: its batches say {rows:,} rows, and hold {whole.height:,}; it is damaged")
        return _renamed(whole.lazy(), wanted).collect()

    return list(pl.read_ipc_stream(file, n_rows=0).columns), read_stream


def _renamed(frame: pl.LazyFrame, wanted: dict[str, str]) -> pl.LazyFrame:
    return frame.select(pl.col(theirs).alias(ours) for ours, theirs in wanted.items())


def _rows_of_stream(stream: BinaryIO, file: Path) -> int:
    """Count the rows that the messages of a stream say; refuse a stream that ends before its mark of the end."""
    size, rows = file.stat().st_size, 0
    while True:
        at = stream.tell()
        head = stream.read(8)
        if len(head) < 4:
            break
        length = struct.unpack_from("<I", head)[0]
        if length == CONTINUED and len(head) == 8:
            length = struct.unpack_from("<I", head, 4)[0]
        else:  # versions before 0.15 have no such mark
            stream.seek(at + 4)
        if length == 0:
            if left := size - stream.tell():
                raise DataError(f"{file}: {left:,} bytes follow the end of its rows; it is damaged, or holds several files")
            return rows
        message = stream.read(length) if length <= size - at else b""
        if len(message) < length:
            break
        try:
            told = Message.of(message)
        except (struct.error, IndexError) as error:
            raise DataError(f"{file} is no Arrow file, or it is damaged") from error
        if told.body < 0 or told.body > size - stream.tell():
            break
        check_packed(stream, stream.tell(), told, file)
        stream.seek(told.body, 1)
        rows += told.rows
    if rows == 0 and at == 0:
        raise DataError(f"{file} is no Arrow file, or its first message is cut off")
    raise DataError(
        f"{file} is cut off: it holds {rows:,} rows, and no mark of their end; it was not written or fetched to its end"
    )
