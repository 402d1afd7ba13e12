"""What each command does: read the arguments, call the public API, say what came out."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from recsys import pipeline
from recsys.cli import answers, checks, reading
from recsys.cli.answer import Answer
from recsys.cli.given_ids import history_of, ids_of, items_of, users_of
from recsys.cli.inspect_commands import inspect_log
from recsys.cli.reading import read_data, user_features
from recsys.config.options import given_tables
from recsys.config.recipe import TABLES
from recsys.core.cluster import engine
from recsys.data.split_choice import split_for
from recsys.two_tower import Recipe

if TYPE_CHECKING:
    from recsys.serving.retriever import Retriever


def fit(arguments: Namespace) -> Answer:
    """``recsys fit``."""
    recipe = Recipe.read(arguments.recipe, **given_tables(arguments, TABLES))
    if arguments.dry_run or arguments.find_rate:
        return _estimate(recipe, arguments)
    places = checks.fit_places(arguments)
    with places.claimed(overwrite=arguments.overwrite) as held, engine(arguments.engine, arguments.workers):
        (log, catalog), users = read_data(arguments), user_features(arguments)
        how = reading.fit_options(arguments, log, split_for(log, arguments.split))
        return answers.fitted(pipeline.fit_bundle(recipe, log, catalog, places=places, users=users, held=held, **how))


def _estimate(recipe: Recipe, arguments: Namespace) -> Answer:
    checks.check_estimate(arguments)
    (log, catalog), users = read_data(arguments), user_features(arguments)
    found = pipeline.estimate_fit(recipe, log, catalog, users=users, split=arguments.split, sweep=arguments.find_rate)
    return Answer(str(found), found.to_dict())


def tune(arguments: Namespace) -> Answer:
    """``recsys tune``."""
    space, how = reading.search_space(arguments), checks.tune_options(arguments)
    (log, catalog), users = read_data(arguments), user_features(arguments)
    split, out = split_for(log, arguments.split), Path(arguments.out)
    found, files = pipeline.tune_log(space, log, catalog, users=users, split=split, out=out, **how)
    return answers.tuned(found, files, reading.fit_words(arguments, split, files["recipe"], out / "model"))


def report(arguments: Namespace) -> Answer:
    """``recsys report``."""
    how = {"category": arguments.category, "filter_seen": _filter_seen(arguments)}
    baselines = not arguments.no_baselines
    return answers.reported(pipeline.report_bundle(arguments.run_folder, Path(arguments.out), baselines=baselines, **how))


def _filter_seen(arguments: Namespace) -> bool | None:
    """What --keep-seen says; None if it was not given."""
    return None if arguments.keep_seen is None else not arguments.keep_seen


def _retriever(arguments: Namespace) -> Retriever:
    from recsys.serving.load import load  # noqa: PLC0415 - torch

    return load(arguments.run_folder, pseudonym_key=getattr(arguments, "pseudonym_key", None))


def recommend(arguments: Namespace) -> Answer:
    """``recsys recommend``."""
    new, users = history_of(arguments), users_of(arguments)
    how, out = checks.recommend_options(arguments, new, users), arguments.out
    if out:
        return answers.written_batch(out, pipeline.recommend_batch(arguments.run_folder, out, users=users, **how))
    retriever = _retriever(arguments)
    if new:
        return answers.recommended_to_history(retriever, retriever.answered(histories=[new], **how), arguments.unknown)
    return answers.recommended(retriever, retriever.answered(users, **how), arguments.unknown)


def similar(arguments: Namespace) -> Answer:
    """``recsys similar``."""
    items = items_of(arguments)
    how = {"k": arguments.k, "where": arguments.where, "unknown": arguments.unknown or "error", "by": arguments.by}
    retriever = _retriever(arguments)
    return answers.similar(retriever, retriever.similar_items(items, **how))


def search(arguments: Namespace) -> Answer:
    """``recsys search``."""
    checks.search_options(arguments)
    retriever = _retriever(arguments)
    found = retriever.search(arguments.texts or None, **checks.search_options(arguments))
    return answers.found_by_text(retriever.with_titles(found))


def explain(arguments: Namespace) -> Answer:
    """``recsys explain``."""
    items, history = items_of(arguments), history_of(arguments)
    who = checks.explain_options(arguments, history)
    return answers.explained(_retriever(arguments), items, arguments.top, **who)


def index(arguments: Namespace) -> Answer:
    """``recsys index``: choose an index anew, or change the items; the bundle is replaced as a whole."""
    removed, bounds = ids_of(arguments, "remove"), checks.index_bounds(arguments)
    page = checks.index_page_of(arguments, removed)
    changes = pipeline.ItemChanges(remove=removed or (), compact=arguments.compact, **reading.changed_items(arguments))
    retriever = pipeline.change_bundle(Path(arguments.run_folder), changes, page, **bounds)
    return answers.indexed(arguments, retriever, page)


def inspect(arguments: Namespace) -> Answer:
    """``recsys inspect``."""
    from recsys.bundle.describe import describe, describe_text  # noqa: PLC0415

    if checks.is_bundle(arguments):
        facts = describe(Path(arguments.log[0]))
        return Answer(describe_text(facts), facts)
    return inspect_log(arguments)


def demo(arguments: Namespace) -> Answer:
    """``recsys demo``."""
    from recsys.cli.demo import run  # noqa: PLC0415

    return Answer(*run(Path(arguments.out), arguments.seed))
