"""Which part of an item, and which of its words, its score comes from."""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from recsys.core.ragged import Float32, Int32, Int64
from recsys.errors import DataError, UnsupportedError
from recsys.models.networks.item_tower import NO_TEXT, TEXT, ItemTower
from recsys.models.towers import TwoTowerModel, numpy_of

BIAS: Final = "bias"


@torch.inference_mode()
def score_breakdown(towers: TwoTowerModel, user: Float32, items: Int32) -> dict[str, Float32]:
    """The share of each item's score that comes from each part of the item tower; the shares add up to the score.

    The item tower gives ``LayerNorm(Σ parts)``, scaled to unit length under cosine. With the deviation by which the norm
    divides, and with that length, held at what they are for the whole sum, all of it is linear in the parts, and so is
    the inner product with the user vector: each part has its share, and the norm's offset (``bias``) the rest. That is
    exact as a sum, but no forecast: without a part, deviation and length would be others too.

    Parameters
    ----------
    towers : TwoTowerModel
    user : float32 (D,)
        A user vector, as :meth:`TwoTowerModel.user_vectors` gives them; or an item vector, to see why two items are alike.
    items : int32 (m,)
        Item rows.

    Returns
    -------
    dict of float32 (m,)
        By name: ``id``, ``text``, ``image``, ``numbers``, ``words and categories`` (those that the model has, in this
        order) and ``bias``; of a fast model ``popularity`` alone. A part of which an item has nothing, such as the id of
        one that nobody interacted with in training, has the share 0.
    """
    parts = _parts(towers, items)
    if towers.fast:  # linear as it is
        return {name: numpy_of(part) @ user for name, part in parts.items()}
    norm = _FixedNorm.at(towers, user, parts, items)
    return {name: norm.share(part) for name, part in parts.items()} | {BIAS: norm.bias.astype(np.float32)}


@torch.inference_mode()
def token_shares(towers: TwoTowerModel, user: Float32, item: int) -> tuple[Int64, Float32]:
    """What each word, pair of words and category adds to an item's score, as in :func:`score_breakdown`.

    Parameters
    ----------
    towers : TwoTowerModel
    user : float32 (D,)
    item : int
        Item row.

    Returns
    -------
    tokens : int64 (t,)
        The item's tokens by number, as in the table of :class:`recsys.models.features.TokenVocabulary`.
    shares : float32 (t,)
        They add up to the share of ``words and categories``.

    Raises
    ------
    UnsupportedError
        The model has no such part.
    """
    bags = towers.net.items.bags
    if bags is None:
        raise UnsupportedError("this model has no words or categories; fit it with word_features='on' or categories=[...]")
    begin, end = bags.offsets[item : item + 2].tolist()
    tokens = bags.tokens[begin:end]
    vectors = bags.vectors(tokens) * bags.weights[begin:end, None]
    items = np.array([item], dtype=np.int32)
    norm = _FixedNorm.at(towers, user, _parts(towers, items), items)
    return tokens.cpu().numpy(), norm.share(vectors)


@torch.inference_mode()
def text_occlusion(towers: TwoTowerModel, text: str, user: Float32, item: int) -> list[tuple[str, float]]:
    """How much of an item's score goes when one word is left out of the text that the encoder reads.

    The text is encoded once more without each of its words, all of them in one go, and the rest of the item stays as it
    is, its bag of words included (:func:`token_shares` tells of that). Unlike a share this is what the tower would say.
    The encoder computes in bfloat16 where the processor has it, so that the smallest changes are noise.

    Parameters
    ----------
    towers : TwoTowerModel
    text : str
        The item's text, as the catalogue has it. Without its only word, the item is one without a text.
    user : float32 (D,)
    item : int
        Item row.

    Returns
    -------
    list of (str, float)
        The words, parted by white space, in the order of the text; above 0 where a word speaks for the item.

    Raises
    ------
    UnsupportedError
        The model was trained without text.
    DataError
        The text is blank.
    """
    tower = towers.net.items
    if towers.whitening is None or tower.project is None:
        raise UnsupportedError(NO_TEXT)
    words = text.split()
    if not words:
        raise DataError(f"the text of item {towers.items.ids[item]!r} is blank, so that it has no word to leave out")
    texts = [" ".join(words)] + [" ".join(words[:place] + words[place + 1 :]) for place in range(len(words))]
    known = np.array([len(one) > 0 for one in texts])
    read = towers.whitening.table(towers.encoder.encode([one for one in texts if one]), known)
    items = np.array([item], dtype=np.int32)
    parts = _parts(towers, items)
    parts[TEXT] = tower.project(torch.from_numpy(read).to(tower.text.device))  # (1 + words, D), the others (1, D)
    scores = numpy_of(towers.net.for_score(tower.joined(parts))) @ user * _factors(towers, items)
    return list(zip(words, (scores[0] - scores[1:]).tolist(), strict=True))


