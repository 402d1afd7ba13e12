"""Intervals, the paired test and Holm's correction against full enumeration, known distributions and hand examples."""

from __future__ import annotations

import tracemalloc
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.errors import ConfigError, DataError
from recsys.evaluation import significance as inference
from recsys.evaluation.significance import bootstrap_interval, bootstrap_intervals, holm, paired_test

NAN = float("nan")
numbers = st.integers(-4, 4).map(lambda number: number / 2)


@settings(deadline=None, max_examples=25)
@given(values=st.lists(numbers, min_size=1, max_size=4), level=st.sampled_from([0.5, 0.8, 0.95]))
def test_the_ends_are_quantiles_of_the_means_of_all_resamples(values: list[float], level: float) -> None:
    means = np.array([sum(drawn) / len(values) for drawn in product(values, repeat=len(values))])
    low, high = bootstrap_interval(values, level=level, samples=4000)
    for end, share in ((low, (1 - level) / 2), (high, (1 + level) / 2)):
        assert (means < end - 1e-9).mean() <= share + 0.05
        assert (means <= end + 1e-9).mean() >= share - 0.05
    assert min(values) - 1e-9 <= low <= high <= max(values) + 1e-9


def test_a_constant_has_an_interval_of_no_width() -> None:
    assert bootstrap_interval([0.25] * 300) == pytest.approx((0.25, 0.25), abs=1e-14)
    assert bootstrap_interval(np.full(60_000, 0.1)) == pytest.approx((0.1, 0.1), abs=1e-14)


def test_the_interval_is_about_as_wide_as_theory_says() -> None:
    values = np.random.default_rng(7).normal(size=2000)
    half = 1.96 * values.std() / np.sqrt(2000)
    low, high = bootstrap_interval(values, samples=4000)
    assert (low, high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.1 * half)


def test_a_higher_level_holds_a_lower_one() -> None:
    values = np.random.default_rng(1).random(200)
    narrow, wide = bootstrap_interval(values, level=0.5), bootstrap_interval(values, level=0.99)
    assert wide[0] < narrow[0] < values.mean() < narrow[1] < wide[1]


def test_the_interval_covers_the_mean_of_a_skewed_distribution_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(11)
    covered = 0
    for seed in range(300):
        low, high = bootstrap_interval(rng.exponential(size=100), samples=400, seed=seed)
        covered += low <= 1.0 <= high
    assert 0.88 <= covered / 300 <= 0.99


def test_nan_is_ignored() -> None:
    values = np.random.default_rng(2).random(50)
    holes = np.insert(values, [0, 10, 50], NAN)
    assert bootstrap_interval(holes) == bootstrap_interval(values)
    assert np.isnan(bootstrap_interval([NAN, NAN])).all()


def test_each_metric_keeps_its_own_gaps() -> None:
    rng = np.random.default_rng(3)
    table = rng.random((400, 3))
    table[rng.random(400) < 0.5, 1] = NAN
    table[:, 2] = NAN
    low, high = bootstrap_intervals(table)
    assert np.isnan([low[2], high[2]]).all()
    for column in (0, 1):
        alone = bootstrap_interval(table[:, column], samples=4000)
        width = alone[1] - alone[0]
        assert (low[column], high[column]) == pytest.approx(alone, abs=0.15 * width)
    assert low[1] < np.nanmean(table[:, 1]) < high[1]


def test_a_metric_of_one_user_has_that_value_in_every_resample_that_draws_the_user() -> None:
    table = np.ones((5, 2))
    table[1:, 1] = NAN
    table[0, 1] = 0.5
    low, high = bootstrap_intervals(table)
    assert (low.tolist(), high.tolist()) == (pytest.approx([1.0, 0.5]), pytest.approx([1.0, 0.5]))


def test_all_metrics_share_their_resamples() -> None:
    values = np.random.default_rng(4).random(300)
    low, high = bootstrap_intervals(np.column_stack([values, 2 * values, -values]))
    assert (low[1], high[1]) == pytest.approx((2 * low[0], 2 * high[0]), rel=1e-12)
    assert (low[2], high[2]) == pytest.approx((-high[0], -low[0]), rel=1e-12)
    assert bootstrap_interval(values) == pytest.approx((low[0], high[0]), rel=1e-12)


