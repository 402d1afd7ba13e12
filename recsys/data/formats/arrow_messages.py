"""The messages of Arrow files, and what is packed in them: https://arrow.apache.org/docs/format/Columnar.html."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from recsys.core.memory import available_memory
from recsys.errors import DataError

CONTINUED: Final = 0xFFFFFFFF
"""What a message begins with since version 0.15; its length follows."""
_DICTIONARY, _BATCH = 2, 3
"""The kinds of messages that hold values."""
_KIND, _HEADER, _BODY_LENGTH = 1, 2, 3
"""Fields of a message."""
_ROWS, _BUFFERS, _COMPRESSION = 0, 2, 3
"""Fields of the header of a batch of rows."""
_DATA = 1
"""The field of a batch of a dictionary that holds its values, as a batch of rows."""
_DICTIONARIES, _BATCHES = 2, 3
"""Fields of the footer of a file: where the messages stand."""
_MOST: Final = {0: 255, 1: 1 << 15}
"""Codec → bytes that one byte can stand for: 255 by lz4; by zstd, 4 bytes for a block of 128 KiB."""
_MOST_CODEC = 1 << 15
_LARGEST = 1 << 40


@dataclass(frozen=True)
class Message:
    """What is told of a message by its flat buffer.

    Attributes
    ----------
    rows : int
        Of a batch of rows; 0 of others.
    body : int
        Bytes that follow the message.
    buffers : tuple of (int, int)
        Where each buffer that may be packed begins in the body, and its length; none if the body is not packed.
    codec : int
        0: lz4, 1: zstd.
    """

    rows: int
    body: int
    buffers: tuple[tuple[int, int], ...] = ()
    codec: int = 0

    @classmethod
    def of(cls, message: bytes) -> Message:
        """Read a flat buffer.

        Raises
        ------
        struct.error
            It is none.
        """
        (root,) = struct.unpack_from("<I", message)
        kind, at = _field(message, root, _KIND), _field(message, root, _BODY_LENGTH)
        body = struct.unpack_from("<q", message, at)[0] if at else 0
        header = _field(message, root, _HEADER)
        if not kind or not header or message[kind] not in (_DICTIONARY, _BATCH):
            return cls(0, body)
        batch = _table(message, header)
        if message[kind] == _DICTIONARY:
            data = _field(message, batch, _DATA)
            if not data:
                return cls(0, body)
            batch = _table(message, data)
        count = _field(message, batch, _ROWS) if message[kind] == _BATCH else 0
        rows = struct.unpack_from("<q", message, count)[0] if count else 0
        packed, listed = _field(message, batch, _COMPRESSION), _field(message, batch, _BUFFERS)
        if not packed or not listed:
            return cls(rows, body)
        codec = _field(message, _table(message, packed), 0)
        start = _table(message, listed)
        (length,) = struct.unpack_from("<I", message, start)
        places = struct.unpack_from(f"<{2 * length}q", message, start + 4) if length <= len(message) // 16 else ()
        if len(places) != 2 * length:
            raise struct.error("a list that is longer than its message")
        return cls(rows, body, tuple(zip(places[::2], places[1::2], strict=True)), message[codec] if codec else 0)


def check_packed(stream: BinaryIO, start: int, told: Message, file: Path) -> None:
    """Refuse packed buffers that claim a size which they cannot have: who reads them takes so much memory at once.

    Parameters
    ----------
    stream : binary file
        Its place is left as it was.
    start : int
        Where the body of the message begins.
    told : Message
    file : Path
        For messages.

    Raises
    ------
    DataError
        The file is damaged, or a buffer is larger than memory.
    """
    if not told.buffers:
        return
    before, most = stream.tell(), available_memory() or _LARGEST
    for offset, length in told.buffers:
        if length == 0:
            continue
        if offset < 0 or length < 8 or offset + length > told.body:
            raise DataError(f"{file}: a buffer of its rows is told to lie outside of them; it is damaged")
        stream.seek(start + offset)
        prefix = stream.read(8)
        size = struct.unpack("<q", prefix)[0] if len(prefix) == 8 else -2
        if size == -1:
            continue
        if not 0 <= size <= (length - 8) * _MOST.get(told.codec, _MOST_CODEC):
            raise DataError(f"{file}: a packed buffer of {length - 8:,} bytes claims to hold {size:,} bytes; it is damaged")
        if size > most:
            raise DataError(
                f"{file}: a packed buffer claims to hold {size:,} bytes, and {most:,} bytes of memory are free; the file "
                f"is damaged, or must be written in smaller batches"
            )
    stream.seek(before)


def check_packed_file(stream: BinaryIO, file: Path) -> None:
    """Refuse a file whose messages cannot be followed, or whose packed buffers claim what cannot be; see above.

    Raises
    ------
    DataError
        The file is damaged, or a buffer is larger than memory.
    """
    try:
        for at, length in _blocks(stream):
            stream.seek(at)
            begun, flat = struct.unpack("<II", stream.read(8))
            skipped = 8 if begun == CONTINUED else 4
            stream.seek(at + skipped)
            told = Message.of(stream.read(flat if begun == CONTINUED else begun))
            check_packed(stream, at + length, told, file)
    except (struct.error, IndexError, OSError, OverflowError) as error:
        raise DataError(f"{file} is damaged: its list of batches leads nowhere ({error})") from error


def _blocks(stream: BinaryIO) -> Iterator[tuple[int, int]]:
    """Where each message of a file begins, and its length without its body, by the footer."""
    size = stream.seek(0, 2)
    stream.seek(max(size - 10, 0))
    (length,) = struct.unpack("<i", stream.read(4))
    if not 0 < length <= size - 10:
        raise struct.error(f"a footer of {length} bytes")
    stream.seek(size - 10 - length)
    footer = stream.read(length)
    (root,) = struct.unpack_from("<I", footer)
    for field in (_DICTIONARIES, _BATCHES):
        listed = _field(footer, root, field)
        if not listed:
            continue
        start = _table(footer, listed)
        (count,) = struct.unpack_from("<I", footer, start)
        if count > length // 24:
            raise struct.error(f"a list of {count} batches")
        for number in range(count):
            at, flat, body = struct.unpack_from("<qi4xq", footer, start + 4 + 24 * number)
            if min(flat, body, at) < 0 or at + flat + body > size:
                raise struct.error(f"a batch from byte {at} on")
            yield at, flat


def _table(message: bytes, place: int) -> int:
    """Where that begins which a place of a flat buffer points to."""
    at: int = place + struct.unpack_from("<I", message, place)[0]
    return at


def _field(message: bytes, table: int, number: int) -> int:
    """Where a field of a table of a flat buffer lies; 0 if it has its default."""
    vtable = table - struct.unpack_from("<i", message, table)[0]
    if vtable < 0:
        raise struct.error("a table without its fields")
    if 4 + 2 * number >= struct.unpack_from("<H", message, vtable)[0]:
        return 0
    offset = struct.unpack_from("<H", message, vtable + 4 + 2 * number)[0]
    if offset and table + offset >= len(message):
        raise struct.error("a field outside of its message")
    return table + offset if offset else 0
