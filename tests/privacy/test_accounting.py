"""The budget, against a closed form, against what opacus and its paper publish, and the noise against its distribution."""

from __future__ import annotations

import logging
import sys

import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.stats import kstest, norm

from recsys.errors import ConfigError
from recsys.privacy.accounting import epsilon_of, noise_for
from recsys.privacy.noise import Noise

pytest.importorskip("opacus")


def gaussian_epsilon(noise: float, steps: int, delta: float) -> float:
    """The exact epsilon of ``steps`` Gaussian mechanisms without sampling (Balle and Wang, ICML 2018, theorem 8)."""
    mu = steps**0.5 / noise

    def excess(epsilon: float) -> float:
        return float(norm.cdf(mu / 2 - epsilon / mu) - np.exp(epsilon) * norm.cdf(-mu / 2 - epsilon / mu)) - delta

    return float(brentq(excess, 1e-6, 200.0))


@pytest.mark.parametrize(("noise", "steps"), [(4.0, 9), (10.0, 30)])
def test_without_sampling_the_epsilon_is_that_of_the_gaussian_mechanism(noise: float, steps: int) -> None:
    exact = gaussian_epsilon(noise, steps, 1e-5)
    assert epsilon_of(noise, 1e-5, 1.0, steps) == pytest.approx(exact, rel=0.02)
    assert epsilon_of(noise, 1e-5, 1.0, steps, "rdp") >= exact


def test_the_published_figure_of_a_sampled_training() -> None:
    how = (1.1, 1e-5, 256 / 60_000, 60 * 60_000 // 256)  # MNIST in the tutorials of TensorFlow Privacy and of opacus
    assert epsilon_of(*how, "rdp") == pytest.approx(2.6, abs=0.05)
    assert 2.2 < epsilon_of(*how, "prv") < epsilon_of(*how, "rdp")


def test_the_noise_for_a_budget_spends_it_and_no_more() -> None:
    epsilon = 2.0
    noise = noise_for(epsilon, 1e-6, 0.1, 50, "rdp")
    assert 0.97 * epsilon < epsilon_of(noise, 1e-6, 0.1, 50, "rdp") <= epsilon


def test_opacus_does_not_set_up_the_logging_of_the_program(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [one for one in sys.modules if one.partition(".")[0] == "opacus"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    assert epsilon_of.__wrapped__(10.0, 1e-5, 1.0, 1, "rdp") > 0
    assert "opacus.utils.module_utils" in sys.modules  # which asks for handlers of the root
    assert logging.getLogger().handlers == []


def test_a_budget_that_no_noise_keeps_is_refused_at_once() -> None:
    with pytest.raises(ConfigError, match=r"not even noise of 1,000 times the norm keeps epsilon=1e-09 .* 1,000 steps"):
        noise_for(1e-9, 1e-12, 0.5, 1000, "rdp")


@pytest.mark.parametrize("seed", [None, 7])
def test_noise_is_normal_and_draws_are_even(seed: int | None) -> None:
    source = Noise(seed)
    assert source.secure == (seed is None)
    found = source.normal(20_000)
    assert kstest(found, "norm").pvalue > 1e-6
    assert abs(float(np.corrcoef(found[:-1], found[1:])[0, 1])) < 0.05
    even = source.uniform(20_000)
    assert kstest(even, "uniform").pvalue > 1e-6
    assert 0.0 < even.min() < even.max() < 1.0


def test_only_a_seed_repeats() -> None:
    assert np.array_equal(Noise(1).normal(9), Noise(1).normal(9))
    assert not np.array_equal(Noise(1).normal(9), Noise(2).normal(9))
    assert not np.array_equal(Noise(None).normal(9), Noise(None).normal(9))
