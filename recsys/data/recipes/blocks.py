"""Read a text file in blocks of whole lines, so that memory does not grow with the file."""

from __future__ import annotations

import contextlib
import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path

from recsys.errors import DataError

BLOCK = 1 << 25
"""Bytes of a block."""
_MARK = b"\xef\xbb\xbf"


def blocks(file: Path, encoding: str, *, quoted: bool = False, size: int = BLOCK) -> Iterator[tuple[int, str]]:
    r"""Whole lines of a file, gzipped or not.

    Parameters
    ----------
    file : Path
    encoding : str
        Python's name of it, or several with `` or `` between them: the first that fits a block.
    quoted : bool
        Whether a line end between double quotes ends no row.
    size : int
        Bytes to read at once.

    Yields
    ------
    int, str
        The number of the first line, from 1; the lines, with ends as ``\n``.

    Raises
    ------
    DataError
        The file is empty, cut off or not in this encoding; the message names the line.
    """
    rest, line = b"", 1
    with file.open("rb") as probe:
        packed = probe.read(2) == b"\x1f\x8b"
    try:
        with gzip.open(file, "rb") if packed else file.open("rb") as stream:
            while piece := stream.read(size):
                rest += piece
                if line == 1 and rest.startswith(_MARK):
                    rest = rest[len(_MARK) :]
                if (end := _last_end(rest, quoted)) > 0:
                    yield line, _decoded(file, rest[:end], encoding, line)
                    line += rest.count(b"\n", 0, end)
                    rest = rest[end:]
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{file} is cut off or damaged ({error}); download it again") from error
    if rest:
        yield line, _decoded(file, rest, encoding, line)
    elif line == 1:
        raise DataError(f"{file} is empty; download it again")


def _last_end(data: bytes, quoted: bool) -> int:
    """The place after the last line end that ends a row; 0 if there is none."""
    end = data.rfind(b"\n") + 1
    odd = quoted and data.count(b'"', 0, end) % 2
    while odd and end:
        before = data.rfind(b"\n", 0, end - 1) + 1
        odd ^= data.count(b'"', before, end) % 2
        end = before
    return end


def _decoded(file: Path, data: bytes, encoding: str, line: int) -> str:
    *others, last = encoding.split(" or ")
    for name in others:
        with contextlib.suppress(UnicodeDecodeError):
            return data.decode(name).replace("\r\n", "\n")
    try:
        return data.decode(last).replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        bad = line + data.count(b"\n", 0, error.start)
        raise DataError(
            f"{file}: line {bad} is not {encoding} (byte 0x{data[error.start]:02x}); is it the file as it was published?"
        ) from error