def _parts(towers: TwoTowerModel, items: Int32) -> dict[str, Tensor]:
    """The summands of item vectors before the norm, each float32 (m, D)."""
    towers.net.eval()
    tower: ItemTower = towers.net.items
    return tower.parts(torch.from_numpy(items.astype(np.int64)).to(tower.has_id.device))


@dataclass(frozen=True, eq=False)
class _FixedNorm:
    """The score as a linear function of what goes into the norm of the item tower, for items of fixed deviation and length.

    Each of the M members of the tower norms its own share of the D directions. There a user ``u`` scores
    ``Σ_d u_d (g_d (x_d − mean(x)) / σ + b_d) / length``. Taking the mean from x is the same as taking it from ``u ⊙ g``,
    which is there once for all items.

    Attributes
    ----------
    pull : float64 (M, D / M)
        ``u ⊙ g`` less its mean.
    divisor : float64 (m, M)
        ``σ · length``.
    bias : float64 (m,)
        What the offset b adds to the score.
    """

    pull: NDArray[np.float64]
    divisor: NDArray[np.float64]
    bias: NDArray[np.float64]

    @classmethod
    def at(cls, towers: TwoTowerModel, user: Float32, parts: dict[str, Tensor], items: Int32) -> _FixedNorm:
        """For the items of these parts, float32 (m, D) each, and these rows (m,)."""
        total = reduce(torch.add, parts.values())
        norm = towers.net.items.norm
        gain, offset, x = (_shares(numpy_of(one.detach()), norm.ensemble_size) for one in (norm.weight, norm.bias, total))
        centred = x - x.mean(axis=-1, keepdims=True)
        deviation = np.sqrt((centred**2).mean(axis=-1) + norm.eps)  # (m, M)
        vectors = centred / deviation[..., None] * gain + offset
        length = np.maximum(np.linalg.norm(vectors, axis=-1), 1e-12) if towers.net.cosine else np.ones(x.shape[:2])
        length *= norm.ensemble_size**0.5 / _factors(towers, items)[:, None]
        user_parts = _shares(user, norm.ensemble_size)
        pull = user_parts * gain
        bias = ((user_parts * offset).sum(axis=-1) / length).sum(axis=-1)
        return cls(pull - pull.mean(axis=-1, keepdims=True), deviation * length, bias)

    def share(self, part: Tensor) -> Float32:
        """Float32 (m,): what a summand adds to the score; of one item, several summands (t, D) give float32 (t,)."""
        by_member = (_shares(numpy_of(part), len(self.pull)) * self.pull).sum(axis=-1)  # (m, M)
        shares: Float32 = (by_member / self.divisor).sum(axis=-1).astype(np.float32)
        return shares


def _factors(towers: TwoTowerModel, items: Int32) -> Float32:
    """float32 (m,): what the scores of items are multiplied by."""
    return numpy_of(towers.net.factors(torch.from_numpy(items.astype(np.int64)).to(towers.net.cold_scale.device)))


def _shares(vectors: Float32, ensemble_size: int) -> NDArray[np.float64]:
    """Each member's part of vectors (..., D), as (..., ensemble_size, D / ensemble_size)."""
    return vectors.astype(np.float64).reshape(*vectors.shape[:-1], ensemble_size, vectors.shape[-1] // ensemble_size)
