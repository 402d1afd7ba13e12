"""What an operator may set: small frozen dataclasses, one TOML file, one flag for each key."""

from __future__ import annotations

import ipaddress
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias, get_args, get_origin, get_type_hints

from recsys.config.options import build_over, checked_options, field_docs, nearest, read_toml, settle
from recsys.errors import ConfigError

Level: TypeAlias = Literal["debug", "info", "warning", "error"]


def _within(default: float, least: float, most: float) -> Any:
    """A number with its range."""
    return field(default=default, metadata={"range": (least, most)})


def _check_ranges(owner: Any) -> None:
    for one in fields(owner):
        value = getattr(owner, one.name)
        if value is not None and "range" in one.metadata:
            least, most = one.metadata["range"]
            if not least <= value <= most:
                raise ConfigError(f"{one.name} must be from {_plain(least)} to {_plain(most)}, not {_plain(value)}")


@checked_options
@dataclass(frozen=True, kw_only=True)
class Listen:
    """Where the server listens, and how it stops."""

    host: str = "127.0.0.1"
    """Address to listen on; 0.0.0.0 is every address of the machine. TLS is the business of a proxy in front."""
    port: int = _within(8000, 0, 65535)
    """Port to listen on; 0 takes a free one."""
    drain_seconds: float = _within(20.0, 0.0, 3600.0)
    """How long requests that have begun may take to end once no more are taken."""
    notice_seconds: float = _within(0.0, 0.0, 600.0)
    """How long requests are still taken after SIGTERM while /readyz says no already, so that a balancer notices."""
    keep_alive_seconds: int = _within(10, 1, 3600)
    """How long an idle connection stays open."""
    connections: int = _within(4096, 1, 1_000_000)
    """Open connections; requests of further ones get 503, and beyond twice as many they are closed. Each takes a file."""
    body_seconds: float = _within(10.0, 0.1, 600.0)
    """How long a client may take to send a body before it gets 408."""

    def __post_init__(self) -> None:
        settle(self)
        _check_ranges(self)


@checked_options
@dataclass(frozen=True, kw_only=True)
class Storage:
    """Where events, keys and changed items are kept."""

    db: str = "sqlite:///recsys.db"
    """Database: sqlite:///FILE for one server, postgresql+psycopg://USER@HOST/NAME for several that share it."""
    retention_days: float | None = _within(None, 1.0, 36500.0)  # type: ignore[arg-type]
    """Delete events that are older than this many days; none keeps them."""
    pseudonym_key_file: str | None = None
    """File of the key under which forgotten users are noted; none takes RECSYS_PSEUDONYM_KEY, or a salt in the database."""
    append_queue: int = _within(10_000, 1, 1_000_000)
    """Events that may wait for the disk; more are refused with 429."""
    commit_events: int = _within(500, 1, 100_000)
    """Most events in one commit."""

    def __post_init__(self) -> None:
        settle(self)
        _check_ranges(self)


@checked_options
@dataclass(frozen=True, kw_only=True)
class Answering:
    """The queue in front of the model, and the bundles behind it."""

    queue_length: int = _within(256, 1, 100_000)
    """Requests that may wait for the model; more are refused with 429."""
    batch_positions: int = _within(8192, 1, 10_000_000)
    """Budget of one batch, in events of histories that the user tower reads."""
    batch_requests: int = _within(64, 1, 10_000)
    """Most requests in one batch."""
    deadline_milliseconds: float = _within(2000.0, 1.0, 600_000.0)
    """How long a request may wait and compute; one that has waited longer is dropped before it is computed."""
    threads: int | None = _within(None, 1, 1024)  # type: ignore[arg-type]
    """Threads of the model; none takes what affinity and cgroup quota allow."""
    warm_up_requests: int = _within(32, 0, 10_000)
    """Requests of known users that are answered before the server says that it is ready."""
    bundle_folders: tuple[str, ...] = ()
    """Folders from which admins may load bundles, beside the folder that holds RUN."""
    shadow_share: float = _within(0.1, 0.0001, 1.0)
    """Share of requests that a shadow bundle answers too, off the hot path, where the admin names no other."""

    def __post_init__(self) -> None:
        settle(self)
        _check_ranges(self)


