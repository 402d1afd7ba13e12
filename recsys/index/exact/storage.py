"""Vectors at rest: float32, or fewer bytes each, decoded where they are needed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias, get_args

import torch
from torch import Tensor

from recsys.core.growing import GrowingTensor
from recsys.errors import ConfigError

Precision: TypeAlias = Literal["float32", "bfloat16", "float16", "int8"]
_LARGEST = {"float16": 65504.0}


@dataclass(frozen=True, eq=False)
class VectorStorage:
    """Vectors by row.

    Attributes
    ----------
    codes : float32, bfloat16, float16 or int8 (n, D)
    scales : float32 (n,) or None
        What each row of int8 codes is multiplied by.
    growing, growing_scales : GrowingTensor or None
        Where both can grow on, if they grew before.
    """

    codes: Tensor
    scales: Tensor | None = None
    growing: GrowingTensor | None = field(default=None, repr=False)
    growing_scales: GrowingTensor | None = field(default=None, repr=False)

    def __getstate__(self) -> dict[str, Any]:
        """Without the spare room."""
        scales = None if self.scales is None else self.scales.clone()
        codes = self.codes if self.growing is None else self.codes.clone()
        return {"codes": codes, "scales": scales, "growing": None, "growing_scales": None}

    @classmethod
    def of(cls, vectors: Tensor, precision: Precision = "float32") -> VectorStorage:
        """Store float32 vectors (n, D); int8 keeps each vector's largest entry exactly, and steps of its 127th part.

        Raises
        ------
        ConfigError
            The precision is not known, or float16 cannot hold a value.
        """
        if precision not in get_args(Precision):
            raise ConfigError(f"precision must be one of {', '.join(get_args(Precision))}, not {precision!r}")
        if precision != "int8":
            if len(vectors) and float(vectors.abs().max()) > _LARGEST.get(precision, torch.inf):
                raise ConfigError(f"a vector has entries that {precision} cannot hold; store them as bfloat16")
            return cls(vectors.to(getattr(torch, precision)))
        scales = vectors.abs().amax(dim=1) / 127
        codes = (vectors / scales.clamp(min=torch.finfo(torch.float32).tiny)[:, None]).round().to(torch.int8)
        return cls(codes, scales)

    @property
    def precision(self) -> Precision:
        """How the vectors are stored."""
        name: Precision = str(self.codes.dtype).removeprefix("torch.")  # type: ignore[assignment]
        return name

    @property
    def nbytes(self) -> int:
        """Bytes of memory."""
        return self.codes.nbytes + (0 if self.scales is None else self.scales.nbytes)

    @property
    def device(self) -> torch.device:
        """Where they lie."""
        return self.codes.device

    def __len__(self) -> int:
        return len(self.codes)

    @property
    def dim(self) -> int:
        """Dimensions of a vector."""
        return int(self.codes.shape[1])

    def decoded(self, rows: Tensor | slice) -> Tensor:
        """float32 (m, D): vectors of int64 rows (m,), or of a slice."""
        codes = self.codes[rows] if isinstance(rows, slice) else self.codes.index_select(0, rows)
        if self.scales is None:
            return codes.float()
        return codes.float() * self.scales[rows][:, None]

    def appended(self, vectors: Tensor) -> VectorStorage:
        """These and more float32 vectors (m, D) behind them, stored alike and without a copy where there is room."""
        more = VectorStorage.of(vectors.to(self.device), self.precision)
        codes = (self.growing or GrowingTensor.of(self.codes)).appended(more.codes)
        if self.scales is None or more.scales is None:
            return VectorStorage(codes.rows, None, codes)
        scales = (self.growing_scales or GrowingTensor.of(self.scales)).appended(more.scales)
        return VectorStorage(codes.rows, scales.rows, codes, scales)
