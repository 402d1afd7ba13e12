"""What the commands do, as functions for Python too: each takes plain arguments and returns a result object."""

from __future__ import annotations

import contextlib
import shlex
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from recsys.core.destination import FitPlaces, process_number, prove_file
from recsys.core.files import Held, atomic_file, exclusive
from recsys.core.progress import warn
from recsys.data.catalog import Catalog
from recsys.data.interactions import Interactions
from recsys.data.split import Holdout
from recsys.data.split_choice import RefitName, refit_log, split_for, split_log
from recsys.data.user_table import UserTable
from recsys.errors import ConfigError, RecsysError
from recsys.evaluation.protocol import Ranker
from recsys.two_tower import Recipe, TwoTower

if TYPE_CHECKING:
    from recsys.evaluation.compare import Comparison
    from recsys.evaluation.result import Evaluation
    from recsys.serving.batch.run import BatchResult
    from recsys.serving.retriever import Retriever
    from recsys.training.estimate import Estimate
    from recsys.training.logs import TrainingLog
    from recsys.tuning.space import Space
    from recsys.tuning.trials import Tuning

CUTS = (10, 20, 50)
"""List lengths of the figures that a fit reports, and keeps in the manifest."""
_WAIT = 60.0
"""Seconds for which a change of a bundle waits for another one."""


class UnreportedError(RecsysError):
    """A model that is trained and saved, and whose report failed."""


@dataclass(frozen=True, eq=False)
class FitResult:
    """What a fit made.

    Attributes
    ----------
    bundle, logs : Path
        The saved bundle, and the folder of the training curves.
    training : TrainingLog
    retriever : Retriever or None
        None in all processes but the first one that ``torchrun`` started.
    evaluation : Evaluation or None
        Of the held-out users; None without any.
    """

    bundle: Path
    logs: Path
    training: TrainingLog
    retriever: Retriever | None = None
    evaluation: Evaluation | None = None


def fit_bundle(
    recipe: Recipe,
    log: Interactions,
    catalog: Catalog | None = None,
    *,
    places: FitPlaces,
    users: UserTable | None = None,
    split: str | None = None,
    refit: RefitName | None = None,
    reading: dict[str, Any] | None = None,
    resume: bool = False,
    overwrite: bool = False,
    held: Held | None = None,
) -> FitResult:
    """Split a log, train on it, evaluate the model once, and save it with its report, whatever goes wrong after training.

    Parameters
    ----------
    recipe : Recipe
    log : Interactions
    catalog : Catalog, optional
    places : FitPlaces
        Claimed already if ``held`` is given.
    users : UserTable, optional
    split : {"last", "time", "random", "none"}, optional
        What to hold out; see :func:`split_for`.
    refit : {"validation", "all"}, optional
        Train again after validation: with the validation events before the test, or with all events after it, so that the
        bundle, which then holds out nothing, keeps the figures of before.
    reading : dict, optional
        How the log was read, for the model card; kept in the bundle.
    resume, overwrite : bool
        Resume from the last checkpoint; replace an older bundle.
    held : Held, optional
        The lock of the bundle's place.

    Raises
    ------
    RecsysError
        Something is wrong with the data or options (before training), or the bundle cannot be written.
    UnreportedError
        The model is trained and saved, and evaluating it or writing its report failed.
    """
    from recsys.index.faiss_library import faiss  # noqa: PLC0415

    faiss()  # a missing or double build is reported before the training
    name = split_for(log, split)
    more = refit_log(log, name, refit) if refit else None
    if more is not None and recipe.training.devices > 1:
        raise ConfigError("refit (--refit) trains in one process; leave it out, or leave out devices (--devices)")
    train, validation, test = split_log(log, name)
    model = recipe.fit(
        train,
        catalog,
        validation=validation,
        users=users,
        log_folder=places.logs,
        checkpoint=places.checkpoint,
        resume=resume,
        overwrite=overwrite and not resume,
    )
    assert model.log is not None  # noqa: S101 - fit has just set it
    if process_number():  # torchrun started several of us; the first one does the rest
        return FitResult(places.out, places.logs, model.log)
    if more is not None and refit == "validation":
        model.refit(more)
    retriever = _retriever_of(model, log, test)
    retriever.bundle = replace(retriever.bundle, reading=reading)
    evaluation, figures, failed = _evaluated(retriever)
    if more is not None and refit == "all":
        retriever = _retriever_of(model.refit(more), log, None)
        figures = figures and figures | {"training": asdict(model.log)}
        retriever.bundle = replace(retriever.bundle, reading=reading)
    unwritten = _save(retriever, places, overwrite=overwrite, evaluation=evaluation, figures=figures, held=held)
    shutil.rmtree(places.checkpoint, ignore_errors=True)  # the bundle is saved: nothing is left to resume
    with contextlib.suppress(OSError):  # another run's checkpoint may be beside it
        places.checkpoint.parent.rmdir()
    if failed or unwritten:
        if retriever.holdout is None and refit == "all":
            raise UnreportedError(
                f"the model is trained and saved in {places.out}, but it was not evaluated ({failed or unwritten})"
            )
        again = ["recsys", "report", str(places.out), "--out", str(places.out.parent / f"{places.out.name}-report.html")]
        raise UnreportedError(
            f"the model is trained and saved in {places.out}, but evaluating it failed, so its report is not complete "
            f"({failed or unwritten}); try {shlex.join(again)}"
        )
    return FitResult(places.out, places.logs, model.log, retriever, evaluation)


