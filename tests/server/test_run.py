"""A server on a real socket: what was acknowledged counts at once, heads are bounded, and the end comes in order."""

from __future__ import annotations

import http.client
import json
import signal
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from recsys.errors import ConfigError
from recsys.server import protocol
from recsys.server.run import Server, bound, opened, serve
from recsys.server.settings import Settings
from recsys.server.time_limit import HEADER
from tests.server.http_world import World, logs_as_before, world_of


@contextmanager
def listening(world: World) -> Iterator[tuple[Server, int]]:
    """The server of a world on a free port of loopback."""
    with bound(world.served.settings) as place:
        server = Server(world.served)
        thread = threading.Thread(target=server.run, args=([place],))
        thread.start()
        while not server.started:
            time.sleep(0.01)
        try:
            yield server, place.getsockname()[1]
        finally:
            server.should_exit = True
            thread.join()


@pytest.fixture(scope="module")
def world(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    tables = {"listen": {"port": 0, "drain_seconds": 5.0}, "access": {"open": True}}
    with world_of(run, tmp_path_factory.mktemp("run"), **tables) as made:
        yield made


class Client:
    """One connection that stays."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)

    def ask(self, method: str, path: str, body: object = None) -> dict[str, Any]:
        text = None if body is None else json.dumps(body)
        self._connection.request(method, path, text, {"content-type": "application/json"})
        answer = self._connection.getresponse()
        found: dict[str, Any] = json.loads(answer.read())
        assert answer.status == 200, found
        return found


def test_an_acknowledged_event_is_in_the_next_answer_of_every_client(world: World) -> None:
    def write_and_read(number: int) -> int:
        writer, reader = Client(port), Client(port)
        for i in range(15):
            item = f"i{(7 * number + i) % 30}"
            event = {"user_id": f"writer {number}", "item_id": item, "event_id": f"{number} {i}"}
            assert writer.ask("POST", "/v1/events", {"events": [event]})["accepted"] == 1
            found = reader.ask("POST", "/v1/recommend", {"user": f"writer {number}", "k": 30})
            assert found["fresh_events"] == i + 1
            assert item not in [one["item_id"] for one in found["items"]]
            assert reader.ask("GET", f"/v1/users/writer%20{number}")["history"][-1]["item_id"] == item
        return number

    with listening(world) as (_, port), ThreadPoolExecutor(8) as clients:
        assert list(clients.map(write_and_read, range(8))) == list(range(8))


def test_a_request_that_brings_a_time_limit_hears_in_time(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    queue, gate, computed = world.served.engine._queue, threading.Event(), list[object]()
    answer = queue._answer

    def held(calls: Any) -> Any:
        computed.extend(ask.user for call in calls for ask in call.asks)
        assert gate.wait(20)
        return answer(calls)

    def asked(user: str, milliseconds: str) -> tuple[int, str]:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        headers = {"content-type": "application/json", HEADER: milliseconds}
        connection.request("POST", "/v1/recommend", json.dumps({"user": user}), headers)
        response = connection.getresponse()
        return response.status, response.read().decode()

    monkeypatch.setattr(queue, "_answer", held)
    with listening(world) as (_, port):
        for user, words in (("u1", "being computed"), ("u2", "its deadline passed")):
            status, text = asked(user, "200")
            assert (status, json.loads(text)["type"]) == (503, "urn:recsys:problem:deadline")
            assert words in text
        gate.set()
        assert asked("u3", "60000")[0] == 200
    assert computed == ["u1", "u3"]
    assert 'recsys_rejected_total{reason="deadline"} 2.0' in world.served.metrics.text().decode()


def cut_off(port: int, begin: bytes, more: bytes) -> bool:
    """Whether a connection is closed before 50 MB were sent."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        try:
            connection.sendall(begin)
            for _ in range(50_000_000 // len(more)):
                connection.sendall(more)
        except (ConnectionResetError, BrokenPipeError):
            return True
    return False


def test_an_endless_head_and_a_slow_one_are_cut_off(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "_SECONDS", 0.3)
    with listening(world) as (_, port):
        assert cut_off(port, b"GET /", b"a" * 10_000)
        assert cut_off(port, b"GET /healthz HTTP/1.1\r\nx: ", b"a" * 10_000)
        assert cut_off(port, b"GET /healthz HTTP/1.1\r\n", b"x: y\r\n" * 2000)
        for begun in (b"", b"GET /healthz HTTP/1.1\r\nx"):
            with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
                connection.sendall(begun)
                assert connection.recv(100) == b""
        assert Client(port).ask("GET", "/healthz")["status"] == "alive"


def test_requests_of_one_connection_too_many_are_refused_and_health_answers(run: Path, tmp_path: Path) -> None:
    tables = {"listen": {"port": 0, "connections": 2}, "access": {"open": True}}
    with world_of(run, tmp_path, **tables) as made, listening(made) as (_, port):
        first, second, third = Client(port), Client(port), Client(port)
        for one in (first, second, third):
            assert one.ask("GET", "/healthz")["status"] == "alive"
        connection = third._connection
        connection.request("POST", "/v1/recommend", '{"user": "u1"}', {"content-type": "application/json"})
        answer = connection.getresponse()
        assert (answer.status, json.loads(answer.read())["type"]) == (503, "urn:recsys:problem:crowded")
        assert answer.getheader("retry-after") == "1"
        assert len(first.ask("POST", "/v1/recommend", {"user": "u1", "k": 3})["items"]) == 3
        others = [socket.create_connection(("127.0.0.1", port)) for _ in range(3)]  # the third has been closed
        others[-1].settimeout(5)  # less than the time in which a head must come
        with suppress(ConnectionResetError):
            assert others[-1].recv(100) == b""
        for one in (first._connection, second._connection, connection, *others):
            one.close()


def test_before_it_stops_the_server_says_that_it_is_not_ready(world: World) -> None:
    with listening(world) as (server, port):
        assert Client(port).ask("GET", "/readyz")["status"] == "ready"
        server.handle_exit(signal.SIGTERM, None)
        assert not world.served.engine.ready
    world.served.engine.ready = True


def test_a_server_whose_model_thread_has_died_ends(run: Path, tmp_path: Path) -> None:
    with world_of(run, tmp_path, listen={"port": 0}) as made, bound(made.served.settings) as place:
        made.served.engine.drain(5.0)
        Server(made.served).run([place])
        assert "thread of the model has ended" in made.log()


def test_what_cannot_be_opened_is_told_at_the_start(run: Path, tmp_path: Path) -> None:
    here = {"db": f"sqlite:///{tmp_path}/a.db"}
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with (
            logs_as_before(),
            pytest.raises(ConfigError, match=f"port={port} cannot be listened on: Address already in use"),
        ):
            serve(Settings.read(None, {"listen": {"port": port}, "storage": here}, run))
    with pytest.raises(ConfigError, match="name the bundle"), opened(Settings.read(None, {"storage": here})):
        pass
    settings = Settings.read(None, {"storage": here, "listen": {"port": 0}}, run)
    with opened(settings), pytest.raises(ConfigError, match="several servers need PostgreSQL"), opened(settings):
        pass
