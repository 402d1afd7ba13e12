"""What each command does: read the arguments, call the public API, say what came out."""

from __future__ import annotations

import contextlib
import shlex
import shutil
from argparse import Action, Namespace
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from recsys.cli.text_flags import Source, check_text_flags, text_options
from recsys.config.options import given_tables
from recsys.config.recipe import TABLES
from recsys.core import progress
from recsys.core.destination import FitPlaces, process_number, prove_file, prove_folder
from recsys.core.files import Held
from recsys.core.schema import USER
from recsys.core.text_table import as_text, with_intervals
from recsys.data.catalog import Catalog
from recsys.data.interactions import Interactions
from recsys.data.read import read_catalog, read_interactions, read_user_table, read_users
from recsys.data.split import Holdout, leave_last_out, random_split, time_split
from recsys.data.summary import summary, summary_text
from recsys.data.user_table import UserTable
from recsys.errors import ConfigError
from recsys.evaluation.protocol import Ranker
from recsys.two_tower import Recipe, TwoTower

if TYPE_CHECKING:
    from recsys.serving.retriever import Retriever


@dataclass(frozen=True)
class Answer:
    """A command's result, for people and for programs."""

    text: str
    data: Any


def _read(arguments: Namespace) -> tuple[Interactions, Catalog | None]:
    of_catalog = ("catalog_format", "catalog_item", "text", "title")
    if arguments.catalog is None and (idle := [name for name in of_catalog if getattr(arguments, name) is not None]):
        raise ConfigError(
            f"--{idle[0].replace('_', '-')} is of the catalogue, which --catalog FILE names, and there is none"
        )
    sources: list[Source] = [(arguments.log, arguments.format)]
    if arguments.catalog is not None:
        sources.append((arguments.catalog, arguments.catalog_format))
    if getattr(arguments, "user_table", None) is not None:
        sources.append((arguments.user_table, None))
    check_text_flags(arguments, *sources)
    log = read_interactions(
        arguments.log,
        format=arguments.format,
        user=arguments.user,
        item=arguments.item,
        timestamp=arguments.timestamp,
        time_unit=arguments.time_unit,
        order=arguments.order,
        weight=arguments.weight,
        event=arguments.event,
        event_weights=_event_weights(arguments.event_weights),
        drop_unordered=arguments.drop_unordered,
        unordered=arguments.unordered,
        drop_duplicates=arguments.drop_duplicates,
        **text_options(arguments, arguments.log, arguments.format),
    )
    if arguments.catalog is None:
        return log, None
    return log, read_catalog(
        arguments.catalog,
        format=arguments.catalog_format,
        item=arguments.catalog_item or arguments.item,
        text=arguments.text,
        title=arguments.title,
        **text_options(arguments, arguments.catalog, arguments.catalog_format),
    )


def _event_weights(given_: list[tuple[str, float]] | None) -> dict[str, float] | None:
    if given_ is None:
        return None
    if len(weights := dict(given_)) != len(given_):
        raise ConfigError("--event-weights names an event type twice; name each once")
    return weights


def run_fit(arguments: Namespace) -> Answer:
    """``recsys fit``."""
    recipe = Recipe.read(arguments.recipe, **given_tables(arguments, TABLES))
    if arguments.dry_run or arguments.find_rate:
        return _look_ahead(recipe, arguments)
    if arguments.out is None:
        raise ConfigError("fit needs --out FOLDER for the bundle; --dry-run and --find-rate alone do without")
    places = FitPlaces.of(arguments.out)
    with places.claimed(overwrite=arguments.overwrite) as held:
        return _fit(recipe, arguments, places, held)


