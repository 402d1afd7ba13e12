"""The transition memory on disk: the table as tensors, and how to read it as JSON."""

from __future__ import annotations

import json
import math
from dataclasses import fields
from pathlib import Path
from typing import Any, Final

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from recsys.core.opened import Source
from recsys.errors import BundleError, DataError
from recsys.transitions.learn import Form
from recsys.transitions.memory import TransitionMemory
from recsys.transitions.pairs import Matrix
from recsys.transitions.related import Related
from recsys.transitions.update import Counted

TABLE: Final = "transitions.safetensors"
FORM: Final = "transitions.json"
_RELATION: Final = "relation."
_DTYPES: Final = {"I64": np.int64, "I32": np.int32, "U16": np.uint16, "F32": np.float32}


def write(memory: TransitionMemory, folder: Path) -> None:
    """Write both files."""
    from safetensors.numpy import save_file  # noqa: PLC0415

    tensors = _tensors(memory.alone)
    for name, one in _related(memory):
        tensors |= _tensors(one, f"{_RELATION}{name}.")
    if memory.counted is not None:
        tensors |= {"squares": memory.counted.squares, "targets": memory.counted.targets}
    save_file(tensors, folder / TABLE)
    told: dict[str, Any] = {"weight": memory.weight, "form": memory.form.to_dict()}
    if memory.related is not None:
        told["relations"] = list(memory.related.names)
    (folder / FORM).write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")


def _tensors(table: Matrix, prefix: str = "") -> dict[str, NDArray[Any]]:
    return {
        f"{prefix}offsets": table.indptr.astype(np.int64),
        f"{prefix}columns": table.indices.astype(column_type(table.shape[1])),
        f"{prefix}values": table.data.astype(np.float32),
    }


def column_type(n_items: int) -> type[np.uint16] | type[np.int32]:
    """How the columns of a table of so many items are kept on disk; older versions kept all in 32 bits."""
    return np.uint16 if n_items <= 1 << 16 else np.int32


def _related(memory: TransitionMemory) -> list[tuple[int, Matrix]]:
    return [] if memory.related is None else list(enumerate(memory.related.tables))


def read(source: Source, n_items: int) -> TransitionMemory | None:
    """What :func:`write` wrote; None where there is neither file.

    Raises
    ------
    BundleError
        A file is missing, or is not what :func:`write` writes for so many items.
    """
    if TABLE not in source and FORM not in source:
        return None
    folder = source.folder
    form, weight, names = _form(source)
    try:
        tensors = _arrays(source.mapped(TABLE))
        table = _table(tensors, n_items, folder)
        related = tuple(_table(tensors, n_items, folder, f"{_RELATION}{at}.") for at in range(len(names)))
    except (FileNotFoundError, KeyError, ValueError, TypeError, AttributeError) as error:
        raise BundleError(f"{folder / TABLE} cannot be read: {error}") from error
    counted = None
    if "squares" in tensors or "targets" in tensors:
        nothing = np.empty(0, dtype=np.float32)
        squares, targets = tensors.get("squares", nothing), tensors.get("targets", nothing)
        for one in (squares, targets):
            if one.shape != (n_items,) or not (np.isfinite(one).all() and (one >= 0).all()):
                raise BundleError(f"{folder / TABLE} does not hold the sums of {n_items} items")
        counted = Counted(squares, targets)
    try:
        memory = TransitionMemory(table, form, weight, counted)
        return memory.with_related(Related(names, related)) if names else memory
    except DataError as error:
        raise BundleError(f"{folder / TABLE}: {error}") from error


def _table(tensors: dict[str, NDArray[Any]], n_items: int, folder: Path, prefix: str = "") -> Matrix:
    offsets, columns, values = (tensors[f"{prefix}{name}"] for name in ("offsets", "columns", "values"))
    lengths = np.diff(offsets)
    if (
        len(offsets) != n_items + 1
        or offsets[0] != 0
        or (lengths < 0).any()
        or not offsets[-1] == len(columns) == len(values)
    ):
        raise BundleError(f"{folder / TABLE} does not hold a table of {n_items} items")
    keys = np.repeat(np.arange(n_items, dtype=np.int64), lengths) * n_items + columns
    if len(columns) and (int(columns.min()) < 0 or int(columns.max()) >= n_items or (np.diff(keys) <= 0).any()):
        raise BundleError(f"{folder / TABLE} names items that are none of the {n_items} in items.parquet, or one twice")
    if prefix and len(values) and not (np.isfinite(values).all() and values.min() > 0):
        raise BundleError(f"{folder / TABLE} holds a related pair whose weight is not positive and finite")
    return sp.csr_matrix((values, columns.astype(np.int32, copy=False), offsets), shape=(n_items, n_items))


def _arrays(content: memoryview) -> dict[str, NDArray[Any]]:
    """The tensors of a safetensors file as views, which the package's own reader would copy."""
    start = 8 + int.from_bytes(content[:8], "little")
    header: dict[str, Any] = json.loads(bytes(content[8:start]))
    found = dict[str, NDArray[Any]]()
    for name, one in header.items():
        if name != "__metadata__":
            begin, end = one["data_offsets"]
            found[name] = np.frombuffer(content[start + begin : start + end], dtype=_DTYPES[one["dtype"]])
    return found


def read_form(source: Source) -> dict[str, Any] | None:
    """How the memory of a bundle is read: its form and weight, without the table; None where the bundle has no memory.

    Raises
    ------
    BundleError
        The file is not what :func:`write` writes.
    """
    if FORM not in source:
        return None
    form, weight, names = _form(source)
    return form.to_dict() | {"weight": weight} | ({"relations": list(names)} if names else {})


def _form(source: Source) -> tuple[Form, float, tuple[str, ...]]:
    file = source.folder / FORM
    try:
        told = json.loads(source.read(FORM))
    except (FileNotFoundError, ValueError, RecursionError) as error:
        raise BundleError(f"{file} is damaged: {error}") from error
    if not isinstance(told, dict) or set(told) - {"relations"} != {"weight", "form"} or not isinstance(told["form"], dict):
        raise BundleError(f"{file} is damaged: it does not hold a weight and a form")
    names = told.get("relations", [])
    if not isinstance(names, list) or not all(isinstance(one, str) for one in names) or len(set(names)) < len(names):
        raise BundleError(f"{file}: relations must be a list of different names, not {names!r}")
    found: dict[str, Any] = {"debias": 0.0} | told["form"]  # bundles of before it say nothing of it
    if set(found) != {field.name for field in fields(Form)}:
        raise BundleError(
            f"{file} has other keys than this recsys knows ({', '.join(sorted(found))}); fit again, or upgrade recsys"
        )
    if found["kind"] not in ("counts", "ridge"):
        raise BundleError(f"{file}: kind must be counts or ridge, not {found['kind']!r}")
    for name in ("window", "entries", "solved"):
        if type(found[name]) is not int or found[name] < 1:
            raise BundleError(f"{file}: {name} must be a whole number above 0, not {found[name]!r}")
    decay = math.inf if found["decay"] is None else found["decay"]
    for name, value in (("decay", decay), ("regularisation", found["regularisation"]), ("weight", told["weight"])):
        if type(value) not in (int, float) or not value > 0:
            raise BundleError(f"{file}: {name} must be a number above 0, not {value!r}")
    for name in ("borrow", "debias"):
        if type(found[name]) not in (int, float) or not 0 <= found[name] < math.inf:
            raise BundleError(f"{file}: {name} must be a number of at least 0, not {found[name]!r}")
    return Form(**(found | {"decay": float(decay)})), float(told["weight"]), tuple(names)
