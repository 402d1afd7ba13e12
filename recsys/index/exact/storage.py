"""Vectors at rest: float32, or fewer bytes each, decoded where they are needed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

import torch
from torch import Tensor

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
    """

    codes: Tensor
    scales: Tensor | None = None

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

    def joined(self, vectors: Tensor) -> VectorStorage:
        """These and more float32 vectors (m, D) after them, stored alike."""
        more = VectorStorage.of(vectors.to(self.device), self.precision)
        scales = None if self.scales is None or more.scales is None else torch.cat([self.scales, more.scales])
        return VectorStorage(torch.cat([self.codes, more.codes]), scales)