def _retriever_of(model: TwoTower, log: Interactions, holdout: Holdout | None) -> Retriever:
    """With the exact index if choosing one fails, so that no training is lost for it."""
    try:
        return model.retriever(log=log, holdout=holdout)
    except (RecsysError, RuntimeError, MemoryError) as error:
        found = model.retriever(log=log, holdout=holdout, index="exact")
        warn(
            f"no index could be chosen ({_first_line(error)}); the bundle has the exact one: choose again with recsys index"
        )
        return found


def _evaluated(retriever: Retriever) -> tuple[Evaluation | None, dict[str, Any] | None, str | None]:
    """The one evaluation of the held-out users, the figures of the report made of it, and what went wrong.

    Whatever goes wrong, panics of a library too, becomes text: the model is trained, and is still to be saved.
    """
    from recsys.report import build, evaluate_held_out  # noqa: PLC0415

    if retriever.holdout is None:
        return None, None, None
    evaluation = None
    try:
        full = evaluate_held_out(retriever.bundle, retriever, more=CUTS)
        evaluation = full.up_to(CUTS)
        report = build(retriever.bundle, retriever, evaluation=full, baselines=False, with_map=False)
        return evaluation, report.figures, None
    except (KeyboardInterrupt, SystemExit, GeneratorExit):
        raise
    except BaseException as error:  # panics of polars are not an Exception
        return evaluation, None, _first_line(error)


def _save(
    retriever: Retriever,
    places: FitPlaces,
    *,
    overwrite: bool,
    evaluation: Evaluation | None,
    figures: dict[str, Any] | None,
    held: Held | None,
) -> str | None:
    """Save the bundle, with its report if that can be written; returns what went wrong with the report alone."""
    from recsys.bundle.io import save  # noqa: PLC0415
    from recsys.report import bundle_files  # noqa: PLC0415

    failed, extras = None, dict[str, str]()
    if figures is not None:
        try:
            extras = bundle_files(figures)
        except (KeyboardInterrupt, SystemExit, GeneratorExit):
            raise
        except BaseException as error:
            failed = _first_line(error)
    metrics = {} if evaluation is None else evaluation.means
    try:
        save(retriever.bundle, places.out, overwrite=overwrite, metrics=metrics, extras=extras, held=held)
    except (RecsysError, OSError) as error:
        if places.checkpoint.is_dir():
            warn(f"the bundle was not saved; the training is kept in {places.checkpoint}: mend the cause, and add --resume")
        if isinstance(error, OSError) and error.filename is None:
            raise OSError(error.errno, str(error), str(places.out)) from error
        raise
    return failed


def _first_line(error: BaseException) -> str:
    line = (str(error).splitlines() or [""])[0]
    return line if isinstance(error, RecsysError) and line else f"{type(error).__name__}: {line}"


def estimate_fit(
    recipe: Recipe,
    log: Interactions,
    catalog: Catalog | None = None,
    *,
    users: UserTable | None = None,
    split: str | None = None,
    sweep: bool = False,
) -> Estimate:
    """What a fit would cost, short trials left out, and, with ``sweep``, a learning rate for it; nothing is written."""
    from recsys.training.estimate import estimate  # noqa: PLC0415
    from recsys.training.plan.decide import decide  # noqa: PLC0415
    from recsys.training.plan.options import Options  # noqa: PLC0415

    if recipe.model.fast:
        raise ConfigError("a fast model trains nothing that could be estimated; leave out --dry-run and --find-rate")
    train, _, _ = split_log(log, split_for(log, split))
    asked = Options(recipe.model, recipe.objective, recipe.training)
    found = decide(asked, train, catalog, augment=recipe.augment, users=users, trials=False).options
    return estimate(found.model, found.objective, recipe.augment, found.training, train, catalog, users, sweep=sweep)


def fit_trial(
    configs: dict[str, Any],
    *,
    train: Interactions,
    catalog: Catalog | None,
    validation: Holdout,
    users: UserTable | None,
    on_epoch: Callable[[dict[str, float]], None],
) -> TrainingLog:
    """Train one trial of :func:`recsys.tuning.search.tune`; ``configs`` holds a dataclass for each table of a recipe."""
    model = TwoTower(replace(configs["model"], transitions="none"))  # trials are compared by the towers' own figures
    rest = {table: config for table, config in configs.items() if table not in ("model", "training")}
    rest["training"] = replace(configs["training"], adapt="off")  # the search decides, not a plan
    model.fit(train, catalog, validation=validation, users=users, on_epoch=on_epoch, **rest)
    assert model.log is not None  # noqa: S101 - fit has just set it
    return model.log


