import math

import pytest
import torch
from torch import nn

from recsys.training.adaptation.losses import IGNORED, MaskedHead, contrastive_loss, mask_tokens


def test_the_contrastive_loss_is_that_of_sentence_transformers() -> None:
    from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss

    generator = torch.Generator().manual_seed(0)
    queries, documents = torch.randn(2, 6, 5, generator=generator)
    theirs = MultipleNegativesRankingLoss(nn.Identity(), scale=20.0)  # type: ignore[arg-type]
    expected = theirs.compute_loss_from_embeddings([queries, documents], torch.arange(6))
    ours = contrastive_loss(queries, documents, torch.eye(6, dtype=torch.bool), 20.0)
    assert float(ours) == pytest.approx(float(expected), rel=1e-5)


def test_texts_that_are_alike_are_no_negatives() -> None:
    vectors = torch.eye(3)
    alike = torch.tensor([[True, True, True], [False, True, False], [False, False, True]])
    first = -math.log(1.0)
    others = math.log(1 + 2 * math.exp(-2.0))
    assert float(contrastive_loss(vectors, vectors, alike, 2.0)) == pytest.approx((first + 2 * others) / 3, rel=1e-5)


def test_masked_tokens_are_about_fifteen_of_a_hundred_and_never_special_ones() -> None:
    torch.manual_seed(0)
    ids = torch.randint(3, 50, (200, 50))
    ids[:, 0] = 2
    read, labels = mask_tokens(ids, torch.tensor([0, 2]), mask_id=1, size=50)
    chosen = labels != IGNORED
    assert not chosen[:, 0].any()
    assert torch.equal(labels[chosen], ids[chosen])
    assert torch.equal(read[~chosen], ids[~chosen])
    assert float(chosen[:, 1:].float().mean()) == pytest.approx(0.15, abs=0.01)
    assert float((read[chosen] == 1).float().mean()) == pytest.approx(0.8, abs=0.03)
    assert float((read[chosen] == ids[chosen]).float().mean()) == pytest.approx(0.1, abs=0.03)


def test_guessing_without_a_mask_costs_nothing_and_with_one_reaches_the_encoder_s_words() -> None:
    torch.manual_seed(0)
    words = nn.Embedding(7, 4)
    head = MaskedHead(words, 6)
    hidden, labels = torch.randn(2, 3, 6), torch.full((2, 3), IGNORED)
    assert float(head(hidden, labels).detach()) == 0.0
    labels[0, 1] = 5
    head(hidden, labels).backward()
    assert words.weight.grad is not None
    assert words.weight.grad.any()
    assert "words" not in dict(head.named_parameters())
