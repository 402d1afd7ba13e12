"""Evaluate, compare and report saved bundles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from recsys.core import cluster
from recsys.core.cluster import Engine
from recsys.core.destination import prove_file
from recsys.data.interactions import Interactions
from recsys.data.later import later_events
from recsys.data.pseudonyms import check_same_ids
from recsys.data.recommendations import Recommendations
from recsys.data.split import Holdout
from recsys.errors import ConfigError
from recsys.evaluation.arguments import check_cuts
from recsys.evaluation.protocol import Ranker
from recsys.evaluation.truth import Truth
from recsys.pipeline.evaluate_on_cluster import answers_of

if TYPE_CHECKING:
    from recsys.evaluation.compare import Comparison
    from recsys.evaluation.result import Evaluation
    from recsys.serving.retriever import Retriever

CUTS = (10, 20, 50)
"""List lengths of the figures that a fit reports, and keeps in the manifest."""


def load_held_out(folder: str | Path) -> tuple[Retriever, Holdout]:
    """A bundle's retriever and its held-out users.

    Raises
    ------
    ConfigError
        It has none.
    """
    from recsys.serving.load import load  # noqa: PLC0415

    retriever = load(folder)
    if retriever.holdout is None:
        raise ConfigError(
            f"{folder} was fitted with --split none, or took in all events since (--refit all, --refit update, an update): "
            "it has no held-out users to evaluate it on"
        )
    return retriever, retriever.holdout


@dataclass(frozen=True, eq=False)
class EvaluationResult:
    """An evaluation, and the same by groups of users or items, name of the grouping → table."""

    evaluation: Evaluation
    groups: dict[str, pl.DataFrame]


def evaluate_bundle(
    folder: str | Path,
    k: Sequence[int] = CUTS,
    *,
    filter_seen: bool | None = None,
    category: str | None = None,
    segments: bool = False,
    user_groups: dict[str, pl.DataFrame] | None = None,
    log: Interactions | None = None,
    since: int | None = None,
    engine: Engine = "local",
    workers: int | None = None,
) -> EvaluationResult:
    """Evaluate a bundle on its held-out users, or on later events.

    Parameters
    ----------
    folder : path
    k : sequence of int
        List lengths.
    filter_seen : bool, optional
        Whether items of the history are left out; by default as the model was validated.
    category : str, optional
        Catalogue column for diversity, calibration and groups.
    segments : bool
        Also by history length, popularity, time and category.
    user_groups : dict, optional
        Name of a grouping → table of users and their group; see :func:`recsys.data.read.read_users`.
    log : Interactions, optional
        A newer log, to judge by its events after the last one that the bundle knows instead of by the held-out ones; see
        :func:`recsys.data.later.later_events`.
    since : int, optional
        Judge the events of ``log`` from this instant on; those before it go into the histories.
    engine, workers
        Where the users are ranked; see :func:`recsys.core.cluster.engine`. A cluster must see the bundle under one path.
    """
    from recsys.evaluation.evaluate import evaluated  # noqa: PLC0415
    from recsys.evaluation.segments import by_user, standard_segments, user_column  # noqa: PLC0415
    from recsys.serving.load import load  # noqa: PLC0415

    if since is not None and log is None:
        raise ConfigError("since= (--since) needs a newer log, log= (--log)")
    if log is None:
        retriever, holdout = load_held_out(folder)
        counts = dict[str, int]()
    else:
        retriever = load(folder)
        bundle = retriever.bundle
        check_same_ids(bundle.data.get("pseudonym_key"), log.pseudonym_key)
        known = Interactions(
            bundle.users, bundle.items, bundle.histories, event_names=bundle.event_names, ordered=bundle.ordered
        )
        keep_seen = bundle.keep_seen if filter_seen is None else not filter_seen
        later = later_events(known, log, since=since, keep_seen=keep_seen)
        holdout, counts = later.holdout, later.counts
    with cluster.engine(engine, workers):
        answer = None if engine == "local" else partial(answers_of, Path(folder))
        found = evaluated(
            retriever,
            holdout,
            k,
            filter_seen=filter_seen,
            catalog=retriever.catalog,
            category=category,
            answer=answer,
        )
    found = replace(found, counts=found.counts | counts)
    groups = dict[str, pl.DataFrame]()
    if segments:
        groups = standard_segments(found, retriever.bundle.trained_on, retriever.catalog, category)
    for name, table in (user_groups or {}).items():
        groups[name] = by_user(found, user_column(found, table, name))
    return EvaluationResult(found, groups)


def compare_bundles(
    folders: Sequence[str | Path],
    baselines: Sequence[str] = (),
    k: Sequence[int] = CUTS,
    *,
    metric: str | None = None,
    filter_seen: bool | None = None,
    lists: Mapping[str, Recommendations] | None = None,
) -> Comparison:
    """Compare bundles, and baselines fitted on what the first bundle was trained on, on the same users.

    Parameters
    ----------
    folders : sequence of path
    baselines : sequence of str
    k : sequence of int
        List lengths.
    metric : str, optional
        What they are ranked and tested by; by default ``ndcg@10``, or at the first k if that has no 10.
    filter_seen : bool, optional
        Whether items of the history are left out of what models rank; lists are judged as they are.
    lists : mapping, optional
        Name of another system → its lists, which are judged by the held-out events of the first bundle.
    """
    from recsys.baselines import by_name  # noqa: PLC0415
    from recsys.evaluation.compare import check_metric, compare  # noqa: PLC0415

    metric = metric or f"ndcg@{10 if 10 in k else k[0]}"
    if min(k) > 0:
        check_metric(metric, k)
    loaded = [load_held_out(folder) for folder in folders]
    names = [Path(folder).resolve().name for folder in folders]
    for name, folder, (retriever, _) in zip(names, folders, loaded, strict=True):
        retriever.name = name if names.count(name) == 1 else str(Path(folder))
    first, holdout = loaded[0]
    models: list[Ranker | Evaluation] = [retriever for retriever, _ in loaded]
    for name in baselines:
        if first.bundle.trained_on is None:
            raise ConfigError(f"{folders[0]} has no record of its training data, so baselines cannot be fitted on it")
        models.append(by_name(name).fit(first.bundle.trained_on, first.catalog))
    if lists:
        truth = Truth.of(holdout, first.bundle.trained_on, first.catalog)
        models += [truth.judge(one, check_cuts(k), name) for name, one in lists.items()]
    return compare(models, holdout, k, metric=metric, filter_seen=filter_seen)


@dataclass(frozen=True)
class ReportFiles:
    """The page, the same figures as JSON, and the model card."""

    page: Path
    figures: Path
    card: Path


def report_bundle(
    folder: str | Path,
    out: Path,
    *,
    category: str | None = None,
    filter_seen: bool | None = None,
    baselines: bool = True,
) -> ReportFiles:
    """Evaluate a bundle and write the page, and the other files beside it."""
    from recsys.report import build, check_page_name, write  # noqa: PLC0415

    check_page_name(out)
    prove_file(out)
    retriever, _ = load_held_out(folder)
    report = build(retriever.bundle, retriever, category=category, filter_seen=filter_seen, baselines=baselines)
    write(report.figures, out)
    return ReportFiles(out, out.with_suffix(".json"), out.with_suffix(".md"))
