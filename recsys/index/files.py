"""An index on disk: FAISS's own file, and beside it what FAISS does not know."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.numpy import load_file, save_file

from recsys.data.row_lists import Float32
from recsys.errors import BundleError, ConfigError
from recsys.faiss_library import faiss
from recsys.index.finder import FaissFinder, Finder, TruncatedFinder
from recsys.index.item_index import ItemIndex
from recsys.index.spec import IndexSpec
from recsys.models.dense import Dense
from recsys.models.stored import Stored

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
    if index.finder is None:
        flat = faiss().IndexFlatIP(index.dim)
        flat.add(np.ascontiguousarray(vectors))
        faiss().write_index(flat, str(folder / FAISS_FILE))
    else:
        index.finder.save(folder / (ROTATION_FILE if index.spec.kind == "truncated" else FAISS_FILE))
    rows = {"covered": index.covered, "stale": index.stale, "alive": index.alive}
    save_file({name: np.ascontiguousarray(one) for name, one in rows.items()}, folder / STATE_FILE)
    facts = {"spec": asdict(index.spec), "vectors_sha256": digest(vectors), "measured": index.measured}
    (folder / SPEC_FILE).write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")


def read(folder: Path, vectors: Float32, *, device: str = "cpu") -> ItemIndex:
    """Read what :func:`write` wrote; a folder of an older version has a flat index alone.

    Parameters
    ----------
    folder : Path
    vectors : float32 (n_items, D)
    device : str

    Raises
    ------
    BundleError
        The index is damaged, or was built from other vectors.
    """
    if not (folder / SPEC_FILE).is_file():
        _check_flat(folder / FAISS_FILE, vectors)
        return ItemIndex.build(vectors, device=device)
    try:
        facts: dict[str, Any] = json.loads((folder / SPEC_FILE).read_text(encoding="utf-8"))
        spec = IndexSpec.of(facts["spec"])
        rows = load_file(folder / STATE_FILE)
        covered, stale, alive = rows["covered"], rows["stale"], rows["alive"]
    except (OSError, ValueError, KeyError, TypeError, ConfigError) as error:
        raise BundleError(f"{folder}: the index's own files ({SPEC_FILE}, {STATE_FILE}) are damaged: {error}") from error
    if facts["vectors_sha256"] != digest(vectors):
        raise BundleError(f"{folder}: the index was built from other vectors than item_vectors.npy; build it again")
    finder: Finder | None = None
    held = vectors if len(covered) == len(vectors) else vectors[covered]
    if spec.kind == "exact":
        _check_flat(folder / FAISS_FILE, vectors)
    elif spec.kind == "truncated":
        finder = TruncatedFinder.of(held, np.load(folder / ROTATION_FILE, allow_pickle=False))
    else:
        finder = FaissFinder.load(folder / FAISS_FILE, spec)
    if finder is not None and len(finder) != len(covered):
        raise BundleError(f"{folder}: the index holds {len(finder)} items, {STATE_FILE} tells of {len(covered)}")
    if len(stale) != len(vectors) or len(alive) != len(vectors):
        raise BundleError(f"{folder}: {STATE_FILE} tells of {len(stale)} items, item_vectors.npy of {len(vectors)}")
    table = torch.from_numpy(np.ascontiguousarray(vectors)).to(device)
    dense = Dense.of(Stored.of(table, spec.precision))
    return ItemIndex(dense, spec, finder, covered, stale, alive, facts.get("measured", []))


def _check_flat(file: Path, vectors: Float32) -> None:
    """Refuse a flat index that is damaged or holds other vectors."""
    library = faiss()
    try:
        index = library.read_index(str(file))
    except RuntimeError as error:
        raise BundleError(f"{file} is not a whole FAISS index: {str(error).splitlines()[0]}") from error
    if not isinstance(index, library.IndexFlatIP):
        raise BundleError(f"{file} holds a {type(index).__name__}, expected IndexFlatIP")
    if index.ntotal != len(vectors) or not np.array_equal(index.reconstruct_n(0, index.ntotal), vectors):
        raise BundleError(f"{file} does not hold the vectors of item_vectors.npy: it belongs to another model")
