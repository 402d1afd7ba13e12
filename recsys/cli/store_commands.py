"""What the commands about a server's database do; they need the extra serve, and import it when they run."""

from __future__ import annotations

from argparse import Namespace
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

import polars as pl

from recsys.cli.answer import Answer
from recsys.cli.words import command
from recsys.core.text_table import as_text
from recsys.errors import ConfigError
from recsys.server.extras import require_serve

if TYPE_CHECKING:
    from recsys.server.keys import Key


KEEP_IT: Final = "keep it now:"
"""How the line begins that recsys keys create prints after a key."""


def export_events(arguments: Namespace) -> Answer:
    """``recsys export-events``."""
    require_serve()
    from recsys.server.database import open_database  # noqa: PLC0415 - SQLAlchemy
    from recsys.server.export import export_events as export  # noqa: PLC0415

    if arguments.since is not None and arguments.until is not None and arguments.until <= arguments.since:
        raise ConfigError("--until must lie after --since")
    database = open_database(arguments.db, create=False)
    try:
        found = export(database, Path(arguments.out), since=arguments.since, until=arguments.until, kind=arguments.kind)
    finally:
        database.close()
    columns = ["--time-unit", "s", *(["--event", "event_type"] if found.typed else [])]
    columns += ["--weight", "weight"] if found.weighted else []
    following = command("fit", found.file, *columns, "--out", "runs/new")
    lines = [
        f"{found.events:,} events: {found.file}",
        *(["next:", f"  {following}"] if arguments.kind == "interaction" else []),
    ]
    return Answer("\n".join(lines), {"file": str(found.file), "events": found.events})


def keys(arguments: Namespace) -> Answer:
    """``recsys keys``."""
    require_serve()
    from recsys.server.database import open_database  # noqa: PLC0415 - SQLAlchemy
    from recsys.server.keys import Keys  # noqa: PLC0415

    _check_keys(arguments)
    database = open_database(arguments.db, create=arguments.action == "create")
    try:
        if arguments.action == "create":
            how = {"name": arguments.name, "rate": arguments.rate, "seconds": arguments.expires}
            key, secret = Keys(database).create(arguments.role, **how)
            text = f"{secret}\n{KEEP_IT} it is shown this once; its id is {key.id}, its role {key.role}"
            return Answer(text, {"secret": secret, **vars(key)})
        if arguments.action == "revoke":
            key = Keys(database).revoke(arguments.key)
            return Answer(f"revoked: {key.id}; servers refuse it within seconds", vars(key))
        return _listed(Keys(database).list())
    finally:
        database.close()


def serve(arguments: Namespace) -> Answer:
    """``recsys serve``."""
    from recsys.config.options import given_tables  # noqa: PLC0415
    from recsys.server.settings import TABLES, Settings, config_text  # noqa: PLC0415

    bundle = None if arguments.run_folder is None else Path(arguments.run_folder)
    settings = Settings.read(arguments.config, given_tables(arguments, TABLES), bundle)
    if arguments.print_config:
        return Answer(config_text(settings).rstrip(), {table: asdict(vars(settings)[table]) for table in TABLES})
    require_serve()
    from recsys.server.run import serve as run  # noqa: PLC0415 - the web framework

    run(settings)
    return Answer("the server has ended", {})


def _check_keys(arguments: Namespace) -> None:
    """Refuse what an action would ignore, or lacks."""
    if arguments.action == "create" and arguments.role is None:
        raise ConfigError("recsys keys create needs --role read, events, items or admin")
    if arguments.action == "revoke" and arguments.key is None:
        raise ConfigError("recsys keys revoke needs the id of a key; recsys keys list shows them")
    if arguments.action != "revoke" and arguments.key is not None:
        raise ConfigError(f"recsys keys {arguments.action} takes no id of a key")
    for name in ("role", "name", "expires", "rate"):
        if arguments.action != "create" and vars(arguments)[name] is not None:
            raise ConfigError(f"--{name} is for recsys keys create")


def _listed(found: list[Key]) -> Answer:
    data = [vars(key) for key in found]
    if not found:
        return Answer("no keys yet; recsys keys create makes a key", data)
    now = datetime.now(UTC).timestamp()
    rows = [
        {
            "id": key.id,
            "role": key.role,
            "name": key.name or "",
            "rate": key.rate or "",
            "created": _day(key.created),
            "state": "valid" if key.valid(now) else "revoked" if key.revoked else "expired",
            "expires": _day(key.expires) if key.expires else "",
        }
        for key in found
    ]
    return Answer(as_text(pl.DataFrame(rows)), data)


def _day(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M")
