"""A server on an export answers as one on its bundle, without PyTorch, and says what an export cannot do."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from recsys.bundle.contents import Bundle
from recsys.core.pseudonym_key import PseudonymKey
from recsys.core.sealed import sealed
from recsys.errors import BundleError, ConfigError
from recsys.server.asks import Listed, RecommendAsk
from recsys.server.database import Database, open_database
from recsys.server.engine import Engine
from recsys.server.events import Event
from recsys.server.item_changes import ItemChanges
from recsys.server.live import Live, open_bundle
from recsys.server.opening import digest_of
from recsys.server.store import EventStore
from recsys.serving.retriever import Retriever
from recsys.serving.runtime.folder import FILE
from tests.exports import builder
from tests.server.http_world import World, world_of

BLOCKED = (
    "torch", "transformers", "lightning", "sklearn", "sentence_transformers", "safetensors", "peft", "faiss", "implicit",
    "optuna", "plotly", "tensorboard", "pandas", "pyarrow",
)  # fmt: skip
NOW = 10**7
RULES = {
    "boost": [{"name": "up", "where": "price < 12", "add": 0.5}],
    "cap": [{"column": "title", "at_most": 1}],
    "pin": [{"item": "i4", "position": 2}],
    "exclude": [{"items": ["i9"]}],
    "diversity": {"trade": 0.7, "pool": 12},
}
PERSON = {"history": ["i4", "i29", "i7"], "times": [5, 90_000, 90_001], "events": ["view", "buy", "view"]}


@pytest.fixture(scope="module")
def saved(full_bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("served") / "run"
    Retriever(full_bundle).save(folder)
    return folder


@pytest.fixture(scope="module")
def worlds(saved: Path, exported: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[World, World]]:
    """The bundle's server and the export's."""
    with (
        world_of(saved, tmp_path_factory.mktemp("bundle")) as one,
        world_of(exported, tmp_path_factory.mktemp("export")) as other,
    ):
        yield one, other


def event(user: str, item: str, at: int, kind: str = "view") -> dict[str, Any]:
    return {"event_id": f"{user} {item} {at}", "user_id": user, "item_id": item, "timestamp": at, "event": kind}


ASKED: dict[str, tuple[str, str, object]] = {
    "a user": ("POST", "/v1/recommend", {"user": "u3", "k": 12, "request_time": NOW, "titles": True}),
    "an event type": ("POST", "/v1/recommend", {"user": "u3", "target_event": "buy", "request_time": NOW}),
    "filters": (
        "POST", "/v1/recommend", {"user": "u9", "k": 8, "exclude": ["i1"], "where": "price < 30", "filter_seen": False,
                                  "eligible": ["i1", "i2", "i5", "i7", "new0"], "request_time": NOW},
    ),
    "a history": ("POST", "/v1/recommend", {**PERSON, "request_time": 100_000}),
    "rules": ("POST", "/v1/recommend", {"user": "u7", "k": 6, "rules": RULES, "rule_effects": True, "request_time": NOW}),
    "nobody": ("POST", "/v1/recommend", {"user": "nobody"}),
    "popular items": ("POST", "/v1/recommend", {"user": "nobody", "fallback": "popular", "k": 5}),
    "many": (
        "POST", "/v1/recommend/batch",
        {"requests": [{"user": f"u{n}", "k": 5, "request_time": NOW} for n in range(12)] + [{"user": "u1", "where": "pr"}]},
    ),
    "similar": ("POST", "/v1/similar", {"items": ["i1", "new1"], "k": 5, "titles": True}),
    "what came next": ("POST", "/v1/similar", {"items": ["i4"], "k": 5, "by": "transitions", "where": "price > 3"}),
    "scores": ("POST", "/v1/score", {"user": "u3", "items": ["i9", "i2", "new0"], "request_time": NOW}),
    "a search": ("POST", "/v1/search", {"texts": ["a red car", "plane"], "k": 4}),
    "why": ("POST", "/v1/explain", {"user": "u3", "item": "i7", "request_time": NOW}),
    "why of a history": ("POST", "/v1/explain", {**PERSON, "item": "new0"}),
    "events": (
        "POST", "/v1/events",
        {"events": [event("u3", "i20", NOW), event("u3", "i2", NOW + 1, "buy"), event("newcomer", "i4", NOW, "buy"),
                    event("u3", "unheard of", NOW), event("u3", "i8", NOW, "steal")]},
    ),
    "fresh events": ("POST", "/v1/recommend", {"user": "u3", "k": 9, "request_time": NOW + 5}),
    "a newcomer": ("POST", "/v1/recommend", {"user": "newcomer", "k": 9, "request_time": NOW + 5}),
    "a user's history": ("GET", "/v1/users/u3", None),
    "an item that goes": ("DELETE", "/v1/items/i21", None),
    "what is left": ("POST", "/v1/recommend", {"user": "u4", "k": 40, "filter_seen": False, "request_time": NOW}),
    "a search without it": ("POST", "/v1/search", {"texts": ["a red car"], "k": 40}),
    "an unknown item": ("POST", "/v1/similar", {"items": ["nothing"]}),
    "a strange type": ("POST", "/v1/recommend", {"user": "u3", "target_event": "steal"}),
    "the page": ("POST", "/page/facts", {}),
    "titles": ("POST", "/page/titles", {"text": "red"}),
    "ready": ("GET", "/readyz", None),
}  # fmt: skip


def test_every_route_answers_as_the_bundles_server(worlds: tuple[World, World]) -> None:
    for what, (method, path, body) in ASKED.items():
        answers = [world.ask(method, path, **({} if body is None else {"json": body})) for world in worlds]
        theirs, ours = (one.json() if one.content else None for one in answers)
        assert (what, answers[1].status_code) == (what, answers[0].status_code), ours
        near = 2e-3 if "search" in what else 1e-5  # the bundle's text went through bfloat16
        assert_alike(ours, theirs, near, what)
    metrics = worlds[1].ask("GET", "/metrics").text
    assert f'recsys_bundle_info{{digest="{worlds[1].served.engine.live.active.digest}"}} 1.0' in metrics
    assert "recsys_items 30.0" in metrics


def assert_alike(ours: Any, theirs: Any, near: float, what: str) -> None:
    """The same but for what names the bundle or the request, and roundings."""
    if isinstance(theirs, dict):
        assert ours.keys() == theirs.keys(), what
        for name in theirs.keys() - {"bundle", "request_id", "instance"}:
            assert_alike(ours[name], theirs[name], near, f"{what}: {name}")
    elif isinstance(theirs, list):
        assert len(ours) == len(theirs), what
        for one, other in zip(ours, theirs, strict=True):
            assert_alike(one, other, near, what)
    elif isinstance(theirs, float):
        assert ours == pytest.approx(theirs, abs=near), what
    else:
        assert ours == theirs, what


def test_what_an_export_cannot_do_is_refused_in_words(worlds: tuple[World, World]) -> None:
    theirs, ours = worlds
    for method, path, body in (
        ("PUT", "/v1/items/fresh", {"title": "a pink bike"}),
        ("PUT", "/v1/items/i7", {"title": "a pink bike", "price": 3.0}),
        ("PATCH", "/v1/items/i7", {"price": 99.0}),
    ):
        answer = ours.ask(method, path, json=body)
        assert (answer.status_code, answer.json()["type"]) == (409, "urn:recsys:problem:unsupported"), answer.text
        assert "an export cannot read the content of items" in answer.json()["detail"]
    assert ours.ask("PATCH", "/v1/items/i6", json={"price": 9.0}).status_code == 200  # as it is
    assert theirs.ask("PATCH", "/v1/items/i6", json={"price": 9.0}).status_code == 200


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = open_database(f"sqlite:///{tmp_path}/export.db")
    yield database
    database.close()


@pytest.fixture
def engine(exported: Path, database: Database) -> Iterator[Engine]:
    store = EventStore(database)
    engine = Engine(Live(open_bundle(exported)), store, ItemChanges(database))
    yield engine
    engine.drain(5.0)
    store.close()


def test_an_export_is_exchanged_verified_and_rolled_back(
    engine: Engine, full_bundle: Bundle, exported: Path, saved: Path, tmp_path: Path
) -> None:
    retold(exported, tmp_path / "heavier", lambda told: told["model"]["transitions"].update(weight=0.6))
    alive = np.load(exported / "items_alive.npy")
    alive[full_bundle.items.to_rows(["i3"])] = False
    retold(exported, tmp_path / "fewer", files={"items_alive.npy": npy(alive)})
    engine.warm_up()

    def listed() -> Listed:
        return engine.recommend(RecommendAsk(user="u3", request_time=NOW)).result()

    before = listed()
    for folder, digest in ((tmp_path / "heavier", digest_of(tmp_path / "heavier")), (saved, digest_of(saved))):
        version = engine.activate(engine.load_bundle(str(folder)).digest)
        assert (version.digest, version.active, listed().digest) == (digest, True, digest)
    assert listed().item_ids == before.item_ids
    assert engine.roll_back().path == str(tmp_path / "heavier")
    assert listed().scores != before.scores
    with pytest.raises(BundleError, match="lacks 1 items that can be recommended now, such as 'i3'"):
        engine.activate(engine.load_bundle(str(tmp_path / "fewer")).digest)
    damage(exported, tmp_path / "damaged", "text_encoder.onnx")
    with pytest.raises(BundleError, match=r"text_encoder.onnx is damaged.*export the bundle again"):
        engine.load_bundle(str(tmp_path / "damaged"))
    assert engine.activate(engine.load_bundle(str(exported)).digest).path == str(exported)
    assert (listed().item_ids, listed().scores) == (before.item_ids, before.scores)


def test_clicks_teach_the_memory_of_an_export_too(engine: Engine, saved: Path, tmp_path: Path) -> None:
    found, now = [], int(time.time())
    other_database = open_database(f"sqlite:///{tmp_path}/bundle.db")
    other_store = EventStore(other_database)
    other = Engine(Live(open_bundle(saved)), other_store, ItemChanges(other_database))
    for one in (engine, other):
        events = [Event(f"{item}", "u1", item, now + at, event="view") for at, item in enumerate(("i20", "i2", "i11"))]
        one.store.append(events)
        assert (one.follow_clicks(), one.follow_clicks()) == (3, 0)
        found.append(
            one.recommend(RecommendAsk(history=["i20"], times=[5], events=["buy"], request_time=NOW, k=40)).result()
        )
        assert one.live.active.model.memory is not one.live.active.memory
    assert found[0].item_ids == found[1].item_ids
    assert found[0].scores == pytest.approx(found[1].scores, abs=1e-5)
    other.drain(5.0)
    other_store.close()
    other_database.close()


def damage(exported: Path, folder: Path, name: str) -> None:
    shutil.copytree(exported, folder)
    content = bytearray((folder / name).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / name).write_bytes(content)


def retold(
    exported: Path,
    folder: Path,
    change: Callable[[dict[str, Any]], object] = lambda told: None,
    files: dict[str, bytes] | None = None,
) -> None:
    """A copy of an export that tells something else, and has other files, sealed anew."""
    shutil.copytree(exported, folder)
    told = json.loads((folder / FILE).read_text())
    change(told)
    for name, content in (files or {}).items():
        (folder / name).write_bytes(content)
        told["files"][name] = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
    (folder / FILE).write_text(json.dumps(sealed(told)))


def npy(array: np.ndarray) -> bytes:
    content = io.BytesIO()
    np.save(content, array)
    return content.getvalue()


def with_opset(exported: Path, folder: Path) -> None:
    """As a newer PyTorch would write it: an opset that this onnxruntime lacks."""
    import onnx

    model = onnx.load(exported / "user_tower.onnx")
    model.opset_import[0].version = 999
    retold(exported, folder, lambda told: told.update(opset=999), {"user_tower.onnx": model.SerializeToString()})


WRONG: dict[str, tuple[Callable[[Path, Path], object], str]] = {
    "newer": (
        lambda old, new: retold(old, new, lambda told: told.update(format_version=2, recsys="9.1")),
        r"exported by a newer recsys \(9.1, format 2; this runtime reads 1\): upgrade",
    ),
    "older": (
        lambda old, new: retold(old, new, lambda told: told["model"].pop("log")),
        "exported by an older recsys .* wrote too little for a server; export the bundle again",
    ),
    "damaged": (lambda old, new: damage(old, new, "input_ids.npy"), r"input_ids.npy is damaged.*export the bundle again"),
    "opset": (with_opset, r"user_tower.onnx cannot be run by onnxruntime .* \(opset 999\).*upgrade onnxruntime"),
    "missing": (
        lambda old, new: (shutil.copytree(old, new), (new / "item_table.npy").unlink()),
        "incomplete: item_table.npy is missing",
    ),
    "nothing": (lambda old, new: new.mkdir(), "holds no bundle|no bundle|manifest"),
}


@pytest.mark.parametrize("what", WRONG)
def test_an_export_that_cannot_be_served_is_refused_at_the_start(exported: Path, tmp_path: Path, what: str) -> None:
    make, words = WRONG[what]
    make(exported, tmp_path / "export")
    with pytest.raises(BundleError, match=words):
        open_bundle(tmp_path / "export")


def test_pseudonyms_are_asked_by_raw_ids(exported: Path, tmp_path: Path) -> None:
    key, folder, content = PseudonymKey((bytes(32),)), tmp_path / "export", io.BytesIO()
    users = pl.read_parquet((exported / "users.parquet").read_bytes())
    users.select(key.pseudonyms(users["user_id"])).write_parquet(content)
    tell = {"users.parquet": content.getvalue()}
    retold(exported, folder, lambda told: told["model"].update(pseudonym_key=key.id), tell)
    with pytest.raises(ConfigError, match="are pseudonyms under the key"):
        open_bundle(folder)
    file = tmp_path / "key"
    file.write_text(bytes(32).hex())
    file.chmod(0o600)
    assert open_bundle(folder, pseudonym_key=str(file)).model.users.find_rows(["u3", "nobody"]).tolist() == [3, -1]


def test_items_that_an_export_lacks_are_told_at_the_start(exported: Path, database: Database) -> None:
    changes, store = ItemChanges(database), EventStore(database)
    changes.record("i6", "put", {"title": "a green car", "price": 9.0})
    live = Live(open_bundle(exported))
    title = live.active.model.catalog.title_of(live.active.model.items.to_rows(["i6"]))[0]
    changes.record("i6", "put", {"title": title, "price": 9.0})
    Engine(live, store, changes).drain(1)  # the export has it so
    changes.record("fresh", "put", {"title": "a pink bike", "price": 9.0})
    with pytest.raises(
        BundleError, match=r"changed since do not fit .*an export cannot read the content of items \('fresh'\)"
    ):
        Engine(Live(open_bundle(exported)), store, changes)
    store.close()


@pytest.mark.parametrize("package", ["recsys", "recsys_runtime"])
def test_serving_an_export_loads_no_torch(
    exported: Path, saved: Path, full_bundle: Bundle, tmp_path: Path, package: str
) -> None:
    """From the command line on, in a process in which PyTorch cannot be imported, nor recsys where it is not installed."""
    builder().make(tmp_path)
    parser = "parser" if package == "recsys" else "runtime_command"
    blocked = BLOCKED if package == "recsys" else (*BLOCKED, "recsys")
    script = f"""
