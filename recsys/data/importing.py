"""From a log to a store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict, Unpack

from recsys.core.arguments import flag, instance_or_none, place
from recsys.core.cluster import Engine
from recsys.core.files import Held, exclusive
from recsys.core.pseudonym_key import PseudonymKey, checked_key
from recsys.data.clean.apply import cleaned
from recsys.data.clean.rules import CleaningRules
from recsys.data.formats.dialect import Dialect
from recsys.data.formats.paths import Format
from recsys.data.formats.remote import without_secrets
from recsys.data.formats.table import Table
from recsys.data.interactions import Interactions
from recsys.data.log_request import LogRequest
from recsys.data.order import Ties
from recsys.data.pseudonyms import pseudonymised
from recsys.data.quarantine import OnError, Quarantine
from recsys.data.read import read_log
from recsys.data.sources import Source, sources
from recsys.data.store.append import append as append_to
from recsys.data.store.opening import open_store
from recsys.data.store.reader import read_store
from recsys.data.store.writer import check_target, write_store
from recsys.data.streaming.bounds import Bounds
from recsys.data.streaming.build import scratch, stream_log
from recsys.data.times.units import TimeUnit
from recsys.errors import ConfigError, DamagedError, DataError

_OF_EVENTS = {"since", "until", "event_types", "other_types", "min_weight"}
"""Rules that judge each event by itself."""


class Reading(TypedDict, total=False):
    """How a log is read; see :func:`recsys.read_interactions`."""

    format: Format | None
    user: str
    item: str
    timestamp: str | None
    time_unit: TimeUnit | None
    order: str | None
    ties: Ties
    weight: str | None
    event: str | None
    event_weights: Mapping[str, float] | None
    drop_unordered: bool
    unordered: bool
    drop_duplicates: bool
    separator: str | None
    quote: str | None
    encoding: str | None
    null_values: str | Sequence[str] | None
    on_error: OnError
    quarantine: str | Path | None
    quarantine_limit: float


def import_log(
    source: Source,
    out: str | Path,
    *,
    append: bool = False,
    overwrite: bool = False,
    memory: int | None = None,
    rules: CleaningRules | None = None,
    key: PseudonymKey | None = None,
    engine: Engine = "local",
    workers: int | None = None,
    **reading: Unpack[Reading],
) -> Interactions:
    """Read a log into a store, or append it to one, and open the store.

    A new store is made in bounded memory: Parquet, CSV and TSV files are read piece by piece, and the events are sorted by
    ranges of users on the disk of ``out``. It equals the log that :func:`recsys.read_interactions` gives.

    A store that is whole stays whole, whatever happens meanwhile: after an error or a kill, it is as it was before, or
    holds the new events. Another process that writes the same store is refused.

    Appending takes time proportional to the new events. Known users and items keep their rows, new ones get the next rows
    in the order in which the new log first tells of them. Late events find their place by their time; of one user's events
    in one second, those that are in the store come first (ties by item: by item id). In a store without times, the new
    events follow each history; in one without an order, the histories that get new events are shuffled anew. The result is
    the log that reading all files together gives, as far as times are told in whole seconds and ``drop_duplicates`` is
    not asked for: that compares the new rows with each other only.

    Parameters
    ----------
    source : path, pattern, folder, frame, or a list of these
        As for :func:`recsys.read_interactions`.
    out : str or Path
        Folder of the store.
    append : bool
        Whether to add the log to the store in ``out``. Columns have to be named as for the first import; the order of ties,
        and whether there is an order, are those of the store.
    overwrite : bool
        Whether to replace a store in ``out``.
    memory : int, optional
        Bytes that a new store is made with, beside the distinct ids, 8 bytes for each user and item, and files of other
        formats, which are read whole; by default half of what is free, at most 4 GiB. More is faster.
    rules : CleaningRules, optional
        What :func:`recsys.clean` leaves out; the store tells how much. Only rules about single events can be appended with:
        ``since``, ``until``, ``event_types`` and ``min_weight``.
    key : PseudonymKey, optional
        The store then holds pseudonyms of the users under this key, and no id of them.
    engine : {"local", "ray"}
        Whether to make a new store here or on a Ray cluster, file by file and then users by users. The store is the same,
        byte for byte. The log and the folder of ``out`` must lie where all machines see them under the same path, and
        ``memory`` is that of each worker.
    workers : int, optional
        Processes of Ray; by default as many as the cluster has processors.
    **reading
        The other parameters of :func:`recsys.read_interactions`.

    Returns
    -------
    Interactions
        As :func:`recsys.open_store` gives it.

    Raises
    ------
    DataError
        The log cannot be read, does not fit the store, or something else stands in ``out``.
    ConfigError
        ``append`` is given with ``overwrite``, ``memory`` or rules about histories; ``memory`` is below 256 MiB; or as
        for :func:`recsys.read_interactions`.
    OSError
        The store cannot be written, or there is no room for it.

    Examples
    --------
    >>> old = pl.DataFrame({"user_id": ["ann", "ann"], "item_id": ["x", "y"], "timestamp": [10, 30]})
    >>> new = pl.DataFrame({"user_id": ["ann", "bob"], "item_id": ["z", "x"], "timestamp": [20, 40]})
    >>> recsys.import_log(old, "shop")
    Interactions(2 by 1 users on 2 items)
    >>> recsys.import_log(new, "shop", append=True).histories.to_lists()
    [[0, 2, 1], [0]]
    """
    how: dict[str, Any] = {"append": append, "overwrite": overwrite, "memory": memory, "rules": rules, "key": key}
    write_import(source, out, engine=engine, workers=workers, **how, **reading)
    return open_store(out)


def write_import(
    source: Source,
    out: str | Path,
    *,
    append: bool = False,
    overwrite: bool = False,
    memory: int | None = None,
    rules: CleaningRules | None = None,
    key: PseudonymKey | None = None,
    engine: Engine = "local",
    workers: int | None = None,
    **reading: Unpack[Reading],
) -> None:
    """As :func:`import_log`, without opening the store, which merges what was appended."""
    folder = Path(place(out, "out"))
    if flag(append, "append") and flag(overwrite, "overwrite"):
        raise ConfigError("append and overwrite (--append, --overwrite) exclude each other; give one of them")
    if append and memory is not None:
        raise ConfigError("memory= (--memory) is for new stores: appended events are read as a whole; leave it out")
    if append and engine != "local":
        raise ConfigError("engine= (--engine) is for new stores: appended events are read here; leave it out")
    on_error, where = reading.get("on_error", "raise"), reading.get("quarantine")
    if (aside := Quarantine.of(on_error, where, reading.get("quarantine_limit", 0.1), keep_unordered=False)) is not None:
        aside.apart_from(folder)  # before the place of the store is locked and proven, which makes folders
    bounds, rules = Bounds.of(memory), instance_or_none(rules, CleaningRules, "rules")
    if append and rules is not None:
        _check_appendable(rules)
    with exclusive(folder) as held:
        if append:
            _append(source, folder, reading, rules, key, held)
        elif rules is not None:
            check_target(folder, overwrite=overwrite)
            with scratch(folder) as beside:
                where = beside / "uncleaned"
                _stream(source, where, reading, bounds, key, overwrite=False, held=None, engine=engine, workers=workers)
                log = cleaned(open_store(beside / "uncleaned"), rules)
                write_store(folder, log.contents(), source=names_of(source), overwrite=overwrite, held=held)
        else:
            _stream(source, folder, reading, bounds, key, overwrite=overwrite, held=held, engine=engine, workers=workers)


def _stream(
    source: Source,
    folder: Path,
    reading: Reading,
    bounds: Bounds,
    key: PseudonymKey | None,
    *,
    overwrite: bool,
    held: Held | None,
    engine: Engine,
    workers: int | None,
) -> None:
    how = _Parsed.of(reading)
    stream_log(
        source,
        folder,
        how.request,
        format=how.format,
        dialect=how.dialect,
        aside=how.aside,
        null_values=how.null_values,
        bounds=bounds,
        told=names_of(source),
        overwrite=overwrite,
        held=held,
        key=key,
        engine=engine,
        workers=workers,
    )


@dataclass(frozen=True)
class _Parsed:
    """How a log is read, checked."""

    request: LogRequest
    dialect: Dialect
    format: Format | None
    null_values: str | Sequence[str] | None
    aside: Quarantine | None

    @classmethod
    def of(cls, reading: Reading) -> _Parsed:
        how: dict[str, Any] = dict(reading)
        fmt = how.pop("format", None)
        words = [how.pop(name, None) for name in ("separator", "quote", "encoding", "null_values")]
        bad = how.pop("on_error", "raise"), how.pop("quarantine", None), how.pop("quarantine_limit", 0.1)
        request = LogRequest(**how)
        aside = Quarantine.of(*bad, keep_unordered=request.drop_unordered)
        return cls(request, Dialect.of(*words), fmt, words[-1], aside)


def _check_appendable(rules: CleaningRules) -> None:
    if judging := sorted(rules.to_dict().keys() - _OF_EVENTS):
        raise ConfigError(
            f"{rules.source}: {judging[0]} judges whole histories, and an append sees the new events only; leave it out, "
            f"and clean the whole store when it is read (recsys fit STORE --clean FILE)"
        )


def _append(
    source: Source, folder: Path, reading: Reading, rules: CleaningRules | None, key: PseudonymKey | None, held: Held
) -> None:
    try:
        told = read_store(folder, verify=False).manifest
        defaults: Reading = {"ties": told.ties, "unordered": not told.ordered}
        if key is not None:
            checked_key(key, told.pseudonym_key or key.id, str(folder))  # before a large log is read
        how = _Parsed.of(defaults | reading)
        read = read_log(source, how.request, how.dialect, format=how.format, null_values=how.null_values, aside=how.aside)
        log = cleaned(read, rules)
        log = log if key is None else pseudonymised(log, key)
        with nullcontext() if how.aside is None else how.aside.kept():
            append_to(folder, log.contents(), names_of(source), held=held)
    except DamagedError as error:
        raise DataError(str(error)) from error


def names_of(source: Source) -> list[str]:
    """The names of files as a manifest tells them, without folders and what follows in an address; or what a frame is."""
    return [_name_of(one) for one in sources(source)]


def _name_of(one: object) -> str:
    if isinstance(one, str | Path):
        return without_secrets(str(one)).rstrip("/").rpartition("/")[2]
    return one.name if isinstance(one, Table) else type(one).__name__