@checked_options
@dataclass(frozen=True, kw_only=True)
class Limits:
    """The largest request that is read; everything larger is refused before it is parsed or computed."""

    body_bytes: int = _within(1_048_576, 1024, 1_073_741_824)
    """Bytes of a body."""
    json_depth: int = _within(12, 4, 100)
    """Nesting of lists and objects in a body."""
    json_containers: int = _within(20_000, 10, 10_000_000)
    """Lists and objects in a body."""
    max_k: int = _within(1000, 1, 100_000)
    """Items in one answer (k)."""
    max_requests: int = _within(256, 1, 100_000)
    """Requests in one batch call."""
    max_history: int = _within(5000, 1, 1_000_000)
    """Events in a history that a request brings."""
    max_events: int = _within(1000, 1, 100_000)
    """Events in one call."""
    max_items: int = _within(1000, 1, 100_000)
    """Items to score, or to find others like, in one call."""
    max_filter_ids: int = _within(10_000, 1, 1_000_000)
    """Item ids in exclude and in eligible."""
    max_texts: int = _within(32, 1, 10_000)
    """Search texts in one call."""
    max_text_length: int = _within(1000, 1, 1_000_000)
    """Characters of a search text."""
    max_predicate_length: int = _within(2000, 1, 10_000)
    """Characters of a predicate (where)."""
    max_predicate_depth: int = _within(20, 1, 50)
    """Nesting of a predicate's parentheses and lists."""
    max_rules: int = _within(50, 1, 10_000)
    """Rules in one request."""
    max_pool: int = _within(2000, 10, 1_000_000)
    """Candidates that rules of one request may choose from (pool)."""
    in_flight: int = _within(1024, 1, 1_000_000)
    """Requests that are read, computed or answered at once; more are refused with 429."""

    def __post_init__(self) -> None:
        settle(self)
        _check_ranges(self)


@checked_options
@dataclass(frozen=True, kw_only=True)
class Access:
    """Who may ask."""

    open: bool = False
    """Answer everybody, without keys; allowed on a loopback address only, for a look at the thing."""
    page: bool = True
    """Serve a page at /, to try the server by hand. It holds nothing by itself; it asks with a key that is typed in."""
    rate: str | None = None
    """Requests of a key that has no rate of its own, such as 100/second or 5000/minute; none is without a limit."""
    cors_origins: tuple[str, ...] = ()
    """Origins whose pages may ask from a browser, such as https://shop.example."""

    def __post_init__(self) -> None:
        settle(self)
        for origin in self.cors_origins:
            scheme, _, rest = origin.partition("://")
            if scheme not in ("http", "https") or not rest or "/" in rest or "*" in rest:
                raise ConfigError(f"cors_origins must name origins such as https://shop.example, not {origin!r}")


@checked_options
@dataclass(frozen=True, kw_only=True)
class Logs:
    """What is written about requests: never an id of a user or an item, a text or a key."""

    log_level: Level = "info"
    """Least severe lines that are written to standard error, as JSON."""
    audit_file: str | None = None
    """File of JSON lines that records who changed what; none records it among the other lines."""

    def __post_init__(self) -> None:
        settle(self)


@checked_options
@dataclass(frozen=True, kw_only=True)
class Watching:
    """What is measured while the server answers; /metrics has it for Prometheus."""

    metrics_key: bool = True
    """Ask for a key with the role read, or admin, at /metrics; without it everybody who reaches the server can read it."""
    quality_share: float = _within(0.1, 0.0, 1.0)
    """Share of the answers that are looked at for coverage, popularity, drift, and the recall of the index; 0 for none."""
    quality_answers: int = _within(5000, 200, 1_000_000)
    """Latest of these answers to judge by."""
    quality_busy: float = _within(0.05, 0.001, 1.0)
    """Largest share of the time in which the model is asked for the sake of these measurements."""

    def __post_init__(self) -> None:
        settle(self)
        _check_ranges(self)


