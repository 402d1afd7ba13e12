"""The report: an evaluated bundle as one HTML page, the same figures as JSON, and a model card.

``build`` measures and collects, ``write`` puts all three on disk, ``model_card`` gives the card alone::

    figures = build(recsys.load("runs/ml"))
    write(figures, Path("report.html"))  # and report.json, report.md
    Path("MODEL_CARD.md").write_text(model_card(figures), encoding="utf-8")

The figures are one plain dict: whatever the page or the card says can be read from it, and from the JSON file.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recsys.core.files import atomic_file
from recsys.core.progress import log
from recsys.errors import ConfigError
from recsys.report.card import model_card

if TYPE_CHECKING:
    from recsys.data.catalog import Catalog
    from recsys.data.interactions import Interactions
    from recsys.evaluation.protocol import Ranker
    from recsys.evaluation.result import Evaluation
    from recsys.serving.retriever import Retriever

__all__ = ["as_json", "build", "check_page_name", "judge", "model_card", "write"]

EASE_LIMIT = 20_000
"""EASE is fitted up to this many items: it inverts a dense matrix of their square."""


def build(
    retriever: Retriever,
    *,
    k: Sequence[int] = (1, 2, 5, 10, 20, 50, 100),
    category: str | None = None,
    filter_seen: bool | None = None,
    baselines: bool = True,
    with_map: bool = True,
    seed: int = 0,
    judged: Evaluation | None = None,
) -> dict[str, Any]:
    """Judge a bundle and simple baselines on the users it kept apart, and collect all that the report shows.

    Parameters
    ----------
    retriever : Retriever
        With a holdout.
    k : sequence of int
        List lengths; those above the catalogue's size are left out, and 10, by which models are compared, is added.
    category : str, optional
        A column of the catalogue for groups, diversity, calibration and the map's colours; by default the first of
        ``category``, ``categories``, ``genres`` and ``brand`` that there is.
    filter_seen : bool, optional
        Whether items of the history are left out of the ranking; by default as the model was validated.
    baselines : bool
        Whether to fit popularity, item-kNN and, up to 20,000 items, EASE on what the model was trained on.
    with_map : bool
        Whether to lay out item vectors in two dimensions, which takes seconds.
    seed : int
        For the choice of examples and for the map.
    judged : Evaluation, optional
        What :func:`judge` found of this retriever, so that its users are judged once; ``k`` and ``filter_seen`` are then
        its own.

    Returns
    -------
    dict
        Plain values only; what cannot be shown is named under ``"left_out"`` with the reason.

    Raises
    ------
    ConfigError
        The retriever has no holdout, or the catalogue has no such column.
    """
    from recsys.evaluation.compare import Comparison, compare  # noqa: PLC0415 - torch
    from recsys.evaluation.evaluate import evaluate  # noqa: PLC0415
    from recsys.report import figures, groups  # noqa: PLC0415

    if retriever.holdout is None:
        raise ConfigError("there is nobody to judge the model on: it keeps no holdout; fit it with --split last or time")
    holdout, catalog, train = retriever.holdout, retriever.catalog, retriever.trained_on
    category = _category(catalog, category)
    cuts = _cuts(retriever, k if judged is None else judged.k)
    if judged is None:
        judged = judge(retriever, k=k, category=category, filter_seen=filter_seen)
    reports = [
        judged.up_to(cuts),
        *(
            evaluate(ranker, holdout, cuts, filter_seen=judged.seen_filtered, catalog=catalog, category=category)
            for ranker in (_fitted(train, catalog) if baselines and train is not None else [])
        ),
    ]
    if len(reports) > 1:
        comparison = compare(reports, holdout, cuts, metric=figures.METRIC)
    else:
        comparison = Comparison(reports, figures.METRIC, figures.no_tests())
    log("report: groups of users and items")
    shown = [reports[0], *[one for one in comparison.reports if one is not reports[0]][:1]]
    return figures.collect(
        retriever,
        comparison,
        groups.user_segments(shown),
        groups.item_groups(shown, catalog, train, category),
        category=category,
        baselines=baselines,
        with_map=with_map,
        seed=seed,
    )


def judge(
    retriever: Retriever,
    *,
    k: Sequence[int] = (1, 2, 5, 10, 20, 50, 100),
    category: str | None = None,
    filter_seen: bool | None = None,
    more: Sequence[int] = (),
) -> Evaluation:
    """Judge a bundle on the users it kept apart, for :func:`build` and whatever else is said of them.

    Parameters
    ----------
    retriever, k, category, filter_seen
        As for :func:`build`.
    more : sequence of int
        List lengths that the report does not need, also above the catalogue's size.

    Raises
    ------
    ConfigError
        As :func:`build`.
    """
    from recsys.evaluation.evaluate import evaluate  # noqa: PLC0415 - torch

    if retriever.holdout is None:
        raise ConfigError("there is nobody to judge the model on: it keeps no holdout; fit it with --split last or time")
    catalog = retriever.catalog
    return evaluate(
        retriever,
        retriever.holdout,
        sorted({*_cuts(retriever, k), *more}),
        filter_seen=not retriever.keep_seen if filter_seen is None else filter_seen,
        catalog=catalog,
        category=_category(catalog, category),
    )


def _cuts(retriever: Retriever, k: Sequence[int]) -> list[int]:
    from recsys.report import figures  # noqa: PLC0415

    return sorted({figures.K} | {cut for cut in k if cut <= len(retriever.items)})


def write(figures: dict[str, Any], out: Path) -> None:
    """Write the page at ``out``, and beside it the same figures as ``.json`` and the model card as ``.md``.

    Each file appears whole or not at all, and replaces an older one of its name.

    Raises
    ------
    ConfigError
        ``out`` does not end in .html.
    """
    from recsys.report.sections import report_page  # noqa: PLC0415

    check_page_name(out)
    made = {
        out: report_page(figures),
        out.with_suffix(".json"): as_json(figures),
        out.with_suffix(".md"): model_card(figures),
    }
    for target, text in made.items():
        with atomic_file(target) as file:
            file.write_text(text, encoding="utf-8")


def check_page_name(out: Path) -> None:
    """Refuse a name that is not a web page's, which can be done before anything is judged.

    Raises
    ------
    ConfigError
        ``out`` does not end in .html.
    """
    if out.suffix not in (".html", ".htm"):
        raise ConfigError(f"the report is a web page: name a file that ends in .html, not {out}")


def as_json(figures: dict[str, Any]) -> str:
    """The figures as strict JSON."""
    return json.dumps(figures, indent=1, allow_nan=False, ensure_ascii=False) + "\n"


def _category(catalog: Catalog, asked: str | None) -> str | None:
    """The column of categories: the one asked for, or the first that is named like one."""
    from recsys.report.groups import CATEGORY_COLUMNS  # noqa: PLC0415

    there = catalog.columns.columns
    if asked is not None and asked not in there:
        raise ConfigError(f"the catalogue has no column {asked!r}; it has {', '.join(there) or 'none'}")
    return asked or next(
        (name for name in CATEGORY_COLUMNS if name in there and not catalog.columns[name].dtype.is_nested()), None
    )


def _fitted(train: Interactions, catalog: Catalog) -> list[Ranker]:
    from recsys.baselines import EASE, ItemKNN, Popularity  # noqa: PLC0415

    chosen = [Popularity(), ItemKNN(), *([EASE()] if len(catalog) <= EASE_LIMIT else [])]
    fitted: list[Ranker] = []
    for baseline in chosen:
        log(f"report: fitting {baseline.name}")
        fitted.append(baseline.fit(train, catalog))
    return fitted
