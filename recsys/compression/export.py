"""Export a bundle: a folder that answers without PyTorch, proven on the bundle's own users before it gets its name."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from torch import Tensor

from recsys.bundle.contents import Bundle
from recsys.compression import onnx_files
from recsys.compression.graphs import ItemGraph, StepGraph, UserGraph
from recsys.compression.parity import proven
from recsys.compression.text import write_encoder
from recsys.core.files import atomic_folder, exclusive
from recsys.core.opened import OpenedFile, Source
from recsys.core.place_checks import refuse_place
from recsys.core.schema import ITEM, TITLE
from recsys.core.sealed import sealed
from recsys.core.version import __version__
from recsys.errors import DataError
from recsys.index.item_index import ItemIndex
from recsys.models.networks.item_tower import ItemTower
from recsys.models.networks.popularity import FAINT
from recsys.models.towers import TwoTowerModel, numpy_of
from recsys.serving.runtime.folder import FILE, FORMAT, FORMAT_VERSION
from recsys.serving.score_breakdown import norm_of
from recsys.transitions.memory import TransitionMemory

_FAISS_KINDS = ("ivf", "sq", "ivfpq", "hnsw")


def export(
    bundle: Bundle, folder: Path, *, overwrite: bool = False, text: bool = True, source: str | None = None
) -> dict[str, Any]:
    """Write a folder that :func:`recsys.serving.runtime.load` answers from.

    It holds both towers as ONNX (``user_tower.onnx``, ``user_step.onnx``, ``item_tower.onnx``, ``text_encoder.onnx``), what
    they read, ids, histories, item vectors and the transition memory, and ``export.json``: the opset, the sha256 of each
    file, and how near its answers are to the bundle's.

    Parameters
    ----------
    bundle : Bundle
    folder : Path
    overwrite : bool
        Whether an older export there may be replaced; nothing else ever is.
    text : bool
        Whether the text encoder is exported, where there is one; without it the export does not search.
    source : str, optional
        sha256 of the manifest of the bundle, to be found again.

    Returns
    -------
    dict
        What ``export.json`` holds.

    Raises
    ------
    UnsupportedError
        A part cannot be exported, or answers otherwise than in PyTorch.
    DependencyError
        A package is missing.
    DataError
        Something else is in the way.

    Nothing is written then; the bundle stays as it is in any case.
    """
    onnx_files.require_onnx()
    folder = Path(folder)
    refuse_place(folder)
    with exclusive(folder) as lock:
        folder = lock.target
        if overwrite and folder.is_dir() and any(folder.iterdir()) and not (folder / FILE).is_file():
            raise DataError(f"{folder} holds something that is not an export; it is not overwritten")
        with atomic_folder(folder, replace=overwrite) as target:
            model, differences = _write(bundle, target, text=text)
            _tell(target, model, {}, source)
            told = _tell(target, model, differences | proven(bundle, target), source)
    return told


def _write(bundle: Bundle, target: Path, *, text: bool) -> tuple[dict[str, Any], dict[str, float]]:
    """Write all files but ``export.json``; what it tells of the model, and how far graphs are from modules."""
    towers = bundle.towers
    _tables(bundle, target)
    np.save(target / "item_vectors.npy", towers.vectors)
    np.save(target / "item_table.npy", numpy_of(towers.table))
    model = _facts(bundle) | {"index": _index(bundle.index, target), "text": None}
    differences = dict[str, float]()
    if text and towers.whitening is not None:
        model["text"], differences["text_encoder"] = write_encoder(towers, bundle.catalog, target)
        np.save(target / "text_back.npy", np.linalg.pinv(towers.whitening.matrix))
        np.save(target / "text_mean.npy", towers.whitening.mean)
    return model, differences | ({} if towers.fast else _graphs(towers, target))


def _facts(bundle: Bundle) -> dict[str, Any]:
    towers, memory = bundle.towers, bundle.corpus.transitions
    users = towers.net.users
    form = None
    if memory is not None:
        relations = [] if memory.related is None else list(memory.related.names)
        form = memory.form.to_dict() | {"weight": memory.weight, "relations": relations}
    facts: dict[str, Any] = {
        "dim": int(towers.vectors.shape[1]),
        "ensemble_size": users.ensemble_size,
        "max_length": users.max_length,
        "reads_times": bundle.reads_times,
        "reads_request_time": towers.reads_request_time,
        "reads_events": bundle.reads_events,
        "target_events": users.event_heads is not None,
        "event_names": list(bundle.event_names),
        "n_features": 0 if towers.user_codes is None else towers.user_codes.shape[1],
        "fast": FAINT if towers.fast else None,
        "transitions": form,
        "log": {"times": bundle.histories.times is not None, "events": bundle.histories.events is not None},
        "pseudonym_key": bundle.data.get("pseudonym_key"),
        "breakdown": None,
    }
    if not towers.fast:
        step = StepGraph(towers.net)
        norm = norm_of(towers)
        facts["breakdown"] = {"eps": norm.eps, "cosine": norm.cosine, "cold_scale": float(towers.net.cold_scale)}
        facts["breakdown"] |= {"parts": ItemGraph(towers.net).parts}
        facts |= {"n_features": step.n_features, "lead": step.lead, "slides": step.users.slides, "past": step.past_shape}
    return facts


def _tables(bundle: Bundle, target: Path) -> None:
    catalog = bundle.corpus.typed
    bundle.users.ids.to_frame().write_parquet(target / "users.parquet")
    columns = catalog.columns.rename(lambda name: f"_{name}") if catalog.columns.width else catalog.columns
    own = pl.DataFrame({ITEM: bundle.items.ids})
    own = own.with_columns(catalog.titles.alias(TITLE if f"_{TITLE}" in columns.columns else f"_{TITLE}"))
    own.hstack(columns).write_parquet(target / "items.parquet")
    histories, parts = bundle.histories, dict[str, NDArray[Any]]()
    parts |= {"history_offsets": histories.offsets, "history_items": histories.rows}
    if histories.times is not None:  # a server needs them also where the model reads none
        parts["history_times"] = histories.times
    if histories.events is not None:
        parts["history_events"] = histories.events
    if (codes := bundle.towers.codes_for(bundle.users)) is not None:
        parts["user_features"] = codes
    parts["items_alive"] = bundle.index.alive
    if (memory := bundle.corpus.transitions) is not None:
        parts |= _memory(memory)
    if not bundle.towers.fast:
        parts |= _item_inputs(bundle.towers)
    for name, one in parts.items():
        np.save(target / f"{name}.npy", np.ascontiguousarray(one))


def _memory(memory: TransitionMemory) -> dict[str, NDArray[Any]]:
    """The tables of a memory, and what it needs to take up more events."""
    found, tables = dict[str, NDArray[Any]](), {"transition": memory.table}
    if memory.related is not None:
        tables["transition_learned"] = memory.alone
        tables |= {f"transition_relation{at}": one for at, one in enumerate(memory.related.tables)}
    for name, table in tables.items():
        found[f"{name}_offsets"] = table.indptr.astype(np.int64)
        found[f"{name}_columns"] = table.indices.astype(np.int32)
        found[f"{name}_values"] = table.data.astype(np.float32)
    if memory.counted is not None:
        found |= {"transition_squares": memory.counted.squares, "transition_targets": memory.counted.targets}
    return found


def _item_inputs(towers: TwoTowerModel) -> dict[str, NDArray[Any]]:
    """What the graph of the item tower reads of every item, and the norm behind its summands."""
    tower, norm = towers.net.items, norm_of(towers)
    found: dict[str, Tensor] = {"input_known": tower.has_id}
    if tower.id is not None:
        found["input_ids"] = tower.id.weight
    tables = (
        ("item_texts", tower.text, tower.project),
        ("input_images", tower.images, tower.project_images),
        ("input_numbers", tower.numbers, tower.project_numbers),
    )
    found |= {name: table for name, table, projection in tables if projection is not None}
    if tower.bags is not None:
        bags = tower.bags
        found |= {"input_tokens": bags.tokens, "input_weights": bags.weights, "input_offsets": bags.offsets}
    if towers.net.group_scale is not None:
        found["input_scale"] = towers.net.group_scale
    return {name: one.detach().cpu().numpy() for name, one in found.items()} | {
        "input_norm": np.stack([norm.gain, norm.offset])
    }


def _index(index: ItemIndex, target: Path) -> dict[str, Any] | None:
    """The bundle's FAISS index; None where the runtime compares every vector, as for kinds that it does not know."""
    if index.finder is None or index.spec.kind not in _FAISS_KINDS:
        return None
    index.finder.save(target / "index.faiss")
    np.save(target / "index_covered.npy", index.covered[~index.stale[index.covered]])
    if index.stale[index.covered].any():
        return None
    spec = index.spec
    return {
        "kind": spec.kind,
        "lists": spec.lists,
        "nprobe": spec.nprobe,
        "ef_search": spec.ef_search,
        "fetches_per_item": spec.fetches_per_item,
    }


