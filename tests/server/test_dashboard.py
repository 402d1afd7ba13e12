"""A real Prometheus scrapes a real server, and every question of the dashboard and of the alerts has an answer."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from recsys.server.settings import Settings
from tests.server.http_world import World, world_of
from tests.server.test_alerts import RULES, SERVING, queries
from tests.server.test_run import listening

pytestmark = pytest.mark.skipif(shutil.which("prometheus") is None, reason="needs prometheus")


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        found: int = one.getsockname()[1]
        return found


class Prometheus:
    """A Prometheus that was started, and what it answers."""

    def __init__(self, port: int) -> None:
        self._url = f"http://127.0.0.1:{port}"

    def ask(self, path: str, **given: str) -> Any:
        with urllib.request.urlopen(f"{self._url}{path}?{urllib.parse.urlencode(given)}", timeout=5) as answer:  # noqa: S310
            return json.load(answer)["data"]

    def values(self, query: str) -> list[float]:
        return [float(one["value"][1]) for one in self.ask("/api/v1/query", query=query)["result"]]


@contextmanager
def prometheus(folder: Path, target: str, secret: str) -> Iterator[Prometheus]:
    """With our configuration, but for address, key and pace."""
    written = yaml.safe_load((SERVING / "prometheus" / "prometheus.yml").read_text(encoding="utf-8"))
    written["global"] = {"scrape_interval": "500ms", "evaluation_interval": "500ms"}
    (scrape,) = written["scrape_configs"]
    scrape["static_configs"] = [{"targets": [target]}]
    (folder / "key").write_text(secret)
    scrape["authorization"]["credentials_file"] = str(folder / "key")
    (folder / "prometheus.yml").write_text(yaml.safe_dump(written))
    shutil.copy(SERVING / "prometheus" / "alerts.yml", folder)
    port = free_port()
    command = ["prometheus", f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data"]
    with (folder / "log").open("wb") as log:
        child = subprocess.Popen([*command, f"--web.listen-address=127.0.0.1:{port}"], stdout=log, stderr=log)
        try:
            yield Prometheus(port)
        finally:
            child.terminate()
            child.wait(20)


def until(what: Any, seconds: float = 30.0) -> Any:
    """Ask again until there is something."""
    end = time.monotonic() + seconds
    while True:
        try:
            if found := what():
                return found
        except OSError:  # it is still starting
            pass
        assert time.monotonic() < end, "Prometheus has nothing to say"
        time.sleep(0.1)


@pytest.fixture(scope="module")
def watched(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[World, Prometheus]]:
    """A server that was asked, refused, told of events and given another bundle while it was scraped."""
    folder = tmp_path_factory.mktemp("watched")
    with world_of(run, folder, listen={"port": 0}) as world, listening(world) as (_, port):
        assert Settings().watching.metrics_key
        with prometheus(folder, f"127.0.0.1:{port}", world.secrets["read"]) as made:
            until(lambda: made.values('up{job="recsys"} == 1'))
            for number in range(4):  # a rate needs two scrapes that differ
                for i in range(20):
                    world.recommended(user=f"u{i}")
                world.post("/v1/events", {"events": [{"user_id": "u1", "item_id": f"i{number}"}]})
                world.post("/v1/recommend", {"user": "u1"}, None)
                time.sleep(0.6)
            yield world, made


def test_prometheus_reads_the_server_with_its_key_and_all_its_rules(watched: tuple[World, Prometheus]) -> None:
    world, made = watched
    (target,) = made.ask("/api/v1/targets")["activeTargets"]
    assert (target["health"], target["lastError"]) == ("up", "")
    assert made.values("recsys_items") == [world.served.engine.versions()[0].items]
    rules = until(lambda: [one for group in made.ask("/api/v1/rules")["groups"] for one in group["rules"]])
    assert {one["name"] for one in rules} == {one["alert"] for one in RULES}
    assert until(lambda: all(one["health"] == "ok" for one in made.ask("/api/v1/rules")["groups"][0]["rules"]))


@pytest.mark.parametrize("query", queries())
def test_each_question_of_the_dashboard_has_an_answer(watched: tuple[World, Prometheus], query: str) -> None:
    _, made = watched
    assert made.values(query.replace("$instance", ".*").replace("$__rate_interval", "1m"))


def test_what_was_done_is_what_is_shown(watched: tuple[World, Prometheus]) -> None:
    _, made = watched
    for query in ('recsys_requests_total{route="/v1/recommend",status="200"} >= 80',
                  'recsys_events_total{type="interaction",result="accepted"} == 4',
                  'recsys_rejected_total{reason="auth"} == 4',
                  "sum(rate(recsys_requests_total[1m])) > 0"):  # fmt: skip
        assert until(lambda query=query: made.values(query)), query
