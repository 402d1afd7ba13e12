"""How near the answers of an export are to those of the bundle that it was made of, on the bundle's own users."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl
import torch

from recsys.bundle.contents import Bundle
from recsys.core.ragged import Float32, Int32
from recsys.core.schema import ITEM, RANK, SCORE
from recsys.errors import UnsupportedError
from recsys.index.exact.table import VectorTable
from recsys.models.towers import numpy_of
from recsys.serving.retriever import Retriever
from recsys.serving.runtime.retriever import Runtime, load

USERS: Final = 256
"""Users who are asked for."""
_TEXTS = 32
_NEAR = 1e-3
"""Largest difference of a vector or a score that rounding explains, as a share of the largest."""
_NEAR_TEXT = 0.05
"""The same of texts, which PyTorch encodes in bfloat16 where the processor has it."""
_K = 10


def proven(bundle: Bundle, folder: Path) -> dict[str, Any]:
    """Ask an export and its bundle for the same, and compare.

    Returns
    -------
    dict
        ``users`` and ``texts`` asked for, the largest differences of vectors and scores as shares of the largest, and the
        mean share of the ten best that both give.

    Raises
    ------
    UnsupportedError
        The differences are larger than rounding.
    """
    bundle = _unrounded(bundle)
    runtime, retriever = load(folder), Retriever(bundle)
    found = _of_users(bundle, runtime, retriever)
    if runtime.facts["model"]["text"] is not None:
        found |= _of_texts(bundle, runtime, retriever)
    for name, most in (("vector_difference", _NEAR), ("score_difference", _NEAR), ("search_difference", _NEAR_TEXT)):
        if found.get(name, 0.0) > most:
            raise UnsupportedError(
                f"the export answers otherwise than the bundle: {name} is {found[name]:.1e}, more than {most:g}"
            )
    return found


def _unrounded(bundle: Bundle) -> Bundle:
    """With item vectors as an export has them: whole, whatever the index rounds them to."""
    index = bundle.index
    if index.spec.precision == "float32":
        return bundle
    whole = VectorTable.of(torch.from_numpy(bundle.vectors))
    return bundle.with_index(replace(index, dense=whole, spec=replace(index.spec, precision="float32")))


def _of_users(bundle: Bundle, runtime: Runtime, retriever: Retriever) -> dict[str, Any]:
    able = np.flatnonzero(bundle.histories.lengths)
    if not len(able):
        return {"users": 0}
    rows: Int32 = able[np.linspace(0, len(able) - 1, min(USERS, len(able))).astype(np.int64)].astype(np.int32)
    histories, ids = bundle.histories.take(rows), bundle.users.to_ids(rows)
    read = histories if bundle.reads_events or histories.events is None else histories.without_events()
    right = numpy_of(bundle.towers.user_vectors(read, rows))
    made = runtime._parts.tower.vectors(read, rows)
    asked: dict[str, Any] = {"k": _K, "request_time": 1_700_000_000}
    both = retriever.recommend(ids, **asked), runtime.recommend(ids, **asked)
    return {"users": len(rows), "vector_difference": _largest(made, right), **compared(*both)}


def compared(right: pl.DataFrame, made: pl.DataFrame) -> dict[str, float]:
    """How near answers are to the right ones: ``overlap`` of the lists, ``score_difference`` and ``same_order``.

    Parameters
    ----------
    right, made : DataFrame
        Of the same people: owner, ``item_id``, ``score``, ``rank``.
    """
    owner = right.columns[0]
    both = right.join(made, on=[owner, ITEM], how="inner")
    if not right.height:
        return {"overlap": 1.0, "score_difference": 0.0, "same_order": 1.0}
    apart = (both[SCORE] - both[f"{SCORE}_right"]).abs().max()
    largest = right[SCORE].abs().max()
    return {
        "overlap": both.height / right.height,
        "score_difference": float(apart or 0.0) / max(float(largest or 0.0), 1e-30),  # type: ignore[arg-type]
        "same_order": int((both[RANK] == both[f"{RANK}_right"]).sum()) / right.height,
    }


def _of_texts(bundle: Bundle, runtime: Runtime, retriever: Retriever) -> dict[str, Any]:
    texts = bundle.catalog.texts.drop_nulls().unique(maintain_order=True)
    texts = texts.filter(texts.str.strip_chars() != "")
    some = texts.gather_every(max(1, len(texts) // _TEXTS)).head(_TEXTS).to_list()
    right, made = bundle.towers.query_vectors(some), runtime._texts.vectors(some)[1]
    both = retriever.search(some, k=_K), runtime.search(some, k=_K)
    return {
        "texts": len(some),
        "search_difference": _largest(made, right),
        "search_overlap": compared(*both)["overlap"],
    }


def _largest(made: Float32, right: Float32) -> float:
    return float(np.abs(made - right).max() / max(float(np.abs(right).max()), 1e-30))
