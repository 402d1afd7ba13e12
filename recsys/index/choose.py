"""The cheapest index that finds enough, measured on the user's own vectors."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from recsys.core.progress import log
from recsys.core.ragged import Float32, Int32
from recsys.core.ranking import Ranked
from recsys.errors import ConfigError
from recsys.index.approximate import FaissIndex
from recsys.index.exact.storage import Precision
from recsys.index.item_index import EXACT_BELOW, ItemIndex
from recsys.index.spec import IndexSpec, Kind

SAMPLE = 500
"""Queries that recall is measured on."""
_TIMED = 50
_K = 100
KINDS: tuple[Kind, ...] = ("truncated", "ivf", "sq", "ivfpq", "hnsw")


@dataclass(frozen=True)
class Measured:
    """One configuration, as it was seen.

    Attributes
    ----------
    spec : IndexSpec
    recall : float
        Share of the k best items of float32 vectors that it found.
    milliseconds : float
        Median time of a single query.
    bytes : int
        Of vectors and finder in memory.
    build_seconds : float
    """

    spec: IndexSpec
    recall: float
    milliseconds: float
    bytes: int
    build_seconds: float

    def to_dict(self) -> dict[str, Any]:
        """For JSON and tables."""
        return {
            "index": str(self.spec),
            "kind": self.spec.kind,
            "precision": self.spec.precision,
            "recall": self.recall,
            "milliseconds": self.milliseconds,
            "bytes": self.bytes,
            "build_seconds": self.build_seconds,
        }


def choose(
    index: ItemIndex,
    queries: Float32,
    *,
    recall_target: float = 0.99,
    memory_budget: int | None = None,
    kinds: Sequence[Kind] | None = None,
    k: int = _K,
) -> ItemIndex:
    """Build what answers a single query fastest, among all that finds enough within the memory.

    Up to 20,000 items nothing but the exact index is tried, since with so few every index compares them all. Above that
    each kind is built once and searched with rising ef_search, until it finds everything or is slower than the exact index.
    Recall counts what a search of the float32 vectors finds; vectors are stored in as few bytes as the budget demands.

    Parameters
    ----------
    index : ItemIndex
        Whose vectors, and items that are there, are indexed.
    queries : float32 (n, D)
        User vectors such as those that will ask.
    recall_target : float
        Between 0 and 1.
    memory_budget : int, optional
        Most bytes.
    kinds : sequence of str, optional
        What to try beside the exact index.
    k : int
        Depth at which recall is measured.

    Returns
    -------
    ItemIndex
        With all that was seen in ``measured``, and ``chosen`` true at one.

    Raises
    ------
    ConfigError
        Nothing reaches the target within the budget; the message tells what came nearest.
    """
    if not 0 < recall_target <= 1:
        raise ConfigError(f"recall_target (--recall) must be above 0 and at most 1, not {recall_target}")
    if len(queries) == 0:
        raise ConfigError("choosing an index needs user vectors, and no user has a history")
    k = min(k, len(index))
    truth = replace(ItemIndex.build(index.vectors()), alive=index.alive).search(queries, k)
    seen: list[Measured] = []
    best: tuple[float, ItemIndex] | None = None
    if kinds is None:
        kinds = KINDS if len(index) > EXACT_BELOW else ()
    for kind in ("exact", *kinds):
        begun = time.perf_counter()
        built = _built(index, kind, memory_budget)
        seconds = time.perf_counter() - begun
        for harder in () if built is None else _efforts(built):
            one = _measure(harder, queries, truth, k, seconds)
            seen.append(one)
            log(f"{one.spec}: recall {one.recall:.4f}, {one.milliseconds:.2f} ms, {_size(one.bytes)}")
            fits = memory_budget is None or one.bytes <= memory_budget
            if fits and one.recall >= recall_target and (best is None or one.milliseconds < best[0]):
                best = one.milliseconds, harder
            if one.recall >= 0.9995 or (kind != "exact" and one.milliseconds > 2 * seen[0].milliseconds):
                break
    if best is None:
        fitting = [one for one in seen if memory_budget is None or one.bytes <= memory_budget]
        near = max(fitting, key=lambda one: one.recall) if fitting else min(seen, key=lambda one: one.bytes)
        raise ConfigError(
            f"no index reaches recall {recall_target} within {_size(memory_budget)}; the nearest is {near.spec} with "
            f"recall {near.recall:.4f} and {_size(near.bytes)}; lower --recall or raise --memory"
        )
    rows = [one.to_dict() | {"chosen": one.spec == best[1].spec} for one in seen]
    return replace(best[1], measured=rows)


def _built(index: ItemIndex, kind: Kind, budget: int | None) -> ItemIndex | None:
    """The index of a kind, with vectors in as few bytes as the budget demands; None where it cannot be."""
    precisions: tuple[Precision, ...] = ("float32", "bfloat16", "int8")
    dim, n = index.dim, len(index)
    own = {"ivf": 4 * dim, "hnsw": 4 * dim + 8 * IndexSpec.hnsw_m, "sq": dim, "ivfpq": IndexSpec.code_bytes}.get(kind, 0)
    for precision in precisions:
        least = n * (own + {"float32": 6, "bfloat16": 2, "int8": 1}[precision] * dim)
        if budget is not None and least > budget and (precision != "int8" or kind != "exact"):
            continue
        code_bytes = max(b for b in range(1, IndexSpec.code_bytes + 1) if dim % b == 0)
        spec = IndexSpec(kind, precision=precision, code_bytes=code_bytes, kept_dim=max(1, dim // 4))
        if kind == "truncated" and dim < 2:
            return None
        built = replace(ItemIndex.build(index.vectors(), IndexSpec(precision=precision)), alive=index.alive, spec=spec)
        return built.compacted()
    return None


def _efforts(index: ItemIndex) -> Iterator[ItemIndex]:
    """The same index, searched ever harder."""
    spec = index.spec
    if spec.kind == "exact":
        yield index
    elif spec.kind == "truncated":
        for rescore in (1, 2, 4, 8, 16):
            yield replace(index, spec=replace(spec, rescore=rescore))
    elif spec.kind == "hnsw":
        for ef_search in (64, 128, 256, 512, 1024):
            yield _searched(index, replace(spec, ef_search=ef_search))
    else:
        for rescore in (1,) if spec.kind == "ivf" else (2, 8):
            nprobe = 4
            while nprobe <= max(4, spec.lists // 4):
                yield _searched(index, replace(spec, nprobe=nprobe, rescore=rescore))
                nprobe *= 2


def _searched(index: ItemIndex, spec: IndexSpec) -> ItemIndex:
    """The same index with another setting of its search."""
    assert isinstance(index.finder, FaissIndex)  # noqa: S101 - of these kinds
    return replace(index, spec=spec, finder=replace(index.finder, spec=spec))


def _measure(index: ItemIndex, queries: Float32, truth: Ranked, k: int, seconds: float) -> Measured:
    found = index.search(queries, k)
    times = []
    for query in queries[:_TIMED]:
        begun = time.perf_counter()
        index.search(query[None], k)
        times.append(time.perf_counter() - begun)
    return Measured(index.spec, recall_of(found, truth), float(np.median(times)) * 1e3, index.nbytes, seconds)


def recall_of(found: Ranked, truth: Ranked) -> float:
    """Share of the true items that were found, over all queries."""
    n = 1 + max(int(found.lists.rows.max(initial=0)), int(truth.lists.rows.max(initial=0)))
    keys: list[Int32] = [one.lists.list_index() * n + one.lists.rows for one in (found, truth)]
    return float(np.isin(keys[1], keys[0]).mean()) if len(keys[1]) else 1.0


def _size(count: int | None) -> str:
    if count is None:
        return "any memory"
    if count < 2**10:
        return f"{count:,} bytes"
    return f"{count / 2**10:,.0f} KiB" if count < 10 * 2**20 else f"{count / 2**20:,.0f} MiB"
