"""Judge a recommender on a holdout: one blocked pass, every metric at every k from it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from recsys.data.row_lists import RowLists
from recsys.data.split import Holdout
from recsys.errors import ConfigError
from recsys.evaluation.metrics import PER_USER, Values, coverage, hit_matrix
from recsys.progress import track
from recsys.recommender import Ranked, Ranker, check_k

DEFINITION = (
    "full ranking of all items; recall = hits / relevant (not min(k, relevant)); NDCG binary, ideal of min(k, relevant); "
    "equal scores rank in row order"
)


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What :func:`evaluate` found.

    Attributes
    ----------
    model, protocol : str
    k : tuple of int
        Ascending.
    per_user : dict of float64 (n_users,)
        ``"recall@10"`` and so on, in the holdout's order.
    coverage : dict of float
        ``"coverage@10"`` and so on: a figure of all lists together.
    n_items : int
        Items ranked.
    seen_filtered : bool
    unknown_targets, unknown_history : int
        Targets the model has never heard of (each a certain miss), and history events that it cannot read.
    """

    model: str
    protocol: str
    k: tuple[int, ...]
    per_user: dict[str, Values]
    coverage: dict[str, float]
    n_items: int
    seen_filtered: bool
    unknown_targets: int
    unknown_history: int

    def __getitem__(self, metric: str) -> float:
        """The mean of a metric, such as ``report["recall@10"]``."""
        return self.means[metric]

    @property
    def means(self) -> dict[str, float]:
        """Every metric's mean over users, and coverage."""
        return {name: float(values.mean()) for name, values in self.per_user.items()} | self.coverage

    @property
    def n_users(self) -> int:
        """Users judged."""
        return len(next(iter(self.per_user.values())))

    def frame(self) -> pl.DataFrame:
        """One row per metric, one column per k."""
        means = self.means
        names = [*PER_USER, "coverage"]
        columns = {f"@{k}": [means[f"{name}@{k}"] for name in names] for k in self.k}
        return pl.DataFrame({"metric": names} | columns)

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "model": self.model,
            "protocol": self.protocol,
            "users": self.n_users,
            "items": self.n_items,
            "seen_filtered": self.seen_filtered,
            "unknown_targets": self.unknown_targets,
            "unknown_history": self.unknown_history,
            "definition": DEFINITION,
            "metrics": self.means,
        }

    def to_json(self) -> str:
        """:meth:`to_dict` as JSON."""
        return json.dumps(self.to_dict(), indent=2)

    def __str__(self) -> str:
        seen = "seen items filtered" if self.seen_filtered else "seen items not filtered"
        head = f"{self.model} · {self.protocol} · {self.n_users:,} users · {self.n_items:,} items · {seen}"
        width = 10
        lines = [head, " " * 10 + "".join(f"{f'@{k}':>{width}}" for k in self.k)]
        lines += [
            f"{row[0]:<10}" + "".join(f"{value:>{width}.4f}" for value in row[1:]) for row in self.frame().iter_rows()
        ]
        if self.unknown_targets or self.unknown_history:
            lines.append(
                f"unknown to the model: {self.unknown_targets:,} targets (counted as misses), "
                f"{self.unknown_history:,} history events (not read)"
            )
        return "\n".join([*lines, DEFINITION])


def evaluate(
    model: Ranker,
    holdout: Holdout,
    k: int | Sequence[int] = (10, 20, 50),
    *,
    filter_seen: bool = True,
    block: int = 2048,
) -> Evaluation:
    """Rank the whole catalogue for every held-out user and measure what comes first.

    Parameters
    ----------
    model : Ranker
    holdout : Holdout
        Made from the same or another log; ids are matched by name.
    k : int or sequence of int
    filter_seen : bool
        Whether items of the user's history are left out of the ranking.
    block : int
        Users at a time; memory grows with it, results do not depend on it.

    Returns
    -------
    Evaluation

    Raises
    ------
    ConfigError
        A k or the block is below 1, or no k is given.
    """
    cuts = tuple(sorted({k} if isinstance(k, int) else set(k)))
    if not cuts:
        raise ConfigError("evaluate needs at least one k")
    for cut in cuts:
        check_k(cut)
    if block < 1:
        raise ConfigError(f"block must be at least 1, not {block}")
    own, unknown_targets, unknown_history = _translated(model, holdout)
    deepest = min(cuts[-1], len(model.items))
    relevant = own.targets.lengths
    parts: dict[str, list[Values]] = {f"{name}@{cut}": [] for name in PER_USER for cut in cuts}
    shown: list[Ranked] = []
    starts = range(0, len(own), block)
    for start in track(starts, total=len(starts), what=f"evaluating {model.name}", unit="block"):
        stop = min(start + block, len(own))
        histories = own.histories.block(start, stop)
        ranked = model.recommend_rows(
            histories, deepest, exclude=histories if filter_seen else None, users=own.user_rows[start:stop]
        )
        hits = hit_matrix(ranked.lists, own.targets.block(start, stop), cuts[-1])
        for name, metric in PER_USER.items():
            for cut in cuts:
                parts[f"{name}@{cut}"].append(metric(hits, relevant[start:stop], cut))
        shown.append(ranked)
    lists = Ranked.joined(shown).lists
    return Evaluation(
        model=model.name,
        protocol=holdout.protocol,
        k=cuts,
        per_user={name: np.concatenate(values) for name, values in parts.items()},
        coverage={f"coverage@{cut}": coverage(lists, len(model.items), cut) for cut in cuts},
        n_items=len(model.items),
        seen_filtered=filter_seen,
        unknown_targets=unknown_targets,
        unknown_history=unknown_history,
    )


def _translated(model: Ranker, holdout: Holdout) -> tuple[Holdout, int, int]:
    """The holdout in the model's rows; targets unknown to it get rows past its last, which can never be recommended."""
    if model.items is holdout.items and model.users is holdout.users:
        return holdout, 0, 0
    everything = model.items.extended(holdout.items.ids)
    place = everything.find(holdout.items.ids)
    targets = RowLists(holdout.targets.offsets, place[holdout.targets.rows])
    read = RowLists(holdout.histories.offsets, place[holdout.histories.rows])
    readable = read.rows < len(model.items)
    moved = Holdout(
        users=model.users,
        items=everything,
        user_rows=model.users.find(holdout.users.raw(holdout.user_rows)),
        histories=read.where(readable),
        targets=targets,
        protocol=holdout.protocol,
    )
    return moved, int((targets.rows >= len(model.items)).sum()), int((~readable).sum())
