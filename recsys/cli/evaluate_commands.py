"""What ``recsys evaluate`` does: judge a bundle, or the lists of other systems."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import Any

from recsys import pipeline
from recsys.bundle.manifest import read_manifest
from recsys.cli import answers
from recsys.cli.answer import Answer
from recsys.cli.evaluate_flags import OF_LATER, OF_LISTS, OF_LOGS
from recsys.cli.given_store import only_store
from recsys.cli.reading import pseudonym_key, user_groups
from recsys.cli.text_flags import Source, check_text_flags, text_options
from recsys.core.pseudonym_key import pseudonyms_of
from recsys.core.schema import ITEM, USER
from recsys.data.interactions import Interactions
from recsys.data.pseudonyms import pseudonymised
from recsys.data.read import read_interactions
from recsys.data.recommendations import Recommendations, read_recommendations
from recsys.data.store.opening import open_store
from recsys.errors import ConfigError
from recsys.evaluation.arguments import check_cuts
from recsys.evaluation.frames import catalog_of
from recsys.evaluation.truth import Truth


def evaluate(arguments: Namespace) -> Answer:
    """``recsys evaluate``."""
    if arguments.recommendations is not None:
        return _judge(arguments)
    if arguments.run_folder is None:
        raise ConfigError("evaluate needs RUN, the folder of a bundle, or --recommendations RECS and --truth EVENTS")
    refuse(arguments, OF_LISTS, "is for --recommendations, the lists of another system; leave it out")
    if arguments.log is None:
        refuse(arguments, OF_LOGS, "is for reading logs: name one, --log NEW")
        refuse(arguments, OF_LATER[:-1], "needs a newer log, --log NEW")
    key = pseudonym_key(arguments)
    check_text_flags(arguments, *_files(arguments, "log", "user_table"))
    groups = user_groups(arguments)
    if key is not None:
        groups = {name: table.with_columns(pseudonyms_of(table[USER], key)) for name, table in groups.items()}
    run, k = arguments.run_folder, arguments.k
    if arguments.log is not None:
        read_manifest(Path(run))  # what is not a bundle is refused before a log is read
        _refuse_idle(arguments)
    how: dict[str, Any] = {"category": arguments.category, "segments": arguments.segments, "since": arguments.since}
    how |= {"engine": arguments.engine, "workers": arguments.workers}
    log = None if arguments.log is None else _log(arguments, arguments.log)
    how["log"] = log if log is None or key is None else pseudonymised(log, key)
    filter_seen = None if arguments.keep_seen is None else not arguments.keep_seen
    return answers.evaluated(pipeline.evaluate_bundle(run, k, filter_seen=filter_seen, user_groups=groups, **how))


def _judge(arguments: Namespace) -> Answer:
    """Judge the lists of other systems."""
    if arguments.run_folder is not None:
        raise ConfigError(
            f"evaluate judges either the bundle {arguments.run_folder} or the lists of --recommendations; run two commands"
        )
    if arguments.truth is None:
        raise ConfigError("--recommendations needs --truth EVENTS, a log of what the users did later")
    refuse(arguments, ("keep_seen", *OF_LATER), "is for a bundle, and lists are judged as they are; leave it out")
    _refuse_idle(arguments)
    if arguments.engine != "local":
        raise ConfigError("--engine is for RUN, and the lists are made already; leave it out")
    check_cuts(arguments.k)
    groups = user_groups(arguments)
    lists, truth = given_lists(arguments), given_truth(arguments)
    how = {"metric": arguments.metric, "segments": arguments.segments, "user_groups": groups}
    return answers.judged(pipeline.evaluate_lists(lists, truth, arguments.k, **how))


def given_truth(arguments: Namespace) -> Truth:
    """What ``--truth``, ``--history`` and ``--catalog`` say."""
    own = [([one], arguments.format) for one in arguments.recommendations]
    check_text_flags(arguments, *own, *_files(arguments, "truth", "history", "catalog", "user_table"))
    catalog = None
    if arguments.catalog is not None:
        item = arguments.catalog_item or arguments.item or ITEM
        catalog = catalog_of(arguments.catalog, item=item, **text_options(arguments, arguments.catalog))
    history = None if arguments.history is None else _log(arguments, arguments.history)
    rest = {"category": arguments.category, "allow_leakage": bool(arguments.allow_leakage)}
    return Truth.of(_log(arguments, arguments.truth), history, catalog, **rest)


def given_lists(arguments: Namespace) -> dict[str, Recommendations]:
    """The lists that ``--recommendations`` names, by system."""
    how = {
        "user": arguments.list_user or arguments.user or USER,
        "item": arguments.list_item or arguments.item or ITEM,
        "rank": arguments.rank,
        "score": arguments.score,
        "format": arguments.format,
    }
    return {
        name: read_recommendations([one], **how, **text_options(arguments, [one], arguments.format))
        for name, one in zip(_names(arguments.recommendations), arguments.recommendations, strict=True)
    }


def _log(arguments: Namespace, source: list[str]) -> Interactions:
    """A log that the flags of logs describe, or a store."""
    if (store := only_store(source)) is not None:
        return open_store(store)
    return read_interactions(
        source,
        format=arguments.format,
        user=arguments.user or USER,
        item=arguments.item or ITEM,
        timestamp=arguments.timestamp,
        time_unit=arguments.time_unit,
        event=arguments.event,
        drop_unordered=bool(arguments.drop_unordered),
        **text_options(arguments, source, arguments.format),
    )


def _refuse_idle(arguments: Namespace) -> None:
    """Refuse flags that say how a log is read where every log is a store."""
    logs: list[Any] = [arguments.log, arguments.truth, arguments.history]
    if all(one is None or only_store(one) is not None for one in logs):
        flags = ("timestamp", "time_unit", "event", "drop_unordered")
        refuse(arguments, flags, "says how a log is read, and a store is one already; leave it out")


def _files(arguments: Namespace, *names: str) -> list[Source]:
    """The files that flags name, with the format of those that are logs; a store is none."""
    logs = ("log", "truth", "history")
    given: dict[str, Any] = {name: getattr(arguments, name) for name in names}
    return [
        (files, arguments.format if name in logs else None)
        for name, files in given.items()
        if files is not None and (name not in logs or only_store(files) is None)
    ]


def refuse(arguments: Namespace, names: tuple[str, ...], why: str) -> None:
    """Refuse flags that would be ignored."""
    if idle := next((name for name in names if getattr(arguments, name) is not None), None):
        raise ConfigError(f"--{idle.replace('_', '-')} {why}")


def _names(paths: list[str]) -> list[str]:
    """What systems are called: a file without its endings, a folder; the whole path where two would have one name."""
    short = [Path(one).name.split(".")[0] or one for one in paths]
    return [one if short.count(one) == 1 else path for one, path in zip(short, paths, strict=True)]