TABLES: Final[dict[str, type]] = {
    "listen": Listen,
    "storage": Storage,
    "answering": Answering,
    "limits": Limits,
    "access": Access,
    "logs": Logs,
    "watching": Watching,
}
"""Table of the file → its dataclass."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """All that an operator may set, and the bundle to serve.

    Attributes
    ----------
    bundle : Path or None
        Folder of the bundle (RUN).
    listen, storage, answering, limits, access, logs, watching
        One for each table of the file.

    Raises
    ------
    ConfigError
        The server would be open on an address that others can reach.

    Examples
    --------
    >>> settings = Settings.read(None, {"listen": {"port": 9000}})
    >>> settings.listen.port, settings.limits.max_k
    (9000, 1000)
    """

    bundle: Path | None = None
    listen: Listen = field(default_factory=Listen)
    storage: Storage = field(default_factory=Storage)
    answering: Answering = field(default_factory=Answering)
    limits: Limits = field(default_factory=Limits)
    access: Access = field(default_factory=Access)
    logs: Logs = field(default_factory=Logs)
    watching: Watching = field(default_factory=Watching)

    def __post_init__(self) -> None:
        if self.access.open and not is_loopback(self.listen.host):
            raise ConfigError(
                f"--open answers everybody without a key, and others can reach host={self.listen.host!r}; leave out "
                "--open and make a key (recsys keys create), or listen on 127.0.0.1"
            )

    @classmethod
    def read(
        cls, file: str | Path | None, given: Mapping[str, dict[str, Any]] | None = None, bundle: Path | None = None
    ) -> Settings:
        """Read a TOML file; what is given beside it wins.

        Parameters
        ----------
        file : path or None
        given : mapping, optional
            Table → key → value.
        bundle : Path, optional

        Raises
        ------
        ConfigError
            The file cannot be read, has a table or key that nothing knows, or a value out of its range; the message names
            file, table and key.
        """
        written, given = ({} if file is None else _tables(Path(file))), given or {}
        made = {
            name: build_over(owner, written.get(name, {}), given.get(name, {}), f"{file}: [{name}]")
            for name, owner in TABLES.items()
        }
        return cls(bundle=bundle, **made)


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _tables(file: Path) -> dict[str, dict[str, Any]]:
    """The tables of a file, ``"none"`` as None where a key may be None."""
    found = read_toml(file, "the settings file")
    for table, keys in found.items():
        if table not in TABLES:
            raise ConfigError(f"{file}: unknown table [{table}]; {nearest(table, TABLES)}")
        if not isinstance(keys, dict):
            raise ConfigError(f"{file}: {table} must be a table, [{table}], not {keys!r}")
        known = [one.name for one in fields(TABLES[table])]
        for key in keys:
            if key not in known:
                raise ConfigError(f"{file}: [{table}] has no key {key!r}; {nearest(key, known)}")
    return {
        table: {key: None if value == "none" and _optional(TABLES[table], key) else value for key, value in keys.items()}
        for table, keys in found.items()
    }


def _optional(owner: type, key: str) -> bool:
    return type(None) in get_args(get_type_hints(owner)[key])


def config_text(settings: Settings | None = None) -> str:
    r"""A whole TOML file: every key with what it does, its range and its default.

    Parameters
    ----------
    settings : Settings, optional
        Whose values are written; by default the defaults.

    Examples
    --------
    >>> print(config_text().split("\n\n")[3])
    # Port to listen on; 0 takes a free one. From 0 to 65535. Default: 8000.
    port = 8000
    """
    settings = settings or Settings()
    parts = ["# Settings of `recsys serve RUN --config FILE`; flags win. A key that is left out has its default."]
    for table, owner in TABLES.items():
        docs, hints, values = field_docs(owner), get_type_hints(owner), getattr(settings, table)
        parts.append(f"[{table}]\n# {(owner.__doc__ or '').strip()}")
        for one in fields(owner):
            about = f"{docs[one.name]} {_allowed(one.metadata, hints[one.name])}"
            lines = textwrap.wrap(about + f" Default: {_plain(one.default)}.", 118, break_on_hyphens=False)
            parts.append("\n".join(f"# {line}" for line in lines) + f"\n{one.name} = {_toml(getattr(values, one.name))}")
    return "\n\n".join(parts) + "\n"


def _allowed(metadata: Mapping[str, Any], hint: Any) -> str:
    optional = ', or "none"' if type(None) in get_args(hint) else ""
    if "range" in metadata:
        least, most = metadata["range"]
        return f"From {_plain(least)} to {_plain(most)}{optional}."
    if get_origin(hint) is Literal:
        return f"One of {', '.join(get_args(hint))}."
    if hint is bool:
        return "true or false."
    return "A list of texts." if get_origin(hint) is tuple else f"A text{optional}."


def _plain(value: Any) -> str:
    if value is None or value == ():
        return "none"
    if isinstance(value, bool):
        return "true" if value else "false"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _toml(value: Any) -> str:
    if value is None:
        return '"none"'
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):
        return f"[{', '.join(map(_toml, value))}]"
    return repr(value) if isinstance(value, int | float) else '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
