import numpy as np
import pytest
import torch
import torch.nn.functional as F

from recsys.errors import ConfigError
from recsys.models import losses
from recsys.models.losses import softmax_loss
from recsys.models.negatives import MixedNegatives


def make(n: int = 50, m: int = 20, d: int = 8) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    queries = torch.randn(n, d, generator=generator, dtype=torch.float64, requires_grad=True)
    candidates = torch.randn(m, d, generator=generator, dtype=torch.float64, requires_grad=True)
    return queries, candidates, torch.randint(0, m, (n,), generator=generator)


def plain(
    queries: torch.Tensor, candidates: torch.Tensor, targets: torch.Tensor, log_q: torch.Tensor | None
) -> torch.Tensor:
    """Equation by equation, one position at a time."""
    total = torch.zeros((), dtype=queries.dtype)
    for query, target in zip(queries, targets.tolist(), strict=True):
        scores = candidates @ query
        mass = scores[target].exp()
        for j, score in enumerate(scores):
            if j != target:
                mass = mass + score.exp() / (1.0 if log_q is None else log_q[j].exp())
        total = total - scores[target] + mass.log()
    return total / len(queries)


@pytest.mark.parametrize("corrected", [False, True])
@pytest.mark.parametrize("chunk", [1, 60, 10_000])
def test_value_and_gradients_are_those_of_the_formula(corrected: bool, chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(losses, "_CHUNK_LOGITS", chunk)
    queries, candidates, targets = make()
    log_q = -torch.rand(len(candidates), dtype=torch.float64) if corrected else None
    expected = plain(queries, candidates, targets, log_q)
    wanted = torch.autograd.grad(expected, (queries, candidates))
    found = softmax_loss(queries, candidates, targets, log_q=log_q)
    got = torch.autograd.grad(found, (queries, candidates))
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(got, wanted)


def test_full_softmax_is_torchs_cross_entropy() -> None:
    queries, candidates, targets = make()
    torch.testing.assert_close(softmax_loss(queries, candidates, targets), F.cross_entropy(queries @ candidates.T, targets))


def test_bfloat16_products_stay_close_to_float32() -> None:
    queries, candidates, targets = (t.detach().float() if t.is_floating_point() else t for t in make(200, 100, 64))
    queries = queries / 8
    exact, rough = (softmax_loss(queries, candidates, targets, bf16=flag) for flag in (False, True))
    assert rough.dtype == torch.float32
    assert abs(float(exact - rough)) < 0.02 * float(exact)


def test_huge_logits_do_not_overflow() -> None:
    queries = torch.full((1, 1), 1e4, requires_grad=True)
    loss = softmax_loss(queries, torch.tensor([[1.0], [-1.0]]), torch.tensor([1]))
    loss.backward()
    assert float(loss.detach()) == pytest.approx(2e4)
    assert torch.isfinite(queries.grad).all()


def test_the_gradient_scales_with_what_comes_from_above() -> None:
    queries, candidates, targets = make()
    single = torch.autograd.grad(softmax_loss(queries, candidates, targets), queries)[0]
    triple = torch.autograd.grad(3 * softmax_loss(queries, candidates, targets), queries)[0]
    torch.testing.assert_close(triple, 3 * single)


def test_nothing_to_predict_is_refused() -> None:
    with pytest.raises(ConfigError, match="at least one position"):
        softmax_loss(torch.empty(0, 4), torch.ones(2, 4), torch.empty(0, dtype=torch.long))


def test_clashing_widths_are_named() -> None:
    with pytest.raises(ConfigError, match="4 dimensions and candidates 5"):
        softmax_loss(torch.ones(1, 4), torch.ones(2, 5), torch.zeros(1, dtype=torch.long))


# --- negatives and logQ ---


def drawn(counts: torch.Tensor, negatives: int, targets: torch.Tensor, seed: int = 0) -> tuple[torch.Tensor, ...]:
    return MixedNegatives(counts, negatives).draw(targets, torch.Generator().manual_seed(seed))


def test_candidates_are_distinct_and_hold_every_target_at_its_place() -> None:
    targets = torch.tensor([7, 3, 7, 90])
    candidates, places, log_q = drawn(torch.ones(100), 10, targets)
    assert len(candidates.unique()) == len(candidates) == len(log_q)
    assert candidates[places].tolist() == targets.tolist()
    assert 10 <= len(candidates) <= 13


def test_drawing_the_whole_catalogue_is_the_full_softmax() -> None:
    queries, candidates, targets = make()
    chosen, places, log_q = drawn(torch.ones(len(candidates)), 10_000, targets)
    sampled = softmax_loss(queries, candidates[chosen], places, log_q=log_q.double())
    torch.testing.assert_close(sampled, softmax_loss(queries, candidates, targets))


def test_log_q_is_the_frequency_with_which_an_item_is_a_candidate() -> None:
    counts = torch.tensor([50.0, 10.0, 1.0, 1.0, 30.0, 8.0])
    sampler, generator = MixedNegatives(counts, 2), torch.Generator().manual_seed(0)
    rounds, positions = 4000, 3
    met = torch.zeros(len(counts))
    for _ in range(rounds):
        targets = torch.multinomial(counts, positions, replacement=True, generator=generator)
        met[sampler.draw(targets, generator)[0]] += 1
    np.testing.assert_allclose(sampler.log_q(torch.arange(6), positions).exp(), met / rounds, atol=0.03)


def test_the_corrected_mass_estimates_the_full_mass_without_bias() -> None:
    scores = torch.tensor([1.0, 0.2, -0.5, 0.7, 2.0, -1.0])
    counts = torch.tensor([50.0, 10.0, 1.0, 1.0, 30.0, 8.0])
    sampler, generator = MixedNegatives(counts, 2), torch.Generator().manual_seed(1)
    masses = []
    for _ in range(4000):
        targets = torch.multinomial(counts, 3, replacement=True, generator=generator)
        candidates, _, log_q = sampler.draw(targets, generator)
        masses.append(float((scores[candidates] - log_q).exp().sum()))
    assert np.mean(masses) == pytest.approx(float(scores.exp().sum()), rel=0.05)


def test_no_negatives_are_refused() -> None:
    with pytest.raises(ConfigError, match="negatives"):
        MixedNegatives(torch.ones(3), 0)