def _fit(recipe: Recipe, arguments: Namespace, places: FitPlaces, held: Held | None) -> Answer:
    from recsys import pipeline as after_fit  # noqa: PLC0415
    from recsys.index.faiss_library import faiss  # noqa: PLC0415

    model, out, logs, checkpoint = TwoTower(recipe.model), places.out, places.logs, places.checkpoint
    faiss()  # a missing or double build is told before the training, not after it
    log, catalog = _read(arguments)
    users = _user_features(arguments)
    train, validation, test = _split(log, _how(log, arguments))
    model.fit(
        train,
        catalog,
        validation=validation,
        training=recipe.training,
        objective=recipe.objective,
        augment=recipe.augment,
        users=users,
        log_folder=logs,
        checkpoint=checkpoint,
        resume=arguments.resume,
        overwrite=arguments.overwrite and not arguments.resume,
    )
    if rank := process_number():  # torchrun started several of us; the first one does the rest
        return Answer(f"process {rank} has done its share", {"rank": rank})
    retriever = after_fit.retriever_of(model, log, test)
    reading = after_fit.reading_of(arguments, arguments.data_flags, _how(log, arguments))
    retriever.bundle = replace(retriever.bundle, reading=reading)
    report, figures, failed = after_fit.judged(retriever)
    unwritten = after_fit.save(
        retriever, out, checkpoint, overwrite=arguments.overwrite, report=report, figures=figures, held=held
    )
    shutil.rmtree(checkpoint, ignore_errors=True)  # the bundle is there: nothing is left to resume
    with contextlib.suppress(OSError):  # another run's checkpoint may be beside it
        checkpoint.parent.rmdir()
    after_fit.refuse_silence(failed or unwritten, out)
    assert model.log is not None  # noqa: S101 - fit has just set it
    following = after_fit.next_commands(retriever, out)
    lines = [
        f"best epoch {model.log.best_epoch} of {len(model.log.epochs)}, {model.log.seconds:.0f} s",
        *([str(report)] if report else []),
        f"bundle: {out}    training curves: {shlex.join(['tensorboard', '--logdir', str(logs)])}",
        "\n  ".join(["next:", *following]),
    ]
    data = {"bundle": str(out), "logs": str(logs), "best_epoch": model.log.best_epoch, "seconds": model.log.seconds}
    return Answer("\n".join(lines), data | {"test": report.to_dict() if report else None, "next": following})


def _look_ahead(recipe: Recipe, arguments: Namespace) -> Answer:
    """What a fit would cost and, with --find-rate, a learning rate for it; nothing is written."""
    from recsys.training.estimate import estimate  # noqa: PLC0415

    log, catalog = _read(arguments)
    train, _, _ = _split(log, _how(log, arguments))
    found = estimate(
        *(recipe.model, recipe.objective, recipe.augment, recipe.training),
        *(train, catalog, _user_features(arguments)),
        sweep=arguments.find_rate,
    )
    return Answer(str(found), found.to_dict())


def _user_features(arguments: Namespace) -> UserTable | None:
    if arguments.user_table is None:
        if arguments.user_columns or arguments.user_numbers:
            raise ConfigError("--user-columns and --user-numbers need --user-table FILE, a table with one row per user")
        return None
    if not arguments.user_columns and not arguments.user_numbers:
        raise ConfigError("--user-table needs --user-columns or --user-numbers, the columns to read as features")
    return read_user_table(
        arguments.user_table,
        user=arguments.user,
        categorical=arguments.user_columns,
        numeric=arguments.user_numbers,
        **text_options(arguments, arguments.user_table),
    )


def _how(log: Interactions, arguments: Namespace) -> str:
    """The split that was asked for; else the last events, or random items of a log that has no last event."""
    if arguments.split is not None:
        return str(arguments.split)
    return "last" if log.ordered else "random"


def _split(log: Interactions, how: str) -> tuple[Interactions, Holdout | None, Holdout | None]:
    if how == "none":
        return log, None, None
    if how == "random":
        progress.log("random split: two random items of each user are held out, one for validation and one for test")
        if log.ordered:
            progress.warn("the log has an order: histories of a random split hold events from after what is to be found")
    split = {"last": leave_last_out, "time": time_split, "random": random_split}[how](log)
    return split.train, split.validation, split.test


