"""Proofs that a text encoder does its work, and that a copy of it gives the same vectors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl

from recsys.core.progress import log, warn
from recsys.core.ragged import Bool, Float32
from recsys.errors import EncoderError
from recsys.models.encoders.whitening import Whitening

_SAMPLE = 16
_TOLERANCE = 0.25
"""Largest difference between two encodings of a text, as a share of the whitened vector's length; bfloat16, and layers
that ran once and were kept in it, make less than a tenth."""
_LEAST = 0.1
"""A smaller share of vectors that differ is refused."""
_OWN = 0.9
"""If a smaller share of vectors differs, a warning says so."""
_VIEWS, _GRID = 8, 1e-3
"""Vectors are distinguished by this many random projections, each rounded to steps of this size."""


def prove_reencoding(folder: Path, texts: pl.Series, whitening: Whitening, whitened: Float32, device: str = "cpu") -> None:
    """Refuse a copy of an encoder that gives a sample of texts other vectors than those that a model reads.

    Parameters
    ----------
    folder : Path
        The copy, such as ``encoder`` in a bundle.
    texts : Series of String (n_items,)
        By item row, null where an item has none.
    whitening : Whitening
    whitened : float32 (n_items, T)
        The text vectors that the item tower reads, by item row.
    device : str
        Where the copy runs.

    Raises
    ------
    EncoderError
        The copy cannot be loaded, or gives other vectors; the message names a text.
    """
    from recsys.models.encoders.pretrained import TextEncoder  # noqa: PLC0415

    known = np.flatnonzero(texts.is_not_null().to_numpy())
    if not len(known):
        return
    rows = known[np.linspace(0, len(known) - 1, min(_SAMPLE, len(known))).astype(np.int64)]
    sample = texts.gather(rows).to_list()
    near = same_vectors(whitening(TextEncoder(folder, device).encode(sample)), whitened[rows], _TOLERANCE)
    if not near.all():
        place = int(np.flatnonzero(~near)[0])
        raise EncoderError(
            f"the encoder in {folder} gives {int((~near).sum())} of {len(rows)} sampled texts another vector than the "
            f"model was trained with, such as {sample[place][:80]!r}; fit again from an encoder whose files do not change"
        )


def same_vectors(made: Float32, expected: Float32, tolerance: float) -> Bool:
    """bool (n,): whether vectors differ by no more than a share of the expected ones' length."""
    near: Bool = np.linalg.norm(made - expected, axis=1) <= tolerance * np.linalg.norm(expected, axis=1) + 1e-3
    return near


def prove_vectors(values: pl.Series, vectors: Float32, what: str = "texts") -> None:
    """Refuse vectors that tell nothing of what was encoded, and say in one line how many do.

    Parameters
    ----------
    values : Series (n,)
        What was encoded, without nulls.
    vectors : float32 (n, E)
    what : str

    Raises
    ------
    EncoderError
        A vector is not finite; less than half differ from zero; or only one, or less than a tenth, is one of its own.
    """
    first = values.is_first_distinct().to_numpy()
    values, vectors = values.filter(first), vectors[first]
    finite = np.isfinite(vectors).all(axis=1)
    if not finite.all():
        name = str(values[int(np.flatnonzero(~finite)[0])])[:80]
        raise EncoderError(
            f"the encoder gives {int((~finite).sum()):,} of {len(values):,} {what} no finite vector, such as {name!r}"
        )
    filled = vectors.any(axis=1)
    distinct = _distinct(vectors)
    told = (
        f"of {len(values):,} distinct {what}, {filled.mean():.1%} have a vector other than zero, and "
        f"{distinct / len(values):.1%} one of their own"
    )
    remedy = "the encoder does not know their words: choose another (--encoder), or none"
    if 2 * filled.sum() < len(values) or distinct < min(len(values), max(2, _LEAST * len(values))):
        raise EncoderError(f"{told}; {remedy}")
    if not filled.all() or distinct < _OWN * len(values):
        warn(f"{told}; where they share one, {remedy}")
    else:
        log(told)


def _distinct(vectors: Float32) -> int:
    """How many directions there are, save for differences that rounding makes."""
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    views = np.random.default_rng(0).normal(size=(vectors.shape[1], _VIEWS)).astype(np.float32)
    seen = np.rint(vectors / np.maximum(length, 1e-12) @ views / _GRID).astype(np.int32)
    return pl.DataFrame(seen).n_unique()
