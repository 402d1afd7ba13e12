"""One tiny bundle with texts for all tests of the server, a store of their own, and an engine over both."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from recsys.config.training import Training
from recsys.data.catalog import Catalog
from recsys.data.split import Split
from recsys.server.database import Database, open_database
from recsys.server.engine import Engine
from recsys.server.item_changes import ItemChanges
from recsys.server.live import Live, open_bundle
from recsys.server.store import EventStore
from recsys.two_tower import TwoTower


@pytest.fixture(scope="session")
def run(ring_split: Split, ring_catalog: Catalog, tiny_encoder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the bundle: 40 users who walk round a ring of 30 items, two more items, and a text of each."""
    training = Training(epochs=1, batch_tokens=128, device="cpu")
    model = TwoTower(
        encoder=str(tiny_encoder), dim=8, heads=1, blocks=1, max_length=8, word_features="off", transitions="counts"
    )
    folder = tmp_path_factory.mktemp("server") / "run"
    fitted = model.fit(ring_split.train, ring_catalog, validation=ring_split.validation, training=training)
    fitted.retriever(index="exact").save(folder)
    return folder


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = open_database(f"sqlite:///{tmp_path}/engine.db")
    yield database
    database.close()


@pytest.fixture
def store(database: Database) -> Iterator[EventStore]:
    store = EventStore(database)
    yield store
    store.close()


@pytest.fixture
def engine(run: Path, store: EventStore, database: Database) -> Iterator[Engine]:
    engine = Engine(Live(open_bundle(run)), store, ItemChanges(database))
    yield engine
    engine.drain(5.0)