def run_tune(arguments: Namespace) -> Answer:
    """``recsys tune``."""
    from recsys.pipeline import fit_trial  # noqa: PLC0415
    from recsys.tuning.page import write  # noqa: PLC0415
    from recsys.tuning.search import tune  # noqa: PLC0415 - optuna
    from recsys.tuning.space import read_space  # noqa: PLC0415
    from recsys.tuning.trials import table_text  # noqa: PLC0415

    space = read_space(Path(arguments.space), TABLES)
    if arguments.keep_seen:
        space = replace(space, fixed=space.fixed | {"training": space.fixed["training"] | {"keep_seen": True}})
    out = Path(arguments.out)
    prove_folder(out)
    if arguments.storage:
        prove_file(Path(arguments.storage), option="--storage")
    log, catalog = _read(arguments)
    users = _user_features(arguments)
    train, validation, _ = _split(log, _how(log, arguments))
    assert validation is not None  # noqa: S101 - both splits have one
    found = tune(
        train,
        catalog,
        validation,
        space,
        fit=fit_trial,
        users=users,
        trials=arguments.trials,
        storage=Path(arguments.storage or out / "study.db"),
        name=out.resolve().name,
        seed=arguments.seed,
        minutes=arguments.minutes,
    )
    files = write(found, out)
    words = [word for flag in arguments.data_flags for word in written(flag, getattr(arguments, flag.dest))]
    words += ["--split", _how(log, arguments), "--recipe", str(files["recipe"]), "--out", str(out / "model")]
    command = shlex.join(["recsys", "fit", *words])
    text = f"{table_text(found)}\n\nbest recipe: {files['recipe']}    page: {files['page']}\nnext: {command}"
    data: dict[str, Any] = {name: str(file) for name, file in files.items()}
    data |= {"storage": str(found.storage), "next": command, "best": found.best, "best_trial": found.best_row}
    return Answer(text, data)


def written(flag: Action, value: Any) -> list[str]:
    """How a flag of the data is written on a command line; nothing where it has its default."""
    if value == flag.default:
        return []
    if isinstance(value, str) and value.startswith("-"):
        return [f"{flag.option_strings[0]}={value}"]
    values = [] if value is True else value if isinstance(value, list) else [value]
    return [*flag.option_strings[:1], *(f"{one[0]}={one[1]:g}" if isinstance(one, tuple) else str(one) for one in values)]


def run_evaluate(arguments: Namespace) -> Answer:
    """``recsys evaluate``."""
    import recsys  # noqa: PLC0415
    from recsys.evaluation.segments import by_user, standard_segments, user_column  # noqa: PLC0415

    if arguments.user_table is None and (arguments.user_columns or arguments.user is not None):
        raise ConfigError("--user-columns and --user need --user-table FILE, a table with one row per user")
    if arguments.user_table is not None and not arguments.user_columns:
        raise ConfigError("--user-table needs --user-columns, the columns to group users by")
    check_text_flags(arguments, *([(arguments.user_table, None)] if arguments.user_table is not None else []))
    tables = {
        column: read_users(
            arguments.user_table, arguments.user or USER, column, **text_options(arguments, arguments.user_table)
        )
        for column in dict.fromkeys(arguments.user_columns)
    }
    retriever = _judgeable(arguments.run_folder)
    assert retriever.holdout is not None  # noqa: S101 - _judgeable saw to it
    report = recsys.evaluate(
        retriever,
        retriever.holdout,
        arguments.k,
        filter_seen=_filter_seen(arguments),
        catalog=retriever.catalog,
        category=arguments.category,
    )
    parts, data = [str(report)], report.to_dict()
    cuts = dict[str, pl.DataFrame]()
    if arguments.segments:
        cuts = standard_segments(report, retriever.bundle.trained_on, retriever.catalog, arguments.category)
    for column, table in tables.items():
        cuts[column] = by_user(report, user_column(report, table, column))
    if cuts:
        parts += [f"by {name}\n{as_text(with_intervals(frame))}" for name, frame in cuts.items()]
        data["segments"] = {name: frame.to_dicts() for name, frame in cuts.items()}
    return Answer("\n\n".join(parts), data)


