"""What an export is made of, read and proven."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from recsys.core.id_map import IdMap
from recsys.core.opened import Source
from recsys.core.ragged import Float32, Int32, Int64, Ragged
from recsys.core.ranking import SparseScores
from recsys.core.schema import ITEM, USER
from recsys.errors import BundleError
from recsys.index.faiss_library import faiss
from recsys.serving.runtime.folder import array, table
from recsys.serving.runtime.memory import Memory
from recsys.serving.runtime.users import Users
from recsys.serving.runtime.vectors import Finder, Vectors


class Adds(Protocol):
    """What is added to the towers' scores: :class:`Memory`, or :class:`recsys.transitions.memory.TransitionMemory`."""

    @property
    def window(self) -> int:
        """Newest events of a history that are read."""
        ...

    def scores(self, histories: Ragged) -> SparseScores:
        """What is added for each history."""
        ...

    def pair_scores(self, histories: Ragged, owners: Int64, rows: Int32) -> Float32:
        """float32 (P,): what is added for pairs of a history (by number) and an item."""
        ...


@dataclass(frozen=True, eq=False)
class Parts:
    """The parts of an export, in the same item rows.

    Attributes
    ----------
    told : dict
        What ``export.json`` holds.
    source : Source
        Its files; texts, columns and graphs are read at first use.
    users, items : IdMap
    histories : Ragged (n_users)
    vectors : Vectors
    tower : Users
    memory : Adds or None
    threads : int
    """

    told: dict[str, Any]
    source: Source
    users: IdMap
    items: IdMap
    histories: Ragged
    vectors: Vectors
    tower: Users
    memory: Adds | None
    threads: int


def read(told: dict[str, Any], source: Source, threads: int) -> Parts:
    """Read the parts of an export.

    Raises
    ------
    DamagedError, BundleError
        A file is not what was written, or does not fit the others.
    """
    model = told["model"]
    users = IdMap(table(source, "users.parquet")[USER], "user", checked=True)
    items = IdMap(table(source, "items.parquet", [ITEM])[ITEM], "item", checked=True)
    histories = Ragged(
        array(source, "history_offsets.npy"),
        array(source, "history_items.npy"),
        array(source, "history_times.npy") if model["reads_times"] else None,
        array(source, "history_events.npy") if model["reads_events"] else None,
    )
    rows = array(source, "item_vectors.npy")
    vectors = Vectors(rows, array(source, "items_alive.npy"), _finder(source, model["index"]))
    features = array(source, "user_features.npy") if "user_features.npy" in source else None
    tower = Users(source, model, array(source, "item_table.npy"), features, told["opset"], threads)
    memory = None
    if (form := model["transitions"]) is not None:
        offsets, columns, values = (array(source, f"transition_{name}.npy") for name in ("offsets", "columns", "values"))
        decay = np.inf if form["decay"] is None else form["decay"]
        memory = Memory(offsets, columns, values, form["weight"], decay, form["window"])
    counts = {len(items), len(rows), len(vectors.alive), len(tower.table), len(items) if memory is None else len(memory)}
    if len(counts) > 1 or len(histories) != len(users):
        raise BundleError(f"{source.folder} is not whole: its parts are of different sizes; export the bundle again")
    return Parts(told, source, users, items, histories, vectors, tower, memory, threads)


def _finder(source: Source, spec: dict[str, Any] | None) -> Finder | None:
    if spec is None:
        return None
    try:
        index = faiss().deserialize_index(np.frombuffer(source.read("index.faiss"), dtype=np.uint8))
    except RuntimeError as error:
        raise BundleError(f"{source.folder / 'index.faiss'} cannot be read by this FAISS: {error}") from error
    return Finder(index, spec, array(source, "index_covered.npy"))
