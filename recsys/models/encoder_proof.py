"""Proofs that a text encoder does its work, and that a copy of it gives the same vectors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl

from recsys.data.row_lists import Float32
from recsys.errors import EncoderError
from recsys.models.whiten import Whitening

_SAMPLE = 16
_TOLERANCE = 0.25
"""Largest difference between two encodings of a text, as a share of the whitened vector's length; bfloat16, and layers
that ran once and were kept in it, make less than a tenth."""


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
    from recsys.models.encoder import TextEncoder  # noqa: PLC0415

    known = np.flatnonzero(texts.is_not_null().to_numpy())
    if not len(known):
        return
    rows = known[np.linspace(0, len(known) - 1, min(_SAMPLE, len(known))).astype(np.int64)]
    sample = texts.gather(rows).to_list()
    made, expected = whitening(TextEncoder(folder, device).encode(sample)), whitened[rows]
    near = np.linalg.norm(made - expected, axis=1) <= _TOLERANCE * np.linalg.norm(expected, axis=1) + 1e-3
    if not near.all():
        place = int(np.flatnonzero(~near)[0])
        raise EncoderError(
            f"the encoder in {folder} gives {int((~near).sum())} of {len(rows)} sampled texts another vector than the "
            f"model was trained with, such as {sample[place][:80]!r}; fit again from an encoder whose files do not change"
        )
