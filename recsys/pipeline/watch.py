"""Update again and again from the events that a server stores, and have the server take over what is accepted."""

from __future__ import annotations

import glob
import shutil
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import polars as pl

from recsys.core.files import exclusive
from recsys.core.progress import log as say
from recsys.core.progress import warn
from recsys.core.schema import EVENT, ITEM, USER
from recsys.data.interactions import Interactions
from recsys.data.read import read_interactions
from recsys.errors import AccessError, BundleError, ConfigError, RecsysError
from recsys.pipeline.update import UpdateResult, update

if TYPE_CHECKING:
    from recsys.bundle.contents import Bundle
    from recsys.server.client import Client

_LATE: Final = 30 * 86_400
"""Seconds before the last known event from which on stored events are read: some arrive late."""
_STAMP: Final = "%Y%m%dT%H%M%SZ"
_LOADING: Final = 600.0
"""Seconds that the server may take to load or activate a bundle."""


@dataclass(frozen=True)
class Schedule:
    """Where events come from, who serves, and how often.

    Attributes
    ----------
    database : str
        URL of the server's database.
    server : str
        Address of the server.
    key : str or None
        A key of the role admin; servers that were started with ``--open`` need none.
    every : int
        Seconds from the beginning of one round to that of the next.
    keep : int
        Bundles of earlier rounds that stay beside the first one.
    """

    database: str
    server: str
    key: str | None = None
    every: int = 86_400
    keep: int = 5

    def __post_init__(self) -> None:
        if self.every < 1:
            raise ConfigError(f"every (--every) must be at least one second, not {self.every}")
        if self.keep < 1:
            raise ConfigError(f"keep (--keep) must be at least 1, not {self.keep}: a server goes back to the one before")


def watch(
    run: Path,
    schedule: Schedule,
    *,
    rounds: int | None = None,
    wait: Callable[[float], None] | None = None,
    **how: Any,
) -> int:
    """Make rounds until the process is stopped.

    Each round asks the server which bundle answers, reads the events that its database holds beyond those of that bundle,
    and updates it (:func:`recsys.pipeline.update.update`), with the clock as the instant up to which events should be
    complete. What is accepted is saved beside ``run``, as ``run`` with the time in its name, and loaded, verified and
    activated by the server, which can go back to the one before. What is refused leaves the server as it is, and so does a
    round that fails because server or database do not answer; both are told, and the next round tries again.

    Parameters
    ----------
    run : Path
        The bundle that the server was started with, on this machine or on a shared disk; the server loads bundles from its
        folder.
    schedule : Schedule
    rounds : int, optional
        How many; by default there is no end.
    wait : function, optional
        Sleeps for so many seconds.
    **how
        ``options``, ``bounds``, ``gate``, ``accept``, ``force`` and ``retrain`` of the update.

    Returns
    -------
    int
        How many updates were activated.

    Raises
    ------
    ConfigError, AccessError
        The first round finds that an address or a key cannot be right.
    DataError
        Another process watches the same bundle.
    """
    from recsys.server.client import Client  # noqa: PLC0415 - the extra client

    activated, number = 0, 0
    lock = run.absolute().parent / f".{run.resolve().name}.watch.lock"
    with exclusive(run, lock), closing(Client(schedule.server, schedule.key, timeout=_LOADING)) as client:
        while rounds is None or number < rounds:
            begun, number = time.monotonic(), number + 1
            try:
                activated += _round(run, schedule, client, how)
            except (RecsysError, OSError) as error:
                if number == 1 and isinstance(error, ConfigError | AccessError):
                    raise
                warn(f"this round failed, and the server stays as it is: {' '.join(str(error).split())}")
            if rounds is None or number < rounds:
                (wait or _pause)(max(0.0, schedule.every - (time.monotonic() - begun)))
    return activated


def _pause(seconds: float) -> None:
    time.sleep(seconds)


