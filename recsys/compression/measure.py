"""What a bundle costs and how well it ranks, measured on this machine and on its own held-out users."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np

from recsys.bundle.contents import Bundle
from recsys.compression.parity import compared
from recsys.core.progress import muted
from recsys.evaluation.evaluate import evaluate
from recsys.evaluation.metrics import Values
from recsys.evaluation.significance import bootstrap_interval
from recsys.serving.retriever import Retriever

K: Final = (10, 50)
_TIMED, _REPEATS = 50, 3
_TEXTS = 32


@dataclass(frozen=True)
class Measured:
    """Figures of one combination of steps.

    Attributes
    ----------
    steps : tuple of str
        Names of the steps, with their parts; empty: the bundle as it was.
    bytes : int
        Of the bundle's files, about.
    memory : int
        Bytes of item vectors and transition memory while it answers.
    p50, p99 : float
        Milliseconds of a request of one user, each the best of three.
    recall_10, recall_50, ndcg_10 : float
    recall_interval : (float, float)
        Of recall@10, 95 %.
    loss : float
        Of NDCG@10, as a share of the original's; below 0 where it gains.
    loss_interval : (float, float)
        Of the loss, on the same users, 95 %.
    overlap : float
        Share of the ten best of the original that it gives too.
    search_overlap : float or None
        The same of searches; None where the bundle does not search.
    """

    steps: tuple[str, ...]
    bytes: int
    memory: int
    p50: float
    p99: float
    recall_10: float
    recall_50: float
    ndcg_10: float
    recall_interval: tuple[float, float]
    loss: float
    loss_interval: tuple[float, float]
    overlap: float
    search_overlap: float | None

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


class Judge:
    """Measures bundles beside the one that they were made of.

    Parameters
    ----------
    bundle : Bundle
        With held-out users.
    users : int
        How many of these are asked for, at random but always the same.
    """

    def __init__(self, bundle: Bundle, users: int) -> None:
        assert bundle.holdout is not None  # noqa: S101 - the caller has checked it
        self.holdout = bundle.holdout.sample(users)
        texts = bundle.catalog.texts.drop_nulls().unique(maintain_order=True)
        texts = texts.filter(texts.str.strip_chars() != "")
        searches = bundle.towers.whitening is not None and bundle.towers.held_encoder is not None
        self.texts = texts.gather_every(max(1, len(texts) // _TEXTS)).head(_TEXTS).to_list() if searches else []
        self.original = Retriever(bundle)
        self.right = self._lists(self.original)
        self.found = self.original.search(self.texts) if self.texts else None
        self.ndcg = self._quality(self.original)["ndcg@10"]

    def measure(self, bundle: Bundle, steps: tuple[str, ...], size: int) -> Measured:
        """The figures of a bundle that these steps made, whose files take ``size`` bytes."""
        retriever = self.original if not steps else Retriever(bundle)
        quality = self._quality(retriever)
        base = float(self.ndcg.mean())
        lost = (self.ndcg - quality["ndcg@10"]) / base if base > 0 else np.zeros(len(self.ndcg))
        p50, p99 = self._milliseconds(retriever)
        overlap = compared(self.right, self._lists(retriever))["overlap"]
        searched = None
        if self.found is not None:
            searched = compared(self.found, retriever.search(self.texts))["overlap"]
        memory = bundle.index.nbytes + (0 if bundle.corpus.transitions is None else bundle.corpus.transitions.nbytes)
        means = {name: float(values.mean()) for name, values in quality.items()}
        return Measured(
            steps, size, memory, p50, p99, means["recall@10"], means["recall@50"], means["ndcg@10"],
            bootstrap_interval(quality["recall@10"]), float(lost.mean()), bootstrap_interval(lost), overlap, searched,
        )  # fmt: skip

    def _quality(self, retriever: Retriever) -> dict[str, Values]:
        with muted():  # one line a combination tells more
            found = evaluate(retriever, self.holdout, K).per_user
        return {name: found[name] for name in ("recall@10", "recall@50", "ndcg@10")}

    def _lists(self, retriever: Retriever) -> Any:
        rows = self.holdout.user_rows[:500]
        return retriever.recommend(self.holdout.users.to_ids(rows), request_time=1_700_000_000, unknown="skip")

    def _milliseconds(self, retriever: Retriever) -> tuple[float, float]:
        """p50 and p99 of requests of one user each."""
        ids = self.holdout.users.to_ids(self.holdout.user_rows[:_TIMED]).to_list()
        best = np.full(len(ids), np.inf)
        for _ in range(_REPEATS):
            for place, one in enumerate(ids):
                start = time.perf_counter()
                retriever.recommend(one, request_time=1_700_000_000, unknown="skip")
                best[place] = min(best[place], time.perf_counter() - start)
        return float(1000 * np.quantile(best, 0.5)), float(1000 * np.quantile(best, 0.99))
