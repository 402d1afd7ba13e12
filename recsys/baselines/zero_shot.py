"""Zero-shot: compare the mean of a history's texts with the texts of all items, without training."""

from __future__ import annotations

from typing import Self

import numpy as np

from recsys.baselines.scoring import DenseScorer, history_matrix
from recsys.core.arguments import instance, instance_or_none
from recsys.core.ragged import Float32, Int32, Ragged
from recsys.data.catalog import Catalog
from recsys.data.interactions import Interactions
from recsys.errors import DataError


class ZeroShot(DenseScorer):
    """Cosine between an item's text and the mean of a history's texts, as a pretrained encoder embeds them.

    The least that a model trained on text must reach, and a start without interactions. Each text counts once and with
    length 1; items without a text, and histories of such items only, score 0.

    Parameters
    ----------
    encoder : str
        A folder or a Hugging Face name.
    whiten : bool
        Compare in a space whose directions all have the same variance, as the item tower reads it.

    Examples
    --------
    >>> model = recsys.ZeroShot(encoder="./encoder").fit(split.train, catalog)
    >>> len(model.items)  # items without interactions are ranked too
    32
    """

    name = "zero-shot text"

    def __init__(self, encoder: str = "all-MiniLM-L6-v2", *, whiten: bool = False) -> None:
        super().__init__()
        self.encoder = encoder
        self.whiten = whiten

    def fit(self, train: Interactions, catalog: Catalog | None = None) -> Self:
        """Encode the texts; the interactions only say which users and items exist."""
        from recsys.models.encoders.pretrained import TextEncoder, open_encoder  # noqa: PLC0415
        from recsys.models.encoders.proof import prove_vectors  # noqa: PLC0415
        from recsys.models.encoders.whitening import Whitening  # noqa: PLC0415

        instance(train, Interactions, "train")
        instance_or_none(catalog, Catalog, "catalog")
        if catalog is None or not catalog.texts.is_not_null().any():
            raise DataError("zero-shot only reads texts: pass a catalogue with text columns (--catalog, --text)")
        known = train.with_items(catalog.items.ids)
        texts = catalog.aligned(known.items).texts
        readable = texts.drop_nulls()
        vectors = TextEncoder(open_encoder(self.encoder)).encode_cached(readable)
        prove_vectors(readable, vectors)
        if self.whiten:
            vectors = Whitening.fit(vectors[readable.is_first_distinct().to_numpy()], vectors.shape[1])(vectors)
        table = np.zeros((len(texts), vectors.shape[1]), dtype=np.float32)
        table[texts.is_not_null().to_numpy()] = _unit(vectors)
        super().fit(known)
        self._vectors = table
        return self

    def _learn(self, train: Interactions) -> None:
        """Nothing."""

    def _scores(self, histories: Ragged, users: Int32 | None) -> Float32:
        means = np.asarray(history_matrix(histories, len(self._vectors)) @ self._vectors)
        scores: Float32 = _unit(means) @ self._vectors.T
        return scores


def _unit(vectors: Float32) -> Float32:
    """The same vectors with length 1; zeros stay zeros."""
    out: Float32 = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    return out
