"""The queue in front of the model: batches of what is there, bounds, deadlines, callers who leave, and the end."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import CancelledError, Future, wait

import pytest

from recsys.errors import DeadlineError, OverloadedError
from recsys.server.model_queue import ModelQueue


class Model:
    """Echoes what it is asked, batch by batch, as often as it is let."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.gate = threading.Event()
        self.entered = threading.Event()
        self.dropped: list[tuple[str, int]] = []
        self.depths: list[int] = []

    def __call__(self, asked: list[int]) -> list[int | BaseException]:
        self.batches.append(asked)
        self.entered.set()
        assert self.gate.wait(10)
        if 13 in asked:
            raise RuntimeError("no luck")
        return [ValueError("odd") if one == 7 else one for one in asked]

    def queued(self, waiting: int) -> None:
        self.depths.append(waiting)

    def batch(self, requests: int, positions: int, waited: Sequence[float], seconds: float) -> None:
        assert requests <= positions
        assert min(waited) >= 0 < seconds

    def dropped_(self, reason: str, requests: int) -> None:
        self.dropped.append((reason, requests))


class Told:
    def __init__(self, model: Model) -> None:
        self.queued, self.batch, self.dropped = model.queued, model.batch, model.dropped_


@pytest.fixture
def model() -> Model:
    return Model()


@pytest.fixture
def queue(model: Model) -> Iterator[ModelQueue[int, int]]:
    queue = ModelQueue(model, length=8, batch_requests=4, batch_positions=100, watcher=Told(model))
    yield queue
    model.gate.set()
    queue.drain(5)
    assert not queue.alive
    assert model.depths[-1] == queue.waiting == 0


def hold(queue: ModelQueue[int, int], model: Model) -> Future[int]:
    """Keep the model busy with a first job."""
    first = queue.submit(0, seconds=10)
    assert model.entered.wait(5)
    return first


def test_a_job_that_comes_alone_does_not_wait_and_those_that_gather_go_together(
    queue: ModelQueue[int, int], model: Model
) -> None:
    first = hold(queue, model)
    assert model.batches == [[0]]
    rest = [queue.submit(n, seconds=10) for n in range(1, 7)]
    model.gate.set()
    wait([first, *rest], 5)
    assert model.batches == [[0], [1, 2, 3, 4], [5, 6]]
    assert rest[5].result() == 6


def test_a_batch_has_a_budget_of_positions_and_a_larger_job_goes_alone(queue: ModelQueue[int, int], model: Model) -> None:
    hold(queue, model)
    futures = [queue.submit(n, seconds=10, positions=size) for n, size in ((1, 60), (2, 60), (3, 500), (4, 1))]
    model.gate.set()
    wait(futures, 5)
    assert model.batches == [[0], [1], [2], [3], [4]]


def test_over_the_bound_jobs_are_refused_with_a_time_to_come_again(queue: ModelQueue[int, int], model: Model) -> None:
    hold(queue, model)
    for n in range(8):
        queue.submit(n, seconds=10)
    with pytest.raises(OverloadedError) as told:
        queue.submit(9, seconds=10)
    assert told.value.retry_after > 0
    assert model.dropped == [("overload", 1)]
    assert max(model.depths) == 8


def test_expired_and_cancelled_jobs_are_never_computed_and_make_room(queue: ModelQueue[int, int], model: Model) -> None:
    hold(queue, model)
    late = [queue.submit(n, seconds=0.01) for n in range(1, 4)]
    gone = [queue.submit(n, seconds=10) for n in range(4, 9)]
    for one in gone:
        one.cancel()
    time.sleep(0.02)
    kept = queue.submit(42, seconds=10)  # there is room again
    model.gate.set()
    assert kept.result(5) == 42
    assert model.batches == [[0], [42]]
    for one in late:
        with pytest.raises(DeadlineError, match="ask again"):
            one.result(0)
    with pytest.raises(CancelledError):
        gone[0].result(0)
    assert sorted(model.dropped) == sorted([("deadline", 1)] * 3 + [("cancelled", 1)] * 5)


def test_those_who_wait_too_long_can_be_told_while_the_model_is_busy(queue: ModelQueue[int, int], model: Model) -> None:
    hold(queue, model)
    late, early = queue.submit(1, seconds=0.001), queue.submit(2, seconds=10)
    time.sleep(0.01)
    queue.expire()
    with pytest.raises(DeadlineError):
        late.result(0)
    assert (early.done(), queue.waiting) == (False, 1)


def test_what_would_come_too_late_at_the_present_pace_is_refused_at_once(queue: ModelQueue[int, int], model: Model) -> None:
    first = hold(queue, model)
    time.sleep(0.1)
    model.gate.set()
    first.result(5)
    model.gate.clear()
    model.entered.clear()
    hold(queue, model)
    queue.submit(1, seconds=10)
    with pytest.raises(OverloadedError, match=r"wait for the model already, and the answer would come after about 0\.\d\d"):
        queue.submit(2, seconds=0.05)


def test_one_job_does_not_fail_the_others_of_its_batch(queue: ModelQueue[int, int], model: Model) -> None:
    hold(queue, model)
    futures = [queue.submit(n, seconds=10) for n in (1, 7, 13)]
    model.gate.set()
    assert futures[0].result(5) == 1
    with pytest.raises(ValueError, match="odd"):
        futures[1].result(5)
    with pytest.raises(RuntimeError, match="no luck"):
        futures[2].result(5)
    assert queue.alive


def test_a_drain_answers_what_waits_and_refuses_the_rest(queue: ModelQueue[int, int], model: Model) -> None:
    first = hold(queue, model)
    waiting = [queue.submit(n, seconds=10) for n in range(1, 4)]
    stopped = threading.Timer(0.05, model.gate.set)
    stopped.start()
    assert queue.drain(5)
    assert [one.result(0) for one in (first, *waiting)] == [0, 1, 2, 3]
    with pytest.raises(OverloadedError, match="stopping"):
        queue.submit(9, seconds=1)


def test_a_drain_has_a_limit(queue: ModelQueue[int, int], model: Model) -> None:
    hold(queue, model)
    waiting = queue.submit(1, seconds=10)
    assert not queue.drain(0.05)
    with pytest.raises(OverloadedError, match="stopping"):
        waiting.result(0)