def run_compare(arguments: Namespace) -> Answer:
    """``recsys compare``."""
    import recsys  # noqa: PLC0415
    from recsys.baselines import by_name  # noqa: PLC0415
    from recsys.evaluation.compare import check_metric  # noqa: PLC0415

    if twice := [name for name in arguments.baselines if arguments.baselines.count(name) > 1]:
        raise ConfigError(f"--baselines names {twice[0]} twice; a model is compared with others")
    if len(arguments.run_folders) + len(arguments.baselines) < 2:
        raise ConfigError("compare needs two models or more: name more bundles, or some --baselines")
    metric = arguments.metric or f"ndcg@{10 if 10 in arguments.k else arguments.k[0]}"
    if min(arguments.k) > 0:
        check_metric(metric, arguments.k)
    retrievers = [_judgeable(folder) for folder in arguments.run_folders]
    names = [Path(folder).resolve().name for folder in arguments.run_folders]
    for name, folder, retriever in zip(names, arguments.run_folders, retrievers, strict=True):
        retriever.name = name if names.count(name) == 1 else str(Path(folder))
    first = retrievers[0]
    assert first.holdout is not None  # noqa: S101 - _judgeable saw to it
    models: list[Ranker] = list(retrievers)
    for name in arguments.baselines:
        if first.bundle.trained_on is None:
            raise ConfigError(f"{arguments.run_folders[0]} does not tell what it was trained on, so no baseline can be")
        models.append(by_name(name).fit(first.bundle.trained_on, first.catalog))
    seen = _filter_seen(arguments)
    found = recsys.compare(models, first.holdout, arguments.k, metric=metric, filter_seen=seen)
    return Answer(str(found), found.to_dict())


def run_report(arguments: Namespace) -> Answer:
    """``recsys report``."""
    from recsys.report import build as build_report  # noqa: PLC0415
    from recsys.report import check_page_name, write  # noqa: PLC0415

    out = Path(arguments.out)
    check_page_name(out)
    prove_file(out)
    retriever = _judgeable(arguments.run_folder)
    seen = _filter_seen(arguments)
    report = build_report(
        retriever.bundle, retriever, category=arguments.category, filter_seen=seen, baselines=not arguments.no_baselines
    )
    write(report.figures, out)
    figures, card = out.with_suffix(".json"), out.with_suffix(".md")
    return Answer(
        f"page: {out}\nfigures: {figures}\nmodel card: {card}",
        {"page": str(out), "figures": str(figures), "model_card": str(card)},
    )


def _filter_seen(arguments: Namespace) -> bool | None:
    """What --keep-seen says; None where it was not given."""
    return None if arguments.keep_seen is None else not arguments.keep_seen


def _judgeable(folder: str) -> Retriever:
    import recsys  # noqa: PLC0415

    retriever = recsys.load(folder)
    if retriever.holdout is None:
        raise ConfigError(f"{folder} was fitted with --split none: it kept no users apart to be judged on")
    return retriever


def run_inspect(arguments: Namespace) -> Answer:
    """``recsys inspect``."""
    only = Path(arguments.log[0])
    if len(arguments.log) == 1 and only.is_dir() and ((only / "manifest.json").exists() or (only / "config.json").exists()):
        of_logs = [flag for flag in arguments.data_flags if flag.option_strings]
        if idle := [flag.option_strings[0] for flag in of_logs if getattr(arguments, flag.dest) != flag.default]:
            raise ConfigError(f"{only} is a bundle, and {idle[0]} is for reading logs; leave it out")
        from recsys.bundle.describe import describe, describe_text  # noqa: PLC0415

        facts = describe(only)
        return Answer(describe_text(facts), facts)
    log, catalog = _read(arguments)
    facts = summary(log, catalog)
    return Answer(summary_text(facts), facts)


def run_demo(arguments: Namespace) -> Answer:
    """``recsys demo``."""
    from recsys.cli.demo import run  # noqa: PLC0415

    return Answer(*run(Path(arguments.out), arguments.seed))
