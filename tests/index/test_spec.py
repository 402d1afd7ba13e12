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
        ({"kind": "hnsw", "hnsw_m": 1}, "hnsw_m must be from 2 to 1,024 for hnsw, not 1"),
        ({"kind": "hnsw", "hnsw_m": 100_000}, "hnsw_m must be from 2 to 1,024"),
        ({"kind": "cagra", "hnsw_m": 1, "gpus": "replicated"}, "hnsw_m must be from 2"),
        ({"kind": "hnsw", "hnsw_m": True}, "hnsw_m must be a whole number"),
        ({"kind": "hnsw", "hnsw_m": 2.0}, "hnsw_m must be a whole number"),
        ({"kind": "hnsw", "ef_search": 2**31}, "ef_search must be at most"),
        ({"kind": "hnsw", "build_effort": 2**33}, "build_effort must be at most"),
        ({"kind": "ivf", "nprobe": 0}, "nprobe must be a whole number from 1"),
        ({"kind": "ivf", "nprobe": 2**40}, "nprobe must be at most"),
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
        {"kind": "hnsw", "hnsw_m": 2, "ef_search": 1, "build_effort": 1},
        {"kind": "hnsw", "hnsw_m": np.int64(64), "ef_search": 2**24},
        {"kind": "ivf", "lists": 1, "nprobe": 2**24},
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
