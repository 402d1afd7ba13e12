"""The rule: from the figures of a newer log and the cost of age to leave, update, retrain or check."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from recsys.config.drift import Advice, DriftOptions
from recsys.core.ragged import Bool
from recsys.data.interactions import Interactions
from recsys.evaluation.ageing import K
from recsys.evaluation.shift import Figure
from recsys.pipeline.drift_backtest import Aged

if TYPE_CHECKING:
    from recsys.bundle.contents import Bundle

SEVERITY: Final[tuple[Advice, ...]] = ("leave", "update", "retrain", "check")
"""What is advised, the gravest last; the gravest reason decides."""


@dataclass(frozen=True)
class Reason:
    """A number that decided, or did not.

    Attributes
    ----------
    name : str
    value : float
    bound : float or None
        From this on it says ``advice``.
    advice : {"leave", "update", "retrain", "check"}
        What it says as it is.
    text : str
        The same in words.
    """

    name: str
    value: float
    bound: float | None
    advice: Advice
    text: str


def shown(value: float) -> str:
    """A figure with about three digits."""
    return "–" if math.isnan(value) else f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def advice_of(reasons: Sequence[Reason]) -> Advice:
    """The gravest of them."""
    return max((one.advice for one in reasons), key=SEVERITY.index)


def reasons_of(
    bundle: Bundle, n_events: int, stale: int, aged: Aged, figures: Sequence[Figure], options: DriftOptions
) -> tuple[Reason, ...]:
    """Each number of the rule, and what it says; of a log that is not to be learned from, see :func:`strangeness`.

    Parameters
    ----------
    bundle : Bundle
    n_events, stale : int
        All events, and those that the model was not trained on.
    aged : Aged
    figures : sequence of Figure
    options : DriftOptions
    """
    found = [_loss(aged, options), _growth(bundle, n_events, stale, options), *_forgotten(bundle, options)]
    if aged.loss is None:
        found.append(_unknown(figures, options))
    if unusual := [one for one in figures if one.unusual]:
        said = "; ".join(_said(one) for one in unusual)
        found.append(Reason("unusual figures", float(len(unusual)), None, "leave", f"worth a look: {said}"))
    return tuple(found)


def _said(one: Figure) -> str:
    return f"{one.meaning} {shown(one.value)}, usually {shown(one.low or 0.0)} to {shown(one.high or 0.0)}"


def strangeness(joint: Interactions, fresh: Bool, figures: Sequence[Figure]) -> tuple[Reason, ...]:
    """What makes a log one that nothing should be learned from; empty for an ordinary one.

    The checks of an update, and figures that lie more than twice as far from the middle of their range as its end.

    Parameters
    ----------
    joint : Interactions
        Known and new events.
    fresh : bool (len(joint),)
        Which ones are new.
    figures : sequence of Figure
    """
    from recsys.pipeline.day import check_day  # noqa: PLC0415

    report = check_day(joint, fresh)
    found = list[Reason]()
    if report.refused:
        found.append(Reason("checks of new events", float(len(report.refused)), None, "check", report.reasons))
    for one in figures:
        if one.name in _TELLING and (one.place(one.value) or 0.0) > _FAR:
            found.append(Reason(one.name, one.value, one.high, "check", f"far from what is usual: {_said(one)}"))
    return tuple(found)


_FAR: Final = 2.0
_TELLING: Final = ("new_items", "top_item_users", "top_item")
"""Figures that are large in a log of another shop, or where one thing was bought by everybody."""


def _unknown(figures: Sequence[Figure], options: DriftOptions) -> Reason:
    share = next(one.value for one in figures if one.name == "new_items")
    said = f"{share:.1%} of the events are on items that the model does not know, which it cannot find"
    if share >= options.update_at:
        return Reason("new items", share, options.update_at, "update", f"{said}; {options.update_at:.0%} or more: update")
    return Reason("new items", share, options.update_at, "leave", f"{said}; below {options.update_at:.0%}")


def _loss(aged: Aged, options: DriftOptions) -> Reason:
    name = "expected loss"
    if aged.loss is None:
        why = "earlier moments have too few events to judge by" if aged.kind else "nothing was tried at earlier moments"
        return Reason(name, math.nan, options.update_at, "leave", f"what age costs is not known: {why}")
    loss, low, high = aged.loss
    at_least = "at least " * (aged.age > aged.ages[-1].age)
    said = (
        f"a model of this age ({aged.age:.1f} windows of {aged.window_events:,} events) is expected to lose {at_least}"
        f"{loss:.1%} of its recall@{K} ({low:.1%} to {high:.1%})"
    )
    if loss >= options.retrain_at and low > 0:
        return Reason(name, loss, options.retrain_at, "retrain", f"{said}; {options.retrain_at:.0%} or more: retrain")
    if loss >= options.update_at and low > 0:
        return Reason(name, loss, options.update_at, "update", f"{said}; {options.update_at:.0%} or more: update")
    why = f"below {options.update_at:.0%}" if loss < options.update_at else "it may be none"
    return Reason(name, loss, options.update_at, "leave", f"{said}; {why}")


def _forgotten(bundle: Bundle, options: DriftOptions) -> list[Reason]:
    """Whom the weights were trained with though they have been forgotten: only a training without them undoes that."""
    gone = bundle.data.get("forgotten_since_training", 0)
    if not isinstance(gone, int) or gone < 1 or bundle.towers.fast:  # a table is learned anew without them
        return []
    said, bound = f"{gone:,} people have been forgotten whom the weights were trained with", options.forgotten_at
    if gone >= bound:
        return [Reason("forgotten", float(gone), bound, "retrain", f"{said}; {bound:,} or more: retrain without them")]
    return [Reason("forgotten", float(gone), bound, "leave", f"{said}; below {bound:,}")]


def _growth(bundle: Bundle, n_events: int, stale: int, options: DriftOptions) -> Reason:
    first = int((bundle.lineage or {}).get("first_events", n_events - stale))
    growth, bound = (n_events - first) / max(1, first), options.growth_at
    said = f"{n_events - first:,} events since the model was trained from nothing on {first:,}: {growth:.0%}"
    if growth >= bound:
        return Reason("growth", growth, bound, "retrain", f"{said}; {bound:.0%} or more: retrain")
    return Reason("growth", growth, bound, "leave", f"{said}; below {bound:.0%}")
