"""Evaluate a bundle beside simple baselines and collect everything that the report shows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from recsys.baselines import EASE, ItemKNN, Popularity, Transitions
from recsys.bundle.contents import Bundle
from recsys.core.progress import log
from recsys.data.catalog import Catalog
from recsys.data.interactions import Interactions
from recsys.data.split import Holdout
from recsys.errors import ConfigError
from recsys.evaluation.compare import Comparison, compare
from recsys.evaluation.evaluate import evaluate
from recsys.evaluation.protocol import Ranker
from recsys.evaluation.result import Evaluation
from recsys.report.figures import METRIC, K, collect, no_tests
from recsys.report.groups import CATEGORY_COLUMNS, item_groups, user_segments

EASE_LIMIT = 20_000
"""EASE is fitted up to this many items: it inverts a dense matrix of their square."""
CUTS = (1, 2, 5, 10, 20, 50, 100)
"""Default list lengths of the report."""


@dataclass(frozen=True, eq=False)
class Report:
    """What :func:`build` found."""

    evaluation: Evaluation
    """The model's own evaluation, at every list length that was asked for."""
    comparison: Comparison
    """The model and the baselines on the same users, best first."""
    figures: dict[str, Any]
    """Everything that page and card say, as plain values; ``"left_out"`` names what cannot be shown, and why."""


def build(
    bundle: Bundle,
    ranker: Ranker,
    *,
    k: Sequence[int] = CUTS,
    category: str | None = None,
    filter_seen: bool | None = None,
    baselines: bool = True,
    with_map: bool = True,
    seed: int = 0,
    evaluation: Evaluation | None = None,
) -> Report:
    """Evaluate a model and simple baselines on the held-out users, and collect everything that the report shows.

    Parameters
    ----------
    bundle : Bundle
        With a holdout.
    ranker : Ranker
        Ranks by the bundle, in its item rows.
    k : sequence of int
        List lengths; those above the catalogue's size are left out, and 10, by which models are compared, is added.
    category : str, optional
        A column of the catalogue for groups, diversity, calibration and the map's colours; by default the first of
        ``category``, ``categories``, ``genres`` and ``brand`` that the catalogue has.
    filter_seen : bool, optional
        Whether items of the history are left out of the ranking; by default as the model was validated.
    baselines : bool
        Whether to fit popularity, item-kNN and, up to 20,000 items, EASE on the model's training log.
    with_map : bool
        Whether to lay out item vectors in two dimensions, which takes seconds.
    seed : int
        For the choice of examples and for the map.
    evaluation : Evaluation, optional
        From :func:`evaluate_held_out` on the same bundle, so that its users are evaluated only once; it then decides
        ``k`` and ``filter_seen``.

    Returns
    -------
    Report

    Raises
    ------
    ConfigError
        The bundle has no holdout, or the catalogue has no such column.
    """
    holdout, catalog, train = held_out(bundle), bundle.catalog, bundle.trained_on
    category = category_column(catalog, category)
    if evaluation is None:
        evaluation = evaluate_held_out(bundle, ranker, k=k, category=category, filter_seen=filter_seen)
    cuts = _cuts(bundle, evaluation.k)
    reports = [
        evaluation.up_to(cuts),
        *(
            evaluate(one, holdout, cuts, filter_seen=evaluation.seen_filtered, catalog=catalog, category=category)
            for one in (_fitted_baselines(train, catalog) if baselines and train is not None else [])
        ),
    ]
    if len(reports) > 1:
        comparison = compare(reports, holdout, cuts, metric=METRIC)
    else:
        comparison = Comparison(reports, METRIC, no_tests())
    log("report: groups of users and items")
    shown = [reports[0], *[one for one in comparison.reports if one is not reports[0]][:1]]
    figures = collect(
        bundle,
        ranker,
        comparison,
        user_segments(shown),
        item_groups(shown, catalog, train, category),
        category=category,
        baselines=baselines,
        with_map=with_map,
        seed=seed,
    )
    return Report(evaluation, comparison, figures)


def evaluate_held_out(
    bundle: Bundle,
    ranker: Ranker,
    *,
    k: Sequence[int] = CUTS,
    category: str | None = None,
    filter_seen: bool | None = None,
    more: Sequence[int] = (),
) -> Evaluation:
    """Evaluate a model on the held-out users of its bundle, for :func:`build` and for anything else.

    Parameters
    ----------
    bundle, ranker, k, category, filter_seen
        As for :func:`build`.
    more : sequence of int
        List lengths that the report does not need, also above the catalogue's size.

    Raises
    ------
    ConfigError
        As :func:`build`.
    """
    return evaluate(
        ranker,
        held_out(bundle),
        sorted({*_cuts(bundle, k), *more}),
        filter_seen=not bundle.keep_seen if filter_seen is None else filter_seen,
        catalog=bundle.catalog,
        category=category_column(bundle.catalog, category),
    )


def held_out(bundle: Bundle) -> Holdout:
    """The held-out users of a bundle.

    Raises
    ------
    ConfigError
        It has none.
    """
    if bundle.holdout is None:
        raise ConfigError(
            "the bundle keeps no holdout, so there are no users to evaluate on; fit it with --split last or time"
        )
    return bundle.holdout


def category_column(catalog: Catalog, asked: str | None) -> str | None:
    """The column of categories: the one asked for, or the first with a usual name for one.

    Raises
    ------
    ConfigError
        The catalogue has no such column.
    """
    columns = catalog.columns.columns
    if asked is not None and asked not in columns:
        raise ConfigError(f"the catalogue has no column {asked!r}; it has {', '.join(columns) or 'none'}")
    return asked or next(
        (name for name in CATEGORY_COLUMNS if name in columns and not catalog.columns[name].dtype.is_nested()), None
    )


def _cuts(bundle: Bundle, k: Sequence[int]) -> list[int]:
    return sorted({K} | {cut for cut in k if cut <= len(bundle.items)})


def _fitted_baselines(train: Interactions, catalog: Catalog) -> list[Ranker]:
    fitted: list[Ranker] = []
    for baseline in (Popularity(), ItemKNN(), Transitions(), *([EASE()] if len(catalog) <= EASE_LIMIT else [])):
        log(f"report: fitting {baseline.name}")
        fitted.append(baseline.fit(train, catalog))
    return fitted
