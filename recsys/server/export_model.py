"""An export as the server asks it, without PyTorch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Lock
from typing import Any, Final
from weakref import WeakKeyDictionary

import numpy as np
import polars as pl
import scipy.sparse as sp

from recsys.core.id_map import IdMap
from recsys.core.pseudonym_key import PseudonymKey, asked_by_raw_ids
from recsys.core.ragged import Bool, Float32, Int32, Int64, Ragged, mask_of, overlap
from recsys.core.ranking import Ranked
from recsys.core.schema import ITEM, TITLE
from recsys.core.threads import keep_libraries_within
from recsys.data.catalog import Catalog
from recsys.errors import BundleError, DamagedError, DataError, DependencyError, UnsupportedError
from recsys.serving.people import People
from recsys.serving.request_arguments import RawId, Similarity
from recsys.serving.rules.apply import BoundRules
from recsys.serving.rules.bind import bind
from recsys.serving.rules.spec import Rules
from recsys.serving.runtime.folder import array
from recsys.serving.runtime.retriever import Runtime, load
from recsys.serving.runtime.users import Users
from recsys.transitions.learn import Form
from recsys.transitions.memory import TransitionMemory
from recsys.transitions.pairs import Matrix
from recsys.transitions.related import Related
from recsys.transitions.update import Counted

_REMEMBERED: Final = 64
_BOUND: WeakKeyDictionary[Catalog, dict[Rules, BoundRules]] = WeakKeyDictionary()
_BINDING = Lock()


@dataclass(frozen=True, eq=False)
class ExportModel:
    """A :class:`recsys.server.model.Model` of an export; made by :meth:`of`.

    Attributes
    ----------
    runtime : Runtime
    users : IdMap
    histories : Ragged
    memory : TransitionMemory or None
    """

    runtime: Runtime
    users: IdMap
    histories: Ragged
    memory: TransitionMemory | None

    @classmethod
    def of(cls, folder: Path, threads: int, key: PseudonymKey | None) -> ExportModel:
        """Open an export, verify all of it and make it ready to answer.

        Parameters
        ----------
        folder : Path
        threads : int
            That compute one answer.
        key : PseudonymKey or None
            Of its users' pseudonyms, where they are some.

        Raises
        ------
        BundleError
            It is damaged or incomplete, of another version, onnxruntime cannot run it, or a package is missing.
        ConfigError
            Its users are pseudonyms under another key.
        """
        keep_libraries_within(threads)
        try:
            runtime = load(folder, threads=threads)
            if "log" not in runtime.facts["model"]:
                raise BundleError(
                    f"{folder} was exported by an older recsys ({runtime.facts.get('recsys')}), which wrote too little "
                    "for a server; export the bundle again"
                )
            runtime.prepare()
            memory = _memory(runtime)
            histories = _log(runtime)
        except (DamagedError, DataError) as error:
            raise BundleError(f"{error}; export the bundle again") from error
        except DependencyError as error:
            raise BundleError(f"{folder} cannot be served here: {error}") from error
        except (KeyError, TypeError, ValueError, FileNotFoundError, pl.exceptions.PolarsError) as error:
            raise BundleError(f"{folder} is not whole: {type(error).__name__}: {error}; export the bundle again") from error
        users = asked_by_raw_ids(runtime.users, key, runtime.facts["model"]["pseudonym_key"], str(folder))
        return cls(runtime if memory is None else runtime.with_memory(memory), users, histories, memory)

    @property
    def items(self) -> IdMap:
        return self.runtime.items

    @property
    def event_names(self) -> tuple[str, ...]:
        return self.runtime.event_names

    @property
    def reads_times(self) -> bool:
        return self.runtime.reads_times

    @property
    def reads_events(self) -> bool:
        return self.runtime.reads_events

    @property
    def catalog(self) -> Catalog:
        return self.runtime.catalog

    @property
    def alive(self) -> Bool:
        return self.runtime.vectors.alive

    @property
    def dim(self) -> int:
        return int(self.runtime.vectors.rows.shape[1])

    @property
    def max_length(self) -> int:
        return int(self.runtime.facts["model"]["max_length"])

    @property
    def searches(self) -> bool:
        return self.runtime.facts["model"]["text"] is not None

    @property
    def approximate(self) -> bool:
        return self.runtime.vectors.finder is not None

    @property
    def weights(self) -> Users:
        return self.runtime.tower

    def compute_with(self, requests: int, positions: int) -> None:
        """Nothing is to be chosen: onnxruntime got its threads when the export was opened."""

    def event_code(self, name: str) -> int:
        code = self.runtime.event_code(name)
        assert code is not None  # noqa: S101 - a name was given
        return code

    def mask(self, rows: Int32 | None, where: str | None) -> Bool | None:
        chosen = None if rows is None else mask_of(rows, len(self.items))
        return overlap(chosen, None if where is None else self.runtime.matching(where))

    def user_vectors(self, histories: Ragged, users: Int32, request_times: Int64, target_event: int | None) -> Float32:
        return self.weights.vectors(histories, users, request_times, target_event)

    def search(self, vectors: Float32, histories: Ragged, k: int, *, exclude: Ragged, eligible: Bool | None) -> Ranked:
        added = None if self.memory is None else self.memory.scores(histories)
        return self.runtime.vectors.search(vectors, k, exclude, eligible, added)

    def bound(self, rules: Rules) -> BoundRules:
        with _BINDING:
            known = _BOUND.setdefault(self.catalog, {})
            found = known.get(rules)
        if found is None:
            if rules.diversity and self.runtime.facts["model"]["fast"]:
                raise UnsupportedError(f"{rules.source}: diversity compares vectors, and a fast model has none")
            found = bind(rules, self.catalog, self.runtime.vectors.rows)
            with _BINDING:
                if len(known) >= _REMEMBERED:
                    known.clear()
                known[rules] = found
        return found

    def pair_scores(self, vectors: Float32, histories: Ragged, owners: Int64, rows: Int64) -> Float32:
        scores = self.runtime.vectors.scores(vectors, owners, rows)
        return scores if self.memory is None else scores + self.memory.pair_scores(histories, owners, rows.astype(np.int32))

    def similar(self, items: Sequence[RawId] | pl.Series, k: int, where: str | None, by: Similarity | None) -> pl.DataFrame:
        return self.runtime.similar_items(items, k=k, where=where, by=by)

    def found(self, texts: Sequence[str], k: int, where: str | None) -> pl.DataFrame:
        return self.runtime.search(texts, k=k, where=where)

    def why(
        self, person: People, item: Int32, request_time: int | None, target_event: int | None
    ) -> tuple[pl.DataFrame, dict[str, float]]:
        frame = self.runtime.explained(person, item, request_time, target_event)
        shares = self.runtime.shares(person, item, request_time, target_event)
        return frame, shares if self.memory is None else shares | self.memory.shares(person.histories, int(item[0]))

    def exactly(self) -> ExportModel:
        return replace(self, runtime=self.runtime.exactly())

    def with_memory(self, memory: TransitionMemory) -> ExportModel:
        return replace(self, runtime=self.runtime.with_memory(memory), memory=memory)

    def with_items(self, frame: pl.DataFrame) -> ExportModel:
        """Refuse: an item that is new, or was removed, needs what reads it."""
        raise UnsupportedError(_no_new(frame[ITEM]))

    def with_updated_items(self, frame: pl.DataFrame) -> ExportModel:
        """Itself where the items are so already, as after an export of a bundle that has them; otherwise refuse."""
        rows = pl.Series(self.items.to_rows(frame[ITEM]), dtype=pl.UInt32)
        columns = {one.name: one for one in self.catalog.columns.iter_columns()}
        if TITLE in frame.columns:
            columns.setdefault(TITLE, self.catalog.titles)
        for name, column in columns.items():
            now = column.gather(rows)
            given = frame[name] if name in frame.columns else pl.Series(name, [None] * len(frame), dtype=now.dtype)
            if not (same := _same(now, given)).all():
                raise UnsupportedError(_no_new(frame[ITEM].filter(~same)))
        return self

    def without_items(self, rows: Int32) -> ExportModel:
        return replace(self, runtime=self.runtime.without_items(rows))


def _same(now: pl.Series, given: pl.Series) -> pl.Series:
    """Which values are equal, read as the column that is there."""
    try:
        read = given.cast(now.dtype, strict=False)
    except pl.exceptions.PolarsError:  # of another kind altogether
        return pl.Series([False] * len(now))
    return now.eq_missing(read) & (read.is_null() == given.is_null())


def _no_new(items: pl.Series) -> str:
    named = ", ".join(f"{one!r:.60}" for one in items[:3].to_list())
    return (
        f"an export cannot read the content of items ({named}): it can only remove some; serve the bundle, or export one "
        "that has them so"
    )


def _log(runtime: Runtime) -> Ragged:
    """The histories with what the log had, also where the model reads neither times nor types."""
    told, source, read = runtime.facts["model"]["log"], runtime.parts.source, runtime.histories
    times = array(source, "history_times.npy") if told["times"] else None
    return Ragged(read.offsets, read.rows, times, array(source, "history_events.npy") if told["events"] else None)


def _memory(runtime: Runtime) -> TransitionMemory | None:
    """The transition memory as the bundle has it, which takes up events."""
    told: dict[str, Any] | None = runtime.facts["model"]["transitions"]
    if told is None:
        return None
    source, names = runtime.parts.source, told["relations"]
    form = {name: value for name, value in told.items() if name not in ("weight", "relations")}
    form["decay"] = math.inf if form["decay"] is None else form["decay"]

    def table(name: str) -> Matrix:
        offsets, columns, values = (array(source, f"{name}_{part}.npy") for part in ("offsets", "columns", "values"))
        return sp.csr_matrix((values, columns, offsets), shape=(len(runtime.items), len(runtime.items)))

    counted = related = learned = None
    if "transition_squares.npy" in source:
        counted = Counted(array(source, "transition_squares.npy"), array(source, "transition_targets.npy"))
    if names:
        related = Related(tuple(names), tuple(table(f"transition_relation{at}") for at in range(len(names))))
        learned = table("transition_learned")
    return TransitionMemory(table("transition"), Form(**form), told["weight"], counted, related, learned)
