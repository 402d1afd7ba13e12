import itertools

import pytest
import torch
import torch.nn.functional as F

from recsys.errors import ConfigError
from recsys.training.losses import softmax as losses
from recsys.training.losses.softmax import softmax_loss


def make(n: int = 50, m: int = 20, d: int = 8) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    queries = torch.randn(n, d, generator=generator, dtype=torch.float64, requires_grad=True)
    candidates = torch.randn(m, d, generator=generator, dtype=torch.float64, requires_grad=True)
    return queries, candidates, torch.randint(0, m, (n,), generator=generator)


def plain(
    queries: torch.Tensor,
    candidates: torch.Tensor,
    targets: torch.Tensor,
    log_q: torch.Tensor | None = None,
    smoothing: float = 0.0,
    weights: torch.Tensor | None = None,
    masked: set[tuple[int, int]] | None = None,
) -> torch.Tensor:
    """Equation by equation, one position at a time."""
    masked, total, strength = masked or set(), torch.zeros((), dtype=queries.dtype), 0.0
    for i, (query, target) in enumerate(zip(queries, targets.tolist(), strict=True)):
        scores = candidates @ query
        logits = []
        for j, score in enumerate(scores):
            if j == target:
                logits.append(score)
            elif (i, j) not in masked:
                logits.append(score if log_q is None else score - log_q[j])
        log_mass = sum(logit.exp() for logit in logits).log()
        even = sum(log_mass - logit for logit in logits) / len(logits)
        weight = 1.0 if weights is None else float(weights[i])
        total = total + weight * ((1 - smoothing) * (log_mass - scores[target]) + smoothing * even)
        strength += weight
    return total / strength