def test_the_seed_alone_decides_and_the_global_generator_is_not_touched() -> None:
    values, other = np.random.default_rng(5).random((2, 100))
    np.random.seed(1)  # noqa: NPY002
    before = np.random.get_state()[1].tolist()  # noqa: NPY002
    first = bootstrap_interval(values, seed=3), paired_test(values, other, seed=3)
    assert np.random.get_state()[1].tolist() == before  # noqa: NPY002
    np.random.seed(2)  # noqa: NPY002
    assert (bootstrap_interval(values, seed=3), paired_test(values, other, seed=3)) == first
    assert bootstrap_interval(values, seed=4) != first[0]
    assert paired_test(values, other, seed=4) != first[1]


@pytest.mark.parametrize("skewed", [False, True])
def test_the_expansion_for_many_users_agrees_with_drawing(skewed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(6)
    values = (rng.random(4000) < 0.01).astype(float) if skewed else rng.random(4000)
    gaps = np.where(rng.random(4000) < 0.3, NAN, values)
    table = np.column_stack([values, gaps, np.full(4000, NAN)])
    drawn = bootstrap_intervals(table, samples=4000)
    monkeypatch.setattr(inference, "NORMAL_ABOVE", 100)
    expanded = bootstrap_intervals(table)
    width = (drawn[1] - drawn[0])[:2]
    for one, other in zip(drawn, expanded, strict=True):
        assert (np.abs(one - other)[:2] < 0.05 * width).all()
        assert np.isnan(other[2])


def test_memory_does_not_grow_with_users_times_samples() -> None:
    table = np.random.default_rng(8).random((45_000, 2))
    tracemalloc.start()
    bootstrap_intervals(table, samples=100)
    paired_test(table[:, 0], table[:, 1], samples=200)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 60e6 < 200 * 45_000 * 8


def test_the_size_of_a_block_cannot_change_a_p_value_by_more_than_its_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = np.random.default_rng(9).random((2, 60))
    whole = paired_test(a, b, samples=5000)
    monkeypatch.setattr(inference, "_CELLS", 1000)
    assert paired_test(a, b, samples=5000) == pytest.approx(whole, abs=0.04)


def exact_p(differences: list[float]) -> float:
    """The p-value over all signs."""
    seen = abs(sum(differences))
    sums = [
        abs(sum(s * d for s, d in zip(signs, differences, strict=True)))
        for signs in product((1, -1), repeat=len(differences))
    ]
    rounding = 1e-12 * sum(abs(d) for d in differences)
    return sum(one >= seen - rounding for one in sums) / len(sums)


@settings(deadline=None, max_examples=25)
@given(differences=st.lists(numbers | st.floats(-2, 2), min_size=1, max_size=8))
def test_p_approaches_the_share_of_all_signs(differences: list[float]) -> None:
    p = paired_test(differences, [0.0] * len(differences), samples=4000)
    assert p == pytest.approx(exact_p(differences), abs=0.05)
    assert 1 / 4001 <= p <= 1.0


def test_equal_differences_drawn_together_give_the_p_of_all_signs() -> None:
    differences = [1.0] * 9 + [-1.0] * 3 + [0.0] * 20 + [0.5] * 4
    few = [1.0] * 4 + [-1.0] + [0.0] * 5
    assert paired_test(few * 4, [0.0] * 40, samples=40_000) == pytest.approx(0.0118, abs=0.004)
    assert paired_test(differences, [0.0] * 36, samples=40_000) == pytest.approx(
        exact_p([d for d in differences if d]), abs=0.01
    )


def test_equal_arrays_give_1() -> None:
    values = np.random.default_rng(0).random(100)
    assert paired_test(values, values) == 1.0
    assert paired_test([0.0], [0.0]) == 1.0


def test_the_test_has_two_sides_and_no_direction() -> None:
    a, b = np.random.default_rng(12).random((2, 80))
    assert paired_test(a, b) == paired_test(b, a)


def test_a_real_difference_gives_a_tiny_p_that_is_never_0() -> None:
    rng = np.random.default_rng(13)
    a = rng.random(500)
    assert paired_test(a + 0.2 + 0.1 * rng.normal(size=500), a, samples=999) == 1 / 1000
    assert paired_test(np.ones(400), np.zeros(400), samples=999) == 1 / 1000


def test_p_is_uniform_where_there_is_no_difference() -> None:
    rng = np.random.default_rng(14)
    p = np.array([paired_test(*rng.normal(size=(2, 40)), samples=199, seed=seed) for seed in range(500)])
    for share in (0.05, 0.25, 0.5, 0.75):
        assert (p <= share).mean() == pytest.approx(share, abs=0.07)
    assert 0.02 <= (p <= 0.05).mean() <= 0.085


def test_users_without_a_value_in_both_are_left_out_of_the_test() -> None:
    a, b = np.random.default_rng(15).random((2, 50))
    assert paired_test(np.append(a, NAN), np.append(b, NAN)) == paired_test(a, b)


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.6]).tolist() == [1.0, 1.0]
    assert holm([0.2]).tolist() == [0.2]


