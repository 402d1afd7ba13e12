"""Work of a cluster comes back in order, with what was said meanwhile; a cluster of our own making stands in for Ray."""

from __future__ import annotations

import logging
import sys
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest

from recsys.core import cluster
from recsys.core.progress import warn
from recsys.errors import ConfigError, DataError, DependencyError, RecsysError


class TaskedError(Exception):
    """What Ray raises where a job raised."""

    def __init__(self, cause: Exception) -> None:
        super().__init__(str(cause))
        self.cause = cause


class LostError(Exception):
    """What Ray raises where a process died."""


class Cluster:
    """Computes a job when it is asked for, the last one first; remembers how many ran at one time."""

    exceptions = SimpleNamespace(RayTaskError=TaskedError, RayError=LostError)

    def __init__(self) -> None:
        self.running, self.most, self.ahead, self.cancelled = 0, 0, 0, 0

    def is_initialized(self) -> bool:
        return True

    def cluster_resources(self) -> dict[str, float]:
        return {"CPU": 3.0}

    def remote(self, **how: object) -> Any:
        assert how == {"num_cpus": 1, "max_retries": 3}

        def decorated(function: Any) -> Any:
            def begin(*given: Any) -> Any:
                self.running += 1
                self.most = max(self.most, self.running)
                return partial(function, *given)

            return SimpleNamespace(remote=begin)

        return decorated

    def wait(self, calls: list[Any], **_: object) -> tuple[list[Any], list[Any]]:
        return calls[-1:], calls[:-1]

    def get(self, call: Any) -> Any:
        self.running -= 1
        try:
            return call()
        except DataError as error:
            raise TaskedError(error) from error

    def cancel(self, call: Any, *, force: bool) -> None:
        self.cancelled += force


@pytest.fixture
def ray(monkeypatch: pytest.MonkeyPatch) -> Cluster:
    made = Cluster()
    monkeypatch.setitem(sys.modules, "ray", made)
    return made


def double(number: int) -> int:
    warn(f"doubled {number}")
    return 2 * number


def test_results_come_in_order_with_what_was_said(ray: Cluster, caplog: pytest.LogCaptureFixture) -> None:
    logger = logging.getLogger("recsys")
    with cluster.engine("ray", 2) as each, caplog.at_level(logging.INFO, logger="recsys"):
        logger.propagate = False  # what a job says in this process is no news of the cluster's
        found = each(double, iter(range(20)))
        logger.propagate = True
        assert cluster.each() is each
        before = len(caplog.messages)
        assert list(found) == list(range(0, 40, 2))
    told = [line for line in caplog.messages[before:] if line.startswith("doubled")]
    assert told[-1] == "doubled 19"
    assert set(told) == {f"doubled {number}" for number in range(20)}
    assert (ray.most, cluster.each()) == (2, map)


def test_workers_are_as_many_as_processors(ray: Cluster) -> None:
    with cluster.engine("ray") as each:
        assert list(each(str, range(9))) == list("012345678")
    assert ray.most == 3


def refuse(number: int) -> int:
    if number == 3:
        raise DataError("row 3 is bad")
    return number


def test_an_error_of_a_job_is_raised_as_it_is_and_the_others_are_ended(ray: Cluster) -> None:
    with cluster.engine("ray") as each, pytest.raises(DataError, match="row 3 is bad"):
        list(each(refuse, range(9)))
    assert ray.cancelled


def test_processes_that_die_are_told(ray: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    def lost(call: object) -> None:
        raise LostError("SIGKILL")

    monkeypatch.setattr(ray, "get", lost)
    with cluster.engine("ray") as each, pytest.raises(RecsysError, match="processes of the Ray cluster die, 4 times"):
        list(each(double, range(9)))


def test_here_nothing_is_needed_and_workers_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with cluster.engine() as each:
        assert list(each(str, [1])) == ["1"]
    for how, kind, told in (
        (("local", 2), ConfigError, "--workers"),
        (("spark",), ConfigError, "local or ray"),
        (("ray",), DependencyError, r"pip install 'recsys\[ray\]'"),
    ):
        with pytest.raises(kind, match=told), cluster.engine(*how):
            pass
