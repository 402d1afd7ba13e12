"""What a bundle costs and how well it ranks, measured on this machine and on its own held-out users."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

import numpy as np
import polars as pl

from recsys.bundle.contents import Bundle
from recsys.compression.new_items import NewItems
from recsys.compression.parity import compared
from recsys.core.progress import muted
from recsys.core.schema import ITEM
from recsys.evaluation.evaluate import evaluate
from recsys.evaluation.metrics import Values
from recsys.evaluation.significance import bootstrap_interval
from recsys.serving.retriever import Retriever

K: Final = (10, 50)
_TIMED, _REPEATS = 50, 3
_TEXTS, _WORDS = 32, 3


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
    overlap_interval : (float, float)
        Of the overlap, 95 %.
    search_overlap : float or None
        The same of searches by texts of items and by a few words of them; None where the bundle does not search.
    new_loss : float or None
        As ``loss``, where all items are read as if they were added now; None where that reads no texts.
    new_loss_interval : (float, float) or None
    search, add : float or None
        Milliseconds of a search (the median), and of each of a few new items; None where the bundle does not search.
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
    overlap_interval: tuple[float, float]
    search_overlap: float | None = None
    new_loss: float | None = None
    new_loss_interval: tuple[float, float] | None = None
    search: float | None = None
    add: float | None = None

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
        searches = bundle.towers.whitening is not None and bundle.towers.held_encoder is not None
        self.texts = _queries(bundle.catalog.texts) if searches else []
        self.original = Retriever(bundle)
        self.right = self._lists(self.original)
        self.found = self.original.search(self.texts) if self.texts else None
        self.ndcg = self._quality(self.original)["ndcg@10"]
        unread = bundle.towers.net.items.images.numel() > 0 and bundle.towers.pictures is None
        self.new = NewItems(bundle, self.holdout) if searches and not unread else None
        if self.new is not None and len(self.new):
            self.new_ndcg = self.new.ndcg(bundle)
            if not self.new_ndcg.any():
                self.new = None

    def measure(self, bundle: Bundle, steps: tuple[str, ...], size: int) -> Measured:
        """The figures of a bundle that these steps made, whose files take ``size`` bytes."""
        retriever = self.original if not steps else Retriever(bundle)
        quality = self._quality(retriever)
        lost = _lost(self.ndcg, quality["ndcg@10"])
        p50, p99 = self._milliseconds(retriever)
        overlap = _shares(self.right, self._lists(retriever))
        memory = bundle.index.nbytes + (0 if bundle.corpus.transitions is None else bundle.corpus.transitions.nbytes)
        means = {name: float(values.mean()) for name, values in quality.items()}
        found = Measured(
            steps, size, memory, p50, p99, means["recall@10"], means["recall@50"], means["ndcg@10"],
            bootstrap_interval(quality["recall@10"]), float(lost.mean()), bootstrap_interval(lost),
            float(overlap.mean()), bootstrap_interval(overlap),
        )  # fmt: skip
        return replace(found, **self._of_texts(bundle, retriever))

    def _of_texts(self, bundle: Bundle, retriever: Retriever) -> dict[str, Any]:
        """What depends on the text encoder."""
        if self.found is None:
            return {}
        searched = compared(self.found, retriever.search(self.texts))["overlap"]
        found: dict[str, Any] = {"search_overlap": searched, "search": _median_search(retriever, self.texts)}
        if self.new is not None and len(self.new):
            lost = _lost(self.new_ndcg, self.new.ndcg(bundle))
            found |= {"new_loss": float(lost.mean()), "new_loss_interval": bootstrap_interval(lost)}
            found["add"] = self.new.milliseconds(bundle)
        return found

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


def _queries(texts: pl.Series) -> list[str]:
    """What is searched for: texts of items, and as many times a few words from the middle of one."""
    texts = texts.drop_nulls().unique(maintain_order=True)
    texts = texts.filter(texts.str.strip_chars() != "")
    some = texts.gather_every(max(1, len(texts) // _TEXTS)).head(_TEXTS).to_list()
    parted = [one.split() for one in some]
    few = (" ".join(words[len(words) // 3 :][:_WORDS]) for words in parted)
    return list(dict.fromkeys([*some, *few]))


def _lost(right: Values, made: Values) -> Values:
    """float64 (n,): each user's part of what is lost, as a share of the mean of the right ones."""
    base = float(right.mean())
    found: Values = (right - made) / base if base > 0 else np.zeros(len(right))
    return found


def _shares(right: pl.DataFrame, made: pl.DataFrame) -> Values:
    """float64 (n,): of each person's items the share that is given too."""
    owner = right.columns[0]
    both = right.select(owner, ITEM).join(made.select(owner, ITEM, pl.lit(1.0).alias("same")), on=[owner, ITEM], how="left")
    found: Values = both.group_by(owner, maintain_order=True).agg(pl.col("same").fill_null(0.0).mean())["same"].to_numpy()
    return found


def _median_search(retriever: Retriever, texts: list[str]) -> float:
    """Milliseconds of a search for one text, each the best of three."""
    best = np.full(len(texts), np.inf)
    for _ in range(_REPEATS):
        for place, one in enumerate(texts):
            start = time.perf_counter()
            retriever.search(one)
            best[place] = min(best[place], time.perf_counter() - start)
    return float(1000 * np.median(best))
