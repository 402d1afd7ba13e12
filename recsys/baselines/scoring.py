"""The base of the baselines: a fitted state, and ranking from dense scores in blocks of bounded size."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Self

import numpy as np
import scipy.sparse as sp

from recsys.core.arguments import instance, instance_or_none
from recsys.core.id_map import IdMap
from recsys.core.ragged import Bool, Float32, Int32, Int64, Ragged
from recsys.core.ranking import Ranked, check_k
from recsys.data.catalog import Catalog
from recsys.data.interactions import Interactions
from recsys.errors import DataError, NotFittedError
from recsys.evaluation.protocol import Traits


def presence(matrix: sp.csr_matrix[np.float32]) -> sp.csr_matrix[np.float32]:
    """The same matrix with every stored value 1: whether a user touched an item, not how often."""
    ones = matrix.copy()
    ones.data[:] = 1.0
    return ones


def history_matrix(histories: Ragged, n_items: int) -> sp.csr_matrix[np.float32]:
    """Histories as a float32 CSR (n, n_items) of ones."""
    data = np.ones(len(histories.rows), dtype=np.float32)
    matrix = sp.csr_matrix((data, histories.rows.copy(), histories.offsets.copy()), shape=(len(histories), n_items))
    matrix.sum_duplicates()
    return presence(matrix)


class DenseScorer(ABC):
    """A recommender that scores every item for a block of histories."""

    name: str
    needs_known_users: bool = False

    def __init__(self) -> None:
        self._train: Interactions | None = None

    @property
    def _fitted(self) -> Interactions:
        if self._train is None:
            raise NotFittedError(f"{self.name} is not fitted; call fit(train) first")
        return self._train

    @property
    def users(self) -> IdMap:
        return self._fitted.users

    @property
    def items(self) -> IdMap:
        return self._fitted.items

    @property
    def traits(self) -> Traits:
        return Traits(trained_on=self._fitted, needs_known_users=self.needs_known_users)

    def fit(self, train: Interactions, catalog: Catalog | None = None) -> Self:
        """Learn from a log; items that only the catalogue holds become candidates too."""
        instance(train, Interactions, "train")
        instance_or_none(catalog, Catalog, "catalog")
        known = train if catalog is None else train.with_items(catalog.items.ids)
        if len(known) == 0:
            raise DataError("the log has no interactions to learn from")
        self._learn(known)
        self._train = known  # last, so that a model whose fit failed stays unfitted
        return self

    @abstractmethod
    def _learn(self, train: Interactions) -> None: ...

    @abstractmethod
    def _scores(self, histories: Ragged, users: Int32 | None) -> Float32:
        """float32 (n, n_items): a fresh array that the caller may overwrite."""

    def recommend_rows(
        self,
        histories: Ragged,
        k: int,
        *,
        exclude: Ragged | None = None,
        users: Int32 | None = None,
        eligible: Bool | None = None,
        request_times: Int64 | None = None,
    ) -> Ranked:
        """Rank all items for each history; see :class:`recsys.evaluation.protocol.Ranker`."""
        import torch  # noqa: PLC0415 - importing the baselines, whose names the command line needs, stays fast

        from recsys.index.exact.topk import top_k, users_per_block  # noqa: PLC0415

        check_k(k)
        block = users_per_block(len(self.items))
        parts = []
        for start in range(0, len(histories), block):
            stop = start + block
            known = None if users is None else users[start:stop]
            scores = torch.from_numpy(self._scores(histories.block(start, stop), known))
            parts.append(top_k(scores, k, None if exclude is None else exclude.block(start, stop), eligible))
        return Ranked.joined(parts)
