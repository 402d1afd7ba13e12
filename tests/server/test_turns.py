"""The event loop and the thread of the model take turns; and how long a batch will take."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import Future

import pytest

from recsys.server.pace import Pace
from recsys.server.turns import Turns


class Model:
    """Answers its jobs in a thread of its own once it is woken."""

    def __init__(self) -> None:
        self.thread = threading.Thread()
        self.jobs: list[tuple[Future[int], int | Exception]] = []
        self.batches: list[int] = []
        self.rested = 0

    def wake(self) -> None:
        jobs, self.jobs = self.jobs, []
        self.batches.append(len(jobs))

        def work() -> None:
            for future, answer in jobs:
                if isinstance(answer, Exception):
                    future.set_exception(answer)
                elif future.set_running_or_notify_cancel():
                    future.set_result(answer)

        self.thread = threading.Thread(target=work)
        self.thread.start()

    def rest(self, seconds: float) -> None:
        self.rested += 1
        self.thread.join(seconds)

    def ask(self, turns: Turns, answer: int | Exception) -> Future[int]:
        future = Future[int]()
        self.jobs.append((future, answer))
        turns.soon()
        return future


def test_requests_that_are_read_together_are_one_batch() -> None:
    model = Model()

    async def main() -> None:
        turns = Turns(asyncio.get_running_loop(), model)

        async def ask(n: int) -> int:
            return await turns.awaited(model.ask(turns, n))

        assert await asyncio.gather(*map(ask, range(5))) == list(range(5))
        assert model.batches == [5]
        assert await ask(5) == 5
        assert model.batches == [5, 1]
        assert model.rested == 2
        with pytest.raises(ValueError, match="odd"):
            await turns.awaited(model.ask(turns, ValueError("odd")))
        cancelled = model.ask(turns, 7)
        waiting = turns.awaited(cancelled)
        cancelled.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting

    asyncio.run(main())


def test_another_thread_wakes_the_model_itself_and_its_answer_reaches_the_loop() -> None:
    model = Model()

    async def main() -> None:
        turns = Turns(asyncio.get_running_loop(), model)
        future = await asyncio.to_thread(model.ask, turns, 3)
        assert await asyncio.wait_for(turns.awaited(future), 5) == 3
        assert model.rested == 0

    asyncio.run(main())


def test_a_batch_costs_something_however_small_it_is() -> None:
    pace = Pace()
    assert pace.seconds(100) == 0
    pace.note(4, 0.02)
    assert pace.seconds(1) == pytest.approx(0.02)
    assert pace.seconds(8) == pytest.approx(0.04)
    for requests in (1, 64) * 20:
        pace.note(requests, 0.002 + 0.0001 * requests)
    assert pace.seconds(1) == pytest.approx(0.0021, rel=0.1)
    assert pace.seconds(640) == pytest.approx(0.066, rel=0.1)
