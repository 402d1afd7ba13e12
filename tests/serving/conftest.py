"""The small model of the ring and its bundle, for the tests of the batch job."""

from pathlib import Path

import pytest

from recsys.serving.retriever import Retriever
from tests.serving.ring_batches import fitted


@pytest.fixture(scope="module")
def retriever() -> Retriever:
    return fitted()


@pytest.fixture(scope="module")
def bundle(retriever: Retriever, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundle") / "run"
    retriever.save(folder)
    return folder
