"""A schedule takes what a server stores, and the server answers from what was accepted; what is refused changes nothing."""

from __future__ import annotations

import logging
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import recsys
from recsys.cli.interrupted import StoppedError
from recsys.cli.parser import main
from recsys.config.gate import GateOptions
from recsys.data.interactions import Interactions
from recsys.errors import AccessError, ConfigError, DataError
from recsys.pipeline.watch import Schedule, watch
from recsys.server.events import Event
from tests.pipeline.shop import DAY, DAYS, START, events
from tests.server.http_world import World, world_of
from tests.server.test_run import listening

NOW = int(time.time())
UNJUDGED = {"gate": GateOptions(judge_share=0.0)}


def recent(days: range, **how: int) -> pl.DataFrame:
    """The shop, whose last day ends now: at whatever hour, the pause since then is an ordinary one."""
    return events(days, **how).with_columns(pl.col("timestamp") - START - DAYS * DAY + NOW)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("watch") / "run"
    recsys.TwoTower(fast=True).fit(Interactions.from_frame(recent(range(DAYS - 1)))).retriever(index="exact").save(folder)
    return folder


@pytest.fixture(scope="module")
def world(run: Path) -> Iterator[tuple[World, str]]:
    with world_of(run, run.parent, listen={"port": 0}) as made, listening(made) as (_, port):
        yield made, f"http://127.0.0.1:{port}"


def stored(world: World, frame: pl.DataFrame, name: str) -> None:
    world.served.store.append(
        [Event(f"{name} {at}", user, item, when) for at, (user, item, when) in enumerate(frame.iter_rows())]
    )


def schedule(world: tuple[World, str], run: Path, **how: Any) -> Schedule:
    return Schedule(f"sqlite:///{run.parent}/server.db", world[1], world[0].secrets["admin"], **how)


def told(caplog: pytest.LogCaptureFixture) -> str:
    return "\n".join(one.getMessage() for one in caplog.records)


def test_what_is_stored_is_learned_and_served(
    world: tuple[World, str], run: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="recsys")
    first = world[0].served.engine.versions()[0]
    assert watch(run, schedule(world, run), rounds=1, **UNJUDGED) == 0
    assert "no event is stored that" in told(caplog)
    flood = recent(range(DAYS - 1, DAYS)).with_columns(item_id=pl.lit("i3"))
    stored(world[0], flood, "flood")
    assert watch(run, schedule(world, run), rounds=1, **UNJUDGED) == 0
    assert "top-item" in told(caplog)
    assert "the server stays as it is" in told(caplog)
    assert [one.digest for one in world[0].served.engine.versions()] == [first.digest]
    for user in flood["user_id"].unique():
        world[0].served.store.forget(user)
    stored(world[0], recent(range(DAYS - 1, DAYS)), "day")
    caplog.clear()
    waits: list[float] = []
    assert watch(run, schedule(world, run, every=60), rounds=2, wait=waits.append, **UNJUDGED, accept=["events"]) == 1
    now = world[0].served.engine.versions()[0]
    assert now.digest != first.digest
    assert Path(now.path).parent == run.parent
    assert f"the server answers from {now.path}" in told(caplog)
    assert "holds no event that the bundle does not know already" in told(caplog)
    assert len(waits) == 1
    assert 0 < waits[0] <= 60
    bundle = recsys.load(now.path).bundle
    assert bundle.lineage is not None
    assert bundle.lineage["events"]["new"] == 90
    assert recsys.Client(world[1], world[0].secrets["admin"]).recommend("u1", k=3).bundle == now.digest


def test_older_bundles_of_the_schedule_are_removed(run: Path, tmp_path: Path) -> None:
    from recsys.pipeline.watch import _remove_older

    place = tmp_path / "r[1]"
    for name in ("r[1]", "r[1]-20260101T000000Z", "r[1]-20260102T000000Z", "r[1]-20260103T000000Z", "r[1]-mine", "r[1]-x"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "manifest.json").touch()
    _remove_older(place, 1, {tmp_path / "r[1]-20260101T000000Z"})
    left = {one.name for one in tmp_path.iterdir()}
    assert left == {"r[1]", "r[1]-20260101T000000Z", "r[1]-20260103T000000Z", "r[1]-mine", "r[1]-x"}


def test_a_first_round_that_cannot_be_right_ends_it(world: tuple[World, str], run: Path) -> None:
    with pytest.raises(AccessError):
        watch(run, Schedule(f"sqlite:///{run.parent}/server.db", world[1], "rk_guessed"), rounds=1)
    with pytest.raises(ConfigError, match="every"):
        Schedule("sqlite:///x", world[1], every=0)
    from recsys.core.files import exclusive

    with exclusive(run, run.parent / ".run.watch.lock"), pytest.raises(DataError, match="is being written by process"):
        watch(run, schedule(world, run), rounds=1)


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_a_stop_ends_it(
    world: tuple[World, str], run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    printed = "\nkeep it now: it is shown this once; its id is 1, its role admin\n"  # recsys keys create … > FILE
    (tmp_path / "key").write_text(world[0].secrets["admin"] + printed)

    def stopped(seconds: float) -> None:
        raise StoppedError(signal.SIGTERM)  # what SIGTERM becomes: tests/cli/test_interrupted.py, in processes of their own

    monkeypatch.setattr("recsys.pipeline.watch._pause", stopped)
    words = ["update", str(run), "--watch", "--every", "1h", "--db", f"sqlite:///{run.parent}/server.db"]
    assert main([*words, "--server", world[1], "--key-file", str(tmp_path / "key")]) == 0
    assert capsys.readouterr().out.startswith("the watch has ended; the server goes on with the bundle that it has")
    (tmp_path / "key").write_text("two words")
    assert main([*words, "--server", world[1], "--key-file", str(tmp_path / "key")]) == 2
    assert "must hold one key" in capsys.readouterr().err
