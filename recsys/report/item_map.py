"""A map of item vectors in two dimensions, in which similar items are close."""

from __future__ import annotations

from typing import Any

import numpy as np

from recsys.bundle.contents import Bundle
from recsys.core.progress import log
from recsys.core.ragged import Float32, Int32, Int64
from recsys.evaluation import segments

FEWEST = 5
"""Items that a map needs at least."""
_MOST = 2500
_POPULAR = 1500
_COLOURS = 8
_DIRECTIONS = 30
_PERPLEXITY = 30


def item_map(bundle: Bundle, counts: Int64 | None, category: str | None, seed: int) -> dict[str, Any] | None:
    """Positions of items on a plane: PCA to 30 directions, then t-SNE, both from the seed.

    Parameters
    ----------
    bundle : Bundle
    counts : int64 (n_items,), optional
        Events in training. A large catalogue is sampled: its 1,500 most popular items and 1,000 drawn from the rest, or
        2,500 drawn from all items if no counts are known.
    category : str, optional
        A catalogue column; its most frequent values have colours.
    seed : int

    Returns
    -------
    dict or None
        ``items``, ``popular``, ``category``, and lists ``x``, ``y``, ``title``, ``label`` with one element per item.
    """
    n = len(bundle.items)
    if n < FEWEST:
        return None
    popular, rows = _chosen(n, counts, np.random.default_rng(seed))
    log(f"report: a map of {len(rows):,} items")
    places = _plane(bundle.vectors[rows], seed)
    labels = [""] * len(rows)
    if category is not None:
        every = segments.column(bundle.catalog, category, most=_COLOURS)
        labels = [one or "unknown" for one in every.gather(rows.tolist()).to_list()]
    return {
        "items": n,
        "popular": popular,
        "category": category,
        "x": [round(float(one), 2) for one in places[:, 0]],
        "y": [round(float(one), 2) for one in places[:, 1]],
        "title": bundle.catalog.title_of(rows).to_list(),
        "label": labels,
    }


def _chosen(n: int, counts: Int64 | None, generator: np.random.Generator) -> tuple[int, Int32]:
    """The number of popular items, and int32 (≤ 2,500,) rows in ascending order."""
    if n <= _MOST:
        return 0, np.arange(n, dtype=np.int32)
    order = np.argsort(-counts, kind="stable") if counts is not None else np.arange(n)
    popular = _POPULAR if counts is not None else 0
    tail = generator.choice(order[popular:], _MOST - popular, replace=False)
    return popular, np.sort(np.concatenate([order[:popular], tail])).astype(np.int32)


def _plane(vectors: Float32, seed: int) -> Float32:
    """float32 (n, 2): positions of float32 (n, D) vectors, by their directions only."""
    from sklearn.decomposition import PCA  # type: ignore[import-untyped]  # noqa: PLC0415
    from sklearn.manifold import TSNE  # type: ignore[import-untyped]  # noqa: PLC0415

    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    units = vectors / np.where(norms > 0, norms, 1.0)
    directions = min(_DIRECTIONS, units.shape[1], len(units) - 1)
    flat = PCA(directions, random_state=seed).fit_transform(units)
    perplexity = min(_PERPLEXITY, (len(flat) - 1) / 3)
    placed = TSNE(2, init="pca" if directions > 1 else "random", perplexity=perplexity, random_state=seed).fit_transform(
        flat
    )
    result: Float32 = placed.astype(np.float32)
    return result