def pairs(n: int, m: int, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Pairs sorted by position, some of them twice, some of them targets."""
    generator = torch.Generator().manual_seed(1)
    position = torch.randint(0, n, (count,), generator=generator).sort().values
    return position, torch.randint(0, m, (count,), generator=generator)


@pytest.mark.parametrize("options", ["", "log_q", "smoothing", "weights", "masked", "log_q smoothing weights masked"])
@pytest.mark.parametrize(("chunk", "cache"), [(1, 1), (60, 40), (200, 60), (10_000, 100), (10_000, 10_000)])
def test_value_and_gradients_are_those_of_the_formula(
    options: str, chunk: int, cache: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(losses, "_CHUNK_LOGITS", chunk)
    monkeypatch.setattr(losses, "_CACHE_LOGITS", cache)
    queries, candidates, targets = make(22, 20)
    log_q = -torch.rand(len(candidates), dtype=torch.float64) if "log_q" in options else None
    smoothing = 0.2 if "smoothing" in options else 0.0
    weights = torch.rand(len(queries), dtype=torch.float64) if "weights" in options else None
    masked = pairs(len(queries), len(candidates), 90) if "masked" in options else None
    listed = set(zip(*(part.tolist() for part in masked), strict=True)) if masked else set()
    expected = plain(queries, candidates, targets, log_q, smoothing, weights, listed)
    wanted = torch.autograd.grad(expected, (queries, candidates))
    found = softmax_loss(
        queries, candidates, targets, log_q=log_q, label_smoothing=smoothing, weights=weights, masked=masked
    )
    got = torch.autograd.grad(found, (queries, candidates))
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(got, wanted)


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.9])
def test_full_softmax_is_torchs_cross_entropy(smoothing: float) -> None:
    queries, candidates, targets = make()
    expected = F.cross_entropy(queries @ candidates.T, targets, label_smoothing=smoothing)
    torch.testing.assert_close(softmax_loss(queries, candidates, targets, label_smoothing=smoothing), expected)


def test_a_weight_of_two_is_a_position_that_is_there_twice() -> None:
    queries, candidates, targets = make(3)
    again = torch.tensor([0, 1, 1, 2])
    weighted = softmax_loss(queries, candidates, targets, weights=torch.tensor([1.0, 2.0, 1.0]))
    torch.testing.assert_close(weighted, softmax_loss(queries[again], candidates, targets[again]))


def test_only_proportions_of_weights_count() -> None:
    queries, candidates, targets = make()
    weights = torch.rand(len(queries), dtype=torch.float64)
    found = [
        torch.autograd.grad(softmax_loss(queries, candidates, targets, weights=scale * weights), queries)[0]
        for scale in (1.0, 1e-6)
    ]
    torch.testing.assert_close(*found)


def test_positions_without_weight_neither_count_nor_learn() -> None:
    queries, candidates, targets = make()
    loss = softmax_loss(queries, candidates, targets, weights=torch.zeros(len(queries)))
    gradients = torch.autograd.grad(loss, (queries, candidates))
    assert float(loss.detach()) == 0.0
    assert all(bool((gradient == 0).all()) for gradient in gradients)


def test_masking_everything_leaves_the_target_which_is_then_certain() -> None:
    queries, candidates, targets = make(7, 5)
    everything = tuple(torch.tensor(list(itertools.product(range(7), range(5)))).T)
    loss = softmax_loss(queries, candidates, targets, masked=(everything[0], everything[1]), label_smoothing=0.1)
    gradients = torch.autograd.grad(loss, (queries, candidates))
    assert float(loss.detach()) == pytest.approx(0.0, abs=1e-12)
    assert all(float(gradient.abs().max()) < 1e-12 for gradient in gradients)


def test_a_masked_candidate_gets_no_gradient() -> None:
    queries, candidates, targets = make(6, 5)
    targets = targets.clamp(max=3)
    masked = (torch.arange(6), torch.full((6,), 4))
    gradient = torch.autograd.grad(softmax_loss(queries, candidates, targets, masked=masked), candidates)[0]
    assert gradient[4].abs().max() == 0
    assert bool((gradient[targets].abs().sum(1) > 0).all())


def test_no_masked_pairs_are_no_restriction() -> None:
    queries, candidates, targets = make()
    none = torch.empty(0, dtype=torch.long)
    torch.testing.assert_close(
        softmax_loss(queries, candidates, targets, masked=(none, none)), softmax_loss(queries, candidates, targets)
    )


def test_bfloat16_products_stay_close_to_float32() -> None:
    queries, candidates, targets = (t.detach().float() if t.is_floating_point() else t for t in make(200, 100, 64))
    queries = queries / 8
    exact, rough = (softmax_loss(queries, candidates, targets, bf16=flag) for flag in (False, True))
    assert rough.dtype == torch.float32
    assert abs(float(exact - rough)) < 0.02 * float(exact)


@pytest.mark.parametrize("weighted", [False, True])
def test_gradients_of_bfloat16_products_point_where_those_of_float32_do(weighted: bool) -> None:
    queries, candidates, targets = make(200, 100, 64)
    queries, candidates = ((t.detach().float() / 3).requires_grad_() for t in (queries, candidates))
    weights = torch.rand(200, generator=torch.Generator().manual_seed(2)) if weighted else None
    exact, rough = (
        torch.autograd.grad(softmax_loss(queries, candidates, targets, weights=weights, bf16=flag), (queries, candidates))
        for flag in (False, True)
    )
    for one, other in zip(exact, rough, strict=True):
        assert float((one - other).norm() / one.norm()) < 0.01


def test_autocast_does_not_change_the_precision_that_was_asked_for() -> None:
    queries, candidates, targets = (t.detach().float() if t.is_floating_point() else t for t in make())
    queries.requires_grad_()
    wanted = torch.autograd.grad(softmax_loss(queries, candidates, targets), queries)[0]
    with torch.autocast("cpu", torch.bfloat16):
        loss = softmax_loss(queries, candidates, targets)
    assert torch.equal(torch.autograd.grad(loss, queries)[0], wanted)


def test_neither_inputs_nor_options_are_changed() -> None:
    queries, candidates, targets = make()
    log_q, weights, masked = -torch.rand(20), torch.rand(50), pairs(50, 20, 30)
    given = (queries, candidates, targets, log_q, weights, *masked)
    before = [tensor.detach().clone() for tensor in given]
    softmax_loss(queries, candidates, targets, log_q=log_q, weights=weights, masked=masked, label_smoothing=0.1).backward()
    assert all(torch.equal(one, other) for one, other in zip(before, given, strict=True))


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


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"label_smoothing": 1.0}, "label_smoothing must be at least 0 and below 1, not 1.0"),
        ({"weights": torch.ones(4)}, r"weights has shape \(4,\) where \(3,\)"),
        ({"log_q": torch.zeros(3)}, r"log_q has shape \(3,\) where \(2,\)"),
        ({"masked": (torch.tensor([1, 0]), torch.tensor([0, 0]))}, "sorted by position"),
        ({"masked": (torch.tensor([0, 3]), torch.tensor([0, 0]))}, "from 0 to 3, outside 0 .. 2"),
        ({"masked": (torch.tensor([0]), torch.tensor([0, 0]))}, "two equal lengths"),
    ],
)
def test_an_option_that_cannot_be_meant_is_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        softmax_loss(torch.ones(3, 4), torch.ones(2, 4), torch.zeros(3, dtype=torch.long), **options)
