"""Train on a log, evaluate the model once, and save it as a bundle; or estimate what that would cost."""

from __future__ import annotations

import contextlib
import shlex
import shutil
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recsys.core.destination import FitPlaces, process_number
from recsys.core.files import Held
from recsys.core.progress import warn
from recsys.data.catalog import Catalog
from recsys.data.interactions import Interactions
from recsys.data.relations import ItemRelations
from recsys.data.split import Holdout
from recsys.data.split_choice import RefitName, refit_log, split_for, split_log
from recsys.data.user_table import UserTable
from recsys.errors import ConfigError, RecsysError
from recsys.pipeline.evaluate import CUTS
from recsys.two_tower import Recipe, TwoTower

if TYPE_CHECKING:
    from recsys.evaluation.result import Evaluation
    from recsys.serving.retriever import Retriever
    from recsys.training.estimate import Estimate
    from recsys.training.logs import TrainingLog


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
    relations: ItemRelations | None = None,
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
    relations : ItemRelations, optional
        Between items; see :meth:`recsys.TwoTower.fit`.
    split : {"last", "time", "random", "none"}, optional
        What to hold out; see :func:`split_for`.
    refit : {"validation", "all", "update"}, optional
        Train again after validation: with the validation events before the test, or with all events after it, so that the
        bundle, which then holds out nothing, keeps the figures of before; or update it with the events that were held out.
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
    from recsys.training.update.run import updated  # noqa: PLC0415

    faiss()  # a missing or double build is reported before the training
    name = split_for(log, split)
    more = refit_log(log, name, refit) if refit else None
    if more is not None and recipe.training.devices > 1:
        raise ConfigError("refit (--refit) trains in one process; leave it out, or leave out devices (--devices)")
    if refit and recipe.privacy.epsilon is not None:
        raise ConfigError(
            "training again spends a budget again; leave out refit (--refit), and hold nothing out (--split none)"
        )
    train, validation, test = split_log(log, name)
    model = recipe.fit(
        train,
        catalog,
        validation=validation,
        users=users,
        relations=relations,
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
    if refit == "update":
        retriever.bundle = updated(retriever.bundle, log)
        figures = figures and figures | {"training": figures["training"] | {"lineage": retriever.bundle.lineage}}
    unwritten = _save(retriever, places, overwrite=overwrite, evaluation=evaluation, figures=figures, held=held)
    shutil.rmtree(places.checkpoint, ignore_errors=True)  # the bundle is saved: nothing is left to resume
    with contextlib.suppress(OSError):  # another run's checkpoint may be beside it
        places.checkpoint.parent.rmdir()
    if failed or unwritten:
        if retriever.holdout is None and refit in ("all", "update"):
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
    if recipe.privacy.epsilon is not None:
        raise ConfigError("a private training takes other steps than are estimated; leave out --epsilon to estimate one")
    train, _, _ = split_log(log, split_for(log, split))
    asked = Options(recipe.model, recipe.objective, recipe.training)
    found = decide(asked, train, catalog, augment=recipe.augment, users=users, trials=False).options
    return estimate(found.model, found.objective, recipe.augment, found.training, train, catalog, users, sweep=sweep)