def tune_log(
    space: Space,
    log: Interactions,
    catalog: Catalog | None = None,
    *,
    out: Path,
    users: UserTable | None = None,
    split: str | None = None,
    storage: Path | None = None,
    **budget: Any,
) -> tuple[Tuning, dict[str, Path]]:
    """Split a log, search a space for the options that do best on validation, and write the best recipe and the page.

    Parameters
    ----------
    space : Space
    log : Interactions
    catalog : Catalog, optional
    out : Path
        Folder of what is written; the study is called as it is.
    users : UserTable, optional
    split : {"last", "time", "random"}, optional
        What to hold out; see :func:`split_for`.
    storage : Path, optional
        SQLite file of the study; by default ``study.db`` in ``out``.
    **budget
        ``trials``, ``seed`` and ``minutes`` of :func:`recsys.tuning.search.tune`.

    Returns
    -------
    Tuning
    dict of Path
        ``recipe``, ``trials`` and ``page``.
    """
    from recsys.tuning.page import write  # noqa: PLC0415
    from recsys.tuning.search import tune  # noqa: PLC0415 - optuna

    train, validation, _ = split_log(log, split_for(log, split))
    if validation is None:
        raise ConfigError("a search needs validation users: choose another split than none")
    place: dict[str, Any] = {"storage": storage or out / "study.db", "name": out.resolve().name}
    found = tune(train, catalog, validation, space, fit=fit_trial, users=users, **place, **budget)
    return found, write(found, out)


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
            f"{folder} was fitted with --split none or --refit all: it has no held-out users to evaluate it on"
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
) -> EvaluationResult:
    """Evaluate a bundle on its held-out users.

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
    """
    from recsys.evaluation.evaluate import evaluate  # noqa: PLC0415
    from recsys.evaluation.segments import by_user, standard_segments, user_column  # noqa: PLC0415

    retriever, holdout = load_held_out(folder)
    found = evaluate(retriever, holdout, k, filter_seen=filter_seen, catalog=retriever.catalog, category=category)
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
) -> Comparison:
    """Compare bundles, and baselines fitted on what the first bundle was trained on, on the same users."""
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
    models: list[Ranker] = [retriever for retriever, _ in loaded]
    for name in baselines:
        if first.bundle.trained_on is None:
            raise ConfigError(f"{folders[0]} has no record of its training data, so baselines cannot be fitted on it")
        models.append(by_name(name).fit(first.bundle.trained_on, first.catalog))
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


def recommend_batch(folder: str | Path, out: str | Path, **how: Any) -> BatchResult:
    """Recommend to many users of a bundle; takes what :func:`recsys.recommend_to_parquet` does."""
    from recsys.serving.batch.run import recommend_to_parquet  # noqa: PLC0415
    from recsys.serving.load import load  # noqa: PLC0415

    return recommend_to_parquet(load(folder), out, bundle=folder, **how)


@dataclass(frozen=True, eq=False)
class ItemChanges:
    """Tables of items to add and to update, ids to remove, and whether to compact the bundle after that."""

    add: pl.DataFrame | None = None
    update: pl.DataFrame | None = None
    remove: Sequence[Any] = ()
    compact: bool = False

    def __bool__(self) -> bool:
        return self.add is not None or self.update is not None or bool(self.remove) or self.compact


def change_bundle(folder: Path, changes: ItemChanges | None = None, page: Path | None = None, **bounds: Any) -> Retriever:
    """Change the items of a saved bundle or, without changes, choose its index anew; the bundle is replaced as a whole.

    Parameters
    ----------
    folder : Path
    changes : ItemChanges, optional
    page : Path, optional
        Where to write the trade-off that was measured, if the index is chosen anew.
    **bounds
        ``recall_target``, ``memory_budget`` and ``kinds`` of :meth:`Retriever.choose_index`.
    """
    from recsys.bundle.io import save  # noqa: PLC0415
    from recsys.bundle.manifest import read_manifest  # noqa: PLC0415
    from recsys.serving.load import load  # noqa: PLC0415

    read_manifest(folder)  # what is not a bundle is refused before anything is locked
    with exclusive(folder, wait=_WAIT) as held:  # from loading to saving: two changes at once are made one after the other
        retriever = load(folder)
        if not changes:
            retriever.choose_index(**bounds)
        else:
            if changes.add is not None:
                retriever.add_items(changes.add)
            if changes.update is not None:
                retriever.update_items(changes.update)
            if changes.remove:
                retriever.remove_items(list(changes.remove))
            if changes.compact:
                retriever.compact()
        save(retriever.bundle, folder, overwrite=True, like=folder, held=held)
    if page is not None and not changes:
        _write_index_page(folder, retriever, page)
    return retriever


def _write_index_page(folder: Path, retriever: Retriever, page: Path) -> None:
    """Write the page with the trade-off that was measured when the index was chosen."""
    from recsys.report.index_page import index_page  # noqa: PLC0415

    html = index_page(folder.resolve().name, len(retriever.index), retriever.index.measured)
    with atomic_file(page) as temporary:
        temporary.write_text(html, encoding="utf-8")
