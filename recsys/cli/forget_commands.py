"""What ``recsys forget`` does."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

from recsys.cli.answer import Answer
from recsys.cli.given_ids import ids_of, once
from recsys.core.pseudonym_key import read_key
from recsys.core.schema import USER
from recsys.errors import ConfigError, UnknownIdError
from recsys.pipeline.forget import ForgetResult, Places, TracesError, forget_users, search_users
from recsys.privacy.search import Searched

_SHOWN = 20


def forget(arguments: Namespace) -> Answer:
    """``recsys forget``."""
    found = ids_of(arguments, "users", USER)
    if not found:
        raise ConfigError("name the users to forget: --users ID ..., or --users-file FILE")
    users, key = once(found, "user"), read_key(_path(arguments.pseudonym_key))
    _check(arguments)
    places = Places(
        bundle=_path(arguments.run_folder),
        out=_path(arguments.out),
        store=_path(arguments.store),
        database=arguments.db,
        exports=tuple(map(Path, arguments.exports)),
        column=arguments.exports_user,
    )
    if arguments.check:
        return _searched(search_users(places, users, key=key), len(users))
    result = forget_users(places, users, receipt=_path(arguments.receipt), key=key)
    if result.searched.traces:
        raise TracesError(f"what could be removed is removed (receipt: {result.file}), and {_traces(result.searched)}")
    if result.unknown and arguments.unknown == "error":
        raise UnknownIdError(f"{len(result.unknown):,} of {len(users):,} users were found nowhere ({result.file})")
    return _forgotten(result, len(users))


def _path(given: str | None) -> Path | None:
    return None if given is None else Path(given)


def _check(arguments: Namespace) -> None:
    """Refuse what contradicts itself, or says nothing."""
    given = {name: getattr(arguments, name) for name in ("out", "overwrite", "receipt")}
    if arguments.check:
        if idle := next((name for name, value in given.items() if value), None):
            raise ConfigError(f"--check changes nothing; leave out --{idle}")
        return
    if arguments.run_folder is None and (arguments.out or arguments.overwrite):
        raise ConfigError("--out and --overwrite are for a bundle; name it (RUN)")
    if arguments.run_folder is not None and bool(arguments.out) == bool(arguments.overwrite):
        raise ConfigError(
            "say where the bundle without them goes: --overwrite replaces RUN, --out FOLDER leaves it as it is; give one"
        )


def _searched(found: Searched, users: int) -> Answer:
    if found.traces:
        raise TracesError(_traces(found))
    return Answer("\n".join(_search_lines(found, users)), found.to_dict())


def _search_lines(found: Searched, users: int) -> list[str]:
    """What was searched, in words."""
    by_columns = users - min(users, found.by_bytes)
    lines = [f"no trace in {found.files:,} files ({found.bytes:,} bytes)"]
    if by_columns:
        lines.append(
            f"{by_columns:,} of {users:,} ids are short or numbers, which stand anywhere by chance: of these the columns "
            "of users were compared, and every byte was searched for their hashes"
        )
    return lines + [f"not searched: {one}" for one in found.unsure]


def _traces(found: Searched) -> str:
    shown = "; ".join(map(str, found.traces[:_SHOWN]))
    more = f"; and {len(found.traces) - _SHOWN:,} more places" if len(found.traces) > _SHOWN else ""
    return f"users are still found (file, where, how many of them): {shown}{more}"


def _forgotten(result: ForgetResult, users: int) -> Answer:
    """What was removed from each place was told as it happened; here what is left to say."""
    lines = [f"receipt: {result.file}"]
    if result.unknown:
        shown = ", ".join(result.unknown[:5]) + (
            f" and {len(result.unknown) - 5:,} more" if len(result.unknown) > 5 else ""
        )
        lines.append(f"found nowhere: {len(result.unknown):,} of {users:,} users ({shown})")
    lines += _search_lines(result.searched, users)
    kinds = {one.kind for one in result.receipt.removed if one.users}
    if "bundle" in kinds:
        lines.append("a server that has the bundle open answers from the old one until it loads it anew")
    return Answer("\n".join(lines), result.receipt.to_dict() | {"file": str(result.file), "unknown": result.unknown})
