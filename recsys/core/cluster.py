"""Work that is done piece by piece: one piece after the other here, or by the processes of a Ray cluster."""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Literal, Protocol, TypeAlias, TypeVar, get_args

from recsys.core.arguments import choice, whole_number
from recsys.core.progress import log, logger
from recsys.errors import ConfigError, DependencyError, RecsysError

Engine: TypeAlias = Literal["local", "ray"]
"""Where to compute."""
Job = TypeVar("Job")
Result = TypeVar("Result")

_ANSWERS_WITHIN = 5.0
"""Seconds for a cluster to take a connection."""
_PATIENCE = 60.0
"""Seconds without a result after which it is told what is waited for."""
_AGAIN = 3
"""How often a piece is begun anew whose process died."""
_AHEAD = 4
"""Pieces of each worker that may be done before the one whose turn it is."""


class Each(Protocol):
    """Map a function over jobs, like ``map``: the results come in the order of the jobs.

    Where other processes compute, a job and its result are pickled, and the function is one of a module.
    """

    def __call__(self, function: Callable[[Job], Result], jobs: Iterable[Job], /) -> Iterator[Result]:
        """The results, in order; an error of a job is raised when its turn has come, or before."""


_each: ContextVar[Each] = ContextVar("each", default=map)


def each() -> Each:
    """How the pieces of work are mapped within the innermost block of :func:`engine`; outside of any: by ``map``."""
    return _each.get()


@contextmanager
def engine(name: Engine = "local", workers: int | None = None) -> Iterator[Each]:
    """Let what the block computes piece by piece be computed here, or on a Ray cluster.

    The cluster is the one that this process is connected to, or that ``RAY_ADDRESS`` names, else one of this machine,
    which ends with the block. What comes out is the same, bit by bit. Pieces whose process died are computed again.

    Parameters
    ----------
    name : {"local", "ray"}
    workers : int, optional
        Pieces that are computed at one time; by default, as many as the cluster has processors.

    Raises
    ------
    ConfigError
        ``workers`` is given for the engine local.
    DependencyError
        Ray is not installed.
    RecsysError
        The cluster cannot be reached, or its processes die again and again.
    """
    choice(name, "engine (--engine)", get_args(Engine))
    if name == "local":
        if workers is not None:
            raise ConfigError("workers= (--workers) is for engine='ray' (--engine ray); leave it out")
        yield map
        return
    if workers is not None:
        workers = whole_number(workers, "workers (--workers)")
    ray = import_ray()
    mine = not ray.is_initialized()
    if mine:
        connect(ray)
    size = workers or max(1, int(ray.cluster_resources().get("CPU", 1)))

    def mapped(function: Callable[[Job], Result], jobs: Iterable[Job], /) -> Iterator[Result]:
        return _mapped(ray, size, function, jobs)

    before = _each.set(mapped)
    try:
        yield mapped
    finally:
        _each.reset(before)
        if mine:
            ray.shutdown()


def import_ray() -> Any:
    """The module ``ray``.

    Raises
    ------
    DependencyError
        It is not installed.
    """
    try:
        import ray  # noqa: PLC0415
    except ImportError as error:
        raise DependencyError("the engine ray needs the package ray: pip install 'recsys[ray]'") from error
    return ray


def connect(ray: Any) -> None:
    """Connect this process to the cluster that ``RAY_ADDRESS`` names, else to one of this machine.

    Raises
    ------
    RecsysError
        The cluster cannot be reached.
    """
    address = os.environ.get("RAY_ADDRESS")
    where = f"the Ray cluster at {address} (RAY_ADDRESS)" if address else "a Ray cluster"
    log(f"connecting to {where}" if address else f"looking for {where} on this machine, else starting one")
    if address:
        _probe(address)
    ours = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(include_dashboard=False, log_to_driver=False, logging_level=logging.WARNING)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise RecsysError(f"{where} cannot be reached: {error}") from error
    finally:
        if threading.current_thread() is threading.main_thread() and ours is not None:
            signal.signal(signal.SIGTERM, ours)  # Ray sets its own, which would end this process without a word of ours


def _probe(address: str) -> None:
    """Refuse an address at which nobody answers within seconds; Ray itself would try for minutes.

    Raises
    ------
    RecsysError
        Nothing listens there, or the address has no port.
    """
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if address in ("auto", "local"):
        return
    if not host or not port.isdecimal():
        raise RecsysError(f"RAY_ADDRESS is {address!r}; write HOST:PORT, such as 10.0.0.1:6379, or auto")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_ANSWERS_WITHIN).close()
    except (OSError, OverflowError, UnicodeError) as error:
        raise RecsysError(
            f"the Ray cluster at {address} (RAY_ADDRESS) cannot be reached: {error}; start it, or mend the address"
        ) from error


def _mapped(ray: Any, size: int, function: Callable[[Job], Result], jobs: Iterable[Job]) -> Iterator[Result]:
    """Results in order; at most ``size`` jobs run at one time, and few are done before their turn."""
    remote = ray.remote(num_cpus=1, max_retries=_AGAIN)(_computed)
    waiting, done, running = enumerate(jobs), dict[int, Any](), dict[Any, int]()
    turn, more = 0, True
    try:
        while True:
            while more and len(running) < size and len(running) + len(done) < _AHEAD * size:
                number, job = next(waiting, (-1, None))
                more = number >= 0
                if more:
                    running[remote.remote(function, job)] = number
            while turn in done:
                result, said = done.pop(turn)
                for level, message in said:
                    logger.log(level, message)
                turn += 1
                yield result
            if not running and not more and not done:
                return
            if running and turn not in done:
                done |= _arrived(ray, running)
    finally:
        for call in running:
            ray.cancel(call, force=True)


def _arrived(ray: Any, running: dict[Any, int]) -> dict[int, Any]:
    """What one of the running jobs gave, by its number; nothing where none has come to its end for long."""
    calls, _ = ray.wait(list(running), num_returns=1, timeout=_PATIENCE)
    if not calls:
        log(f"waiting for the Ray cluster: {len(running):,} pieces are computed, or wait for a free processor")
        return {}
    number = running.pop(calls[0])
    try:
        return {number: ray.get(calls[0])}
    except ray.exceptions.RayTaskError as error:
        raise (error.cause or error) from error
    except ray.exceptions.RayError as error:
        raise RecsysError(f"the processes of the Ray cluster die, {_AGAIN + 1} times in a row: {error}") from error


class _Saying(logging.Handler):
    """Keeps what is said."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.said: list[tuple[int, str]] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.said.append((record.levelno, record.getMessage()))


def _computed(function: Callable[[Job], Result], job: Job) -> tuple[Result, list[tuple[int, str]]]:
    """The result of a job, and what was said meanwhile; it runs in a process of the cluster."""
    os.environ.setdefault("POLARS_MAX_THREADS", "1")  # a worker has one processor
    saying = _Saying()
    logger.addHandler(saying)
    logger.setLevel(logging.INFO)
    try:
        return function(job), saying.said
    finally:
        logger.removeHandler(saying)
