"""What ``recsys update`` does: take new events into a bundle, once or again and again."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import Any

from recsys import pipeline
from recsys.bundle.describe import recorded_reading
from recsys.cli.answer import Answer
from recsys.cli.reading import read_data, user_features
from recsys.cli.recorded_reading import read_as_before
from recsys.cli.store_commands import KEEP_IT
from recsys.cli.update_flags import TABLES
from recsys.cli.words import command
from recsys.config.options import given_tables
from recsys.core.destination import claimed_bundle
from recsys.errors import ConfigError
from recsys.server.extras import require_client, require_serve

REFUSED = 3
"""The exit code of an update that was refused: nothing is wrong with the command, and nothing was changed."""
_OF_WATCH = ("every", "server", "key_file", "keep")


def update(arguments: Namespace) -> Answer:
    """``recsys update``."""
    run, how = Path(arguments.run_folder), _tables(arguments)
    words = recorded_reading(run)  # what is not a bundle is refused before anything is read
    if arguments.watch:
        return _watch(arguments, run, how)
    if idle := next((name for name in _OF_WATCH if getattr(arguments, name) is not None), None):
        raise ConfigError(f"--{idle.replace('_', '-')} is for --watch; leave it out")
    if arguments.out is None:
        raise ConfigError("update needs --out FOLDER for the new bundle; to replace RUN, name it again and add --overwrite")
    with claimed_bundle(Path(arguments.out), overwrite=arguments.overwrite) as held:
        read_as_before(arguments, words)
        log, catalog = read_data(arguments)
        flags = {name: getattr(arguments, name) for name in ("accept", "force", "retrain", "until", "overwrite")}
        users = user_features(arguments)
        found = pipeline.update_bundle(run, log, out=held.target, catalog=catalog, users=users, held=held, **flags, **how)
    return answer(found)


def answer(found: pipeline.UpdateResult) -> Answer:
    """What an update came to."""
    data = found.to_dict()
    if not found.accepted:
        return Answer(str(found), data, REFUSED)
    assert found.bundle is not None  # noqa: S101 - the command names a place
    following = command("serve", found.bundle)
    return Answer(f"{found}\nnext:\n  {following}", data | {"next": [following]})


def _tables(arguments: Namespace) -> dict[str, Any]:
    return {name: TABLES[name](**given) for name, given in given_tables(arguments, TABLES).items()}


def _watch(arguments: Namespace, run: Path, how: dict[str, Any]) -> Answer:
    """Until the process is asked to end, which is its ordinary end."""
    from recsys.pipeline.watch import Schedule, watch  # noqa: PLC0415 - the extras serve and client

    require_serve()
    require_client()
    flags = [flag for flag in arguments.data_flags if flag.option_strings and flag.dest != "db"]
    idle = [flag.option_strings[0] for flag in flags if getattr(arguments, flag.dest) != flag.default]
    if name := next(iter([*arguments.log, *idle]), None):
        raise ConfigError(f"--watch reads the events of --db as the server stores them; leave out {name}")
    for name in ("out", "until"):
        if getattr(arguments, name) is not None:
            raise ConfigError(f"--watch names new bundles after RUN, and updates up to now; leave out --{name}")
    if arguments.overwrite:
        raise ConfigError("--watch saves each bundle beside RUN and overwrites none; leave out --overwrite")
    if arguments.db is None or arguments.server is None:
        raise ConfigError("--watch needs --db URL, the database of the server, and --server URL, its address")
    times = {name: getattr(arguments, name) for name in ("every", "keep") if getattr(arguments, name) is not None}
    schedule = Schedule(arguments.db, arguments.server, _key(arguments.key_file), **times)
    try:
        watch(run, schedule, **{name: getattr(arguments, name) for name in ("accept", "force", "retrain")}, **how)
    except KeyboardInterrupt:
        return Answer("the watch has ended; the server goes on with the bundle that it has", {"ended": True})
    return Answer("", {})


def _key(file: str | None) -> str | None:
    if file is None:
        return None
    try:
        key, _, rest = Path(file).read_text(encoding="utf-8").strip().partition("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"--key-file {file} cannot be read: {error}") from error
    if len(key.split()) != 1 or not (rest == "" or rest.startswith(KEEP_IT)):
        raise ConfigError(f"--key-file {file} must hold one key, as recsys keys create printed it")
    return key.strip()
