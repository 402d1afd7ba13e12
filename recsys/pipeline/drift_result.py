"""What a look at drift found: figures beside what is usual, the cost of age, and an advice with the numbers behind it."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import polars as pl

from recsys.config.drift import Advice
from recsys.core.text_table import as_text
from recsys.evaluation.ageing import K
from recsys.evaluation.shift import Figure
from recsys.pipeline.drift_backtest import Aged
from recsys.pipeline.drift_rule import Reason, shown


@dataclass(frozen=True)
class DriftResult:
    """What :func:`drift` found.

    Attributes
    ----------
    advice : {"leave", "update", "retrain", "check"}
        ``check``: the log is so unlike all before that nothing should be learned from it until somebody has looked at it.
    reasons : tuple of Reason
        What the advice follows from.
    figures : tuple of Figure
        Of the log, and of what the model makes of it.
    aged : Aged
        What models of each age lost at earlier moments.
    recall : tuple of float
        recall@10 of the model in each new window; NaN where nothing can be judged.
    counts : dict of int
        Events: known, new, late (new, but from before the last known one), untrained; users and items, known and new.
    """

    advice: Advice
    reasons: tuple[Reason, ...]
    figures: tuple[Figure, ...]
    aged: Aged
    recall: tuple[float, ...]
    counts: dict[str, int]

    def to_dict(self) -> dict[str, Any]:
        """For JSON; what is undefined is None."""
        found = asdict(self) | {"figures": [one.to_dict() for one in self.figures]}
        plain: dict[str, Any] = _plain(found)
        return plain

    def __str__(self) -> str:
        counts = self.counts
        lines = [
            f"{counts['new_events']:,} new events of {counts['users']:,} users on {counts['items']:,} items, beside "
            f"{counts['known_events']:,} that the bundle knows",
            _figure_table(self.figures),
        ]
        if self.aged.ages:
            lines += [f"loss of recall@{K} by age, of {self.aged.kind}:", _age_table(self.aged)]
        if not all(math.isnan(one) for one in self.recall):
            said = ", ".join("–" if math.isnan(one) else f"{one:.4f}" for one in self.recall)
            each = ", by window" * (len(self.recall) > 1)
            lines.append(f"recall@{K} of this model on the new events{each}: {said}")
        lines += [f"advice: {self.advice}", *(f"  {one.advice}: {one.text}" for one in self.reasons)]
        return "\n".join(lines)


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items()}
    return [_plain(one) for one in value] if isinstance(value, list | tuple) else value


def _figure_table(figures: tuple[Figure, ...]) -> str:
    several = any(len(one.values) > 1 for one in figures)
    rows = []
    for one in figures:
        usual = "not known" if one.low is None or one.high is None else f"{shown(one.low)} – {shown(one.high)}"
        first = {"first window": shown(one.values[0])} if several else {}
        last = "last window" if several else "new log"
        rows.append({"": one.meaning} | first | {last: shown(one.value), "usual": usual, " ": "unusual" * one.unusual})
    return as_text(pl.DataFrame(rows))


def _age_table(found: Aged) -> str:
    rows = []
    for one in found.ages:
        days: dict[str, str] = {} if math.isnan(found.window_days) else {"days": f"{one.age * found.window_days:,.0f}"}
        events = {"events": f"{one.age * found.window_events:,}"}
        loss = {"loss": f"{one.loss:.1%}", "95 %": f"{one.low:.1%} to {one.high:.1%}"}
        rows.append(events | days | {f"recall@{K}": f"{one.recall:.4f}"} | loss | {"users": f"{one.users:,}"})
    return as_text(pl.DataFrame(rows))
