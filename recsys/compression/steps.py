"""What can be made smaller in a bundle, each as a change of the whole bundle that the usual loader reads."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import scipy.sparse as sp
from safetensors.numpy import load_file, save_file

from recsys.bundle.contents import Bundle
from recsys.compression.words import with_few_words
from recsys.core.progress import log
from recsys.errors import UnsupportedError
from recsys.index.exact.storage import Precision
from recsys.index.item_index import ItemIndex
from recsys.models.encoders.held import HeldEncoder
from recsys.models.members import member
from recsys.transitions.memory import TransitionMemory

_ENTRIES = (100, 50, 25, 10, 5)
"""Entries of a row of the transition memory that are tried."""
_LARGEST_HALF = 65_504.0


@dataclass(frozen=True)
class Step:
    """One way to make one part of a bundle smaller.

    Attributes
    ----------
    part : str
        Steps of one part exclude each other.
    name : str
    change : callable
        The bundle with this step taken.
    """

    part: str
    name: str
    change: Callable[[Bundle], Bundle]


def steps_for(bundle: Bundle) -> list[Step]:
    """The steps that would change this bundle, part by part."""
    found, towers = list[Step](), bundle.towers
    if towers.moments is not None:
        found.append(Step("optimiser", "without moments", _without_moments))
    if towers.held_encoder is not None:
        found.append(Step("text encoder", "weights in float16", _half_encoder))
        try:
            texts = bundle.catalog.texts.drop_nulls().unique(maintain_order=True).to_list()
            few = with_few_words(towers.held_encoder, texts, towers.device)
            found.append(Step("text encoder", "float16, without words that no text needs", _half_of(few)))
        except UnsupportedError as error:
            log(f"not tried: {error}")
    memory = bundle.corpus.transitions
    if memory is not None:
        longest = int(np.diff(memory.alone.indptr).max(initial=0))
        for entries in _ENTRIES:
            if entries < longest:
                found.append(Step("transition memory", f"{entries} entries a row", _pruning(entries)))
    if not towers.fast:
        for precision in ("float16", "int8"):
            if precision != bundle.index.spec.precision:
                found.append(Step("item vectors in memory", precision, _storing(precision)))
        size = towers.net.users.ensemble_size
        for number in range(size if size > 1 else 0):
            found.append(Step("members", f"member {number + 1} of {size} alone", _alone(number)))
    return found


def _without_moments(bundle: Bundle) -> Bundle:
    return replace(bundle, corpus=replace(bundle.corpus, towers=replace(bundle.towers, moments=None)))


def _half_of(held: HeldEncoder) -> Callable[[Bundle], Bundle]:
    def change(bundle: Bundle) -> Bundle:
        towers = replace(bundle.towers, held_encoder=held)
        return _half_encoder(replace(bundle, corpus=replace(bundle.corpus, towers=towers)))

    return change


def _half_encoder(bundle: Bundle) -> Bundle:
    """The text encoder's weights rounded to float16; it computes as before."""
    held = bundle.towers.held_encoder
    assert held is not None  # noqa: S101 - the step is for bundles that have one
    folder = Path(tempfile.mkdtemp(prefix="recsys-encoder-"))
    try:
        held.write(folder / "encoder")
        for file in (folder / "encoder").rglob("*.safetensors"):
            tensors = load_file(file)
            for name, one in tensors.items():
                if one.dtype == np.float32:
                    if np.abs(one).max(initial=0.0) > _LARGEST_HALF:
                        raise UnsupportedError(f"the text encoder's {name} has numbers beyond float16; leave this step out")
                    tensors[name] = one.astype(np.float16)
            save_file(tensors, file, metadata={"format": "pt"})
            _compute_in_float32(file.parent / "config.json")
        smaller = HeldEncoder.of(folder / "encoder")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return replace(bundle, corpus=replace(bundle.corpus, towers=replace(bundle.towers, held_encoder=smaller)))


def _compute_in_float32(file: Path) -> None:
    """Have weights made float32 when they are read, as they were before."""
    if file.is_file():
        told = json.loads(file.read_text(encoding="utf-8"))
        names = [name for name in ("dtype", "torch_dtype") if name in told] or ["torch_dtype"]
        file.write_text(json.dumps(told | dict.fromkeys(names, "float32"), indent=2) + "\n", encoding="utf-8")


def _pruning(entries: int) -> Callable[[Bundle], Bundle]:
    def change(bundle: Bundle) -> Bundle:
        memory = bundle.corpus.transitions
        assert memory is not None  # noqa: S101 - the step is for bundles that have one
        return replace(bundle, corpus=bundle.corpus.with_transitions(pruned(memory, entries)))

    return change


def pruned(memory: TransitionMemory, entries: int) -> TransitionMemory:
    """A memory with the largest entries of each row alone; of equal ones those of the first columns stay.

    A table of counts keeps what updates need beside it; what was dropped begins anew there.

    Parameters
    ----------
    memory : TransitionMemory
    entries : int
        Most of a row.
    """
    table = memory.alone
    owners = np.repeat(np.arange(len(memory)), np.diff(table.indptr))
    order = np.lexsort((table.indices, -table.data, owners))
    place = np.arange(len(order)) - table.indptr[owners[order]]
    kept = np.sort(order[place < entries])
    sizes = np.bincount(owners[kept], minlength=len(memory))
    offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(table.indptr.dtype)
    smaller = sp.csr_matrix((table.data[kept], table.indices[kept], offsets), shape=table.shape)
    form = replace(memory.form, entries=min(entries, memory.form.entries))
    return replace(memory, table=smaller, learned=None, form=form).with_related(memory.related)


def _storing(precision: Precision) -> Callable[[Bundle], Bundle]:
    def change(bundle: Bundle) -> Bundle:
        return bundle.with_index(_rebuilt(bundle, bundle.index, precision))

    return change


def _rebuilt(bundle: Bundle, index: ItemIndex, precision: Precision) -> ItemIndex:
    gone = np.flatnonzero(~index.alive).astype(np.int32)
    built = ItemIndex.build(bundle.vectors, replace(index.spec, precision=precision), device=bundle.towers.device)
    return built.removed(gone) if len(gone) else built


def _alone(number: int) -> Callable[[Bundle], Bundle]:
    def change(bundle: Bundle) -> Bundle:
        towers = member(bundle.towers, bundle.config, number)
        smaller = replace(
            bundle, corpus=replace(bundle.corpus, towers=towers), config=replace(bundle.config, ensemble_size=1)
        )
        return smaller.with_index(_rebuilt(smaller, bundle.index, bundle.index.spec.precision))

    return change


def bytes_of_parts(bundle: Bundle) -> int:
    """About how many bytes of a bundle's files the parts take that a step may change."""
    towers, memory = bundle.towers, bundle.corpus.transitions
    found: int = sum(one.numel() * one.element_size() for one in towers.net.state_dict().values())
    found += 2 * towers.vectors.nbytes  # beside the vectors an index of them
    if towers.moments is not None:
        found += sum(one.numel() * one.element_size() for one in towers.moments.values())
    if towers.held_encoder is not None:
        found += sum(file.size for file in towers.held_encoder.files.values())
    if memory is not None:
        found += memory.table.data.nbytes + memory.table.indices.nbytes
    return found
