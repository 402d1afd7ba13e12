"""What finds candidates without looking at every vector: FAISS indexes, and a search of the leading directions."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from recsys.core.ragged import Bool, Float32, Int64
from recsys.errors import BundleError, ConfigError
from recsys.index.exact.search import search
from recsys.index.exact.table import VectorTable
from recsys.index.faiss_library import faiss
from recsys.index.spec import IndexSpec

_TRAINED_PER_LIST = 64
_GPU_MOST = 2048
"""More FAISS does not find on a GPU."""


class ApproximateIndex(Protocol):
    """Finds what is probably among the best."""

    def find(self, queries: Float32, fetch: int, eligible: Bool | None, harder: int) -> Int64:
        """int64 (n, at most fetch): places of items, −1 where there are fewer.

        Parameters
        ----------
        queries : float32 (n, D)
        fetch : int
        eligible : bool (n_items,) or None
            What may be found; a finder that cannot tell finds others too.
        harder : int
            How many times the ef_search of the index's own setting.
        """
        ...

    def __len__(self) -> int: ...

    @property
    def nbytes(self) -> int:
        """Bytes of memory."""
        ...

    def save(self, file: Path) -> None:
        """Write it."""
        ...


@dataclass(frozen=True, eq=False)
class FaissIndex:
    """A FAISS index.

    Attributes
    ----------
    index : faiss.Index
    spec : IndexSpec
    on_gpu : bool
        A GPU index takes a selector and passes over it, so that none is given.
    """

    index: Any
    spec: IndexSpec
    on_gpu: bool = False

    @classmethod
    def build(cls, vectors: Float32, spec: IndexSpec) -> FaissIndex:
        """Train and fill an index.

        Parameters
        ----------
        vectors : float32 (n, D)
        spec : IndexSpec

        Raises
        ------
        ConfigError
            Fewer vectors than lists, ``code_bytes`` that do not divide D, or GPUs asked for that FAISS does not see.
        """
        library = faiss()
        n, dim = vectors.shape
        inner = library.METRIC_INNER_PRODUCT
        if spec.kind == "cagra":
            return cls(_cagra(vectors, spec), spec, on_gpu=True)
        if spec.kind == "hnsw":
            index = library.IndexHNSWFlat(dim, spec.hnsw_m, inner)
            index.hnsw.efConstruction = spec.build_effort
            index.add(np.ascontiguousarray(vectors))
            return cls(index, spec)
        lists = spec.lists or max(1, min(round(4 * n**0.5), n // 39 or 1))
        if lists > n:
            raise ConfigError(f"an index of {lists} lists needs as many items; there are {n}")
        quantizer = library.IndexFlatIP(dim)
        if spec.kind == "ivf":
            index = library.IndexIVFFlat(quantizer, dim, lists, inner)
        elif spec.kind == "sq":
            index = library.IndexIVFScalarQuantizer(quantizer, dim, lists, library.ScalarQuantizer.QT_8bit, inner)
        else:
            if dim % spec.code_bytes:
                raise ConfigError(f"code_bytes {spec.code_bytes} does not divide the vectors' {dim} dimensions")
            if n < 256:
                raise ConfigError(f"product quantisation needs 256 items or more; there are {n}")
            index = library.IndexIVFPQ(quantizer, dim, lists, spec.code_bytes, 8, inner)
        index.cp.min_points_per_centroid = 1
        some = np.random.default_rng(0).permutation(n)[: max(_TRAINED_PER_LIST * lists, 65_536)]
        index.train(np.ascontiguousarray(vectors[np.sort(some)]))
        index.add(np.ascontiguousarray(vectors))
        return cls(index, replace(spec, lists=lists)).placed()

    def placed(self) -> FaissIndex:
        """On the GPUs, where the spec asks for them."""
        if self.spec.gpus == "none" or self.on_gpu:
            return self
        library = faiss()
        count = getattr(library, "get_num_gpus", lambda: 0)()
        if count == 0:
            raise ConfigError(f"gpus={self.spec.gpus!r} was asked for, but this FAISS sees no GPU; use gpus='none'")
        options = library.GpuMultipleClonerOptions()
        options.shard = self.spec.gpus == "sharded"
        options.useFloat16 = False
        return replace(self, index=library.index_cpu_to_all_gpus(self.index, co=options), on_gpu=True)

    def __len__(self) -> int:
        return int(self.index.ntotal)

    def find(self, queries: Float32, fetch: int, eligible: Bool | None, harder: int) -> Int64:
        """See :class:`ApproximateIndex`."""
        fetch = min(fetch, len(self), _GPU_MOST if self.on_gpu else len(self))
        library, parameters = faiss(), {}
        if eligible is not None and not self.on_gpu:
            parameters["sel"] = library.IDSelectorBitmap(np.packbits(eligible, bitorder="little"))
        if self.spec.kind == "hnsw":
            ef_search = max(self.spec.ef_search * harder, fetch)
            chosen = library.SearchParametersHNSW(efSearch=ef_search, **parameters)
        elif self.spec.kind == "cagra":
            chosen = None
        else:
            chosen = library.SearchParametersIVF(nprobe=min(self.spec.lists, self.spec.nprobe * harder), **parameters)
        places: Int64 = self.index.search(np.ascontiguousarray(queries), fetch, params=chosen)[1]
        return places

    @property
    def nbytes(self) -> int:
        """Bytes of memory: of the vectors or codes, their places, and hnsw_m or the lists' centres."""
        n, dim, spec = len(self), int(self.index.d), self.spec
        if spec.kind in ("hnsw", "cagra"):
            return n * (4 * dim + 8 + 4 * (2 if spec.kind == "hnsw" else 1) * spec.hnsw_m)
        each = {"ivf": 4 * dim, "sq": dim, "ivfpq": spec.code_bytes}[spec.kind]
        return n * (each + 8) + 4 * dim * (spec.lists + (256 if spec.kind == "ivfpq" else 0))

    def _on_host(self) -> Any:
        library = faiss()
        if not self.on_gpu:
            return self.index
        if self.spec.kind != "cagra":
            return library.index_gpu_to_cpu(self.index)
        copy = library.IndexHNSWCagra()
        self.index.copyTo(copy)
        return copy

    def save(self, file: Path) -> None:
        """Write FAISS's own format."""
        faiss().write_index(self._on_host(), str(file))

    @classmethod
    def of(cls, index: Any, spec: IndexSpec, file: Path) -> FaissIndex:
        """From what :meth:`save` wrote into ``file`` and FAISS read.

        Raises
        ------
        BundleError
            It is another kind of index.
        """
        kinds = {"ivf": "IndexIVFFlat", "sq": "IndexIVFScalarQuantizer", "ivfpq": "IndexIVFPQ", "hnsw": "IndexHNSWFlat"}
        expected = kinds.get(spec.kind, "IndexHNSWCagra")
        if type(index).__name__ != expected:
            raise BundleError(f"{file} holds a {type(index).__name__}, expected {expected}")
        if spec.kind == "cagra":
            raise BundleError(f"{file} holds a graph made on a GPU; build it again there: recsys index RUN --kind cagra")
        return cls(index, spec).placed()


