"""What ``recsys pseudonyms`` does."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

from recsys.cli.answer import Answer
from recsys.core.pseudonym_key import VARIABLE, make_key, read_key
from recsys.data.store.manifest import is_store
from recsys.errors import ConfigError, DamagedError, DataError


def pseudonyms(arguments: Namespace) -> Answer:
    """``recsys pseudonyms``."""
    return _key(arguments) if arguments.action == "key" else _rotate(arguments)


def _key(arguments: Namespace) -> Answer:
    if arguments.to is not None or arguments.pseudonym_key is not None:
        raise ConfigError("recsys pseudonyms key takes the new file, and --after for one that older pseudonyms can move to")
    after = None if arguments.after is None else read_key(Path(arguments.after), option="--after", environment=False)
    made, file = make_key(Path(arguments.place), after), Path(arguments.place)
    text = (
        f"key {made.id}: {file}, which you alone can read\nkeep a copy apart from the data: without it nobody is found by "
        f"id, and with it everybody is\nnext:\n  recsys fit LOG --pseudonymise --pseudonym-key {file} --out runs/new"
    )
    return Answer(text, {"key": made.id, "file": str(file), "secrets": len(made.secrets)})


def _rotate(arguments: Namespace) -> Answer:
    if arguments.to is None or arguments.after is not None:
        raise ConfigError(
            "recsys pseudonyms rotate needs --to FILE, the newer key (recsys pseudonyms key FILE --after OLD)"
        )
    old = read_key(None if arguments.pseudonym_key is None else Path(arguments.pseudonym_key))
    if old is None:
        raise ConfigError(f"name the key of the pseudonyms as they are: --pseudonym-key FILE, or {VARIABLE}")
    new = read_key(Path(arguments.to), option="--to", environment=False)
    assert new is not None  # noqa: S101 - a file was named
    place = Path(arguments.place)
    try:
        from recsys.pipeline.rotate import rotate_bundle, rotate_store  # noqa: PLC0415 - torch

        count = (rotate_store if is_store(place) else rotate_bundle)(place, old, new)
    except DamagedError as error:
        raise DataError(str(error)) from error
    text = f"{place}: {count:,} users have pseudonyms under the key {new.id} instead of {old.id}"
    return Answer(text, {"place": str(place), "users": count, "from": old.id, "to": new.id})
