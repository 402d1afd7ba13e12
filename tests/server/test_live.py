"""Bundles are exchanged under load: no request fails, no answer is mixed, the old one is freed; items live on."""

from __future__ import annotations

import gc
import shutil
import threading
import time
import weakref
from dataclasses import replace
from pathlib import Path

import pytest

import recsys
from recsys.core.memory import available_memory
from recsys.errors import BundleError, DataError, UnknownIdError
from recsys.server.asks import Listed, RecommendAsk, SearchAsk
from recsys.server.bundle_model import BundleModel
from recsys.server.database import Database
from recsys.server.engine import Engine
from recsys.server.events import Event
from recsys.server.item_changes import ItemChanges
from recsys.server.live import Live, open_bundle
from recsys.server.metrics import Metrics
from recsys.server.opening import digest_of
from recsys.server.quality import Quality
from recsys.server.store import EventStore
from recsys.server.watcher import Watch
from recsys.serving.retriever import Retriever


@pytest.fixture(scope="module")
def other(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same model with its memory twice as heavy: the same items and users, other scores."""
    bundle = recsys.load(run).bundle
    memory = bundle.corpus.transitions
    assert memory is not None
    folder = tmp_path_factory.mktemp("other") / "run"
    Retriever(replace(bundle, corpus=replace(bundle.corpus, transitions=replace(memory, weight=2 * memory.weight)))).save(
        folder
    )
    return folder


def test_twenty_swaps_under_load(engine: Engine, run: Path, other: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("recsys.server.live.give_back", lambda: None)  # nothing may need the collector
    asks = [RecommendAsk(user=f"u{n}", k=5) for n in range(4)]
    right: dict[str, list[tuple[list[object], list[float | None]]]] = {}
    for folder in (other, run):
        engine.activate(engine.load_bundle(str(folder)).digest) if folder is other else engine.roll_back()
        found = [one for one in engine.together(asks).result() if isinstance(one, Listed)]
        right[digest_of(folder)] = [(one.item_ids, one.scores) for one in found]
    assert len({str(one) for one in right.values()}) == 2
    end, wrong, answered, freed = threading.Event(), list[object](), list[str](), list[weakref.ref[object]]()

    def ask() -> None:
        while not end.is_set():
            found = engine.together(asks).result()
            for one, (ids, scores) in zip(found, right[found[0].digest], strict=True):  # type: ignore[union-attr]
                # the last bits of a score depend on how many requests were answered together
                same = isinstance(one, Listed) and one.item_ids == ids and one.scores == pytest.approx(scores, rel=1e-5)
                if not same or one.digest != found[0].digest:  # type: ignore[union-attr]
                    wrong.append(one)
            answered.append(found[0].digest)  # type: ignore[union-attr]
            time.sleep(0.002)  # the thread that loads needs the interpreter too

    clients = [threading.Thread(target=ask) for _ in range(2)]
    for one in clients:
        one.start()
    for number in range(20):
        freed.append(weakref.ref(engine.live.active.model))
        version = engine.load_bundle(str((other, run)[number % 2]))
        assert engine.activate(version.digest).active
    end.set()
    for one in clients:
        one.join()
    assert not wrong
    assert set(answered) == set(right)
    assert [one() for one in freed] == [None] * 20
    assert len(engine.versions()) == 1


def test_a_bundle_that_was_exchanged_is_held_by_nothing_that_looks_at_it(
    run: Path, other: Path, store: EventStore, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither by what judges answers, nor by what follows clicks, though nobody asks any more."""
    metrics = Metrics()
    quality, held = Quality(metrics, share=1.0), list[bool]()
    engine = Engine(Live(open_bundle(run)), store, ItemChanges(database), watcher=Watch(metrics, quality))
    monkeypatch.setattr("recsys.server.live.give_back", lambda: held.append(model() is not None))
    for folder in (other, run):
        model = weakref.ref(engine.live.active.model.weights)
        store.append([Event(f"e-{folder.parent.name}", "u1", "i3", 1_700_000_000)])
        engine.follow_clicks()
        for n in range(4):
            assert engine.recommend(RecommendAsk(user=f"u{n}")).result()
        engine.activate(engine.load_bundle(str(folder)).digest)
    assert held == [False, False]
    engine.drain(5.0)
    quality.close()


def test_a_text_encoder_goes_with_its_bundle_without_the_collector(run: Path) -> None:
    loaded = open_bundle(run)
    assert isinstance(loaded.model, BundleModel)
    held = loaded.model.bundle.towers.held_encoder
    assert held is not None
    encoder = weakref.ref(held.opened("cpu")._loaded())
    assert encoder() is not None
    gc.disable()
    try:
        del loaded, held
        assert encoder() is None
    finally:
        gc.enable()


def test_a_damaged_bundle_is_refused_and_the_old_one_goes_on(engine: Engine, run: Path, tmp_path: Path) -> None:
    before = engine.versions()
    damaged = tmp_path / "damaged"
    shutil.copytree(run, damaged)
    file = max((one for one in damaged.rglob("*") if one.is_file()), key=lambda one: one.stat().st_size)
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    for folder in (damaged, tmp_path / "nowhere"):
        with pytest.raises(BundleError):
            engine.load_bundle(str(folder))
    with pytest.raises(BundleError, match="load it first"):
        engine.activate("0123")
    with pytest.raises(BundleError, match="roll back"):
        engine.roll_back()
    assert engine.versions() == before
    assert engine.recommend(RecommendAsk(user="u1")).result().digest == before[0].digest


def test_a_bundle_that_does_not_fit_in_memory_is_refused(run: Path) -> None:
    with pytest.raises(BundleError, match=r"needs about .* MiB .* are left"):
        open_bundle(run, available=1000)
    free = available_memory()
    assert free is None or free > 1000


def test_memory_is_what_system_and_groups_leave(tmp_path: Path) -> None:
    for name, text in {
        "proc/meminfo": "MemTotal: 100 kB\nMemAvailable: 50 kB\n",
        "proc/self/cgroup": "0::/a/b\n",
        "sys/fs/cgroup/a/b/memory.max": "max",
        "sys/fs/cgroup/a/memory.max": "40000",
        "sys/fs/cgroup/a/memory.current": "30000",
        "sys/fs/cgroup/a/memory.stat": "anon 5\ninactive_file 2000\n",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert available_memory(tmp_path) == 12_000
    assert available_memory(tmp_path / "none") is None


def test_a_bundle_that_lacks_items_or_has_other_ids_is_refused(engine: Engine, run: Path, tmp_path: Path) -> None:
    retriever = recsys.load(run)
    retriever.remove_items(["i3", "i4"])
    retriever.save(tmp_path / "fewer")
    version = engine.load_bundle(str(tmp_path / "fewer"))
    with pytest.raises(BundleError, match="lacks 2 items that can be recommended now, such as 'i3', 'i4'"):
        engine.activate(version.digest)
    assert engine.activate(version.digest, force=True).items == 30
    assert engine.roll_back().items == 32


def test_items_come_change_and_go_and_do_so_again_on_the_next_bundle(
    engine: Engine, other: Path, store: EventStore, database: Database, run: Path
) -> None:
    everything = RecommendAsk(user="u1", k=100, filter_seen=False, titles=True)
    engine.change_item("fresh", "put", {"title": "a pink bike"})
    engine.change_item("i7", "patch", {"title": "a blue boat"})
    engine.change_item("i9", "delete")

    def check(engine: Engine) -> None:
        listed = engine.recommend(everything).result()
        assert "fresh" in listed.item_ids
        assert "i9" not in listed.item_ids
        assert "i9" not in engine.search(SearchAsk(text="a green plane", k=40)).result().item_ids
        assert [listed.titles[item] for item in ("fresh", "i7")] == ["a pink bike", "a blue boat"]

    check(engine)
    for change, wanted in (("patch", UnknownIdError), ("delete", UnknownIdError)):
        with pytest.raises(wanted, match="put it first"):
            engine.change_item("i9", change, {})  # type: ignore[arg-type]
    with pytest.raises(DataError, match="no column 'colour'"):
        engine.change_item("i8", "patch", {"colour": "red"})
    engine.activate(engine.load_bundle(str(other)).digest)
    check(engine)
    again = Engine(Live(open_bundle(run)), store, ItemChanges(database))  # after a restart
    check(again)
    ItemChanges(database).record("i10", "delete")  # by another server
    assert again.follow_items() == 1
    assert "i10" not in again.recommend(everything).result().item_ids
    again.drain(5)


def test_readiness_comes_with_the_warm_up_and_goes_with_the_drain(engine: Engine) -> None:
    assert not engine.ready
    engine.warm_up()
    assert engine.ready
    assert engine.alive
    assert engine.drain(5)
    assert not engine.ready
    assert not engine.alive