def _cagra(vectors: Float32, spec: IndexSpec) -> Any:
    """A graph built by cuVS on the first GPU."""
    library = faiss()
    if not hasattr(library, "GpuIndexCagra") or library.get_num_gpus() == 0:
        raise ConfigError("a cagra index needs FAISS built with cuVS, and a GPU; use ivf or hnsw")
    config = library.GpuIndexCagraConfig()
    config.graph_degree, config.intermediate_graph_degree = spec.hnsw_m, 2 * spec.hnsw_m
    index = library.GpuIndexCagra(library.StandardGpuResources(), vectors.shape[1], library.METRIC_INNER_PRODUCT, config)
    index.train(np.ascontiguousarray(vectors))
    return index


@dataclass(frozen=True, eq=False)
class TruncatedIndex:
    """All items by their first principal directions alone, as with Matryoshka embeddings (arXiv 2205.13147).

    A rotation changes no inner product; of all rotations, that into principal directions leaves least behind them.

    Attributes
    ----------
    rotation : float32 (D, kept)
    items : VectorTable (n, kept)
    """

    rotation: Float32
    items: VectorTable

    @classmethod
    def build(cls, vectors: Float32, spec: IndexSpec) -> TruncatedIndex:
        """Rotate and cut.

        Raises
        ------
        ConfigError
            There are no more dimensions than are to be kept.
        """
        dim = vectors.shape[1]
        if spec.kept_dim >= dim:
            raise ConfigError(f"kept_dim {spec.kept_dim} is not below the vectors' {dim} dimensions")
        some = vectors[np.sort(np.random.default_rng(0).permutation(len(vectors))[:100_000])].astype(np.float64)
        rotation = np.linalg.eigh(some.T @ some)[1][:, ::-1][:, : spec.kept_dim].astype(np.float32)
        return cls.of(vectors, np.ascontiguousarray(rotation))

    @classmethod
    def of(cls, vectors: Float32, rotation: Float32) -> TruncatedIndex:
        """With a rotation that is known."""
        return cls(rotation, VectorTable.of(torch.from_numpy(vectors @ rotation)))

    def __len__(self) -> int:
        return len(self.items)

    def find(self, queries: Float32, fetch: int, eligible: Bool | None, harder: int) -> Int64:
        """See :class:`ApproximateIndex`."""
        ranked = search(torch.from_numpy(queries @ self.rotation), self.items, fetch * harder, eligible=eligible)
        lengths = ranked.lists.lengths
        places = np.full((len(queries), int(lengths.max(initial=0))), -1, dtype=np.int64)
        places[np.arange(places.shape[1]) < lengths[:, None]] = ranked.lists.rows
        return places

    @property
    def nbytes(self) -> int:
        """Bytes of memory."""
        return self.items.nbytes + self.rotation.nbytes

    def save(self, file: Path) -> None:
        """Write the rotation; the rest follows from the vectors."""
        with file.open("wb") as stream:
            np.save(stream, self.rotation, allow_pickle=False)


def build_approximate(vectors: Float32, spec: IndexSpec) -> ApproximateIndex | None:
    """The finder of a spec; None where every vector is compared."""
    if spec.kind == "exact":
        return None
    return TruncatedIndex.build(vectors, spec) if spec.kind == "truncated" else FaissIndex.build(vectors, spec)