import json, sys
sys.modules.update(dict.fromkeys({blocked!r}))
from starlette.testclient import TestClient
from {package}.cli import {parser} as parser
from {package}.server import run
from {package}.server.app import create_app

def answered(self, sockets):
    client = TestClient(create_app(self._served), base_url="http://127.0.0.1")
    texts = {{"recommend": {{"user": "u3", "request_time": {NOW}}}, "explain": {{"user": "u3", "item": "i7"}},
             "similar": {{"items": ["i1"]}}, "search": {{"texts": ["a red car"]}}}}
    found = {{name: client.post(f"/v1/{{name}}", json=body) for name, body in texts.items()}}
    print(json.dumps([{{name: one.status_code for name, one in found.items()}}, client.get("/readyz").status_code,
                      [one["item_id"] for one in found["recommend"].json()["items"]],
                      [name for name in {blocked!r} if sys.modules.get(name)]]))

run.Server.run = answered
for folder in sys.argv[1:]:
    print(parser.main(["serve", folder, "--port", "0", "--open", "--db", {f"sqlite:///{tmp_path}/server.db"!r}]))
"""
    done = subprocess.run(
        [sys.executable, "-c", script, str(exported), str(saved)], capture_output=True, text=True, check=False,
        env=os.environ | {"PYTHONPATH": f"{Path(__file__).parents[2]}{os.pathsep}{tmp_path}"},
    )  # fmt: skip
    assert done.stdout, done.stderr
    answer, *_, code = done.stdout.splitlines()
    statuses, ready, items, loaded = json.loads(answer)
    assert statuses == dict.fromkeys(("recommend", "explain", "similar", "search"), 200)
    assert (ready, loaded) == (200, [])
    assert items == Retriever(full_bundle).recommend("u3", request_time=NOW)["item_id"].to_list()
    assert (code, f"{saved} is a bundle, which needs PyTorch" in done.stderr) == ("2", True)
