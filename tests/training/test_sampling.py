from typing import get_args

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.config.training import SamplerName
from recsys.errors import ConfigError
from recsys.training.losses.softmax import softmax_loss
from recsys.training.proposals import PopularityProposal, UniformProposal, poisson_inclusion
from recsys.training.sampling import Candidates, MixedSampler, history_pairs, make_sampler

COUNTS = torch.tensor([50.0, 10.0, 1.0, 1.0, 30.0, 8.0])
KINDS = get_args(SamplerName)


def draw(kind: SamplerName, targets: torch.Tensor, seed: int = 0) -> Candidates:
    return make_sampler(kind, torch.ones(100), 10).draw(targets, torch.Generator().manual_seed(seed))


# --- all samplers ---


@pytest.mark.parametrize("kind", KINDS)
def test_candidates_are_distinct_ascending_and_hold_every_target_at_its_place(kind: SamplerName) -> None:
    targets = torch.tensor([7, 3, 7, 90])
    rows, places, log_q = draw(kind, targets)
    assert bool((rows[1:] > rows[:-1]).all())
    assert rows[places].tolist() == targets.tolist()
    assert rows.dtype == places.dtype == torch.int64
    assert log_q.dtype == torch.float32
    assert log_q.shape == rows.shape
    assert bool(((log_q <= 0) | log_q.isposinf()).all())


@pytest.mark.parametrize("kind", KINDS)
def test_the_seed_decides_the_draw(kind: SamplerName) -> None:
    targets = torch.tensor([7, 3])
    first, same, other = (draw(kind, targets, seed) for seed in (1, 1, 2))
    assert torch.equal(first.rows, same.rows)
    assert torch.equal(first.log_q, same.log_q)
    assert kind == "in-batch" or first.rows.tolist() != other.rows.tolist()


@pytest.mark.parametrize("kind", ["mixed", "in-batch", "popularity"])
def test_log_q_is_the_frequency_with_which_an_item_is_a_candidate(kind: SamplerName) -> None:
    sampler, generator = make_sampler(kind, COUNTS, 2), torch.Generator().manual_seed(0)
    rounds, positions = 3000, 3
    met = torch.zeros(len(COUNTS))
    for targets in torch.multinomial(COUNTS, rounds * positions, replacement=True, generator=generator).view(rounds, -1):
        met[sampler.draw(targets, generator).rows] += 1
    np.testing.assert_allclose(sampler.log_q(torch.arange(6), positions).exp(), met / rounds, atol=0.03)


def test_log_q_of_the_uniform_sampler_is_the_frequency_in_the_draw_alone() -> None:
    sampler, generator = make_sampler("uniform", COUNTS, 2), torch.Generator().manual_seed(0)
    target, met = torch.tensor([0]), torch.zeros(len(COUNTS))
    for _ in range(3000):
        rows, _, log_q = sampler.draw(target, generator)
        met[rows[log_q.isfinite()]] += 1
        assert 0 in rows  # a target is there for certain, and a negative of others if it was drawn
    np.testing.assert_allclose(sampler.log_q(torch.arange(6), 1).exp(), torch.full((6,), 2 / 6))
    np.testing.assert_allclose(met / 3000, torch.full((6,), 2 / 6), atol=0.03)


@pytest.mark.parametrize("kind", KINDS)
def test_the_corrected_mass_estimates_the_full_mass_without_bias(kind: SamplerName) -> None:
    scores = torch.tensor([1.0, 0.2, -0.5, 0.7, 2.0, -1.0])
    sampler, generator = make_sampler(kind, COUNTS + 5, 2), torch.Generator().manual_seed(1)
    masses = []
    for targets in torch.multinomial(COUNTS + 5, 3000 * 3, replacement=True, generator=generator).view(3000, 3):
        rows, _, log_q = sampler.draw(targets, generator)
        masses.append(float((scores[rows] - log_q).exp().sum()))
    assert np.mean(masses) == pytest.approx(float(scores.exp().sum()), rel=0.05)


def test_drawing_the_whole_catalogue_is_the_full_softmax() -> None:
    generator = torch.Generator().manual_seed(0)
    queries, items = (torch.randn(n, 8, generator=generator, dtype=torch.float64) for n in (50, 20))
    targets = torch.randint(0, 20, (50,), generator=generator)
    for kind in ("mixed", "uniform", "popularity"):
        rows, places, log_q = make_sampler(kind, torch.ones(20), 10_000).draw(targets, generator)
        sampled = softmax_loss(queries, items[rows], places, log_q=log_q.double())
        torch.testing.assert_close(sampled, softmax_loss(queries, items, targets))


def test_mixed_negatives_are_the_mixed_sampler() -> None:
    targets = torch.tensor([4, 0, 4])
    named = MixedSampler(COUNTS, UniformProposal(len(COUNTS), 2)).draw(targets, torch.Generator().manual_seed(3))
    made = make_sampler("mixed", COUNTS, 2).draw(targets, torch.Generator().manual_seed(3))
    assert all(torch.equal(one, other) for one, other in zip(named, made, strict=True))


def test_rare_items_keep_their_probability_in_float32() -> None:
    """A share of 1e-9 must not round to a probability of 0."""
    log_q = make_sampler("in-batch", torch.tensor([1e9, 1.0]), 1).log_q(torch.tensor([1]), 10)
    assert float(log_q) == pytest.approx(np.log(10e-9), rel=1e-6)


def test_a_target_that_counts_say_is_none_is_refused() -> None:
    for kind in ("in-batch", "popularity"):
        with pytest.raises(ConfigError, match="row 1 is a target but its count is 0"):
            make_sampler(kind, torch.tensor([3, 0, 2]), 1).draw(torch.tensor([0, 1]), torch.Generator())