@settings(deadline=None, max_examples=40)
@given(p=st.lists(st.integers(0, 20).map(lambda part: part / 20), min_size=1, max_size=8))
def test_holm_agrees_with_plain_loops(p: list[float]) -> None:
    ordered = sorted(p)
    expected = [
        min(1.0, max((len(p) - rank) * ordered[rank] for rank in range(len(p)) if ordered[rank] <= one)) for one in p
    ]
    adjusted = holm(p)
    assert adjusted.tolist() == pytest.approx(expected)
    assert (adjusted >= p).all()
    assert (np.diff(adjusted[np.argsort(p)]) >= 0).all()


def test_holm_keeps_the_order_it_was_given() -> None:
    p = np.random.default_rng(16).random(30) / 20
    order = np.random.default_rng(17).permutation(30)
    np.testing.assert_array_equal(holm(p[order]), holm(p)[order])


@pytest.mark.parametrize("level", [0.0, 1.0, -0.5, 95.0, NAN])
def test_a_level_outside_0_and_1_is_refused(level: float) -> None:
    with pytest.raises(ConfigError, match="level must lie between 0 and 1"):
        bootstrap_interval([1.0], level=level)


def test_fewer_than_one_sample_is_refused() -> None:
    with pytest.raises(ConfigError, match="samples must be at least 1, not 0"):
        bootstrap_interval([1.0], samples=0)
    with pytest.raises(ConfigError, match="samples must be at least 1, not 0"):
        paired_test([1.0], [1.0], samples=0)


def test_what_cannot_be_resampled_is_refused() -> None:
    with pytest.raises(DataError, match="0 rows"):
        bootstrap_interval([])
    with pytest.raises(DataError, match=r"one dimension.*\(1, 2\)"):
        bootstrap_interval([[1.0, 2.0]])
    with pytest.raises(DataError, match=r"two dimensions.*\(2,\)"):
        bootstrap_intervals([1.0, 2.0])
    with pytest.raises(DataError, match="1 of 2 values are infinite"):
        bootstrap_interval([1.0, np.inf])


def test_what_cannot_be_tested_is_refused_with_both_values() -> None:
    with pytest.raises(DataError, match=r"shapes \(2,\) and \(3,\)"):
        paired_test([1, 2], [1, 2, 3])
    with pytest.raises(DataError, match="a has 1 values and b 2"):
        paired_test([1, NAN], [1, 2])
    with pytest.raises(DataError, match="a has 1 values and b 1"):
        paired_test([1, NAN], [NAN, 2])
    for nothing in ([], [NAN]):
        with pytest.raises(DataError, match=f"no user can be tested: none of the {len(nothing)} values"):
            paired_test(nothing, nothing)
    with pytest.raises(DataError, match="1 values of a and 0 of b are infinite"):
        paired_test([np.inf, 1], [1, 1])


def test_what_is_no_p_value_is_refused() -> None:
    with pytest.raises(DataError, match=r"not the shape \(0,\)"):
        holm([])
    for wrong in (1.5, -0.1, NAN):
        with pytest.raises(DataError, match=f"not at {wrong}"):
            holm([0.5, wrong])