def _round(run: Path, schedule: Schedule, client: Client, how: dict[str, Any]) -> bool:
    """Whether a new bundle answers now."""
    from recsys.serving.load import load  # noqa: PLC0415 - torch

    served = next(one for one in client.bundles() if one.active)
    retriever = load(served.path)
    if (retriever.bundle.seal or "")[: len(served.digest)] != served.digest:
        raise BundleError(f"{served.path} holds another bundle by now than the server answers from ({served.digest})")
    now = int(time.time())
    log = stored_events(schedule.database, retriever.bundle)
    if log is None:
        say(f"no event is stored that {served.path} could learn from; the server stays as it is")
        return False
    result = update(retriever, log, out=_free_place(run), until=now, **how)
    if not result.accepted:
        say(f"{result}\nthe server stays as it is, with {served.path}")
        return False
    return _activate(result, client, run, schedule.keep, before=Path(served.path))


def stored_events(database: str, bundle: Bundle) -> Interactions | None:
    """The events in a server's database since shortly before the last one that a bundle knows; None without any.

    Events whose ids a bundle of whole numbers cannot hold, and those without a type where it reads types, are left out and
    counted.

    Parameters
    ----------
    database : str
        Its URL.
    bundle : Bundle
        With times.

    Raises
    ------
    ConfigError
        The bundle's events have no times.
    RecsysError
        As :func:`recsys.server.export.export_events`.
    """
    from recsys.server.database import open_database  # noqa: PLC0415 - SQLAlchemy
    from recsys.server.export import export_events, has_events  # noqa: PLC0415

    times = bundle.histories.times
    if times is None:
        raise ConfigError("events of a server have times, and the bundle's have none: fit it on a log with times")
    since = int(times.max()) - _LATE if len(times) else 0
    with closing(open_database(database, create=False)) as opened, tempfile.TemporaryDirectory() as folder:
        if not has_events(opened, since=since):
            return None
        export_events(opened, Path(folder) / "events.parquet", since=since)
        frame = pl.read_parquet(Path(folder) / "events.parquet")
    usable = np.ones(frame.height, dtype=np.bool_)
    for ids, column in ((bundle.users, USER), (bundle.items, ITEM)):
        usable &= ids.cast(frame[column]).is_not_null().to_numpy()
    if bundle.histories.events is not None:
        usable &= frame[EVENT].is_not_null().to_numpy()
    if not usable.all():
        say(f"{int((~usable).sum()):,} of {len(usable):,} stored events have ids of another kind, or no type: left out")
    if not usable.any():
        return None
    event = EVENT if bundle.histories.events is not None else None
    return read_interactions(frame.filter(pl.Series(usable)), time_unit="s", event=event)


def _free_place(run: Path) -> Path:
    """RUN-<time>, of the first second from now on that no bundle is named after: two rounds may fall into one."""
    moment, whole = datetime.now(UTC), run.resolve()
    while (place := whole.parent / f"{whole.name}-{moment.strftime(_STAMP)}").exists():
        moment += timedelta(seconds=1)
    return place


def _activate(result: UpdateResult, client: Client, run: Path, keep: int, *, before: Path) -> bool:
    """Have the server load, verify and activate what was saved; if it does not, it goes on with what it has."""
    from recsys.bundle.manifest import read_manifest  # noqa: PLC0415

    assert result.bundle is not None  # noqa: S101 - watch gives a place
    seal: str = read_manifest(result.bundle)["sha256"]
    loaded = next(one for one in client.load_bundle(str(result.bundle)) if seal.startswith(one.digest))
    try:
        client.activate(loaded.digest)
    except RecsysError:
        client.unload(loaded.digest)
        raise
    say(f"{result}\nthe server answers from {result.bundle} ({loaded.digest})")
    _remove_older(run, keep, {result.bundle.resolve(), before.resolve()})
    return True


def _remove_older(run: Path, keep: int, needed: set[Path]) -> None:
    """Remove bundles of earlier rounds but the latest ones and those that the server may need."""
    made = []
    for one in run.resolve().parent.glob(f"{glob.escape(run.resolve().name)}-*"):
        try:
            datetime.strptime(one.name.removeprefix(f"{run.resolve().name}-"), _STAMP)
        except ValueError:
            continue
        if (one / "manifest.json").is_file():
            made.append(one)
    for one in sorted(made)[:-keep]:
        if one.resolve() not in needed:
            say(f"{one} is removed: {keep} bundles of earlier updates are kept (--keep)")
            shutil.rmtree(one)
