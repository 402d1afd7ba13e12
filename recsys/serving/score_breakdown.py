"""Which part of an item, and which of its words, its score comes from."""

from __future__ import annotations

from functools import reduce

import numpy as np
import torch
from torch import Tensor

from recsys.core.ragged import Float32, Int32, Int64
from recsys.errors import DataError, UnsupportedError
from recsys.models.networks.item_tower import NO_TEXT, TEXT, ItemTower
from recsys.models.towers import TwoTowerModel, numpy_of
from recsys.serving.fixed_norm import BIAS, FixedNorm, Norm


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
    norm = _norm_at(towers, user, parts, items)
    return {name: norm.share(numpy_of(part)) for name, part in parts.items()} | {BIAS: norm.bias.astype(np.float32)}


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
    norm = _norm_at(towers, user, _parts(towers, items), items)
    return tokens.cpu().numpy(), norm.share(numpy_of(vectors))


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


def _norm_at(towers: TwoTowerModel, user: Float32, parts: dict[str, Tensor], items: Int32) -> FixedNorm:
    """For the items of these parts, float32 (m, D) each, and these rows (m,)."""
    total = numpy_of(reduce(torch.add, parts.values()).detach())
    return FixedNorm.at(norm_of(towers), user, total, _factors(towers, items))


def norm_of(towers: TwoTowerModel) -> Norm:
    """The norm of the item tower; not of a fast model, which has none."""
    norm = towers.net.items.norm
    gain, offset = numpy_of(norm.weight.detach()), numpy_of(norm.bias.detach())
    return Norm(gain, offset, norm.eps, norm.ensemble_size, towers.net.cosine)


def _factors(towers: TwoTowerModel, items: Int32) -> Float32:
    """float32 (m,): what the scores of items are multiplied by."""
    return numpy_of(towers.net.factors(torch.from_numpy(items.astype(np.int64)).to(towers.net.cold_scale.device)))
