"""What an index may be asked for: what would crash FAISS or overflow its counters is refused first."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from recsys.errors import ConfigError
from recsys.index import item_index
from recsys.index.item_index import ItemIndex
from recsys.index.spec import IndexSpec


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"kind": "hnsw", "links": 1}, "links must be from 2 to 1,024 for hnsw, not 1"),
        ({"kind": "hnsw", "links": 100_000}, "links must be from 2 to 1,024"),
        ({"kind": "cagra", "links": 1, "gpus": "replicated"}, "links must be from 2"),
        ({"kind": "hnsw", "links": True}, "links must be a whole number"),
        ({"kind": "hnsw", "links": 2.0}, "links must be a whole number"),
        ({"kind": "hnsw", "effort": 2**31}, "effort must be at most"),
        ({"kind": "hnsw", "build_effort": 2**33}, "build_effort must be at most"),
        ({"kind": "ivf", "probes": 0}, "probes must be a whole number from 1"),
        ({"kind": "ivf", "probes": 2**40}, "probes must be at most"),
        ({"kind": "ivf", "lists": -1}, "lists must be a whole number from 0"),
        ({"kind": "ivfpq", "code_bytes": "8"}, "code_bytes must be a whole number"),
        ({"kind": "truncated", "kept_dim": 0}, "kept_dim must be a whole number from 1"),
        ({"kind": "sq", "rescore": None}, "rescore must be a whole number"),
    ],
)
def test_what_faiss_cannot_do_is_refused(options: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        IndexSpec(**options)


@pytest.mark.parametrize(
    "options",
    [
        {"kind": "hnsw", "links": 2, "effort": 1, "build_effort": 1},
        {"kind": "hnsw", "links": np.int64(64), "effort": 2**24},
        {"kind": "ivf", "lists": 1, "probes": 2**24},
        {"kind": "ivf", "lists": 300},
        {"kind": "sq", "rescore": 2**24},
        {"kind": "ivfpq", "code_bytes": 8, "rescore": 2**20},
        {"kind": "truncated", "kept_dim": 1},
    ],
)
def test_the_ends_of_what_is_allowed_answer(options: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(item_index, "EXACT_BELOW", 10)
    vectors = np.random.default_rng(0).normal(size=(400, 8)).astype(np.float32)
    found = ItemIndex.build(vectors, IndexSpec(**options)).search(vectors[:3], 400)
    assert found.lists.lengths.tolist() == [400] * 3
    assert sorted(found.lists[0].tolist()) == list(range(400))
