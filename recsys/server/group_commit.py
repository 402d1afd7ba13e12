"""A single thread writes for all: what gathers during a commit goes into the next commit."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from recsys.errors import DataError, OverloadedError, StoreUnavailableError

Piece = TypeVar("Piece")
Answer = TypeVar("Answer")
Done = TypeVar("Done")


@dataclass(eq=False)
class _Pieces(Generic[Piece, Answer]):
    """What a caller handed in together."""

    pieces: list[Piece]
    future: Future[list[Answer]] = field(default_factory=Future)


@dataclass(eq=False)
class _Task:
    """Something else that the thread is to do between two commits."""

    run: Callable[[], Any]
    future: Future[Any] = field(default_factory=Future)


class GroupCommit(Generic[Piece, Answer]):
    """A bounded queue in front of a single writer.

    An idle writer begins at once; a busy one takes all that has gathered, up to ``largest`` pieces, into its next commit.

    Parameters
    ----------
    commit : function
        Pieces → an answer for each, once they are on disk.
    largest : int
        Pieces in a commit, unless a single caller hands in more.
    bound : int
        Pieces that may wait.
    name : str
        Of the thread.
    """

    def __init__(self, commit: Callable[[list[Piece]], list[Answer]], largest: int, bound: int, name: str) -> None:
        self._commit = commit
        self._largest, self._bound = largest, bound
        self._queue: deque[_Pieces[Piece, Answer] | _Task] = deque()
        self._waiting = 0
        self._closed = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Pieces in the queue."""
        return self._waiting

    @property
    def alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive()

    def submit(self, pieces: list[Piece]) -> Future[list[Answer]]:
        """Hand in pieces that go into the same commit; a future that is cancelled before it has begun is left out.

        Raises
        ------
        OverloadedError
            Too many are waiting.
        DataError
            More pieces than may ever wait.
        StoreUnavailableError
            The writer was closed.
        """
        if len(pieces) > self._bound:
            raise DataError(f"{len(pieces):,} events at once; send at most {self._bound:,} together")
        job = _Pieces[Piece, Answer](pieces)
        with self._changed:
            self._refuse_closed()
            if self._waiting + len(pieces) > self._bound:
                raise OverloadedError(f"{self._waiting:,} events wait to be written; send these again later", 1.0)
            self._waiting += len(pieces)
            self._queue.append(job)
            self._changed.notify()
        return job.future

    def run(self, task: Callable[[], Done]) -> Future[Done]:
        """Have the thread do something else, after what waits already.

        Raises
        ------
        StoreUnavailableError
            The writer was closed.
        """
        job = _Task(task)
        with self._changed:
            self._refuse_closed()
            self._queue.append(job)
            self._changed.notify()
        return job.future

    def close(self, timeout: float | None = None) -> bool:
        """Take nothing more, write what waits, and end the thread; False if that takes longer than ``timeout`` seconds."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _refuse_closed(self) -> None:
        if self._closed:
            raise StoreUnavailableError("the store is closed: the server is stopping; send it to another server")

    def _run(self) -> None:
        while (jobs := self._take()) is not None:
            begun = [job for job in jobs if job.future.set_running_or_notify_cancel()]
            if not begun:
                continue
            if isinstance(begun[0], _Task):
                _settle(begun[0].future, begun[0].run)
            else:
                self._write([job for job in begun if isinstance(job, _Pieces)])

    def _take(self) -> list[_Pieces[Piece, Answer] | _Task] | None:
        """The next task alone, or pieces up to the next task; None when all is done."""
        with self._changed:
            while not self._queue:
                if self._closed:
                    return None
                self._changed.wait()
            jobs = [self._queue.popleft()]
            if isinstance(jobs[0], _Task):
                return jobs
            taken = len(jobs[0].pieces)
            while self._queue and isinstance(job := self._queue[0], _Pieces) and taken + len(job.pieces) <= self._largest:
                jobs.append(self._queue.popleft())
                taken += len(job.pieces)
            self._waiting -= taken
            return jobs

    def _write(self, jobs: list[_Pieces[Piece, Answer]]) -> None:
        try:
            answers = iter(self._commit([piece for job in jobs for piece in job.pieces]))
        except Exception as error:
            if len(jobs) > 1 and not isinstance(error, StoreUnavailableError):
                for job in jobs:  # a single job is at fault, and the others must not fail with it
                    self._write([job])
                return
            for job in jobs:
                job.future.set_exception(error)
            return
        for job in jobs:
            job.future.set_result([next(answers) for _ in job.pieces])


def _settle(future: Future[Any], run: Callable[[], Any]) -> None:
    try:
        result = run()
    except Exception as error:
        future.set_exception(error)
    else:
        future.set_result(result)
