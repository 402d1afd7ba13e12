"""What age costs a model: trained at earlier moments, and judged on the windows after these."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from recsys.config.drift import DriftOptions
from recsys.core.progress import log as say
from recsys.data.catalog import Catalog
from recsys.data.interactions import Interactions
from recsys.data.user_table import UserTable
from recsys.evaluation.ageing import AgeLoss, ageing

if TYPE_CHECKING:
    from recsys.bundle.contents import Bundle
    from recsys.evaluation.protocol import Ranker

_OLDEST: Final = 4
"""Greatest age, in windows, that is measured."""
_WIDEST, _NARROWEST = 12, 40
"""A window is a twelfth of all events at most, and a fortieth at least."""


@dataclass(frozen=True)
class Aged:
    """What models of each age lost at earlier moments.

    Attributes
    ----------
    kind : str
        What was trained at these moments, in words; empty: nothing.
    ages : tuple of AgeLoss
        By age, in windows.
    window_events : int
        Events of a window.
    window_days : float
        Its median length; NaN without times.
    age : float
        Age of the model, in windows: events that it was not trained on / events of a window.
    loss : tuple of float or None
        Share of recall@10 that it is expected to lose by that age, and the 95 % interval; beyond the greatest age that was
        measured, that one's.
    """

    kind: str = ""
    ages: tuple[AgeLoss, ...] = ()
    window_events: int = 0
    window_days: float = math.nan
    age: float = math.nan
    loss: tuple[float, float, float] | None = None


def backtest(
    bundle: Bundle,
    joint: Interactions,
    clock: NDArray[np.float64],
    stale: int,
    tables: tuple[Catalog | None, UserTable | None],
    options: DriftOptions,
) -> Aged:
    """Measure what age costs, over the last windows of all events.

    A window holds as many events as the model was not trained on, within bounds: less than a fortieth of the log tells too
    little, and more than a twelfth leaves too few windows.

    Parameters
    ----------
    bundle : Bundle
    joint : Interactions
        Known and new events.
    clock : float64 (len(joint),)
        When each took place.
    stale : int
        Events that the model was not trained on.
    tables : (Catalog or None, UserTable or None)
        Of new items, and of users; for ``backtest="full"``.
    options : DriftOptions
    """
    width = int(np.clip(stale, max(1, len(joint) // _NARROWEST), max(1, len(joint) // _WIDEST)))
    windows = min(options.windows, len(joint) // (2 * width))
    cuts = np.unique(np.quantile(clock, 1 - width * np.arange(windows, 0, -1) / len(joint), method="higher"))
    number = np.searchsorted(cuts, clock, side="right")
    fit, kind = _fitting(bundle, *tables, options)
    say(f"backtest: training {kind} at {len(cuts)} earlier moments")
    ages = ageing(joint, number, fit, oldest=_OLDEST, judged=options.judged, keep_seen=bundle.keep_seen, seed=options.seed)
    days = math.nan
    if joint.timestamps is not None:
        days = float(np.median(np.diff([*cuts, clock.max()]))) / 86_400
    age = stale / width
    return Aged(kind, ages, width, days, age, expected_loss(ages, age))


def expected_loss(ages: Sequence[AgeLoss], age: float) -> tuple[float, float, float] | None:
    """Loss, low and high at an age, between the ages that were measured; None if only the fresh model was.

    Examples
    --------
    >>> fresh, old = (AgeLoss(age, 0.1 * age, 0.05 * age, 0.2 * age, 0.3, 5, 900) for age in (0, 1))
    >>> expected_loss([fresh, old], 0.5)
    (0.05, 0.025, 0.1)
    """
    known = [one for one in ages if math.isfinite(one.loss)]
    if len(known) < 2:
        return None
    at = [one.age for one in known]
    loss, low, high = (np.interp(age, at, [getattr(one, name) for one in known]) for name in ("loss", "low", "high"))
    return float(loss), float(low), float(high)


def _fitting(
    bundle: Bundle, catalog: Catalog | None, users: UserTable | None, options: DriftOptions
) -> tuple[Callable[[Interactions], Ranker], str]:
    """What is trained at each moment, and what that is in words."""
    if options.backtest == "full":
        from recsys.serving.retriever import Retriever  # noqa: PLC0415
        from recsys.training.anew import trained_anew  # noqa: PLC0415

        whole = bundle.catalog if catalog is None else catalog
        return lambda log: Retriever(
            trained_anew(bundle, log, whole.aligned(log.items), users=users, earlier=True)
        ), "the model itself"
    from recsys.baselines.transitions import Transitions  # noqa: PLC0415
    from recsys.transitions.learn import default_form  # noqa: PLC0415

    memory = bundle.corpus.transitions
    form = default_form("auto", ordered=bundle.ordered) if memory is None else replace(memory.form, borrow=0.0)
    kind = "the transition memory" if bundle.towers.fast else "the transition memory alone, without the towers,"
    return lambda log: Transitions(form=form).fit(log), kind
