"""An index on disk: FAISS's own file, and beside it what FAISS does not know."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.numpy import load, save_file

from recsys.core.opened import Source
from recsys.core.ragged import Float32
from recsys.errors import BundleError, ConfigError
from recsys.index.approximate import ApproximateIndex, FaissIndex, TruncatedIndex
from recsys.index.exact.storage import VectorStorage
from recsys.index.exact.table import VectorTable
from recsys.index.faiss_library import faiss
from recsys.index.item_index import ItemIndex
from recsys.index.spec import IndexSpec

FAISS_FILE, ROTATION_FILE, STATE_FILE, SPEC_FILE = (
    "index.faiss",
    "index_rotation.npy",
    "index_rows.safetensors",
    "index.json",
)


def digest(vectors: Float32) -> str:
    """sha256 of float32 vectors."""
    return hashlib.sha256(np.ascontiguousarray(vectors).data).hexdigest()


def write(index: ItemIndex, folder: Path, vectors: Float32) -> None:
    """Write an index into a folder; the vectors themselves are the caller's to keep.

    Parameters
    ----------
    index : ItemIndex
    folder : Path
        One that nobody reads yet: files are not swapped in atomically.
    vectors : float32 (n_items, D)
        What it was built from, before they were stored in fewer bytes.
    """
    if index.finder is not None:  # an exact index is the vectors, which have a file
        index.finder.save(folder / (ROTATION_FILE if index.spec.kind == "truncated" else FAISS_FILE))
    rows = {"covered": index.covered, "stale": index.stale, "alive": index.alive}
    save_file({name: np.ascontiguousarray(one) for name, one in rows.items()}, folder / STATE_FILE)
    facts = {"spec": asdict(index.spec), "vectors_sha256": digest(vectors), "measured": index.measured}
    (folder / SPEC_FILE).write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")


def read(source: Path | Source, vectors: Float32, *, device: str = "cpu") -> ItemIndex:
    """Read what :func:`write` wrote; a folder of an older version has a flat index alone.

    Parameters
    ----------
    source : Path or Source
        A folder, or its files opened.
    vectors : float32 (n_items, D)
    device : str

    Raises
    ------
    BundleError
        The index is damaged, or was built from other vectors.
    """
    source = Source.of(source) if isinstance(source, Path) else source
    folder = source.folder
    if SPEC_FILE not in source:
        _check_flat(source, vectors)
        return ItemIndex.build(vectors, device=device)
    try:
        facts: dict[str, Any] = json.loads(source.read(SPEC_FILE))
        spec = IndexSpec.of(facts["spec"])
        rows = load(source.read(STATE_FILE))
        covered, stale, alive = rows["covered"], rows["stale"], rows["alive"]
    except (OSError, ValueError, KeyError, TypeError, ConfigError, SafetensorError) as error:
        raise BundleError(f"{folder}: the index's own files ({SPEC_FILE}, {STATE_FILE}) are damaged: {error}") from error
    if facts.get("vectors_sha256") != digest(vectors):
        raise BundleError(f"{folder}: the index was built from other vectors than item_vectors.npy; build it again")
    finder: ApproximateIndex | None = None
    _check_rows(folder, covered, stale, alive, len(vectors))
    held = vectors if len(covered) == len(vectors) else vectors[covered]
    if spec.kind == "exact":
        if FAISS_FILE in source:  # older versions wrote the vectors once more
            _check_flat(source, vectors)
    elif spec.kind == "truncated":
        finder = TruncatedIndex.of(held, _rotation(source, vectors, spec))
    else:
        finder = FaissIndex.of(_faiss_index(source), spec, folder / FAISS_FILE)
    if finder is not None and len(finder) != len(covered):
        raise BundleError(f"{folder}: the index holds {len(finder)} items, {STATE_FILE} tells of {len(covered)}")
    table = torch.from_numpy(np.ascontiguousarray(vectors)).to(device)
    dense = VectorTable.of(VectorStorage.of(table, spec.precision))
    return ItemIndex(dense, spec, finder, covered, stale, alive, facts.get("measured", []))


def _check_rows(folder: Path, covered: Any, stale: Any, alive: Any, count: int) -> None:
    """Refuse states of items that do not fit the vectors."""
    if len(stale) != count or len(alive) != count:
        raise BundleError(f"{folder}: {STATE_FILE} tells of {len(stale)} items, item_vectors.npy of {count}")
    kinds = (covered.ndim, covered.dtype.kind, stale.shape, stale.dtype, alive.shape, alive.dtype)
    if kinds != (1, "i", (count,), np.bool_, (count,), np.bool_) or (
        len(covered) and not 0 <= covered.min() <= covered.max() < count
    ):
        raise BundleError(f"{folder}: {STATE_FILE} names rows that are none of the {count} in item_vectors.npy")


def _faiss_index(source: Source) -> Any:
    """FAISS's own object, of verified bytes."""
    try:
        content = np.frombuffer(source.read(FAISS_FILE), dtype=np.uint8)
        if not len(content):
            raise RuntimeError("it is empty")
        return faiss().deserialize_index(content)
    except (RuntimeError, MemoryError, FileNotFoundError) as error:
        why = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise BundleError(f"{source.folder / FAISS_FILE} is not a whole FAISS index: {why}") from error


def _rotation(source: Source, vectors: Float32, spec: IndexSpec) -> Float32:
    try:
        rotation: Float32 = np.load(BytesIO(source.read(ROTATION_FILE)), allow_pickle=False)
    except (OSError, ValueError) as error:
        raise BundleError(f"{source.folder / ROTATION_FILE} is damaged: {error}") from error
    if rotation.shape != (vectors.shape[1], spec.kept_dim) or rotation.dtype != np.float32:
        raise BundleError(
            f"{source.folder / ROTATION_FILE} does not fit the vectors: it is {rotation.dtype}{rotation.shape}"
        )
    return rotation


def _check_flat(source: Source, vectors: Float32) -> None:
    """Refuse a flat index that is damaged or holds other vectors."""
    file, library = source.folder / FAISS_FILE, faiss()
    index = _faiss_index(source)
    if not isinstance(index, library.IndexFlatIP):
        raise BundleError(f"{file} holds a {type(index).__name__}, expected IndexFlatIP")
    if index.ntotal != len(vectors) or not np.array_equal(index.reconstruct_n(0, index.ntotal), vectors):
        raise BundleError(f"{file} does not hold the vectors of item_vectors.npy: it belongs to another model")
