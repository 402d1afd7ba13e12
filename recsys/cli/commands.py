"""What each command does: read the arguments, call the public API, say what came out."""

from __future__ import annotations

from argparse import Namespace
from dataclasses import replace
from pathlib import Path

from recsys import pipeline
from recsys.cli import answers, checks
from recsys.cli.answers import Answer
from recsys.cli.given_ids import history_of, ids_of, items_of, users_of
from recsys.cli.reading import read_data, reading_of, user_features, user_groups, written
from recsys.cli.text_flags import check_text_flags, text_options
from recsys.config.options import given_tables
from recsys.config.recipe import TABLES
from recsys.core.destination import FitPlaces
from recsys.data.read import read_items
from recsys.errors import ConfigError
from recsys.two_tower import Recipe


def fit(arguments: Namespace) -> Answer:
    """``recsys fit``."""
    recipe = Recipe.read(arguments.recipe, **given_tables(arguments, TABLES))
    if arguments.dry_run or arguments.find_rate:
        return _estimate(recipe, arguments)
    if arguments.out is None:
        raise ConfigError("fit needs --out FOLDER for the bundle; only --dry-run and --find-rate work without it")
    with (places := FitPlaces.of(arguments.out)).claimed(overwrite=arguments.overwrite) as held:
        (log, catalog), users = read_data(arguments), user_features(arguments)
        reading = reading_of(arguments, arguments.data_flags, pipeline.split_for(log, arguments.split))
        how = {name: getattr(arguments, name) for name in ("split", "resume", "overwrite")}
        return answers.fitted(
            pipeline.fit_bundle(recipe, log, catalog, places=places, users=users, reading=reading, held=held, **how)
        )


def _estimate(recipe: Recipe, arguments: Namespace) -> Answer:
    (log, catalog), users = read_data(arguments), user_features(arguments)
    found = pipeline.estimate_fit(recipe, log, catalog, users=users, split=arguments.split, sweep=arguments.find_rate)
    return Answer(str(found), found.to_dict())


def tune(arguments: Namespace) -> Answer:
    """``recsys tune``."""
    from recsys.tuning.page import write  # noqa: PLC0415
    from recsys.tuning.search import tune as search  # noqa: PLC0415 - optuna
    from recsys.tuning.space import read_space  # noqa: PLC0415

    space = read_space(Path(arguments.space), TABLES)
    if arguments.keep_seen:
        space = replace(space, fixed=space.fixed | {"training": space.fixed["training"] | {"keep_seen": True}})
    out = checks.check_tune(arguments)
    (log, catalog), users = read_data(arguments), user_features(arguments)
    split = pipeline.split_for(log, arguments.split)
    train, validation, _ = pipeline.split_log(log, split)
    assert validation is not None  # noqa: S101 - all splits of tune have one
    storage = Path(arguments.storage or out / "study.db")
    how = {"trials": arguments.trials, "seed": arguments.seed, "minutes": arguments.minutes, "users": users}
    found = search(
        train, catalog, validation, space, fit=pipeline.fit_trial, storage=storage, name=out.resolve().name, **how
    )
    files = write(found, out)
    words = [word for flag in arguments.data_flags for word in written(flag, getattr(arguments, flag.dest))]
    words += ["--split", split, "--recipe", str(files["recipe"]), "--out", str(out / "model")]
    return answers.tuned(found, files, words)


def evaluate(arguments: Namespace) -> Answer:
    """``recsys evaluate``."""
    groups = user_groups(arguments)
    how = {"filter_seen": _filter_seen(arguments), "category": arguments.category, "segments": arguments.segments}
    return answers.evaluated(pipeline.evaluate_bundle(arguments.run_folder, arguments.k, user_groups=groups, **how))


def compare(arguments: Namespace) -> Answer:
    """``recsys compare``."""
    checks.check_compare(arguments)
    how = {"metric": arguments.metric, "filter_seen": _filter_seen(arguments)}
    found = pipeline.compare_bundles(arguments.run_folders, arguments.baselines, arguments.k, **how)
    return Answer(str(found), found.to_dict())


