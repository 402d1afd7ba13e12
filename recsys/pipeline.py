"""What ``recsys fit`` does once the model is trained: judge it once, save it whatever happens, and say what comes next."""

from __future__ import annotations

from argparse import Action, Namespace
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recsys.cli.words import command
from recsys.core.files import Held
from recsys.core.progress import warn
from recsys.data.catalog import Catalog
from recsys.data.interactions import Interactions
from recsys.data.split import Holdout
from recsys.data.user_table import UserTable
from recsys.errors import RecsysError
from recsys.two_tower import TwoTower

if TYPE_CHECKING:
    from recsys.evaluation.result import Evaluation
    from recsys.serving.retriever import Retriever
    from recsys.training.logs import TrainingLog

SHOWN = (10, 20, 50)
"""List lengths of the figures that are printed, and kept in the manifest."""
_FILES = ("log", "catalog", "user_table")


class UnreportedError(RecsysError):
    """A model that is trained and saved, and whose report failed."""


def retriever_of(model: TwoTower, log: Interactions, holdout: Holdout | None) -> Retriever:
    """What answers requests; with the exact index where choosing one fails, so that no training is lost for it."""
    try:
        return model.retriever(log=log, holdout=holdout)
    except (RecsysError, RuntimeError, MemoryError) as error:
        found = model.retriever(log=log, holdout=holdout, index="exact")
        warn(f"no index could be chosen ({_told(error)}); the bundle has the exact one: choose again with recsys index")
        return found


def judged(retriever: Retriever) -> tuple[Evaluation | None, dict[str, Any] | None, str | None]:
    """The one evaluation of the users kept apart, the figures of the report made of it, and what went wrong.

    Whatever goes wrong, panics of a library too, is told as text: the model is trained, and is still to be saved.
    """
    from recsys.report import build, evaluate_held_out  # noqa: PLC0415

    if retriever.holdout is None:
        return None, None, None
    report = None
    try:
        full = evaluate_held_out(retriever.bundle, retriever, more=SHOWN)
        report = full.up_to(SHOWN)
        return report, build(retriever.bundle, retriever, evaluation=full, baselines=False, with_map=False).figures, None
    except (KeyboardInterrupt, SystemExit, GeneratorExit):
        raise
    except BaseException as error:  # polars panics are no Exception
        return report, None, _told(error)


def save(
    retriever: Retriever,
    out: Path,
    checkpoint: Path,
    *,
    overwrite: bool,
    report: Evaluation | None,
    figures: Any,
    held: Held | None = None,
) -> str | None:
    """Save the bundle, with its report where that can be written; what went wrong with the report alone.

    Raises
    ------
    RecsysError, OSError
        The bundle itself cannot be written; the message says how to go on from the checkpoint.
    """
    from recsys.bundle.io import save as save_bundle  # noqa: PLC0415

    metrics = {} if report is None else report.means
    failed, extras = None, dict[str, str]()
    if figures is not None:
        from recsys.report import bundle_files  # noqa: PLC0415

        try:
            extras = bundle_files(figures)
        except (KeyboardInterrupt, SystemExit, GeneratorExit):
            raise
        except BaseException as error:
            failed = _told(error)
    try:
        save_bundle(retriever.bundle, out, overwrite=overwrite, metrics=metrics, extras=extras, held=held)
    except (RecsysError, OSError) as error:
        if checkpoint.is_dir():
            warn(f"the bundle was not saved, and the training is kept in {checkpoint}: mend it, and add --resume")
        if isinstance(error, OSError) and error.filename is None:
            raise OSError(error.errno, str(error), str(out)) from error
        raise
    return failed


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
    model, rest = TwoTower(configs["model"]), {table: config for table, config in configs.items() if table != "model"}
    model.fit(train, catalog, validation=validation, users=users, on_epoch=on_epoch, **rest)
    assert model.log is not None  # noqa: S101 - fit has just set it
    return model.log


def refuse_silence(failed: str | None, out: Path) -> None:
    """Say that the model is saved and its report is not.

    Raises
    ------
    UnreportedError
        ``failed`` tells of something.
    """
    if failed is not None:
        again = command("report", out, "--out", out.parent / f"{out.name}-report.html")
        raise UnreportedError(
            f"the model is trained and saved in {out}, without a whole report: judging it failed ({failed}); try {again}"
        )


def reading_of(arguments: Namespace, flags: list[Action], split: str) -> dict[str, Any]:
    """How the log was read and split, as the bundle keeps it: flags of the data, without the names of files."""
    from recsys.cli.commands import written  # noqa: PLC0415

    words = [word for flag in flags if flag.dest not in _FILES for word in written(flag, getattr(arguments, flag.dest))]
    files = {name: getattr(arguments, name) is not None for name in _FILES[1:]}
    return {"words": words, "split": split} | files


def next_commands(retriever: Retriever, out: Path) -> list[str]:
    """Commands that this bundle will answer."""
    found = [command("evaluate", out)] if retriever.holdout is not None else []
    found.append(command("recommend", out, "--out", out.parent / f"{out.name}-recommendations.parquet"))
    if retriever.towers.held_encoder is not None:
        found.append(command("search", out, "..."))
    return found


def _told(error: BaseException) -> str:
    line = (str(error).splitlines() or [""])[0]
    return line if isinstance(error, RecsysError) and line else f"{type(error).__name__}: {line}"
