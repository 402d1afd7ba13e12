"""One thread asks the model, in batches of what has gathered; what it cannot do in time is refused, not heaped up."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, InvalidStateError
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from recsys.core.progress import warn
from recsys.errors import DeadlineError, OverloadedError
from recsys.server.pace import Pace

Q = TypeVar("Q")
A = TypeVar("A")


class Watcher(Protocol):
    """Gets told what the queue does; called from any thread, and quick."""

    def queued(self, waiting: int) -> None:
        """How many requests wait, whenever that changes."""

    def batch(self, requests: int, positions: int, waited: Sequence[float], seconds: float) -> None:
        """A batch was answered; ``waited`` are the seconds that each of its jobs had waited."""

    def dropped(self, reason: str, requests: int) -> None:
        """Requests were not answered: ``overload``, ``deadline``, ``cancelled`` or ``closed``."""


class Unwatched:
    """A watcher that ignores everything."""

    def queued(self, waiting: int) -> None:
        pass

    def batch(self, requests: int, positions: int, waited: Sequence[float], seconds: float) -> None:
        pass

    def dropped(self, reason: str, requests: int) -> None:
        pass


@dataclass(eq=False)
class Job(Generic[Q, A]):
    """Requests of one caller, which are answered together, by one state of the model.

    Attributes
    ----------
    asked : Q
    requests, positions : int
        How many requests they are, and how many events of histories must be read for them.
    deadline : float
        By ``time.monotonic``: dropped if it has not begun by then.
    future : Future
    """

    asked: Q
    requests: int
    positions: int
    deadline: float
    future: Future[A] = field(default_factory=Future)
    since: float = field(default_factory=time.monotonic)

    def answered(self, answer: A) -> None:
        """Hand over the answer."""
        self.future.set_result(answer)

    def failed(self, error: BaseException) -> None:
        """Hand over an error."""
        self.future.set_exception(error)


class ModelQueue(Generic[Q, A]):
    """A bounded queue in front of one thread that answers.

    The thread takes what is there, up to its budget, and never waits for more. Jobs whose deadline has passed or whose
    caller has gone are dropped before they are computed. More than ``length`` waiting requests, and jobs that could not
    be answered before their deadline at the present pace, are refused at once.

    Parameters
    ----------
    answer : function
        Gets the jobs of a batch and gives one answer or error for each. If it raises, each job is tried alone.
    length : int
        Requests that may wait.
    batch_requests, batch_positions : int
        Budget of a batch; a larger job is a batch of its own.
    watcher : Watcher, optional

    Attributes
    ----------
    waiting : int
        Requests that wait.
    waker : function or None
        Called instead of waking the thread for a new job; it sees to it that :meth:`wake` is called soon.

    Examples
    --------
    >>> from recsys.server.model_queue import ModelQueue
    >>> queue = ModelQueue(lambda jobs: [2 * asked for asked in jobs], length=8, batch_requests=4, batch_positions=100)
    >>> queue.submit(21, seconds=1.0).result()
    42
    >>> queue.drain(1.0)
    True
    """

    def __init__(
        self,
        answer: Callable[[list[Q]], Sequence[A | BaseException]],
        *,
        length: int,
        batch_requests: int,
        batch_positions: int,
        watcher: Watcher | None = None,
    ) -> None:
        self._answer, self._length = answer, length
        self._batch_requests, self._batch_positions = batch_requests, batch_positions
        self._watcher: Watcher = watcher or Unwatched()
        self._jobs: deque[Job[Q, A]] = deque()
        self._changed = threading.Condition()
        self.waiting = 0
        self.waker: Callable[[], None] | None = None
        self._positions = 0
        self._pace = Pace()
        self._busy = False
        self._idle_at = 0.0  # when the present batch should be done
        self._batches = 0
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="recsys-model", daemon=True)
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Whether the thread lives; a server whose thread has died must end."""
        return self._thread.is_alive()

    def join(self, seconds: float | None = None) -> None:
        """Wait for the end of the thread."""
        self._thread.join(seconds)

    def submit(self, asked: Q, *, seconds: float, requests: int = 1, positions: int = 1) -> Future[A]:
        """Queue a job.

        Parameters
        ----------
        asked : Q
        seconds : float
            Until its deadline.
        requests, positions : int

        Raises
        ------
        OverloadedError
            The queue is full, or at its pace the job would not begin in time.
        """
        job: Job[Q, A] = Job(asked, requests, positions, time.monotonic() + seconds)
        with self._changed:
            self._check(seconds, requests, positions)
            self._jobs.append(job)
            self._count(job, 1)
            if self.waker is None:
                self._changed.notify_all()
        if self.waker is not None:
            self.waker()
        return job.future

    def check(self, seconds: float) -> None:
        """Refuse one more request, as :meth:`submit` would, before anything else is done for it."""
        with self._changed:
            self._check(seconds, 1, 1)

    def expire(self) -> None:
        """Tell those whose deadline has passed, also while the thread is busy; their jobs are dropped."""
        with self._changed:
            self._drop_dead()

    def wake(self) -> None:
        """Let the thread begin with what waits."""
        with self._changed:
            self._changed.notify_all()

    def rest(self, seconds: float) -> None:
        """Wait until the present batch, or the next one if there is none, is answered; at most so long."""
        with self._changed:
            before = self._batches
            self._changed.wait_for(lambda: self._batches != before or not (self._jobs or self._busy), seconds)

    def _check(self, seconds: float, requests: int, positions: int) -> None:
        """Refuse what there is no room for, or no time."""
        if self._closed:
            raise OverloadedError("this server is stopping; ask another one, or again in a moment", 1.0)
        if self.waiting + requests > self._length:
            self._drop_dead()
        if not self.waiting and not self._busy:
            return
        wait = self._wait(requests, positions)
        if (self.waiting and self.waiting + requests > self._length) or wait > seconds:
            self._watcher.dropped("overload", requests)
            late = f", and the answer would come after about {wait:.2f} seconds" if wait > seconds else ""
            raise OverloadedError(
                f"{self.waiting:,} requests wait for the model already{late}; ask again in a moment", max(0.1, wait)
            )

    def _wait(self, requests: int, positions: int) -> float:
        """Seconds until one more job would be answered, at the present pace."""
        ahead = self.waiting + requests
        batches = max(ahead / self._batch_requests, (self._positions + positions) / self._batch_positions, 1.0)
        left = max(0.0, self._idle_at - time.monotonic()) if self._busy else 0.0
        return left + batches * self._pace.seconds(ahead / batches)

    def drain(self, seconds: float) -> bool:
        """Take no more jobs, answer those that wait, end the thread; returns whether all was done in this time.

        What is left over is refused with OverloadedError.
        """
        end = time.monotonic() + seconds
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            done = self._changed.wait_for(lambda: not self._jobs and not self._busy, max(0.0, seconds))
            left, self._jobs = list(self._jobs), deque()
            for job in left:
                self._count(job, -1)
        for job in left:
            self._watcher.dropped("closed", job.requests)
            if job.future.set_running_or_notify_cancel():
                job.failed(OverloadedError("this server is stopping; ask another one, or again in a moment", 1.0))
        self._thread.join(max(0.0, end - time.monotonic()))
        return done

    def _count(self, job: Job[Q, A], sign: int) -> None:
        self.waiting += sign * job.requests
        self._positions += sign * job.positions
        self._watcher.queued(self.waiting)

    def _drop_dead(self) -> None:
        """Let go of waiting jobs that nobody waits for any longer."""
        kept: deque[Job[Q, A]] = deque()
        for job in self._jobs:
            if self._is_dead(job):
                self._count(job, -1)
            else:
                kept.append(job)
        self._jobs = kept

    def _is_dead(self, job: Job[Q, A]) -> bool:
        """Whether the caller has gone or the deadline has passed, of which the caller is then told."""
        if job.future.cancelled():
            self._watcher.dropped("cancelled", job.requests)
            return True
        waited = time.monotonic()
        if waited <= job.deadline:
            return False
        self._watcher.dropped("deadline", job.requests)
        if job.future.set_running_or_notify_cancel():
            job.failed(
                DeadlineError(f"the request waited {waited - job.since:.2f} seconds and its deadline passed; ask again")
            )
        return True

    def _batch(self) -> list[Job[Q, A]]:
        """The next jobs within the budget, waiting for the first one; none once the queue is closed and empty."""
        with self._changed:
            self._busy = False
            self._batches += 1
            self._changed.notify_all()
            while True:
                self._changed.wait_for(lambda: self._jobs or self._closed)
                taken: list[Job[Q, A]] = []
                requests = positions = 0
                while self._jobs:
                    job = self._jobs[0]
                    over = (
                        requests + job.requests > self._batch_requests or positions + job.positions > self._batch_positions
                    )
                    if taken and over:
                        break
                    self._jobs.popleft()
                    self._count(job, -1)
                    if not self._is_dead(job) and job.future.set_running_or_notify_cancel():
                        taken.append(job)
                        requests, positions = requests + job.requests, positions + job.positions
                if taken:
                    self._busy, self._idle_at = True, time.monotonic() + self._pace.seconds(requests)
                    return taken
                if self._closed:
                    return []

    def _run(self) -> None:
        while jobs := self._batch():
            start = time.monotonic()
            self._settle(jobs)
            took, requests = time.monotonic() - start, sum(job.requests for job in jobs)
            self._pace.note(requests, took)
            waited = [start - job.since for job in jobs]
            self._watcher.batch(requests, sum(job.positions for job in jobs), waited, took)

    def _settle(self, jobs: list[Job[Q, A]]) -> None:
        """Answer jobs; if that fails as a whole, each one alone, so that one job does not fail the others."""
        try:
            answers = self._answer([job.asked for job in jobs])
        except Exception as error:
            if len(jobs) > 1:
                warn(f"a batch of {len(jobs)} failed ({type(error).__name__}: {error}); each of its jobs is tried alone")
                for job in jobs:
                    self._settle([job])
                return
            answers = [error]
        for job, answer in zip(jobs, answers, strict=True):
            try:
                if isinstance(answer, BaseException):
                    job.failed(answer)
                else:
                    job.answered(answer)
            except InvalidStateError:  # pragma: no cover - a callback of the caller settled it
                warn("a job was settled by somebody else")
