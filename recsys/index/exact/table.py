"""Item vectors prepared for exact search in two passes, and the bounds that make it exact."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from recsys.core.device import has_bf16
from recsys.core.growing import GrowingTensor
from recsys.errors import DataError
from recsys.index.exact.storage import VectorStorage
from recsys.index.faiss_library import faiss

_CHUNK = 1 << 16
_FIRST_PASS_ITEMS = 1024
"""Below this a copy in bfloat16 saves nothing."""
HALF = {torch.bfloat16: 2.0**-9, torch.float32: 2.0**-24}
"""Largest relative error of rounding to the nearest."""
BITS = {torch.bfloat16: torch.int16, torch.float32: torch.int32}


@dataclass(frozen=True, eq=False)
class VectorTable:
    """Item vectors, prepared for exact search.

    Attributes
    ----------
    stored : VectorStorage (n, D)
    first_pass : bfloat16 or float32 (n, D), or None
        What the first pass reads: the vectors in bfloat16, or float32 where the device has no products in bfloat16 or the
        items are few; None: decoded tile by tile, for less memory.
    dtype : torch.dtype
        Of the first pass.
    norm, error : float
        Largest length of a vector, and of the difference between a vector and what the first pass reads of it.
    """

    stored: VectorStorage
    first_pass: Tensor | None
    dtype: torch.dtype
    norm: float
    error: float
    growing: GrowingTensor | None = field(default=None, repr=False)
    """Where ``first_pass`` can grow on, if it grew before."""

    def __getstate__(self) -> dict[str, Any]:
        """Without the spare room."""
        return {**vars(self), "first_pass": self._without_room(), "growing": None}

    def _without_room(self) -> Tensor | None:
        return self.first_pass if self.growing is None or self.first_pass is None else self.first_pass.clone()

    @classmethod
    def of(cls, stored: VectorStorage | Tensor) -> VectorTable:
        """Prepare vectors, or a float32 table (n, D).

        Raises
        ------
        DataError
            A vector is not finite.
        """
        if isinstance(stored, Tensor):
            stored = VectorStorage.of(stored)
        half = len(stored) >= _FIRST_PASS_ITEMS and has_bf16(str(stored.device))
        dtype = torch.bfloat16 if half else torch.float32
        norm = error = 0.0
        for start in range(0, len(stored), _CHUNK):
            part = stored.decoded(slice(start, start + _CHUNK))
            broken = torch.nonzero(~part.isfinite().all(dim=1)).flatten()
            if len(broken):
                raise DataError(f"an item vector is not finite: row {start + int(broken[0])}")
            norm = max(norm, float(part.norm(dim=1).max()))
            error = max(error, float((part.to(dtype).float() - part).norm(dim=1).max()))
        first_pass = stored.codes if stored.codes.dtype == dtype else None
        if first_pass is None and stored.precision == "float32":
            first_pass = stored.codes.to(dtype)
        return cls(stored, first_pass, dtype, norm, error)

    def appended(self, vectors: Tensor) -> VectorTable:
        """These and more float32 vectors (m, D) behind them; only these are read.

        Raises
        ------
        DataError
            A vector is not finite.
        """
        stored = self.stored.appended(vectors)
        if len(self) < _FIRST_PASS_ITEMS:  # the first pass may become another
            return VectorTable.of(stored)
        n = len(self)
        part = stored.decoded(slice(n, None))
        more = VectorTable.of(part)
        rounded = part.to(self.dtype)
        error = max(self.error, float((rounded.float() - part).norm(dim=1).max())) if len(part) else self.error
        norm = max(self.norm, more.norm)
        if self.first_pass is None:
            return VectorTable(stored, None, self.dtype, norm, error)
        if stored.codes.dtype == self.dtype:
            return VectorTable(stored, stored.codes, self.dtype, norm, error)
        growing = (self.growing or GrowingTensor.of(self.first_pass)).appended(rounded)
        return VectorTable(stored, growing.rows, self.dtype, norm, error, growing)

    def __len__(self) -> int:
        return len(self.stored.codes)

    @property
    def nbytes(self) -> int:
        """Bytes of memory."""
        own = self.first_pass is not None and self.first_pass is not self.stored.codes
        return self.stored.nbytes + (self.first_pass.nbytes if own and self.first_pass is not None else 0)

    def tile(self, start: int, stop: int, rows: Tensor | None) -> Tensor:
        """What the first pass reads of a slice of the items, or of a slice of ``rows``; (stop − start, D)."""
        part = slice(start, stop) if rows is None else rows[start:stop]
        return self.stored.decoded(part).to(self.dtype) if self.first_pass is None else self.first_pass[part]

    def margin(self, queries: Tensor, rounded: Tensor) -> Tensor:
        """float32 (n,): how far the first pass's score of any item may be from the second's, before it is rounded.

        |q·v − q̂·v̂| ≤ |q − q̂||v| + |q̂||v − v̂| by Cauchy and Schwarz, and a sum of D products in float32 errs by at most
        D · 2⁻²⁴ of the lengths' product (Higham, Accuracy and Stability of Numerical Algorithms, section 3.1), twice.
        """
        moved, length = (queries - rounded.float()).norm(dim=1), rounded.float().norm(dim=1)
        sums = 2 * (queries.shape[1] + 1) * 2.0**-24 * (length + moved) * (self.norm + self.error)
        margin: Tensor = moved * self.norm + length * self.error + sums
        return margin


def kth_largest(values: Tensor, k: int) -> Tensor:
    """The k-th largest of each row, (B,)."""
    if values.device.type == "cpu" and values.dtype != torch.bfloat16:
        array = values.numpy()
        return torch.from_numpy(np.partition(array, array.shape[1] - k, axis=1)[:, -k].copy())
    return values.topk(k, dim=1).values[:, -1]


def floor_of(kth: Tensor, queries: Tensor, items: VectorTable) -> Tensor:
    """float64 (B,): no item of the k best has a lower score in the first pass, before rounding.

    ``kth`` is rounded, so that k items have at least a half step less than it; all k best are at most twice the margin
    below these.
    """
    kth = kth.double()
    step = (1.01 * HALF[items.dtype] + 2.0**-22) * kth.abs()
    floor = kth - step - 2 * items.margin(queries, queries.to(items.dtype)).double()
    return torch.where(floor.isnan(), -torch.inf, floor)


def bits_of(floor: Tensor, dtype: torch.dtype) -> Tensor:
    """The bits of positive float64 bounds (B,), rounded down to ``dtype``."""
    whole = floor.to(torch.float32).view(torch.int32)
    return whole if dtype == torch.float32 else (whole >> 16).to(torch.int16)


def pair_scores(queries: Tensor, stored: VectorStorage, owners: Tensor, rows: Tensor) -> Tensor:
    """Inner products of pairs, each summed in the same order whatever else is asked for.

    Parameters
    ----------
    queries : float32 (n, D)
    stored : VectorStorage (n_items, D)
    owners, rows : int64 (P,)

    Returns
    -------
    float32 (P,)
    """
    out = torch.empty(len(owners), dtype=torch.float32, device=queries.device)
    if queries.device.type == "cpu" and stored.codes.dtype == torch.float32:  # without copying a vector
        pointers = (queries.contiguous(), owners, stored.codes, rows, out)
        library = faiss()
        library.pairwise_indexed_inner_product(
            queries.shape[1], len(owners), *(library.swig_ptr(one.numpy()) for one in pointers)
        )
        return out
    for start in range(0, len(owners), _CHUNK):
        part = slice(start, start + _CHUNK)
        left, right = queries.index_select(0, owners[part]), stored.decoded(rows[part])
        out[part] = torch.bmm(left[:, None, :], right[:, :, None]).flatten()
    return out