def _graphs(towers: TwoTowerModel, target: Path) -> dict[str, float]:
    """Write both towers; how far each graph is from its module."""
    table = towers.table.cpu()
    users, step = UserGraph(towers.net).eval(), StepGraph(towers.net).eval()
    longest, dim = towers.net.users.max_length, table.shape[1]
    sizes = {"table": {0: "items"}, "rows": {0: "users", 1: "events"}, "lengths": {0: "users"}, "vector": {0: "users"}}
    sizes |= {name: {0: "users", 1: "events"} for name in ("times", "events")}
    sizes |= {name: {0: "users"} for name in ("request_time", "features", "target_event")}
    short = min(3, longest)
    examples = [users.example(table, one, seed) for seed, one in enumerate([[short, 1, 1], [1], [longest], [1, longest]])]
    found = {
        "user_tower": onnx_files.write(users, target / "user_tower.onnx", ["vector"], examples, sizes, "the user tower")
    }
    sizes = {"items": {0: "read"}, "past": {2: "before"}, "times": {0: "all"}, "known": {2: "all"}}
    sizes |= {name: {0: "new"} for name in ("request", "events")}
    lengths = [(longest - 1, 1), (0, 1), (0, longest), (longest // 2, longest - longest // 2)]
    steps = [step.example(dim, before, new, seed) for seed, (before, new) in enumerate(lengths)]
    found["user_step"] = onnx_files.write(
        step, target / "user_step.onnx", ["vector", "known"], steps[::-1], sizes, "a step of the user tower"
    )
    return found | {"item_tower": _item_graph(towers, target)}


def _item_graph(towers: TwoTowerModel, target: Path) -> float:
    graph = ItemGraph(towers.net).eval()
    names = {
        name: {0: "items"} for name in ("known", "ids", "text", "images", "numbers", "scale", "compared", "vector", "parts")
    }
    sizes = names | {name: {0: "tokens"} for name in ("tokens", "owners", "weights")}
    n = len(towers.items)
    chosen = [np.arange(n)[:3], np.linspace(0, n - 1, min(64, n)).astype(np.int64), np.array([n - 1])]
    examples = [item_inputs(towers, graph, rows) for rows in chosen]
    difference = onnx_files.write(
        graph, target / "item_tower.onnx", ["compared", "vector", "parts"], examples, sizes, "the item tower"
    )
    return max(difference, _apart(towers, graph, chosen[1]))


def _apart(towers: TwoTowerModel, graph: ItemGraph, rows: NDArray[np.int64]) -> float:
    """How far the item graph's module is from the tower that it was made of."""
    with torch.inference_mode():
        made = graph(*item_inputs(towers, graph, rows))[0].numpy()
    return float(np.abs(made - towers.vectors[rows]).max() / np.abs(towers.vectors[rows]).max())


def item_inputs(towers: TwoTowerModel, graph: ItemGraph, rows: NDArray[np.int64]) -> tuple[torch.Tensor, ...]:
    """What the graph of the item tower reads of some items of the model, int64 (m,)."""
    tower: ItemTower = towers.net.items
    at = torch.from_numpy(rows)
    given = {"known": tower.has_id.cpu()[at]}
    if towers.net.group_scale is not None:
        given["scale"] = towers.net.group_scale.cpu()[at]
    if tower.id is not None:
        given["ids"] = tower.id.weight.detach().cpu()[at]
    given |= {name: table.cpu()[at] for name, table in (("text", tower.text), ("images", tower.images))}
    given["numbers"] = tower.numbers.cpu()[at]
    if tower.bags is not None:
        offsets = tower.bags.offsets.cpu()
        sizes = offsets[at + 1] - offsets[at]
        owners = torch.repeat_interleave(torch.arange(len(at)), sizes)
        places = torch.arange(int(sizes.sum())) + torch.repeat_interleave(offsets[at] - (sizes.cumsum(0) - sizes), sizes)
        given |= {"tokens": tower.bags.tokens.cpu()[places], "owners": owners, "weights": tower.bags.weights.cpu()[places]}
    return tuple(given[name] for name in graph.inputs)


def _tell(target: Path, model: dict[str, Any], parity: dict[str, Any], source: str | None) -> dict[str, Any]:
    """Write ``export.json`` of the files that lie in a folder."""
    files = {file.name: OpenedFile.of(file) for file in sorted(target.iterdir()) if file.name != FILE}
    told = sealed(
        {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "recsys": __version__,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "source": source,
            "opset": onnx_files.OPSET,
            "model": model,
            "parity": parity,
            "files": {name: {"sha256": file.sha256, "bytes": file.size} for name, file in files.items()},
        }
    )
    Source(target, files).close()
    (target / FILE).write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")
    return json.loads(json.dumps(told))  # type: ignore[no-any-return]
