"""What an encoder is adapted by: a contrastive loss of vectors, and words that were masked."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

IGNORED = -100
"""Label of a token that is not to be guessed."""
_RATE = 0.15


def contrastive_loss(queries: Tensor, documents: Tensor, alike: Tensor, scale: float) -> Tensor:
    """Cross-entropy of finding each query's own document among those of the batch, by cosine.

    With two readings of the same texts under dropout this is SimCSE (arXiv 2104.08821, equation 4); with pairs it is the
    multiple negatives ranking loss (arXiv 1705.00652, section 4.4).

    Parameters
    ----------
    queries, documents : float (n, E)
        Row ``i`` of one belongs to row ``i`` of the other.
    alike : bool (n, n)
        Documents that are no negatives of a query, such as those with the same text; the diagonal is not read.
    scale : float
        Factor on the cosines.

    Returns
    -------
    float ()

    Examples
    --------
    >>> two = torch.eye(2)
    >>> round(float(contrastive_loss(two, two, torch.zeros(2, 2, dtype=torch.bool), 1.0)), 4)
    0.3133
    """
    logits = scale * F.normalize(queries, dim=1) @ F.normalize(documents, dim=1).T
    own = torch.eye(len(logits), dtype=torch.bool, device=logits.device)
    logits = logits.masked_fill(alike & ~own, float("-inf"))
    return F.cross_entropy(logits, torch.arange(len(logits), device=logits.device))


def mask_tokens(ids: Tensor, special: Tensor, mask_id: int, size: int) -> tuple[Tensor, Tensor]:
    """Choose 15 of 100 tokens: of these 80 % are masked, 10 % are random ones, and 10 % stay (arXiv 1810.04805, 3.1).

    Parameters
    ----------
    ids : int64 (n, T)
    special : int64 (m,)
        Tokens that are never chosen.
    mask_id, size : int
        The mask, and how many tokens there are.

    Returns
    -------
    int64 (n, T)
        What is read.
    int64 (n, T)
        What is to be guessed; ``IGNORED`` elsewhere.
    """
    chosen = (torch.rand(ids.shape, device=ids.device) < _RATE) & ~torch.isin(ids, special)
    labels = torch.where(chosen, ids, IGNORED)
    lot = torch.rand(ids.shape, device=ids.device)
    read = torch.where(chosen & (lot < 0.8), mask_id, ids)
    strange = torch.randint(size, ids.shape, device=ids.device)
    return torch.where(chosen & (lot >= 0.9), strange, read), labels


class MaskedHead(nn.Module):
    """Guesses masked tokens from what the encoder gives for them; its words are the encoder's own, its rest is new.

    Parameters
    ----------
    words : Embedding
        The encoder's; shared, not copied.
    width : int
        Of the encoder's layers.
    """

    def __init__(self, words: nn.Embedding, width: int) -> None:
        super().__init__()
        self._words = [words]  # in a list: trained as a part of the encoder, if at all
        self.dense = nn.Linear(width, words.embedding_dim)
        self.norm = nn.LayerNorm(words.embedding_dim)
        self.bias = nn.Parameter(torch.zeros(words.num_embeddings))

    def forward(self, hidden: Tensor, labels: Tensor) -> Tensor:
        """The cross-entropy of masked tokens; 0 where none is masked.

        Parameters
        ----------
        hidden : float (n, T, E)
        labels : int64 (n, T)
            As :func:`mask_tokens` gives them.

        Returns
        -------
        float ()
        """
        chosen = labels != IGNORED
        read = self.norm(F.gelu(self.dense(hidden[chosen])))
        logits = F.linear(read, self._words[0].weight, self.bias)
        return F.cross_entropy(logits, labels[chosen], reduction="sum") / chosen.sum().clamp(min=1)
