"""Read a text file of any encoding, gzipped or not, as UTF-8 without a byte order mark."""

from __future__ import annotations

import codecs
import gzip
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from recsys.core.progress import log, warn
from recsys.errors import ConfigError, DataError

Bytes: TypeAlias = npt.NDArray[np.uint8]

_PIECE, _HEAD, _FIRST = 1 << 20, 1 << 12, 1 << 16
_MOST_RATIO = 200
"""Largest growth by unzipping: logs grow 3 to 30 times, a file made to fill the memory 1,000 times."""
_FREE = 1 << 26
"""Bytes to which any file may grow."""
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


@dataclass(frozen=True, eq=False)
class TextBytes:
    """The bytes of a text in UTF-8.

    Attributes
    ----------
    file : Path
        The file of the text.
    data : bytes or None
        None: the file itself is in UTF-8, and stays on the disk.
    """

    file: Path
    data: bytes | None = None

    def first_lines(self) -> tuple[str, bool]:
        """The first 64 KiB or more, with at least one line end, and whether this is the whole text."""
        size = _FIRST
        head = self._head(size)
        while len(head) == size and b"\n" not in head and b"\r" not in head:
            size *= 2
            head = self._head(size)
        return head.decode("utf-8", "replace").replace("\r\n", "\n").replace("\r", "\n"), len(head) < size

    def _head(self, size: int) -> bytes:
        if self.data is not None:
            return self.data[:size]
        with self.file.open("rb") as stream:
            return stream.read(size)

    def size(self) -> int:
        """The number of bytes."""
        return self.file.stat().st_size if self.data is None else len(self.data)

    def whole(self) -> bytes:
        """Read all bytes."""
        return self.file.read_bytes() if self.data is None else self.data

    def blocks(self, size: int) -> Iterator[bytes]:
        """The bytes in blocks."""
        if self.data is not None:
            for start in range(0, len(self.data), size):
                yield self.data[start : start + size]
            return
        with self.file.open("rb") as stream:
            while block := stream.read(size):
                yield block

    def lines(self) -> Iterator[str]:
        """The lines without their line feeds, one after the other.

        Raises
        ------
        UnicodeDecodeError
            A line is not UTF-8.
        """
        opened = self.file.open("rb") if self.data is None else io.BytesIO(self.data)
        with opened as stream:
            for line in stream:
                yield line.removesuffix(b"\n").decode()

    def line_of(self, start: int, data: bytes | None = None) -> int:
        """Count the line, from 1, that holds a byte."""
        return (self.whole() if data is None else data).count(b"\n", 0, start) + 1


def open_text(file: Path, encoding: str | None) -> TextBytes:
    """Open a text file, gzipped or not.

    Parameters
    ----------
    file : Path
    encoding : str, optional
        By default UTF-8, or what the file's byte order mark says.

    Raises
    ------
    DataError
        The file is empty, is packed by another program, grows too much by unzipping, or is not in this encoding; the
        message names the first bad line.
    ConfigError
        Python does not know the encoding.
    """
    name = _known(encoding)
    with file.open("rb") as stream:
        head = stream.read(_HEAD)
    data: bytes | None = None
    if file.suffix.lower() == ".gz" or head.startswith(b"\x1f\x8b"):
        data = _unzipped(file, name)
        head = data[:_HEAD]
    elif head.startswith(b"\x28\xb5\x2f\xfd") or head.startswith(b"PK\x03\x04"):
        raise DataError(f"{file} is packed by {'zip' if head.startswith(b'PK') else 'zstd'}; unpack it, or pack it by gzip")
    if not head:
        raise DataError(f"{file} is empty")
    marked = next(((mark, means) for mark, means in _MARKS if head.startswith(mark)), None)
    if marked is None:
        if name in (None, "utf-8", "utf-8-sig"):
            if b"\0" in head:
                raise DataError(f"{file} holds NUL bytes, so it is not text or is damaged; {_UTF16_HINT}")
            return TextBytes(file, data)
        return TextBytes(file, _recoded(file, file.read_bytes() if data is None else data, name))
    mark, means = marked
    if name is not None and not name.removesuffix("-sig").startswith(means):
        raise DataError(
            f"{file} begins with the byte order mark of {means}, so it is not in {encoding}; "
            f"leave out encoding= (--encoding)"
        )
    data = file.read_bytes() if data is None else data
    if means == "utf-8":
        return TextBytes(file, data[len(mark) :])
    if name is None:
        log(f"{file}: read as {means}, by its byte order mark")
    return TextBytes(file, _recoded(file, data, means))


