"""How far a newer log has moved from what a bundle knows, what its age costs, and whether to update or to train again."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from recsys.config.drift import DriftOptions
from recsys.core.arguments import instance, instance_or_none
from recsys.core.ragged import Bool
from recsys.data.catalog import Catalog
from recsys.data.interactions import Interactions
from recsys.data.live_windows import clock_of
from recsys.data.user_table import UserTable
from recsys.errors import DataError
from recsys.evaluation.shift import Window, log_figures
from recsys.pipeline.drift_backtest import Aged, backtest
from recsys.pipeline.drift_result import DriftResult
from recsys.pipeline.drift_rule import advice_of, reasons_of, strangeness
from recsys.pipeline.drift_served import served_figures, served_recall

if TYPE_CHECKING:
    from recsys.serving.retriever import Retriever

_MOST_NEW: Final = 12
"""Windows into which a long new log is cut at most."""
_PARTS: Final = 12
"""A window of the known log is a twelfth of it at most."""


def drift(
    bundle: str | Path | Retriever,
    log: Interactions,
    catalog: Catalog | None = None,
    *,
    users: UserTable | None = None,
    options: DriftOptions | None = None,
) -> DriftResult:
    """Compare a newer log with what a bundle knows, and say whether to leave it, update it, or train it again.

    Figures of the new events are held against the same figures of earlier windows of the bundle's own log, of as many
    events each: what is usual is measured, and no fixed bound is taken for it. What age costs is measured in the same way:
    models that were trained up to earlier moments are judged on the windows after these
    (:func:`recsys.evaluation.ageing.ageing`), new events included. A new log that is longer than a twelfth of the known one
    is cut into several windows.

    The rule, in this order: ``check`` if the log looks broken, poisoned or of another shop, and then nothing is tried;
    ``retrain`` if the
    expected loss at the age of the model reaches ``retrain_at``, or the events since its training ``growth_at``; ``update``
    if the loss reaches ``update_at`` and its interval lies above 0; else ``leave``.

    Parameters
    ----------
    bundle : path or Retriever
    log : Interactions
        Newer events; those that the bundle knows already may be among them.
    catalog : Catalog, optional
        Of new items, for ``backtest="full"``.
    users : UserTable, optional
        Features of users, if the model reads them and ``backtest="full"``.
    options : DriftOptions, optional

    Returns
    -------
    DriftResult

    Raises
    ------
    DataError
        No event of the log is new, or it lacks times or event types that the bundle has.
    ConfigError, UnsupportedError
        As :func:`recsys.load`; or the model cannot be trained again, with ``backtest="full"``.

    Examples
    --------
    >>> newer = recsys.Interactions.from_frame(log.frame().with_columns(pl.col("timestamp") + 10_000_000))
    >>> recsys.drift(retriever, newer).advice in ("leave", "update", "retrain", "check")
    True
    """
    from recsys.serving.load import load  # noqa: PLC0415 - torch
    from recsys.serving.retriever import Retriever  # noqa: PLC0415
    from recsys.training.update.joint import joined, matched, untrained  # noqa: PLC0415

    instance(log, Interactions, "log")
    instance_or_none(catalog, Catalog, "catalog")
    instance_or_none(users, UserTable, "users")
    options = instance_or_none(options, DriftOptions, "options") or DriftOptions()
    retriever = bundle if isinstance(bundle, Retriever) else load(bundle)
    own = retriever.bundle
    joint = joined(own, log)
    known = own.histories.aligned(own.users.find_rows(joint.users.ids))
    fresh = ~matched(joint.histories, known, len(joint.items))
    if not fresh.any():
        raise DataError(f"the bundle knows all {len(log):,} events of the log already; name a log that goes on later")
    if fresh.all():
        raise DataError("the bundle knows no event that new ones could be compared with")
    clock = clock_of(joint, fresh)
    late = fresh & (clock < clock[~fresh].max())
    new, usual = _windows(clock, fresh, options.windows)
    figures = [*log_figures(joint, new, usual), *served_figures(retriever, joint, new, usual, options.seed)]
    stale = int(untrained(own, joint).sum())
    counts = {
        "known_events": int((~fresh).sum()),
        "new_events": int(fresh.sum()),
        "late_events": int(late.sum()),
        "untrained_events": stale,
        "users": len(np.unique(joint.histories.list_index()[fresh])),
        "items": len(np.unique(joint.histories.rows[fresh])),
    }
    aged, recall = Aged(), tuple[float, ...]()
    reasons = strangeness(joint, fresh, figures)
    if not reasons:
        if options.backtest != "none":
            aged = backtest(own, joint, clock, stale, (catalog, users), options)
        recall = served_recall(retriever, joint, [one.within & ~late for one in new], options)
        reasons = reasons_of(own, len(joint), stale, aged, figures, options)
    return DriftResult(advice_of(reasons), reasons, tuple(figures), aged, recall, counts)


def _windows(clock: NDArray[np.float64], fresh: Bool, most: int) -> tuple[list[Window], list[Window]]:
    """The new events in windows, and windows of the known ones of about as many events each, the earliest first.

    What is known in a window of the past is all before it, in a new one all that was known before the first.
    """
    n_new, n_known = int(fresh.sum()), int((~fresh).sum())
    size = max(1, min(n_new, n_known // _PARTS))
    parts = int(np.clip(round(n_new / size), 1, _MOST_NEW))
    cuts = np.quantile(clock[fresh], np.arange(1, parts) / parts, method="higher")
    place = np.searchsorted(cuts, clock, side="right")
    new = [Window(fresh & (place == part), ~fresh) for part in range(parts)]
    back = [1 - size * k / n_known for k in range(most, 0, -1) if size * k <= 0.7 * n_known]
    starts = np.unique(np.quantile(clock[~fresh], back, method="higher"))
    ends = [*starts[1:], np.inf]
    usual = [
        Window(~fresh & (clock >= start) & (clock < end), ~fresh & (clock < start))
        for start, end in zip(starts, ends, strict=True)
    ]
    new = [one for one in new if one.within.any()]
    return new, [one for one in usual if one.within.any() and one.before.any()]