@pytest.mark.parametrize("kind", ["uniform", "mixed", "popularity"])
def test_no_negatives_are_refused(kind: SamplerName) -> None:
    with pytest.raises(ConfigError, match="negatives must be at least 1, not 0"):
        make_sampler(kind, torch.ones(3), 0)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("counts", [[0, 0], [3, -1], [1, float("nan")]])
def test_counts_that_are_none_are_refused(kind: SamplerName, counts: list[float]) -> None:
    with pytest.raises(ConfigError, match="counts must be"):
        make_sampler(kind, torch.tensor(counts), 1)


def test_an_unknown_kind_is_refused_with_those_that_exist() -> None:
    with pytest.raises(ConfigError, match="'hard' is unknown; use one of mixed, uniform, in-batch, popularity"):
        make_sampler("hard", torch.ones(3), 1)


# --- the popularity draw ---


@given(
    sizes=st.lists(st.sampled_from([0.0, 1e-3, 0.5, 1.0, 7.0, 1e3, 1e18]), min_size=1, max_size=20),
    expected=st.integers(1, 25),
)
@settings(max_examples=60, deadline=None)
def test_inclusion_is_in_proportion_to_size_up_to_certainty_and_adds_up(sizes: list[float], expected: int) -> None:
    size = torch.tensor(sizes, dtype=torch.float64)
    found = poisson_inclusion(size, expected)
    possible = int((size > 0).sum())
    assert float(found.sum()) == pytest.approx(min(expected, possible), rel=1e-6)
    assert bool(((found >= 0) & (found <= 1)).all())
    free = (found < 1) & (size > 0)
    ratios = found[free] / size[free]
    if len(ratios):
        torch.testing.assert_close(ratios, ratios[:1].expand_as(ratios))
        assert bool((size[found == 1] * ratios[0] >= 1 - 1e-9).all())


def test_the_popularity_draw_has_the_size_that_was_asked_for_on_average() -> None:
    draw, generator = PopularityProposal(torch.arange(1, 200), 30), torch.Generator().manual_seed(0)
    sizes = [len(draw.sample(generator)) for _ in range(500)]
    assert np.mean(sizes) == pytest.approx(30, abs=1)
    assert np.std(sizes) < 30**0.5


def test_power_runs_from_even_to_proportional() -> None:
    even, proportional = (PopularityProposal(torch.tensor([8, 1, 0, 1]), 1, power).inclusion for power in (0.0, 1.0))
    assert even.tolist() == pytest.approx([0.25] * 4)
    assert proportional.tolist() == pytest.approx([0.8, 0.1, 0.0, 0.1])
    with pytest.raises(ConfigError, match="power"):
        PopularityProposal(torch.ones(3), 1, -0.5)


# --- history pairs ---


def pairs_by_hand(candidates: list[int], inputs: list[list[int]], positions: list[int]) -> list[tuple[int, int]]:
    width = len(inputs[0])
    found = []
    for i, position in enumerate(positions):
        window = position // width
        size = max(p % width for p in positions if p // width == window) + 1
        found += [(i, place) for place, row in enumerate(candidates) if row in inputs[window][:size]]
    return found


@given(data=st.data(), windows=st.integers(1, 4), width=st.integers(1, 5), every=st.booleans())
@settings(max_examples=40, deadline=None)
def test_pairs_are_the_candidates_among_the_windows_inputs(
    data: st.DataObject, windows: int, width: int, every: bool
) -> None:
    candidates = sorted(data.draw(st.sets(st.integers(0, 9), min_size=1)))
    sizes = data.draw(st.lists(st.integers(1, width), min_size=windows, max_size=windows))
    inputs = [data.draw(st.lists(st.integers(0, 9), min_size=n, max_size=n)) + [0] * (width - n) for n in sizes]
    positions = [w * width + t for w, n in enumerate(sizes) for t in range(n)]
    if not every:
        positions = sorted(data.draw(st.sets(st.sampled_from(positions), min_size=1)))
    found = history_pairs(torch.tensor(candidates), torch.tensor(inputs), torch.tensor(positions))
    assert list(zip(*(part.tolist() for part in found), strict=True)) == pairs_by_hand(candidates, inputs, positions)


def test_padding_is_no_history() -> None:
    inputs = torch.tensor([[3, 0], [3, 4]])  # the 0 of the first window is padding
    position, place = history_pairs(torch.tensor([0, 3, 4]), inputs, torch.tensor([0, 2, 3]))
    assert position.tolist() == [0, 1, 1, 2, 2]
    assert place.tolist() == [1, 1, 2, 1, 2]


def test_pairs_mask_a_windows_items_in_the_loss_but_not_its_targets() -> None:
    generator = torch.Generator().manual_seed(0)
    items, queries = (torch.randn(n, 4, generator=generator, dtype=torch.float64) for n in (6, 3))
    inputs, targets, positions = torch.tensor([[1, 2, 3]]), torch.tensor([2, 3, 5]), torch.arange(3)
    masked = history_pairs(torch.arange(6), inputs, positions)
    rest = [[0, 2, 4, 5], [0, 3, 4, 5], [0, 4, 5]]  # each target, and what is not in the window
    scores = queries @ items.T
    expected = sum(s[r].logsumexp(0) - s[t] for s, r, t in zip(scores, rest, targets, strict=True)) / 3
    torch.testing.assert_close(softmax_loss(queries, items, targets, masked=masked), expected)
