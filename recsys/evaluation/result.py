"""What an evaluation found: one value per user and metric, and everything derived from them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
import polars as pl

from recsys.core.ragged import Int32, Int64
from recsys.data.shown import card, rows
from recsys.data.split import Holdout
from recsys.errors import ConfigError
from recsys.evaluation.metrics import PER_USER, Values
from recsys.evaluation.significance import bootstrap_intervals

T = TypeVar("T")

_DEFINED = (
    "{}; recall = hits / relevant (not min(k, relevant)); NDCG binary, ideal of min(k, relevant); equal scores in {}; ± is "
    "half of a 95 % bootstrap interval over users"
)
DEFINITION = _DEFINED.format("full ranking", "row order")
OF_GIVEN_LISTS = _DEFINED.format("lists as given", "the order of the rows")

_PHRASES = {
    "users_with_fewer_than_k": "{:,} users got fewer than k items",
    "users_with_none": "{:,} users got none",
    "repeated_items": "{:,} items are repeated in a list",
    "unknown_items": "{:,} places hold an item outside the catalogue",
    "unknown_targets": "unknown to the model: {:,} targets (counted as misses)",
    "unknown_history": "unknown to the model: {:,} history events (not read)",
    "unknown_users": "unknown to the model: {:,} users (ranked by their history alone)",
    "users_without_readable_history": "{:,} users have no history that the model can read (all misses)",
    "targets_already_in_history": "{:,} targets are in the history already (never found while seen items are filtered)",
    "early_events": "{:,} events of the log are no later than what the model knows (left out)",
    "later_repeats": "{:,} later events are of items of the history (no targets)",
    "later_users_without_history": "{:,} users of the log have no history before (not judged)",
    "later_users_without_new_items": "{:,} users of the log did nothing new (not judged)",
    "repeated_truth": "{:,} events of the truth repeat a user and item (counted once)",
    "users_without_history": "{:,} users have no history",
    "new_targets": "{:,} targets are of items that neither history nor catalogue has",
    "users_without_list": "{:,} users have no list (all misses)",
    "lists_without_truth": "{:,} lists are of users without truth (not judged)",
    "lists_with_equal_scores": "{:,} lists hold equal scores (in the order of the rows)",
    "unknown_recommended": "{:,} places hold an item that neither history nor catalogue has",
    "seen_recommended": "{:,} places hold an item of the user's history",
}


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What :func:`evaluate` found.

    Attributes
    ----------
    model, protocol : str
    k : tuple of int
        Ascending.
    per_user : dict of float64 (n_users,)
        ``"recall@10"`` and so on, in the holdout's order; NaN if a metric is undefined for a user.
    overall : dict of float
        Figures of all lists together: ``"coverage@10"``, ``"gini@10"``.
    exposure : dict of int64 (n_items,)
        For each k, how often each item row was shown.
    target_places : int32 (n_targets,)
        Place of each target in its user's list, from 1; 0 if it is not among the first k, for the largest k.
    holdout : Holdout
        The held-out users, in the model's rows.
    counts : dict of int
        Data quality: users with fewer than k items, repeated items, unknown targets, history events and users, targets
        already in the history.
    n_items : int
        Items ranked; 0: not known.
    seen_filtered : bool or None
        Whether the lists hold nothing of the histories; None: there are none to tell by.
    definition : str
        How the figures are defined, in one line.
    """

    model: str
    protocol: str
    k: tuple[int, ...]
    per_user: dict[str, Values]
    overall: dict[str, float]
    exposure: dict[int, Int64]
    target_places: Int32
    holdout: Holdout
    counts: dict[str, int] = field(default_factory=dict)
    n_items: int = 0
    seen_filtered: bool | None = True
    definition: str = DEFINITION

    def __getitem__(self, metric: str) -> float:
        """The mean of a metric, such as ``report["recall@10"]``."""
        try:
            return self.means[metric]
        except KeyError:
            raise ConfigError(f"{metric!r} was not computed; choose one of {', '.join(self.means)}") from None

    def up_to(self, k: Sequence[int]) -> Evaluation:
        """The same evaluation at some of its list lengths.

        Raises
        ------
        ConfigError
            It has no such length.
        """
        if missing := set(k) - set(self.k):
            raise ConfigError(f"k = {min(missing)} was not evaluated; choose from {', '.join(map(str, self.k))}")
        cuts = tuple(sorted(set(k)))

        def some(figures: dict[str, T]) -> dict[str, T]:
            return {name: value for name, value in figures.items() if int(name.partition("@")[2]) in cuts}

        return replace(
            self,
            k=cuts,
            per_user=some(self.per_user),
            overall=some(self.overall),
            exposure={cut: self.exposure[cut] for cut in self.exposure if cut in cuts},
            target_places=np.where(self.target_places <= cuts[-1], self.target_places, 0).astype(np.int32),
        )

    @cached_property
    def means(self) -> dict[str, float]:
        """Every metric's mean over the users for whom it is defined (no entry without one), and the overall figures."""
        defined = {name: values[~np.isnan(values)] for name, values in self.per_user.items()}
        return {name: float(values.mean()) for name, values in defined.items() if len(values)} | self.overall

    @cached_property
    def intervals(self) -> dict[str, tuple[float, float]]:
        """The 95 % bootstrap interval of each per-user metric's mean; resamples are the same for all metrics."""
        names = [name for name in self.per_user if name in self.means]
        low, high = bootstrap_intervals(np.column_stack([self.per_user[name] for name in names]))
        return {name: (float(a), float(b)) for name, a, b in zip(names, low, high, strict=True)}

    @property
    def n_users(self) -> int:
        """Held-out users."""
        return len(self.holdout)

    @property
    def unknown_targets(self) -> int:
        """Targets that the model does not know, each a certain miss."""
        return self.counts.get("unknown_targets", 0)

    @property
    def unknown_history(self) -> int:
        """History events that the model cannot read."""
        return self.counts.get("unknown_history", 0)

    @property
    def families(self) -> list[str]:
        """Metric names without their k, in order."""
        return list(dict.fromkeys(name.partition("@")[0] for name in self.means))

    def frame(self) -> pl.DataFrame:
        """One row per metric, one column per k; null if a metric is undefined at that k."""
        return pl.DataFrame(
            {"metric": self.families} | {f"@{k}": [self.means.get(f"{name}@{k}") for name in self.families] for k in self.k}
        )

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "model": self.model,
            "protocol": self.protocol,
            "users": self.n_users,
            "targets": len(self.target_places),
            "items": self.n_items,
            "seen_filtered": self.seen_filtered,
            "counts": self.counts,
            "definition": self.definition,
            "metrics": self.means,
            "intervals": {name: list(ends) for name, ends in self.intervals.items()},
        }

    def to_json(self) -> str:
        """:meth:`to_dict` as JSON."""
        return json.dumps(self.to_dict(), indent=2)

    def __str__(self) -> str:
        seen = {True: " · seen items filtered", False: " · seen items not filtered", None: ""}[self.seen_filtered]
        items = f" · {self.n_items:,} items" if self.n_items else ""
        head = f"{self.model} · {self.protocol} · {self.n_users:,} users{items}{seen}"
        lines = [head, " " * 22 + "".join(f"{f'@{k}':>18}" for k in self.k)]
        for name in self.families:
            cells = [self.cell(f"{name}@{k}") for k in self.k]
            lines.append(f"{name:<22}" + "".join(f"{cell:>18}" for cell in cells))
        return "\n".join([*lines, *([f"noted: {self.noted}"] if self.noted else []), self.definition])

    def _repr_html_(self) -> str:
        facts = {"protocol": self.protocol, "users": self.n_users, "items": self.n_items or None}
        facts |= {"seen items filtered": self.seen_filtered, "noted": self.noted or None}
        cells = [[name, *(self.cell(f"{name}@{k}").strip() for k in self.k)] for name in self.families]
        return card(self.model, facts, rows(["", *(f"@{k}" for k in self.k)], cells), note=self.definition)

    @property
    def noted(self) -> str:
        """What the counts say, in words; empty if there is nothing."""
        return "; ".join(_PHRASES[name].format(count) for name, count in self.counts.items() if count)

    def cell(self, name: str) -> str:
        """A metric for a table: its mean and half its interval; empty if it is undefined."""
        if name not in self.means:
            return ""
        shown = f"{self.means[name]:.4f}"
        if name not in self.intervals:
            return shown + " " * 8
        low, high = self.intervals[name]
        return f"{shown} ±{(high - low) / 2:.4f}"


ACCURACY = tuple(PER_USER)
"""The metrics that grow with the number of hits."""
