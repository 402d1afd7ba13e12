"""Tables whose rows were rounded to 8 or 4 bits: kept as codes, and read back to the last bit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from recsys.core.ragged import Bool, Float32

Bits: TypeAlias = Literal[8, 4]
_LARGEST: Final[dict[Bits, int]] = {8: 127, 4: 7}
_STEPS: Final = 0xFFFFFF00
"""Of a float32's bits those that the step of a row has: its products with codes, and their quotients, are exact then."""
_CODES, _SCALES, _OTHERS = ".codes", ".scales", ".others"
_ROWS, _SAMPLE, _LEAST = 1 << 16, 256, 0.5
"""Rows at once; rows by which a table is looked through first; share of the rows that codes are worth it for."""


def rounded(table: Float32, bits: Bits) -> Float32:
    """Rows as codes tell them: whole multiples of a step of each row, its largest entry 127 steps, or 7, from zero.

    Rounding again changes nothing.

    Parameters
    ----------
    table : float32 (n, D)
        Finite.
    bits : 8 or 4

    Returns
    -------
    float32 (n, D)

    Examples
    --------
    >>> import numpy as np
    >>> from recsys.core.coded import rounded
    >>> rounded(np.array([[7.0, -3.4, 0.4]], dtype=np.float32), 4).tolist()
    [[7.0, -3.0, 0.0]]
    """
    out = np.empty_like(table)
    for start in range(0, len(table), _ROWS):
        some = table[start : start + _ROWS]
        scales, codes = _coded(some, bits)
        out[start : start + _ROWS] = codes * scales[:, None]
    return out


def _coded(table: Float32, bits: Bits) -> tuple[Float32, NDArray[np.int8]]:
    """The step of each row, float32 (n,), and the codes, int8 (n, D)."""
    largest = np.float32(_LARGEST[bits])
    ends = np.abs(table).max(axis=1, initial=0.0).astype(np.float32) / largest
    scales: Float32 = (ends.view(np.uint32) & np.uint32(_STEPS)).view(np.float32)
    scales[scales < np.finfo(np.float32).tiny] = 0.0
    codes = np.rint(table / np.where(scales > 0, scales, 1)[:, None]) * (scales > 0)[:, None]
    return scales, np.clip(codes, -largest, largest).astype(np.int8)


def to_codes(name: str, table: Float32) -> dict[str, NDArray[Any]]:
    """A table under a name, as codes where most of its rows were :func:`rounded`, and otherwise as it is.

    Rows that were not, such as those of items added later, stay whole beside the codes: nothing is lost in any case.

    Parameters
    ----------
    name : str
    table : float32 (n, D)

    Returns
    -------
    dict of array
        For :func:`from_codes`, which gives the same bits.
    """
    if table.ndim != 2 or table.dtype != np.float32 or not table.size or not np.isfinite(table).all():
        return {name: table}
    for bits in _LARGEST:
        some = table[:: max(1, len(table) // _SAMPLE)]
        if _exact(some, *_coded(some, bits)).mean() < _LEAST / 2:
            continue  # as in next to all tables
        scales, codes = _coded(table, bits)
        same = _exact(table, scales, codes)
        if same.mean() >= _LEAST:
            codes[~same], scales[~same] = 0, np.nan
            found: dict[str, NDArray[Any]] = {name + _SCALES: scales, name + _CODES: codes if bits == 8 else _packed(codes)}
            return found if same.all() else found | {name + _OTHERS: table[~same]}
    return {name: table}


def _exact(table: Float32, scales: Float32, codes: NDArray[np.int8]) -> Bool:
    """bool (n,): rows that codes tell to the last bit."""
    same: Bool = ((codes * scales[:, None]).view(np.uint32) == np.ascontiguousarray(table).view(np.uint32)).all(axis=1)
    return same


def _packed(codes: NDArray[np.int8]) -> NDArray[np.uint8]:
    """Two codes a byte, (n, D / 2) rounded up; an odd last one has a half that no code of 4 bits has beside it."""
    shifted = (codes + 8).astype(np.uint8)
    if codes.shape[1] % 2:
        shifted = np.hstack([shifted, np.zeros((len(shifted), 1), dtype=np.uint8)])
    return (shifted[:, ::2] | shifted[:, 1::2] << 4).astype(np.uint8)


def _unpacked(both: NDArray[np.uint8]) -> NDArray[np.int8]:
    codes = np.empty((len(both), 2 * both.shape[1]), dtype=np.int8)
    codes[:, ::2], codes[:, 1::2] = both & 15, both >> 4
    odd = bool(codes.size) and bool((codes[:, -1] == 0).all())  # codes are 1 to 15
    found: NDArray[np.int8] = (codes[:, :-1] if odd else codes) - 8
    return found


def from_codes(tensors: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Tables by name, those that :func:`to_codes` coded read back, all others as they are.

    Raises
    ------
    ValueError
        Codes without what belongs to them.
    """
    found = dict[str, NDArray[Any]]()
    for key, value in tensors.items():
        if key.endswith(_CODES):
            name = key.removesuffix(_CODES)
            scales = tensors.get(name + _SCALES)
            if scales is None or scales.shape != (len(value),):
                raise ValueError(f"the codes of {name} have no steps for their rows")
            found[name] = _read(name, value, scales, tensors.get(name + _OTHERS))
        elif not (key.endswith((_SCALES, _OTHERS)) and f"{key.rpartition('.')[0]}{_CODES}" in tensors):
            found[key] = value
    return found


def _read(name: str, value: NDArray[Any], scales: Float32, others: NDArray[Any] | None) -> Float32:
    codes = _unpacked(value) if value.dtype == np.uint8 else value
    whole = np.isnan(scales)
    table: Float32 = codes.astype(np.float32) * np.where(whole, np.float32(0), scales)[:, None]
    if whole.sum() != (0 if others is None else len(others)):
        raise ValueError(f"the rows of {name} that are not coded are not all there")
    if others is not None:
        table[whole] = others
    return table
