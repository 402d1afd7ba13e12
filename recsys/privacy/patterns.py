"""Look for many byte strings at once, wherever they lie in a file."""

from __future__ import annotations

import hashlib
import html
import json
import urllib.parse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import BinaryIO, Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.core.id_hash import hash_ids
from recsys.core.ragged import Int64

SHORTEST: Final = 6
"""Bytes of the shortest id that means something wherever it stands."""
_LONG: Final = 12
"""Bytes from which a word is no common one."""
_LEAST_NUMBER: Final = 1 << 32
"""Whole numbers below stand in arrays of rows, times and counts by chance."""
_BLOCK: Final = 1 << 24
_KEY: Final = np.uint64((1 << 8 * SHORTEST) - 1)


def is_distinctive(raw: str) -> bool:
    """Whether an id is so long, and so unlike a number or a word, that it stands nowhere by chance."""
    size = len(raw.encode())
    return size >= SHORTEST and not raw.removeprefix("-").isdigit() and (size >= _LONG or not raw.isalpha())


@dataclass(frozen=True, eq=False)
class Patterns:
    """Byte strings of at least six bytes, and whose each one is.

    Attributes
    ----------
    strings : tuple of bytes
    owners : int64 (n,)
        The number of the person whom each string names.
    """

    strings: tuple[bytes, ...]
    owners: Int64

    @classmethod
    def of(cls, users: Sequence[str]) -> Patterns:
        """All that would betray these ids: as written, in JSON, HTML or an address; as a number; hashed without a key.

        Of an id that is short or a number, its SHA-256 alone, and a large number as such: what it is written as, or hashed
        to where an item has the same id, stands elsewhere by right.
        """
        found = list[tuple[bytes, int]]()
        for number, raw in enumerate(users):
            written = raw.encode()
            digest = hashlib.sha256(written)
            forms = {digest.digest(), digest.hexdigest().encode()}
            if is_distinctive(raw):
                forms.add(int(hash_ids(pl.Series([raw]))[0]).to_bytes(8, "little"))
                forms |= {written, json.dumps(raw)[1:-1].encode(), html.escape(raw).encode()}
                forms.add(urllib.parse.quote(raw).encode())
            elif (whole := _whole(raw)) is not None and abs(whole) >= _LEAST_NUMBER:
                forms.add(whole.to_bytes(8, "little", signed=True))
            found += [(one, number) for one in sorted(forms) if len(one) >= SHORTEST]
        return cls(tuple(one for one, _ in found), np.array([owner for _, owner in found], dtype=np.int64))

    @cached_property
    def _keys(self) -> tuple[NDArray[np.uint64], Int64, NDArray[np.bool_]]:
        """The first six bytes of each string, ascending, the string of each, and which first two bytes there are."""
        keys = np.array([int.from_bytes(one[:SHORTEST], "little") for one in self.strings], dtype=np.uint64)
        order = np.argsort(keys, kind="stable")
        begins = np.zeros(1 << 16, dtype=np.bool_)
        begins[(keys & np.uint64(0xFFFF)).astype(np.int64)] = True
        return keys[order], order, begins

    def within(self, stream: BinaryIO) -> set[int]:
        """The people of whom a string stands in a file."""
        found = set[int]()
        if not self.strings:
            return found
        longest = max(map(len, self.strings))
        for block in _blocks(stream, longest - 1):
            found |= self._in_block(block)
        return found

    def _in_block(self, block: bytes) -> set[int]:
        keys, order, begins = self._keys
        count = len(block) - SHORTEST + 1
        if count <= 0:
            return set()
        padded = block + bytes(8)
        pairs = np.ndarray(count, dtype="<u2", buffer=padded, strides=(1,))
        likely = np.flatnonzero(begins[pairs])
        words = np.ndarray(count, dtype="<u8", buffer=padded, strides=(1,))[likely] & _KEY
        first = np.searchsorted(keys, words)
        hit = np.flatnonzero(keys[np.minimum(first, len(keys) - 1)] == words)
        found = set[int]()
        for at, key in zip(likely[hit].tolist(), first[hit].tolist(), strict=True):
            word = keys[key]
            for near in range(key, len(keys)):
                if keys[near] != word:
                    break
                one = int(order[near])
                if int(self.owners[one]) not in found and block.startswith(self.strings[one], at):
                    found.add(int(self.owners[one]))
        return found


def _whole(raw: str) -> int | None:
    """The number that an id is, as a column of Int64 holds it; None if it is text."""
    try:
        number = int(raw)
    except ValueError:
        return None
    return number if str(number) == raw and -(1 << 63) <= number < 1 << 63 else None


def _blocks(stream: BinaryIO, overlap: int) -> Iterator[bytes]:
    """The bytes of a file in blocks, each with the end of the one before."""
    before = b""
    while chunk := stream.read(_BLOCK):
        block = before + chunk
        yield block
        before = block[-overlap:] if overlap else b""
