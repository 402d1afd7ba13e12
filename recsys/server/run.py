"""Run a server: open all that it consists of, listen, and end in order."""

from __future__ import annotations

import asyncio
import gc
import math
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType
from typing import Final

import uvicorn

from recsys.core.memory import few_arenas
from recsys.core.pseudonym_key import read_key
from recsys.errors import ConfigError, RecsysError
from recsys.server.access import Access
from recsys.server.app import create_app
from recsys.server.audit import Audit
from recsys.server.database import open_database
from recsys.server.engine import Engine
from recsys.server.item_changes import ItemChanges
from recsys.server.keys import Keys
from recsys.server.live import Live, open_bundle
from recsys.server.logs import begin_logs, frames_of, log
from recsys.server.metrics import Metrics
from recsys.server.opening import pseudonyms_of
from recsys.server.protocol import protocol_of
from recsys.server.quality import Quality
from recsys.server.served import Served
from recsys.server.settings import Settings
from recsys.server.store import EventStore
from recsys.server.watcher import Watch

_DAY: Final = 86_400
_FOLLOW_EVERY: Final = 2.0
"""Seconds after which a server asks which items others have changed."""
_RETAIN_EVERY: Final = 3600.0
_ACCEPTED: Final = 32
"""Connections that are accepted at a time: uvloop takes one from each socket, then answers what it has, so that the last of
many that come together would wait for seconds."""
_SWITCH: Final = 5e-4
"""Seconds after which the thread of the model lets that of the connections go on: Python's 5 ms are as long as a batch."""


def serve(settings: Settings) -> None:
    """Answer requests until the process is told to end.

    Nobody can connect before the bundle is loaded and warm.

    Parameters
    ----------
    settings : Settings
        With a bundle.

    Raises
    ------
    ConfigError, BundleError, StoreUnavailableError
        Bundle, database, address or a file of the settings cannot be used.
    RecsysError
        The thread of the model died.
    """
    begin_logs(settings.logs)
    few_arenas()
    sys.setswitchinterval(_SWITCH)
    with bound(settings) as place, opened(settings) as served, housekeeping(served):
        served.engine.warm_up(settings.answering.warm_up_requests)
        gc.collect()
        gc.freeze()  # what lasts is not looked through again, which takes the interpreter for hundreds of milliseconds
        server = Server(served)
        log().info("ready", host=settings.listen.host, port=place.getsockname()[1], bundle=served.engine.live.active.digest)
        server.run([place])
        if not served.engine.alive:
            raise RecsysError("the server has ended, since the thread of its model did; the log says why")
        log().info("ended")


@contextmanager
def bound(settings: Settings) -> Iterator[socket.socket]:
    """The address, taken before anything is loaded, so that one in use is told at once; nobody can connect yet.

    Raises
    ------
    ConfigError
        It cannot be had.
    """
    host, port = settings.listen.host.strip("[]"), settings.listen.port
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as found:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            found.bind((host, port))
        except OSError as error:
            why = error.strerror or str(error)
            raise ConfigError(f"host={host} port={port} cannot be listened on: {why}; choose another --port") from error
        yield found


@contextmanager
def opened(settings: Settings) -> Iterator[Served]:
    """All parts of a server, closed in the order in which they need each other.

    Raises
    ------
    ConfigError, BundleError, StoreUnavailableError
        One of them cannot be opened.
    """
    if settings.bundle is None:
        raise ConfigError("name the bundle to serve: recsys serve RUN")
    chosen, storage, threads = settings.answering, settings.storage, settings.answering.threads
    with ExitStack() as owned:
        database = open_database(storage.db)
        owned.callback(database.close)
        metrics, watching = Metrics(), settings.watching
        quality = Quality(
            metrics, share=watching.quality_share, answers=watching.quality_answers, busy=watching.quality_busy
        )
        owned.callback(quality.close)
        file = storage.pseudonym_key_file
        key = read_key(None if file is None else Path(file), option="pseudonym_key_file")
        store = EventStore(
            database,
            largest=storage.commit_events,
            waiting=storage.append_queue,
            on_commit=metrics.committed,
            key=key,
            pseudonymise=pseudonyms_of(settings.bundle) is not None,
        )
        owned.callback(store.close, settings.listen.drain_seconds)
        keys = Keys(database)
        audit = Audit(Path(settings.logs.audit_file)) if settings.logs.audit_file else None
        if audit:
            owned.callback(audit.close)
        if not settings.access.open and not keys.list():
            log().warning(f"nobody has a key yet; recsys keys create --db {database.where} --role admin makes one")
        engine = Engine(
            Live(open_bundle(settings.bundle, threads=threads, pseudonym_key=file), threads=threads, pseudonym_key=file),
            store,
            ItemChanges(database),
            queue_length=chosen.queue_length,
            batch_requests=chosen.batch_requests,
            batch_positions=chosen.batch_positions,
            deadline=chosen.deadline_milliseconds / 1e3,
            watcher=Watch(metrics, quality),
        )
        owned.callback(engine.drain, settings.listen.drain_seconds)
        yield Served(engine, store, Access(keys, settings.access), settings, audit, metrics)


class Server(uvicorn.Server):
    """uvicorn that says "not ready" before it stops listening, and ends when the thread of the model does."""

    def __init__(self, served: Served) -> None:
        listen = served.settings.listen
        super().__init__(
            uvicorn.Config(
                create_app(served),
                http=protocol_of(listen.connections),
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                ws="none",
                lifespan="off",
                timeout_keep_alive=listen.keep_alive_seconds,
                timeout_graceful_shutdown=max(1, math.ceil(listen.drain_seconds)),
            )
        )
        self._served = served
        self._ends_at = math.inf

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        """Answer; the thread of the model and the event loop take turns."""
        if sockets is not None:
            sockets = [*sockets, *(one.dup() for one in sockets for _ in range(_ACCEPTED - 1))]
        with self._served.engine.taking_turns(asyncio.get_running_loop()):
            await super().serve(sockets)

    async def on_tick(self, counter: int) -> bool:
        """Ten times a second: whether it is time to end."""
        if not self._served.engine.alive:
            log().error("the thread of the model has ended, and so does the server")
            return True
        self.should_exit |= time.monotonic() >= self._ends_at
        return await super().on_tick(counter)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Take SIGINT and SIGTERM as a wish to end; afterwards whoever handled them does so again."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self.handle_exit) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Say "not ready", and stop listening after the notice; at a second signal, drop what is under way too."""
        self.force_exit = self.should_exit
        if math.isinf(self._ends_at):
            self._ends_at = time.monotonic() + self._served.settings.listen.notice_seconds
        else:
            self.should_exit = True
        self._served.engine.ready = False


@contextmanager
def housekeeping(served: Served) -> Iterator[None]:
    """Within the block, old events are removed; what other servers changed in items, and clicks, are taken up."""
    ended = threading.Event()
    thread = threading.Thread(target=_keep_house, args=(served, ended), name="recsys-housekeeping")
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _keep_house(served: Served, ended: threading.Event) -> None:
    days, next_retention = served.settings.storage.retention_days, 0.0
    while not ended.wait(_FOLLOW_EVERY):
        try:
            served.engine.follow_items()
            served.engine.follow_clicks()
            if days is not None and time.monotonic() >= next_retention:
                removed = served.store.retain(int(days * _DAY))
                next_retention = time.monotonic() + _RETAIN_EVERY
                log().info("old events removed", count=removed)
        except RecsysError as error:
            log().warning("housekeeping has to wait", error=type(error).__name__, frames=frames_of(error))
