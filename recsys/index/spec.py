"""What kind of index, and how hard it searches."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Literal, TypeAlias, get_args

import numpy as np

from recsys.errors import ConfigError
from recsys.index.exact.storage import Precision

Kind: TypeAlias = Literal["exact", "truncated", "ivf", "sq", "ivfpq", "hnsw", "cagra"]

_MOST = 2**24
"""FAISS counts in 32 bits, and ef_search is multiplied by up to four."""
_FEWEST_LINKS, _MOST_LINKS = 2, 1024


@dataclass(frozen=True)
class IndexSpec:
    """One configuration of an index.

    Whatever an approximate kind finds is scored again with the stored vectors: its scores are the exact index's.

    Attributes
    ----------
    kind : str
        ``"exact"``; ``"truncated"``: the first ``kept_dim`` principal directions decide what is scored in full;
        ``"ivf"``: inverted lists of whole vectors; ``"sq"``: the same with 8 bits per dimension; ``"ivfpq"``: with
        ``code_bytes`` per vector (product quantisation); ``"hnsw"``: a graph; ``"cagra"``: a graph on the GPU.
    lists : int
        Inverted lists; 0: four times the root of the number of items.
    nprobe : int
        Lists that a query looks into.
    hnsw_m : int
        Neighbours of each item in a graph, 2 to 1,024: with one FAISS reads beyond its memory.
    build_effort, ef_search : int
        Candidates held while the graph is built, and searched.
    code_bytes : int
        Of each vector in ``"ivfpq"``; divides the dimension.
    kept_dim : int
        Of ``"truncated"``.
    rescore : int
        Items scored in full for each one asked for, by the kinds that do not store whole vectors.
    precision : str
        How the vectors are stored: ``"float32"``, ``"bfloat16"``, ``"float16"`` or ``"int8"``.
    gpus : str
        ``"none"``, or FAISS's index on all GPUs: ``"replicated"`` or ``"sharded"``.

    Raises
    ------
    ConfigError
        A value is not allowed.

    Examples
    --------
    >>> recsys.IndexSpec("ivf", lists=1024, nprobe=32).kind
    'ivf'
    >>> recsys.IndexSpec("hnsw", precision="float16").precision
    'float16'
    """

    kind: Kind = "exact"
    lists: int = 0
    nprobe: int = 16
    hnsw_m: int = 32
    build_effort: int = 100
    ef_search: int = 64
    code_bytes: int = 32
    kept_dim: int = 32
    rescore: int = 4
    precision: Precision = "float32"
    gpus: Literal["none", "replicated", "sharded"] = "none"

    def __post_init__(self) -> None:
        for name, allowed in (("kind", Kind), ("precision", Precision)):
            if getattr(self, name) not in get_args(allowed):
                raise ConfigError(
                    f"index {name} must be one of {', '.join(get_args(allowed))}, not {getattr(self, name)!r}"
                )
        if self.gpus not in ("none", "replicated", "sharded"):
            raise ConfigError(f"index gpus must be none, replicated or sharded, not {self.gpus!r}")
        for field in fields(self):
            if field.type != "int":
                continue
            least = 0 if field.name == "lists" else 1
            value = getattr(self, field.name)
            if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
                raise ConfigError(f"index {field.name} must be a whole number from {least}, not {value!r}")
            if value > _MOST:
                raise ConfigError(f"index {field.name} must be at most {_MOST:,}, not {value:,}")
            object.__setattr__(self, field.name, int(value))
        if self.kind in ("hnsw", "cagra") and not _FEWEST_LINKS <= self.hnsw_m <= _MOST_LINKS:
            raise ConfigError(
                f"index hnsw_m must be from {_FEWEST_LINKS} to {_MOST_LINKS:,} for {self.kind}, not {self.hnsw_m:,}: FAISS "
                "builds no graph of others"
            )
        if self.kind == "cagra" and self.gpus == "none":
            raise ConfigError("a cagra index lives on GPUs: set gpus to replicated or sharded")
        if self.gpus != "none" and self.kind in ("exact", "truncated", "hnsw"):
            raise ConfigError(f"FAISS keeps no {self.kind} index on GPUs for us; use ivf, sq, ivfpq or cagra")

    @classmethod
    def of(cls, values: dict[str, Any]) -> IndexSpec:
        """From a mapping, such as JSON; unknown names are refused (ConfigError)."""
        known = [field.name for field in fields(cls)]
        if strange := set(values) - set(known):
            raise ConfigError(f"an index has no option {', '.join(sorted(strange))}; it has {', '.join(known)}")
        return cls(**values)

    @property
    def fetches_per_item(self) -> int:
        """How many items are found for each one asked for."""
        return 1 if self.kind in ("exact", "ivf", "hnsw", "cagra") else self.rescore

    def __str__(self) -> str:
        own = {
            "exact": (), "truncated": ("kept_dim", "rescore"), "ivf": ("lists", "nprobe"),
            "sq": ("lists", "nprobe", "rescore"), "ivfpq": ("lists", "nprobe", "code_bytes", "rescore"),
            "hnsw": ("hnsw_m", "build_effort", "ef_search"), "cagra": ("hnsw_m",),
        }[self.kind]  # fmt: skip
        stored = () if self.precision == "float32" else (self.precision,)
        return ", ".join([self.kind, *stored, *(f"{name} {getattr(self, name)}" for name in own)])
