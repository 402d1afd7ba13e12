"""Runtime: the object that answers requests in raw ids from an export."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeAlias, get_args

import numpy as np
import polars as pl

from recsys.core.arguments import choice, flag, place
from recsys.core.id_map import IdMap
from recsys.core.progress import warn
from recsys.core.ragged import Bool, Float32, Int32, Ragged, mask_of, overlap, repeated
from recsys.core.ranking import Ranked, check_k, ranked_pairs
from recsys.core.schema import ITEM, QUERY, SIMILAR, TEXT, TITLE, USER
from recsys.data.catalog import Catalog
from recsys.data.filters import matching
from recsys.data.times.request_time import Instant, request_second
from recsys.errors import BundleError, ConfigError, DamagedError, UnknownIdError, UnsupportedError
from recsys.serving.frames import Output, as_output, frame_of
from recsys.serving.occlude import Explanation, explanation_frame, whole_and_without, without_each
from recsys.serving.people import LeftOut, People, people_of
from recsys.serving.request_arguments import RawId, RawIds, Similarity, Unknown, known_rows, search_texts, single
from recsys.serving.runtime.breakdown import POPULARITY, Breakdown
from recsys.serving.runtime.folder import array, opened, table
from recsys.serving.runtime.parts import Adds, Parts, read
from recsys.serving.runtime.session import Session
from recsys.serving.runtime.texts import Texts
from recsys.serving.runtime.users import Users
from recsys.serving.runtime.vectors import Vectors

Encode: TypeAlias = Callable[[Ragged, Int32, int | None, int | None], Float32]
"""Vectors, float32 (n, D), of histories, user rows, a request time and the code of an event type."""

_BLOCK = 4096
_REMEMBERED = 64
_MADE = ("catalog", "_texts", "_unit_texts", "_breakdown")
"""What is made at first use, and the same whatever items are removed."""


class Runtime:
    """Answers requests in raw ids from an export, as :class:`recsys.Retriever` does from the bundle it was made of.

    Made by :func:`load`. It never changes; any number of threads may ask at once.

    Parameters
    ----------
    parts : Parts
    """

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._masks: dict[str, Bool] = {}

    def __repr__(self) -> str:
        return f"Runtime({len(self.users):,} users, {len(self.items):,} items, {self.vectors.rows.shape[1]} dimensions)"

    @property
    def parts(self) -> Parts:
        """What it consists of."""
        return self._parts

    @property
    def facts(self) -> dict[str, Any]:
        """What ``export.json`` tells: versions, opset, the model's facts, and how near the answers are to PyTorch's."""
        return self._parts.told

    @property
    def users(self) -> IdMap:
        """The users known by id."""
        return self._parts.users

    @property
    def items(self) -> IdMap:
        """All items in row order, removed ones too."""
        return self._parts.items

    @property
    def histories(self) -> Ragged:
        """The users' histories."""
        return self._parts.histories

    @property
    def tower(self) -> Users:
        """The user tower."""
        return self._parts.tower

    @property
    def vectors(self) -> Vectors:
        """Item vectors as they are compared."""
        return self._parts.vectors

    @property
    def event_names(self) -> tuple[str, ...]:
        """The event types that the model knows."""
        return tuple(self._model["event_names"])

    @property
    def reads_times(self) -> bool:
        """Whether the user tower reads the times of events."""
        return bool(self._model["reads_times"])

    @property
    def reads_events(self) -> bool:
        """Whether the user tower reads the types of events."""
        return bool(self._model["reads_events"])

    @property
    def _model(self) -> dict[str, Any]:
        model: dict[str, Any] = self._parts.told["model"]
        return model

    @cached_property
    def catalog(self) -> Catalog:
        """Titles and columns of the items, read at first use; their texts are not kept."""
        frame = table(self._parts.source, "items.parquet").drop(ITEM)
        blank = pl.Series(TEXT, [None] * len(self.items), dtype=pl.String)
        apart = TITLE if TITLE in frame.columns else f"_{TITLE}"  # the items may have a column of that name too
        titles = frame[apart].alias(TITLE)
        columns = frame.drop(apart).rename(lambda name: name[1:])
        return Catalog(self.items, blank, titles, columns, ())

    @cached_property
    def _texts(self) -> Texts:
        model = self._model
        if model["text"] is None:
            raise UnsupportedError("this export has no text encoder: the model reads no texts, or it was left out")
        return Texts(self._parts.source, model["text"], self._parts.told["opset"], self._parts.threads)

    @cached_property
    def _unit_texts(self) -> Float32:
        """float32 (n_items, E): the items' texts as free text is compared with them; zeros without a text."""
        source = self._parts.source
        whitened: Float32 = array(source, "item_texts.npy")
        found = whitened @ array(source, "text_back.npy") + array(source, "text_mean.npy")
        unit = found / np.linalg.norm(found, axis=1, keepdims=True) * np.asarray(whitened.any(axis=1))[:, None]
        return np.ascontiguousarray(unit, dtype=np.float32)

    @cached_property
    def _text_vectors(self) -> Vectors:
        return Vectors(self._unit_texts, self.vectors.alive & self._unit_texts.any(axis=1))

    def prepare(self) -> None:
        """Read all that answers need now and not at the first request; raises as :func:`load`, and DependencyError."""
        _ = self.catalog
        if not self._model["fast"]:
            _ = self.tower.graph, self._breakdown
        if self._model["text"] is not None:
            _ = self._texts, self._unit_texts
        for file in self._parts.source.files.values():
            if not file.proven:
                file.check()

    def without_items(self, rows: Int32) -> Runtime:
        """The same without some items, int32 (m,)."""
        alive = self.vectors.alive.copy()
        alive[rows] = False
        return self._changed(vectors=replace(self.vectors, alive=alive))

    def with_memory(self, memory: Adds) -> Runtime:
        """The same with another transition memory."""
        return self._changed(memory=memory)

    def exactly(self) -> Runtime:
        """The same, all of whose items are compared."""
        return self._changed(vectors=replace(self.vectors, finder=None))

    def _changed(self, **parts: Any) -> Runtime:
        new = Runtime(replace(self._parts, **parts))
        new._masks = self._masks
        vars(new).update({name: vars(self)[name] for name in _MADE if name in vars(self)})
        return new

    def recommend(
        self,
        users: RawIds | None = None,
        *,
        histories: Sequence[Sequence[RawId]] | None = None,
        times: Sequence[Sequence[Instant]] | None = None,
        events: Sequence[Sequence[str]] | None = None,
        request_time: Instant | None = None,
        target_event: str | None = None,
        k: int = 10,
        filter_seen: bool = True,
        exclude: RawIds | None = None,
        eligible: RawIds | None = None,
        where: str | pl.Expr | None = None,
        unknown: Unknown = "error",
        output: Output = "polars",
    ) -> Any:
        """Items for known users, or for histories of people never seen before; see :meth:`recsys.Retriever.recommend`.

        Takes what that does, save for ``rules`` and ``fallback``, and gives and raises the same.
        """
        people = people_of(self, users, histories, times, events, unknown=unknown)
        return self.answer(
            people, self.user_vectors, request_time=request_time, target_event=target_event, k=k, filter_seen=filter_seen,
            exclude=exclude, eligible=eligible, where=where, unknown=unknown, output=output,
        )  # fmt: skip

    def answer(
        self,
        people: People,
        encode: Encode,
        *,
        request_time: Instant | None = None,
        target_event: str | None = None,
        k: int = 10,
        filter_seen: bool = True,
        exclude: RawIds | None = None,
        eligible: RawIds | None = None,
        where: str | pl.Expr | None = None,
        unknown: Unknown = "error",
        output: Output = "polars",
    ) -> Any:
        """:meth:`recommend` for people who were looked up; ``encode`` makes their vectors."""
        choice(output, "output", get_args(Output))
        k, n_items = min(check_k(k), len(self.items)), len(self.items)
        n, missed = len(people.users), 0
        hidden = people.histories.without_events() if flag(filter_seen, "filter_seen") else Ragged.empty(n)
        if exclude is not None:
            never, missed = known_rows(exclude, self.items, "exclude", unknown)
            hidden = hidden.merged(repeated(never, n))
        mask = None if where is None else self.matching(where)
        if eligible is not None:
            chosen, more = known_rows(eligible, self.items, "eligible", unknown)
            missed, mask = missed + more, overlap(mask, mask_of(chosen, n_items))
        ranked = self._ranked(people, k, request_second(request_time), self.event_code(target_event), hidden, mask, encode)
        lengths, readable = ranked.lists.lengths, people.histories.lengths > 0
        left_out = people.left_out + LeftOut(unknown_items=missed, nothing_left=int((lengths[readable] == 0).sum()))
        if sentence := left_out.sentence(n, "histories" if people.owners.name == QUERY else "users"):
            warn(sentence)
        return as_output(frame_of(ranked, people.owners, self.items, ITEM), output, lengths)

    def _ranked(
        self,
        people: People,
        k: int,
        second: int,
        target: int | None,
        hidden: Ragged,
        mask: Bool | None,
        encode: Encode,
    ) -> Ranked:
        """The lists of all people; empty ones for those without a history."""
        readable, parts = np.flatnonzero(people.histories.lengths), list[Ranked]()
        for start in range(0, len(readable), _BLOCK):
            some = readable[start : start + _BLOCK]
            read = people.histories.take(some)
            vectors = encode(read, people.users[some], second, target)
            added = None if self._parts.memory is None else self._parts.memory.scores(read)
            parts.append(self.vectors.search(vectors, k, hidden.take(some), mask, added))
        found = Ranked.joined(parts)
        lengths = np.zeros(len(people.users), dtype=np.int64)
        lengths[readable] = found.lists.lengths
        return Ranked(Ragged.from_lengths(lengths, found.lists.rows), found.scores)

    def user_vectors(self, histories: Ragged, users: Int32, second: int | None, target: int | None) -> Float32:
        """float32 (n, D): one vector per history that is not empty, all asked for at one second."""
        times = None if second is None else np.full(len(histories), second, dtype=np.int64)
        return self._parts.tower.vectors(histories, users, times, target)

    def event_code(self, name: str | None) -> int | None:
        """The code of an event type that a request aims at; raises ConfigError where there is none."""
        if name is None:
            return None
        if not self._model["target_events"]:
            raise ConfigError(
                f"target_event={name!r} needs a model that tells event types apart; fit it with event_heads=True"
            )
        if name not in self.event_names:
            raise ConfigError(f"target_event={name!r} is no event type of the model; it has {', '.join(self.event_names)}")
        return self.event_names.index(name)

    def matching(self, where: str | pl.Expr) -> Bool:
        """bool (n_items,): the items for which a predicate holds; written ones are remembered."""
        if not isinstance(where, str):
            return matching(self.catalog, where)
        found = self._masks.get(where)
        if found is None:
            found = matching(self.catalog, where)
            if len(self._masks) < _REMEMBERED:
                self._masks[where] = found
        return found

    def session(
        self,
        user: RawId | None = None,
        *,
        history: Sequence[RawId] = (),
        times: Sequence[Instant] | None = None,
        events: Sequence[str] | None = None,
    ) -> Session:
        """One person, known or new, to whose history events are added: each costs one position of the user tower.

        Examples
        --------
        ``session = runtime.session("42"); session.add("1196"); session.recommend(k=10)``
        """
        begins = user is None and not len(history)
        people = people_of(
            self,
            None if user is None else single(user, "user"),
            [history] if user is None else None,
            [[]] if begins else None if times is None else [times],
            [[]] if begins else None if events is None else [events],
            cold=True,
        )
        if user is not None and people.users[0] < 0:
            known_rows(single(user, "user"), self.users, "user", remedy="give history= for somebody new")
        return Session(self, people)

    def similar_items(
        self,
        items: RawIds,
        *,
        k: int = 10,
        where: str | pl.Expr | None = None,
        unknown: Unknown = "error",
        by: Similarity | None = None,
    ) -> pl.DataFrame:
        """The items that are most like others; takes, gives and raises what :meth:`recsys.Retriever.similar_items` does."""
        by = by or ("transitions" if self._model["fast"] else "vectors")
        choice(by, "by", get_args(Similarity))
        k, (rows, missed) = check_k(k), known_rows(items, self.items, "items", unknown)
        if len(rows) + missed == 0:
            raise ConfigError("there is nothing to compare with: items is empty")
        if missed:
            warn(LeftOut(unknown_items=missed).sentence(len(rows)))
        mask = None if where is None else self.matching(where)
        itself = Ragged.from_lengths(np.ones(len(rows), dtype=np.int64), rows)
        if by == "transitions":
            ranked = self._following(itself, k, mask)
        else:
            if self._model["fast"]:
                raise UnsupportedError("by='vectors' compares vectors, and a fast model has none")
            ranked = self.vectors.search(self.vectors.rows[rows], k, itself, mask)
        return frame_of(ranked, self.items.to_ids(rows).alias(ITEM), self.items, SIMILAR)

    def _following(self, itself: Ragged, k: int, mask: Bool | None) -> Ranked:
        memory = self._parts.memory
        if memory is None:
            raise UnsupportedError("this model has no transition memory; leave out by='transitions'")
        found = memory.scores(itself)
        owners, rows = found.lists.list_index(), found.lists.rows
        kept = (rows != itself.rows[owners]) & self.vectors.alive[rows]
        if mask is not None:
            kept &= mask[rows]
        return ranked_pairs(owners[kept], rows[kept].astype(np.int64), found.scores[kept], len(itself), k)

    def search(self, texts: str | Sequence[str], *, k: int = 10, where: str | pl.Expr | None = None) -> pl.DataFrame:
        """Items that free text describes; takes, gives and raises what :meth:`recsys.Retriever.search` does."""
        k, queries = check_k(k), search_texts(texts)
        vectors = self._texts.vectors(queries)[1]
        mask = None if where is None else self.matching(where)
        ranked = self._text_vectors.search(vectors, k, eligible=mask)
        return frame_of(ranked, pl.Series(QUERY, queries), self.items, ITEM)

    def explain(
        self,
        user: RawId | None = None,
        item: RawId = "",
        *,
        history: Sequence[RawId] | None = None,
        times: Sequence[Instant] | None = None,
        events: Sequence[str] | None = None,
        request_time: Instant | None = None,
        target_event: str | None = None,
        unknown: Unknown = "error",
    ) -> pl.DataFrame:
        """Which events of a history move an item's score; as :meth:`recsys.Retriever.explain`."""
        people = people_of(
            self,
            None if user is None else single(user, "user"),
            None if history is None else [history],
            None if times is None else [times],
            None if events is None else [events],
            unknown=unknown,
        )
        if not len(people.histories.rows):
            raise UnknownIdError("there is nothing to explain: the user, or every item of the history, is unknown")
        if passed_over := people.left_out.sentence(1, "histories"):
            warn(passed_over)
        row = known_rows(single(item, "item"), self.items, "item")[0]
        second = None if request_time is None else request_second(request_time)
        return self.explained(people, row, second, self.event_code(target_event))

    def explained(self, people: People, row: Int32, second: int | None, target: int | None) -> pl.DataFrame:
        """:meth:`explain` for one person who was looked up, and the row of an item, int32 (1,)."""
        whole, without = self._with_and_without(people, row, second, target)
        found = Explanation(int(row[0]), float(whole[0]), people.histories.rows, (whole - without)[:, 0])
        return explanation_frame(found, self.catalog)

    def shares(self, people: People, row: Int32, second: int | None, target: int | None) -> dict[str, float]:
        """What each part of an item, int32 (1,), adds to the towers' score for one person who was looked up.

        As :func:`recsys.serving.score_breakdown.score_breakdown`.
        """
        times = people.histories.times
        asked = int(times[-1]) if second is None and times is not None else second
        vector = self.user_vectors(people.histories, people.users, asked, target)[0]
        if self._model["fast"]:
            return {POPULARITY: float(self.tower.table[row[0]] @ vector)}
        return self._breakdown.shares(vector, int(row[0]))

    @cached_property
    def _breakdown(self) -> Breakdown:
        return Breakdown.of(self._parts)

    def _with_and_without(
        self, people: People, row: Int32, second: int | None, target: int | None
    ) -> tuple[Float32, Float32]:
        history, memory = people.histories, self._parts.memory
        variants = without_each(history, max(self._model["max_length"], 0 if memory is None else memory.window))
        if second is None and history.times is not None:
            second = int(history.times[-1])
        some, scores = np.flatnonzero(variants.lengths), np.zeros((len(variants), 1), dtype=np.float32)
        users = np.full(len(some), people.users[0], dtype=np.int32)
        scores[some, 0] = self.user_vectors(variants.take(some), users, second, target) @ self.vectors.rows[row[0]]
        if memory is not None:
            each = np.arange(len(variants), dtype=np.int64)
            scores[:, 0] += memory.pair_scores(variants, each, np.full(len(variants), row[0], dtype=np.int32))
        return whole_and_without(scores, len(history.rows))

    def history(self, user: RawId) -> pl.DataFrame:
        """A known user's history, oldest first: ``item_id``, ``title``."""
        rows = self.histories[
            int(known_rows(single(user, "user"), self.users, USER, remedy="name one that is known")[0][0])
        ]
        return pl.DataFrame({ITEM: self.items.to_ids(rows), TITLE: self.catalog.title_of(rows)})


def load(folder: str | Path, *, threads: int = 1) -> Runtime:
    """Open an export.

    Parameters
    ----------
    folder : path
        What ``recsys export`` wrote.
    threads : int
        That compute one answer.

    Returns
    -------
    Runtime
        It has opened every file that it answers from: what happens to the folder afterwards changes nothing.

    Raises
    ------
    BundleError
        This is no export, or one of a newer format, damaged or incomplete.
    """
    folder = place(folder, "folder")
    told, source = opened(folder)
    try:
        return Runtime(read(told, source, threads))
    except DamagedError as error:
        source.close()
        raise BundleError(f"{error}; export the bundle again") from error
    except (KeyError, TypeError, IndexError, pl.exceptions.PolarsError) as error:
        source.close()
        raise BundleError(f"{folder} is not whole: {type(error).__name__}: {error}; export the bundle again") from error
    except BaseException:
        source.close()
        raise