def _known(encoding: str | None) -> str | None:
    if encoding is None:
        return None
    try:
        "a".encode(encoding)
        return codecs.lookup(encoding).name
    except (LookupError, ValueError) as error:
        raise ConfigError(
            f"encoding= (--encoding) {encoding!r} is not known; use one such as utf-8, cp1252, latin-1 or utf-16"
        ) from error


def _unzipped(file: Path, encoding: str | None) -> bytes:
    packed, pieces, size = file.stat().st_size, list[bytes](), 0
    text = encoding is None or not encoding.startswith(("utf-16", "utf-32"))
    with gzip.open(file, "rb") as stream:
        while piece := stream.read(_PIECE):
            if not pieces and piece.startswith(tuple(mark for mark, means in _MARKS if means != "utf-8")):
                text = False
            if text and b"\0" in piece:
                raise DataError(f"{file} holds NUL bytes after unzipping, so it is not text or is damaged; {_UTF16_HINT}")
            pieces.append(piece)
            size += len(piece)
            if size > _FREE and size > _MOST_RATIO * packed:
                raise DataError(
                    f"{file} grows more than {_MOST_RATIO} times by unzipping ({packed:,} bytes to over {size:,}), as no "
                    f"log does; if the file is right, unzip it yourself"
                )
    return b"".join(pieces)


_UTF16_HINT = "if it is UTF-16, set encoding='utf-16' (--encoding utf-16)"


def _recoded(file: Path, data: bytes, encoding: str) -> bytes:
    """UTF-8 without a byte order mark."""
    decoder, parts, line = codecs.getincrementaldecoder(encoding)(), list[bytes](), 1
    mistaken = _is_utf8(data) if not encoding.startswith("utf") else False
    for start in range(0, len(data), _PIECE):
        piece = data[start : start + _PIECE]
        try:
            text = decoder.decode(piece, final=start + _PIECE >= len(data))
        except UnicodeDecodeError as error:
            line += str(error.object[: error.start], encoding, "ignore").count("\n")
            bad = error.object[error.start : error.start + 1].hex()
            raise DataError(
                f"{file}: line {line} is not {encoding}: byte 0x{bad} ({error.reason}); set another encoding= (--encoding)"
            ) from error
        line += text.count("\n")
        parts.append(text.encode("utf-8", "surrogatepass"))
    if mistaken:
        warn(f"{file}: read as {encoding}, as you asked, but its bytes are UTF-8: letters such as é may come out as Ã©")
    return b"".join(parts).removeprefix(codecs.BOM_UTF8)


def _is_utf8(data: bytes) -> bool:
    """Tell whether bytes hold letters beyond ASCII, all of them written as in UTF-8."""
    if data.isascii():
        return False
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def refuse_bad_utf8(text: TextBytes, kind: str) -> None:
    """Refuse a text that is not UTF-8.

    Raises
    ------
    DataError
        A line is not UTF-8; the message names the first one.
    """
    data = text.whole()
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{text.file} cannot be read as {kind}: line {text.line_of(error.start, data)} is not utf-8 "
            f"(byte 0x{data[error.start]:02x}); set its encoding, such as encoding='cp1252' (--encoding cp1252),"
            f" or repair the line"
        ) from error


def in_movielens_encoding(text: TextBytes) -> TextBytes:
    """Decode UTF-8, or latin-1 if no letter beyond ASCII is written as in UTF-8: the encoding of MovieLens 1M.

    Raises
    ------
    DataError
        Some bytes are UTF-8 and others are not, or are not letters in latin-1 either: the file is damaged.
    """
    data = text.whole()
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as error:
        loose = data.decode("utf-8", "surrogateescape")
        odd = np.frombuffer(loose.encode("utf-32-le", "surrogatepass"), np.uint32)
        escaped = odd[(odd >= 0xDC80) & (odd <= 0xDCFF)]
        line, byte = text.line_of(error.start, data), data[error.start]
        if bool(((odd > 0x7F) & ((odd < 0xDC80) | (odd > 0xDCFF))).any()) or bool((escaped < 0xDCA0).any()):
            raise DataError(
                f"{text.file}: line {line} is not utf-8 (byte 0x{byte:02x}), and the file as a whole is not latin-1; "
                f"repair the line, or set encoding='latin-1' or 'cp1252' (--encoding)"
            ) from error
        log(f"{text.file}: read as latin-1, as MovieLens files are written; line {line} is the first that is not UTF-8")
        return TextBytes(text.file, data.decode("latin-1").encode("utf-8"))
    return text
