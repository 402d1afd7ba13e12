import math
from collections.abc import Callable
from typing import get_args

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.config.training import LossName, Objective
from recsys.errors import ConfigError
from recsys.training.losses import LOSSES as REGISTERED
from recsys.training.losses.bce import bce_loss
from recsys.training.losses.bpr import bpr_loss
from recsys.training.losses.contrast import Contrast
from recsys.training.losses.gbce import gbce_loss
from recsys.training.losses.mse import mse_loss


def gbce(positive: torch.Tensor, negative: torch.Tensor, **options: torch.Tensor | None) -> torch.Tensor:
    return gbce_loss(positive, negative, 0.3, 0.6, **options)


LOSSES = {"bce": bce_loss, "gbce": gbce, "bpr": bpr_loss}
every_loss = pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
Loss = Callable[..., torch.Tensor]


def sigma(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def one_bce(positive: float, negatives: list[float]) -> float:
    return -(math.log(sigma(positive)) + sum(math.log(1 - sigma(s)) for s in negatives)) / (len(negatives) + 1)


def one_gbce(positive: float, negatives: list[float]) -> float:
    alpha, t = 0.3, 0.6
    beta = alpha * (t * (1 - 1 / alpha) + 1 / alpha)
    return -(math.log(sigma(positive) ** beta) + sum(math.log(1 - sigma(s)) for s in negatives)) / (len(negatives) + 1)


def one_bpr(positive: float, negatives: list[float]) -> float | None:
    return -sum(math.log(sigma(positive - s)) for s in negatives) / len(negatives) if negatives else None


ORACLES = {bce_loss: one_bce, gbce: one_gbce, bpr_loss: one_bpr}


def mean_of(loss: Loss, positive: torch.Tensor, negative: torch.Tensor, mask: torch.Tensor, weights: torch.Tensor) -> float:
    """Position by position, with what is masked removed and what has nothing to compare left out."""
    total = strength = 0.0
    for s, row, out, weight in zip(positive.tolist(), negative, mask, weights.tolist(), strict=True):
        value = ORACLES[loss](s, row[~out].tolist())
        if value is not None:
            total, strength = total + weight * value, strength + weight
    return total / strength


def make(n: int = 12, k: int = 4) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(0)
    positive, negative = (2 * torch.randn(size, generator=generator, dtype=torch.float64) for size in ((n,), (n, k)))
    mask = torch.rand(n, k, generator=generator) < 0.4
    mask[0] = True  # one position without any negative
    return positive, negative, mask, torch.rand(n, generator=generator, dtype=torch.float64)


@every_loss
def test_the_value_is_that_of_the_formula(loss: Loss) -> None:
    positive, negative, mask, weights = make()
    nothing, even = torch.zeros_like(mask), torch.ones_like(weights)
    assert float(loss(positive, negative)) == pytest.approx(mean_of(loss, positive, negative, nothing, even))
    assert float(loss(positive, negative, mask=mask)) == pytest.approx(mean_of(loss, positive, negative, mask, even))
    full = loss(positive, negative, mask=mask, weights=weights)
    assert float(full) == pytest.approx(mean_of(loss, positive, negative, mask, weights))


@every_loss
def test_the_gradient_is_that_of_finite_differences(loss: Loss) -> None:
    positive, negative, mask, weights = make()
    scores = (positive.requires_grad_(), negative.requires_grad_())
    assert torch.autograd.gradcheck(lambda p, s: loss(p, s, mask=mask, weights=weights), scores)


@every_loss
@pytest.mark.parametrize("poison", [math.inf, -math.inf, math.nan])
def test_a_masked_negative_is_as_good_as_absent_whatever_its_score(loss: Loss, poison: float) -> None:
    positive, negative, _, _ = make()
    positive[3] = -1e4  # far below any finite stand-in for a masked score
    positive, kept = positive.requires_grad_(), negative.requires_grad_()
    more = torch.cat([kept, torch.full((len(positive), 1), poison, dtype=torch.float64)], 1)
    mask = torch.zeros(more.shape, dtype=torch.bool)
    mask[:, -1] = True
    found, expected = loss(positive, more, mask=mask), loss(positive, kept)
    torch.testing.assert_close(found, expected)
    for one, other in zip(
        torch.autograd.grad(found, (positive, kept)), torch.autograd.grad(expected, (positive, kept)), strict=True
    ):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize(("loss", "rest"), [(bce_loss, 1.0), (gbce, 1 - 0.6 * 0.7), (bpr_loss, 0.0)])
def test_where_no_negative_is_left_only_the_positive_itself_contributes(loss: Loss, rest: float) -> None:
    positive = torch.tensor([0.5, -1.0], dtype=torch.float64, requires_grad=True)
    found = loss(positive, torch.randn(2, 3, dtype=torch.float64), mask=torch.ones(2, 3, dtype=torch.bool))
    gradient = torch.autograd.grad(found, positive)[0]
    assert float(found.detach()) == pytest.approx(rest * (one_bce(0.5, []) + one_bce(-1.0, [])) / 2)
    assert bool(torch.isfinite(gradient).all())


@every_loss
def test_a_negative_that_was_drawn_twice_counts_twice(loss: Loss) -> None:
    positive, negative, _, _ = make(1, 2)
    repeated = negative[:, [0, 0, 1]]
    expected = ORACLES[loss](float(positive), repeated[0].tolist())
    assert float(loss(positive, repeated)) == pytest.approx(expected)


@every_loss
@pytest.mark.parametrize("size", [50.0, 1e4])
def test_float32_survives_scores_of_any_size(loss: Loss, size: float) -> None:
    """Also where a probability is beyond float32: each wrong score pulls with its full strength."""
    positive = torch.tensor([-size, size], requires_grad=True)
    negative = torch.tensor([[size], [-size]], requires_grad=True)
    found = loss(positive, negative)
    gradients = torch.autograd.grad(found, (positive, negative))
    slope = {bce_loss: (0.5, 0.5), gbce: (0.29, 0.5), bpr_loss: (1.0, 1.0)}[loss]
    assert float(found.detach()) == pytest.approx((slope[0] + slope[1]) * size / 2)
    assert gradients[0].tolist() == pytest.approx([-slope[0] / 2, 0.0])
    assert gradients[1].flatten().tolist() == pytest.approx([slope[1] / 2, 0.0])


def test_a_sure_positive_keeps_its_tiny_loss_in_float32() -> None:
    none = torch.zeros(1, 0)
    assert float(gbce_loss(torch.tensor([50.0]), none, 0.5, 1.0)) == pytest.approx(0.5 * math.exp(-50), rel=1e-5)


@given(scores=st.lists(st.floats(-50, 50), min_size=2, max_size=6), rate=st.floats(0.01, 1.0))
@settings(max_examples=20, deadline=None)
def test_gbce_without_calibration_or_with_every_negative_is_bce(scores: list[float], rate: float) -> None:
    positive, negative = torch.tensor(scores[:1]), torch.tensor([scores[1:]])
    plain = bce_loss(positive, negative)
    torch.testing.assert_close(gbce_loss(positive, negative, rate, 0.0), plain)
    torch.testing.assert_close(gbce_loss(positive, negative, 1.0, 0.7), plain)


def test_a_calibrated_positive_learns_as_though_every_item_had_been_a_negative() -> None:
    """At t = 1 the best score for an item that is positive with probability p is logit(p), in spite of the sampling."""
    p, rate = 0.2, 0.25
    score = torch.tensor(math.log(p / (1 - p)), dtype=torch.float64, requires_grad=True)
    # per exposure: positive with probability p, else a negative that is drawn with probability `rate`
    as_positive = gbce_loss(score[None], torch.zeros(1, 0, dtype=torch.float64), rate, 1.0)
    as_negative = bce_loss(torch.full((1,), 1e9, dtype=torch.float64), score[None, None]) * 2
    gradient = torch.autograd.grad(p * as_positive + (1 - p) * rate * as_negative, score)[0]
    assert float(gradient) == pytest.approx(0.0, abs=1e-12)


def published_gbce(scores: np.ndarray, negatives: int, pool: int, t: float) -> float:
    """gSASRec's own code in NumPy: scores (N, 1 + K), the positive first; the mean over all of them.

    The first form of it raises a float64 probability to β and takes the logit again, the later one multiplies: both.
    """
    alpha = negatives / (pool - 1)
    beta = alpha * (t * (1 - 1 / alpha) + 1 / alpha)
    truth = np.zeros_like(scores)
    truth[:, 0] = 1
    later = beta * truth * np.logaddexp(0, -scores) + (1 - truth) * np.logaddexp(0, scores)
    adjusted = (1 / (1 + np.exp(-scores[:, :1]))) ** beta
    logits = np.concatenate([np.log(adjusted / (1 - adjusted)), scores[:, 1:]], 1)
    first = np.maximum(logits, 0) - logits * truth + np.log1p(np.exp(-np.abs(logits)))
    assert first.mean() == pytest.approx(later.mean())
    return float(later.mean())


@pytest.mark.parametrize("t", [0.0, 0.5, 0.75, 1.0])
def test_gbce_is_that_of_the_published_code(t: float) -> None:
    scores = 3 * np.random.default_rng(0).standard_normal((7, 33))
    both = torch.from_numpy(scores)
    found = gbce_loss(both[:, 0], both[:, 1:], 32 / (12101 - 1), t)
    assert float(found) == pytest.approx(published_gbce(scores, 32, 12101, t))


@pytest.mark.parametrize(("name", "t"), [("bce", 0.0), ("gbce", 0.75)])
def test_in_training_each_position_sums_the_published_loss_of_scores_moved_to_its_odds(name: LossName, t: float) -> None:
    torch.manual_seed(0)
    queries, candidates = torch.randn(5, 4, dtype=torch.float64), torch.randn(9, 4, dtype=torch.float64)
    targets, bias = torch.tensor([0, 8, 3, 3, 7]), torch.tensor(0.4, dtype=torch.float64)
    # Candidates 7 and 8 are targets that were not drawn, so they are no negatives of others.
    log_q = torch.zeros(9).index_fill(0, torch.tensor([7, 8]), math.inf)
    contrast = Contrast(queries, candidates, targets, negatives=101, log_q=log_q, bias=bias)
    beta = 1 - t * (1 - 7 / 100)
    expected = 0.0
    for query, target in zip(queries, targets.tolist(), strict=True):
        drawn = [place for place in range(7) if place != target]
        scores = (candidates[[target, *drawn]] @ query).numpy()[None] + 0.4 + math.log(beta / 7)
        expected += published_gbce(scores, 7, 101, t) * scores.size * 8 / (len(drawn) + 1) / 5
    assert float(REGISTERED[name].compute(contrast, Objective(loss=name, calibration=t))) == pytest.approx(expected)


@pytest.mark.parametrize("name", ["bce", "gbce"])
def test_scores_of_zero_are_level_with_the_odds_so_that_nothing_pulls_all_of_them(name: LossName) -> None:
    """Without an offset 2,000 negatives of probability one half drown everything else for many epochs."""
    bias = torch.zeros((), requires_grad=True)
    contrast = Contrast(torch.zeros(3, 2), torch.zeros(2001, 2), torch.tensor([0, 5, 9]), negatives=10_000, bias=bias)
    loss = REGISTERED[name].compute(contrast, Objective(loss=name))
    assert float(torch.autograd.grad(loss, bias)[0]) == pytest.approx(0.0, abs=1e-4)
    assert float(loss.detach()) < 10


def test_a_loss_that_judges_alone_says_that_it_needs_a_bias() -> None:
    contrast = Contrast(torch.zeros(1, 2), torch.zeros(3, 2), torch.tensor([0]), negatives=3)
    with pytest.raises(ConfigError, match="needs a learned bias"):
        REGISTERED["bce"].compute(contrast, Objective(loss="bce"))


def test_only_differences_count_for_bpr() -> None:
    positive, negative, mask, _ = make()
    torch.testing.assert_close(bpr_loss(positive + 7, negative + 7, mask=mask), bpr_loss(positive, negative, mask=mask))


def test_the_mean_squared_error_weighs_each_rating() -> None:
    predicted = torch.tensor([1.0, 2.0, 4.0], dtype=torch.float64, requires_grad=True)
    ratings, weights = torch.tensor([2.0, 2.0, 1.0], dtype=torch.float64), torch.tensor([1.0, 5.0, 2.0])
    assert float(mse_loss(predicted, ratings).detach()) == pytest.approx(10 / 3)
    assert float(mse_loss(predicted, ratings, weights).detach()) == pytest.approx((1 * 1 + 2 * 9) / 8)
    assert torch.autograd.gradcheck(lambda p: mse_loss(p, ratings, weights), (predicted,))


@pytest.mark.parametrize("loss", [*LOSSES.values(), lambda p, s, weights: mse_loss(p, s[:, 0], weights)])
def test_weights_of_zero_give_zero_and_no_gradient(loss: Loss) -> None:
    positive, negative, _, _ = make()
    found = loss(positive.requires_grad_(), negative, weights=torch.zeros(len(positive)))
    assert float(found.detach()) == 0.0
    assert torch.autograd.grad(found, positive)[0].abs().max() == 0


def test_no_gradient_flows_into_weights() -> None:
    positive, negative, _, weights = make()
    assert bce_loss(positive.requires_grad_(), negative, weights=weights.requires_grad_()).requires_grad
    assert not bce_loss(positive.detach(), negative, weights=weights).requires_grad
    assert not bpr_loss(positive.detach(), negative, weights=weights).requires_grad


@every_loss
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"positive": torch.ones(0), "negative": torch.ones(0, 2)}, "at least one position"),
        ({"negative": torch.ones(2, 2)}, r"negatives of shape \(2, 2\) for 3 positions"),
        ({"mask": torch.zeros(3, 2)}, r"mask must be bool \(3, 2\), not torch.float32"),
        ({"weights": torch.ones(2)}, r"weights of shape \(2,\) for 3 positions"),
    ],
)
def test_shapes_that_clash_are_named(loss: Loss, arguments: dict[str, torch.Tensor], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        loss(**({"positive": torch.ones(3), "negative": torch.ones(3, 2)} | arguments))


def test_ratings_that_do_not_match_are_refused() -> None:
    with pytest.raises(ConfigError, match="one each is needed"):
        mse_loss(torch.ones(3), torch.ones(3, 1))


@pytest.mark.parametrize(
    ("rate", "t", "message"), [(0.0, 0.5, "sampling_rate"), (1.2, 0.5, "sampling_rate"), (0.5, -0.1, "cal")]
)
def test_a_beta_outside_its_range_is_refused(rate: float, t: float, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        gbce_loss(torch.ones(1), torch.ones(1, 1), rate, t)


def test_every_loss_that_the_option_accepts_is_registered_and_no_other() -> None:
    assert REGISTERED.keys() == set(get_args(LossName)) - {"auto"}
