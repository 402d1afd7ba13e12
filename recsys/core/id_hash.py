"""Hashes of raw ids that are the same in every process and with every version of every library."""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray

UInt64 = NDArray[np.uint64]

NAME = "splitmix64-words-1"
"""The name of what :func:`hash_ids` computes; it changes with the function."""
_FIRST, _SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_STEP = np.uint64(0x9E3779B97F4A7C15)
_WORD = 8
_ROWS, _BYTES = 1 << 17, 1 << 24
"""As many ids, or bytes, are hashed together."""


def hash_ids(ids: pl.Series) -> UInt64:
    """Hash raw ids: numbers one to one, texts by the words of 8 bytes of their UTF-8.

    Parameters
    ----------
    ids : Series (n,)
        Int64 or String, without nulls.

    Returns
    -------
    uint64 (n,)

    Examples
    --------
    >>> hash_ids(pl.Series([0, 1])).tolist()
    [16294208416658607535, 10451216379200822465]
    >>> hash_ids(pl.Series(["ann", "bob"])).tolist() == hash_ids(pl.Series(["ann", "bob"])).tolist()
    True
    """
    if ids.dtype == pl.Int64:
        return _mixed(ids.to_numpy().astype(np.int64).view(np.uint64) + _STEP)
    lengths = ids.str.len_bytes().to_numpy().astype(np.int64)
    longest = int(lengths.max(initial=1))
    step = max(1, min(_ROWS, _BYTES // max(longest, 1)))
    parts = [_of_texts(ids[start : start + step], lengths[start : start + step]) for start in range(0, len(ids), step)]
    return np.concatenate(parts) if parts else np.empty(0, dtype=np.uint64)


def _mixed(words: UInt64) -> UInt64:
    """The last steps of splitmix64, one to one."""
    words = (words ^ (words >> np.uint64(30))) * _FIRST
    words = (words ^ (words >> np.uint64(27))) * _SECOND
    return words ^ (words >> np.uint64(31))


def _of_texts(texts: pl.Series, lengths: NDArray[np.int64]) -> UInt64:
    flat = texts.str.join("").item().encode() + bytes(_WORD)
    at_byte: UInt64 = np.ndarray(len(flat) - _WORD + 1, dtype="<u8", buffer=flat, strides=(1,))
    """The word that begins at each byte."""
    starts = np.cumsum(lengths) - lengths
    hashes = _mixed(lengths.view(np.uint64) + _STEP)
    alive = np.flatnonzero(lengths)
    place = 0
    while len(alive):
        words = at_byte[starts[alive] + place].astype(np.uint64)
        left = np.minimum(lengths[alive] - place, _WORD)
        words &= np.uint64(2**64 - 1) >> ((_WORD - left) * _WORD).astype(np.uint64)  # what stands behind is another id's
        hashes[alive] = _mixed((hashes[alive] ^ words) + _STEP)
        place += _WORD
        alive = alive[lengths[alive] > place]
    return hashes