def report(arguments: Namespace) -> Answer:
    """``recsys report``."""
    how = {"category": arguments.category, "filter_seen": _filter_seen(arguments)}
    baselines = not arguments.no_baselines
    return answers.reported(pipeline.report_bundle(arguments.run_folder, Path(arguments.out), baselines=baselines, **how))


def _filter_seen(arguments: Namespace) -> bool | None:
    """What --keep-seen says; None if it was not given."""
    return None if arguments.keep_seen is None else not arguments.keep_seen


def recommend(arguments: Namespace) -> Answer:
    """``recsys recommend``."""
    from recsys.serving.batch.run import recommend_to_parquet  # noqa: PLC0415
    from recsys.serving.load import load  # noqa: PLC0415

    new, users = history_of(arguments), users_of(arguments)
    options = checks.recommend_options(arguments, new, users)
    retriever, folder = load(arguments.run_folder), arguments.run_folder
    if arguments.out:
        how = options | checks.batch_options(arguments)
        return answers.written_batch(
            arguments.out, recommend_to_parquet(retriever, arguments.out, users=users, bundle=folder, **how)
        )
    if new:
        found = retriever.answered(histories=[new], **options)
        return answers.recommended_to_history(retriever, found, arguments.unknown)
    return answers.recommended(retriever, retriever.answered(users, **options), arguments.unknown)


def similar(arguments: Namespace) -> Answer:
    """``recsys similar``."""
    from recsys.serving.load import load  # noqa: PLC0415

    items = items_of(arguments)
    how = {"k": arguments.k, "where": arguments.where, "unknown": arguments.unknown or "error"}
    retriever = load(arguments.run_folder)
    return answers.similar(retriever, retriever.similar_items(items, **how))


def search(arguments: Namespace) -> Answer:
    """``recsys search``."""
    from recsys.serving.load import load  # noqa: PLC0415

    retriever = load(arguments.run_folder)
    found = retriever.search(arguments.texts, k=arguments.k, where=arguments.where)
    return answers.found_by_text(retriever.with_titles(found))


def explain(arguments: Namespace) -> Answer:
    """``recsys explain``."""
    from recsys.serving.load import load  # noqa: PLC0415

    items, history = items_of(arguments), history_of(arguments)
    who = checks.explain_options(arguments, history)
    return answers.explained(load(arguments.run_folder), items, arguments.top, **who)


def index(arguments: Namespace) -> Answer:
    """``recsys index``: choose an index anew, or change the items; the bundle is replaced as a whole."""
    folder, removed = Path(arguments.run_folder), ids_of(arguments, "remove")
    bounds = checks.index_bounds(arguments)
    page = checks.index_page_of(arguments, changes=bool(arguments.add or arguments.update or removed or arguments.compact))
    tables = {name: getattr(arguments, name) for name in ("add", "update")}
    check_text_flags(arguments, *((file, None) for file in tables.values() if file))
    read = {name: read_items(file, **text_options(arguments, file)) for name, file in tables.items() if file}
    changes = pipeline.ItemChanges(remove=removed or (), compact=arguments.compact, **read)
    retriever = pipeline.change_bundle(folder, changes, **bounds)
    if page is not None:
        pipeline.write_index_page(folder, retriever, page)
    return answers.indexed(arguments, retriever, page)


def inspect(arguments: Namespace) -> Answer:
    """``recsys inspect``."""
    from recsys.bundle.describe import describe, describe_text  # noqa: PLC0415
    from recsys.data.summary import summary, summary_text  # noqa: PLC0415

    if checks.is_bundle(arguments):
        facts = describe(Path(arguments.log[0]))
        return Answer(describe_text(facts), facts)
    facts = summary(*read_data(arguments))
    return Answer(summary_text(facts), facts)


def demo(arguments: Namespace) -> Answer:
    """``recsys demo``."""
    from recsys.cli.demo import run  # noqa: PLC0415

    return Answer(*run(Path(arguments.out), arguments.seed))
