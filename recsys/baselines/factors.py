"""Matrix factorisation by implicit: ALS, which can rank for a new history, and BPR, which cannot."""

from __future__ import annotations

from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from recsys.baselines.scoring import DenseScorer, history_matrix, presence
from recsys.core.arguments import number, whole_number
from recsys.core.ragged import Float32, Int32, Ragged
from recsys.data.interactions import Interactions
from recsys.errors import ConfigError, UnsupportedError


class ALS(DenseScorer):
    """implicit's alternating least squares (Hu, Koren and Volinsky, ICDM 2008).

    The user factors are solved from the given history, so that new events count and new users are served.

    Parameters
    ----------
    factors, iterations : int
    regularisation, alpha : float
        Weight of the penalty, and of an observed cell over an empty one.
    seed : int

    Examples
    --------
    >>> model = recsys.ALS(factors=16).fit(split.train)
    >>> recsys.evaluate(model, split.test, k=10)["recall@10"] > 0.9
    True
    """

    name = "ALS"

    def __init__(
        self,
        factors: int = 64,
        *,
        regularisation: float = 0.05,
        alpha: float = 1.0,
        iterations: int = 15,
        seed: int = 0,
    ) -> None:
        super().__init__()
        _check(factors=factors, iterations=iterations, seed=seed, regularisation=regularisation, alpha=alpha)
        self._options: dict[str, Any] = {
            "factors": factors,
            "regularization": regularisation,
            "alpha": alpha,
            "iterations": iterations,
            "random_state": seed,
        }

    def _learn(self, train: Interactions) -> None:
        from implicit.cpu.als import AlternatingLeastSquares  # noqa: PLC0415

        with threadpool_limits(1, "blas"):  # implicit has its own threads; BLAS threads beside them slow it down
            model = AlternatingLeastSquares(**self._options)
            model.fit(presence(train.matrix()), show_progress=False)
        self._model = model

    def _scores(self, histories: Ragged, users: Int32 | None) -> Float32:
        matrix = history_matrix(histories, len(self.items))
        with threadpool_limits(1, "blas"):
            factors = self._model.recalculate_user(np.arange(len(histories)), matrix)
        scores: Float32 = np.asarray(factors, dtype=np.float32) @ self._model.item_factors.T
        return scores


class BPR(DenseScorer):
    """implicit's Bayesian personalised ranking (Rendle et al., UAI 2009). Only ranks for the users that it was fitted on.

    Parameters
    ----------
    factors, iterations : int
    learning_rate, regularisation : float
    seed : int

    Examples
    --------
    >>> model = recsys.BPR(factors=16).fit(split.train)
    >>> recsys.evaluate(model, split.test, k=10)["recall@10"] > 0.2
    True
    """

    name = "BPR"
    needs_known_users = True

    def __init__(
        self,
        factors: int = 64,
        *,
        learning_rate: float = 0.01,
        regularisation: float = 0.003,
        iterations: int = 100,
        seed: int = 0,
    ) -> None:
        super().__init__()
        _check(
            factors=factors, iterations=iterations, seed=seed, regularisation=regularisation, learning_rate=learning_rate
        )
        self._options: dict[str, Any] = {
            "factors": factors,
            "learning_rate": learning_rate,
            "regularization": regularisation,
            "iterations": iterations,
            "random_state": seed,
            "num_threads": 1,  # threads race on the factors: only a single thread is reproducible
        }

    def _learn(self, train: Interactions) -> None:
        from implicit.cpu.bpr import BayesianPersonalizedRanking  # noqa: PLC0415

        model = BayesianPersonalizedRanking(**self._options)
        model.fit(presence(train.matrix()), show_progress=False)
        self._model = model

    def _scores(self, histories: Ragged, users: Int32 | None) -> Float32:
        if users is None or bool((users < 0).any()):
            raise UnsupportedError(
                "BPR only ranks for users that it was fitted on: it cannot rank for the history of another user"
            )
        scores: Float32 = self._model.user_factors[users] @ self._model.item_factors.T
        return np.ascontiguousarray(scores, dtype=np.float32)


def _check(*, factors: int, iterations: int, seed: int, regularisation: float, **above_zero: float) -> None:
    whole_number(factors, "factors")
    whole_number(iterations, "iterations")
    whole_number(seed, "seed", least=0)
    if not 0 <= number(regularisation, "regularisation") < np.inf:
        raise ConfigError(f"regularisation must be at least 0 and finite, not {regularisation}")
    for name, value in above_zero.items():
        if not 0 < number(value, name) < np.inf:
            raise ConfigError(f"{name} must be above 0 and finite, not {value}")
