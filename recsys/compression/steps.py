"""What can be made smaller in a bundle, each as a change of the whole bundle that the usual loader reads."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import scipy.sparse as sp

from recsys.bundle.contents import Bundle
from recsys.compression.distilled import distilled_steps
from recsys.compression.encoders import encoder_steps
from recsys.compression.networks import network_steps, rebuilt
from recsys.compression.step import Step
from recsys.core.coded import to_codes
from recsys.index.exact.storage import Precision
from recsys.transitions.io import column_type
from recsys.transitions.memory import TransitionMemory

_ENTRIES = (100, 50, 25, 10, 5)
"""Entries of a row of the transition memory that are tried."""


def steps_for(bundle: Bundle, distil: int = 0) -> list[Step]:
    """The steps that would change this bundle, part by part; ``distil`` is the epochs of a distillation, 0: none."""
    found, towers = list[Step](), bundle.towers
    if towers.moments is not None:
        found.append(Step("optimiser", "without moments", _without_moments))
    found.extend(encoder_steps(bundle))
    memory = bundle.corpus.transitions
    if memory is not None:
        longest = int(np.diff(memory.alone.indptr).max(initial=0))
        for entries in _ENTRIES:
            if entries < longest:
                found.append(Step("transition memory", f"{entries} entries a row", _pruning(entries)))
    found.extend(network_steps(bundle))
    found.extend(distilled_steps(bundle, distil))
    if not towers.fast:
        for precision in ("float16", "int8"):
            if precision != bundle.index.spec.precision:
                found.append(Step("item vectors in memory", precision, _storing(precision)))
    return found


def _without_moments(bundle: Bundle) -> Bundle:
    return replace(bundle, corpus=replace(bundle.corpus, towers=replace(bundle.towers, moments=None)))


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
        return bundle.with_index(rebuilt(bundle, bundle.index, precision))

    return change


def bytes_of_parts(bundle: Bundle) -> int:
    """About how many bytes of a bundle's files the parts take that a step may change."""
    towers, memory = bundle.towers, bundle.corpus.transitions
    tensors = {name: one.cpu().numpy() for name, one in towers.net.state_dict().items()}
    found: int = sum(part.nbytes for name, one in tensors.items() for part in to_codes(name, one).values())
    found += towers.vectors.nbytes
    if towers.moments is not None:
        found += sum(one.numel() * one.element_size() for one in towers.moments.values())
    if towers.held_encoder is not None:
        found += sum(file.size for file in towers.held_encoder.files.values())
    if memory is not None:
        found += memory.table.data.nbytes + memory.table.nnz * np.dtype(column_type(len(memory))).itemsize
    return found
