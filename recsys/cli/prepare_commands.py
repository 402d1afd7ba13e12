"""What ``recsys prepare`` does."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

from recsys.cli.answer import Answer
from recsys.core.destination import prove_folder
from recsys.errors import ConfigError


def prepare(arguments: Namespace) -> Answer:
    """``recsys prepare``."""
    from recsys.data.recipes.prepare import prepare as prepared  # noqa: PLC0415

    if arguments.list:
        return _recipes()
    if arguments.name is None or arguments.source is None or arguments.out is None:
        raise ConfigError("prepare needs NAME, --from PATH and --out FOLDER; --list shows the names")
    prove_folder(Path(arguments.out))
    found = prepared(
        arguments.name, arguments.source, arguments.out, overwrite=arguments.overwrite, on_error=arguments.on_error,
        quarantine=arguments.quarantine, quarantine_limit=arguments.quarantine_limit,
    )  # fmt: skip
    return Answer(str(found), found.to_dict())


def _recipes() -> Answer:
    from recsys.data.recipes.spec import names, public_set  # noqa: PLC0415

    sets = [public_set(name) for name in names()]
    lines = [f"{one.name:<18}{one.title}\n{'':<18}{', '.join(one.expected)}" for one in sets]
    data = [{"name": one.name, "title": one.title, "url": one.url, "files": list(one.expected)} for one in sets]
    return Answer("\n".join(lines), data)
