"""Retriever: the object that answers requests in raw ids."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl

from recsys.bundle.corpus import Corpus
from recsys.core.id_map import IdMap
from recsys.core.processes import begin_threads, check_process, note_threads
from recsys.core.progress import warn
from recsys.core.ragged import Bool, Float32, Int32, Int64, Ragged
from recsys.core.ranking import Ranked, check_k
from recsys.core.schema import (
    CHANGE,
    ITEM,
    QUERY,
    RANK_AFTER,
    RANK_BEFORE,
    REQUEST,
    ROW,
    RULE,
    SCORE,
    SIMILAR,
    SIMILAR_USER,
    TITLE,
    USER,
)
from recsys.data.catalog import Catalog
from recsys.data.interactions import Interactions
from recsys.data.split import Holdout
from recsys.data.times.request_time import Instant, clock
from recsys.errors import ConfigError
from recsys.evaluation.protocol import Traits
from recsys.index.item_index import ItemIndex
from recsys.models.towers import TwoTowerModel, numpy_of
from recsys.serving.answer import Answered, Form, as_form, check_form, filled_by_popularity, frame_of, spread
from recsys.serving.context import event_code
from recsys.serving.explaining import Explaining
from recsys.serving.living import Living
from recsys.serving.ranking import Request, eligible_items, rank
from recsys.serving.request import Asked, LeftOut, Unknown, anonymous, known_rows, known_users
from recsys.serving.request_arguments import RawId, RawIds, check_where, search_texts, single
from recsys.serving.rules.spec import Rules


@dataclass(eq=False)
class Retriever(Explaining, Living):
    """Towers, index, histories and catalogue, as one thing to ask.

    Made by :meth:`recsys.TwoTower.retriever` or :func:`recsys.load`. Every answer is a polars frame of raw ids, scores and
    ranks (from 1); an answer has fewer than k rows where fewer items are eligible, and never a placeholder.

    Any number of threads may ask at once, also while items are added or removed: each request is answered from the state
    that it found. From asyncio, call ``await asyncio.to_thread(retriever.recommend, ...)``.

    Attributes
    ----------
    shelf : Corpus
        Towers, index and catalogue as they are now.
    users : IdMap
        The users that can be asked for by name.
    histories : Ragged
        Their histories, in the towers' item rows; with the times and types of their events where the log tells them.
    options, record : dict
        The model's configuration, and what happened in training; for the bundle.
    holdout : Holdout or None
        Users and targets kept from training, for ``recsys evaluate``.
    data : dict
        Fingerprint and size of the log.
    trained : int64 (n_users,) or None
        How many events from the start of each history the model was trained on; None where it was trained on others.
    event_names : tuple of str
        The event types that ``histories.events`` refers to: those that the model was trained on, in the same order.

    Examples
    --------
    >>> retriever.recommend(["u1", "u2"], k=2)["rank"].to_list()
    [1, 2, 1, 2]
    >>> retriever.recommend(histories=[["i3", "i4"]], k=2).columns  # somebody who was never seen in training
    ['query', 'item_id', 'score', 'rank']
    """

    shelf: Corpus
    users: IdMap
    histories: Ragged
    options: dict[str, Any] = field(default_factory=dict)
    record: dict[str, Any] = field(default_factory=dict)
    holdout: Holdout | None = None
    data: dict[str, Any] = field(default_factory=dict)
    trained: Int64 | None = None
    event_names: tuple[str, ...] = ()
    _changing: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False)
    _made: dict[str, tuple[Any, Any]] = field(default_factory=dict, init=False, repr=False)

    name = "two towers"

    def __post_init__(self) -> None:
        begin_threads()
        self.shelf = replace(self.shelf, histories=self.histories)

    def __getstate__(self) -> dict[str, Any]:
        """All that it answers from, and none of what it remembers; processes of one machine may load the bundle instead."""
        check_process()
        kept = vars(self.snapshot()).copy()
        del kept["_changing"], kept["_made"]
        return kept

    def __setstate__(self, kept: dict[str, Any]) -> None:
        note_threads()  # an error here would end the worker of a pool, whose parent then waits for ever
        self.__dict__ |= kept | {"_changing": threading.Lock(), "_made": {}}

    def __copy__(self) -> Retriever:
        return self.snapshot()

    def __deepcopy__(self, memo: dict[int, Any]) -> Retriever:
        """A retriever that changes apart from this one; what never changes is shared."""
        own = {name: copy.deepcopy(getattr(self, name), memo) for name in ("options", "record", "data")}
        return replace(self.snapshot(), **own)

    def _state(self) -> tuple[Corpus, Ragged]:
        """What is on offer and the histories in its rows, read once: whoever works on them sees no change in between."""
        check_process()
        shelf = self.shelf
        return shelf, self.histories if shelf.histories is None else shelf.histories

    def _remembered(self, name: str, of: Any, make: Callable[[], Any]) -> Any:
        """What was made of an immutable object; made anew where that is another one than before."""
        found = self._made.get(name)
        if found is None or found[0] is not of:
            self._made[name] = found = of, make()
        return found[1]

    @property
    def items(self) -> IdMap:
        """All items in row order, removed ones too."""
        return self.shelf.items

    @property
    def towers(self) -> TwoTowerModel:
        """The fitted towers."""
        return self.shelf.towers

    @property
    def index(self) -> ItemIndex:
        """The index of the item vectors."""
        return self.shelf.index

    @property
    def catalog(self) -> Catalog:
        """What is known of the items, in row order."""
        return self.shelf.catalog

    @property
    def trained_on(self) -> Interactions | None:
        """The part of the histories that the model was trained on, in its own item rows."""
        shelf, histories = self._state()
        if self.trained is None:
            return None
        lengths = self.trained

        def made() -> Interactions:
            names = () if histories.events is None else self.event_names
            return Interactions(self.users, shelf.items, histories.head(lengths), event_names=names, ordered=self.ordered)

        found: Interactions = self._remembered("trained_on", shelf.towers, made)
        return found

    @property
    def traits(self) -> Traits:
        """What evaluation should know about the model."""
        return Traits(
            trained_on=self.trained_on,
            vectors=self.vectors,
            reads_request_time=self.reads_request_time,
            event_names=self.event_names,
            keep_seen=self.keep_seen,
        )

    @property
    def ordered(self) -> bool:
        """Whether the log told what came before what; if not, positions in a history mean nothing."""
        return bool(self.data.get("ordered", True))

    @property
    def keep_seen(self) -> bool:
        """Whether the model was validated with items of the history left in the ranking, and is to be judged so."""
        return bool(self.record.get("options", {}).get("keep_seen", False))

    @property
    def reads_request_time(self) -> bool:
        """Whether recommendations depend on when they are asked for."""
        return self.towers.reads_request_time

    @property
    def vectors(self) -> Float32:
        """float32 (n_items, D): item vectors as they are compared and indexed."""
        return self.towers.vectors

    def __repr__(self) -> str:
        return f"Retriever({len(self.users):,} users, {len(self.items):,} items, {self.index.dim} dimensions)"

    def recommend_rows(
        self,
        histories: Ragged,
        k: int,
        *,
        exclude: Ragged | None = None,
        users: Int32 | None = None,
        eligible: Bool | None = None,
        request_times: Int64 | None = None,
        target_event: int | None = None,
    ) -> Ranked:
        """Rank by user tower and index; see :meth:`recsys.TwoTower.recommend_rows`.

        ``target_event`` is the code of an event type.
        """
        shelf, _ = self._state()
        return rank(
            shelf,
            histories,
            k,
            hidden=exclude,
            users=users,
            clocks=request_times,
            target_event=target_event,
            eligible=eligible,
        )

    def recommend(
        self,
        users: RawIds | None = None,
        *,
        histories: Sequence[Sequence[RawId]] | None = None,
        times: Sequence[Sequence[Instant]] | None = None,
        events: Sequence[Sequence[str]] | None = None,
        now: Instant | None = None,
        target_event: str | None = None,
        k: int = 10,
        filter_seen: bool = True,
        exclude: RawIds | None = None,
        allow: RawIds | None = None,
        where: str | pl.Expr | None = None,
        rules: Rules | None = None,
        fallback: Literal["error", "popular"] = "error",
        unknown: Unknown = "error",
        form: Form = "polars",
    ) -> Any:
        """Items for known users, or for histories of people never seen before.

        Parameters
        ----------
        users : id or ids
            Known users; their stored histories are read.
        histories : sequence of sequences of item ids
            Instead of ``users``: each in time order, oldest first.
        times, events : sequence of sequences, optional
            Time (as ``now``) and type of each event of ``histories``; only models that read them need them.
        now : number, text, date or datetime, optional
            Clock of the request, for models and rules that read it: since 1970, or ISO 8601; by default now.
        target_event : str, optional
            Type of the event to come, such as ``"buy"``, of a model with ``event_heads``; by default any.
        k : int
            Most items per user; fewer where fewer are eligible.
        filter_seen : bool
            Whether items of the history are left out.
        exclude, allow : item id or ids, optional
            Items that nobody gets; the only items that anybody gets. All filters hold at once.
        where : str or polars expression, optional
            Such as ``'category == "Books" and price < 20'``; see :func:`recsys.data.filters.matching`.
        rules : Rules, optional
            Boosts, pins, caps and so on; scores are then those that the rules make. :meth:`moves` tells what they did.
        fallback : {"error", "popular"}
            For people who are unknown or have no history: an error, or the most popular items that the filters leave, their
            score being a number of interactions. The column ``source`` then says ``"model"`` or ``"popular"``.
        unknown : {"error", "skip"}
            For ids that the model does not know, in ``users``, ``histories``, ``exclude`` and ``allow``: an error, or they
            are passed over, and so are people without a history. How many gets told in one line, as is in either case
            how many get nothing because no item is left for them; :meth:`answered` has the numbers.
        form : {"polars", "arrow", "lists"}
            A frame, an Arrow table, or one list of dicts per person, in the order of asking.

        Returns
        -------
        DataFrame, Table or list
            ``user_id`` (or ``query``, the position in ``histories``), ``item_id``, ``score``, ``rank``.

        Raises
        ------
        UnknownIdError
            A user or item that the model does not know.
        ConfigError
            Both or neither of ``users`` and ``histories``, or nobody in them; an argument that is not what it should be,
            such as a k below 1; a ``target_event`` type that the model does not know; a predicate that cannot be read.
        DataError
            A history is empty, or has events of types that the model does not know.
        ForkError
            This process was forked from the one that made the retriever.
        """
        check_form(form)
        found = self.answered(
            users, histories=histories, times=times, events=events, now=now, target_event=target_event, k=k,
            filter_seen=filter_seen, exclude=exclude, allow=allow, where=where, rules=rules, fallback=fallback,
            unknown=unknown,
        )  # fmt: skip
        if told := found.left_out.sentence(len(found.lengths), "users" if histories is None else "histories"):
            warn(told)
        return as_form(found.frame, form, found.lengths)

    def answered(
        self,
        users: RawIds | None = None,
        *,
        histories: Sequence[Sequence[RawId]] | None = None,
        times: Sequence[Sequence[Instant]] | None = None,
        events: Sequence[Sequence[str]] | None = None,
        k: int = 10,
        fallback: Literal["error", "popular"] = "error",
        unknown: Unknown = "error",
        **filters: Any,
    ) -> Answered:
        """The answer of :meth:`recommend` with what was left out, in numbers, and what the rules moved.

        Takes what :meth:`recommend` takes, save for ``form``, and raises the same.
        """
        shelf, known = self._state()
        k = check_k(k)
        if fallback not in ("error", "popular"):
            raise ConfigError(f"fallback must be error or popular, not {fallback!r}")
        popular = fallback == "popular"
        asked = self._asked(shelf, known, users, histories, times, events, cold=popular, unknown=unknown)
        request = Request.of(shelf, asked, self.event_names, k=k, unknown=unknown, **filters)
        able, source, n = np.flatnonzero(asked.readable), None, len(asked.owners)
        ranked, moves = request.answer(shelf, able)
        if popular:
            counts = self._remembered("popularity", known, lambda: np.bincount(known.rows))
            counts = np.pad(counts, (0, len(shelf.items) - len(counts)))
            ranked, source = filled_by_popularity(ranked, able, counts, request.there(shelf), request.hidden, request.k)
        elif len(able) < n:
            ranked = spread(ranked, able, n)
        frame = frame_of(ranked, asked.owners, shelf.items, ITEM)
        if source is not None:
            frame = frame.with_columns(source.gather(pl.Series(ranked.lists.list_index(), dtype=pl.UInt32)))
        nothing = (ranked.lists.lengths == 0) & (asked.readable | popular)
        return Answered(
            frame,
            ranked.lists.lengths,
            request.left_out + LeftOut(nothing_left=int(nothing.sum())),
            None if moves is None else self._told_moves(shelf, asked, able, moves),
        )

    def moves(self, users: RawIds | None = None, *, rules: Rules, k: int = 10, **request: Any) -> pl.DataFrame:
        """What each rule did to whose items: a row for every item that a rule moved.

        Takes what :meth:`recommend` takes, save for ``fallback`` and ``form``, and gives ``user_id`` (or ``query``),
        ``item_id``, ``rule``, ``change`` (of the score), ``rank_before``, ``rank_after``.
        """
        moves = self.answered(users, rules=rules, k=k, **request).moves
        if moves is None:
            raise ConfigError("moves needs rules=, such as recsys.Rules.read('rules.toml')")
        return moves

    @staticmethod
    def _told_moves(shelf: Corpus, asked: Asked, able: Int64, moves: pl.DataFrame) -> pl.DataFrame:
        return moves.select(
            asked.owners.gather(pl.Series(able[moves[REQUEST].to_numpy()], dtype=pl.UInt32)),
            shelf.items.to_ids(moves[ROW].to_numpy()).alias(ITEM),
            *(moves[name] for name in (RULE, CHANGE, RANK_BEFORE, RANK_AFTER)),
        )

    def _asked(
        self,
        shelf: Corpus,
        known: Ragged,
        users: Any,
        histories: Any,
        times: Any = None,
        events: Any = None,
        *,
        cold: bool = False,
        unknown: Unknown = "error",
    ) -> Asked:
        if (users is None) == (histories is None):
            raise ConfigError("give either users or histories")
        if users is not None:
            for name, given in (("times", times), ("events", events)):
                if given is not None:
                    raise ConfigError(f"{name} belongs to histories; of known users the stored {name} are read")
            return known_users(users, self.users, known, cold=cold, unknown=unknown)
        tower = shelf.towers.net.users
        return anonymous(histories, shelf.items, tower, self.event_names, times, events, cold=cold, unknown=unknown)

    def score(
        self,
        users: RawIds | None = None,
        items: RawIds = (),
        *,
        histories: Sequence[Sequence[RawId]] | None = None,
        times: Sequence[Sequence[Instant]] | None = None,
        events: Sequence[Sequence[str]] | None = None,
        now: Instant | None = None,
        target_event: str | None = None,
        unknown: Unknown = "error",
    ) -> pl.DataFrame:
        """The score of each item for each user, seen or not: ``user_id`` (or ``query``), ``item_id``, ``score``.

        Items come in the order of asking; arguments and errors as of :meth:`recommend`.
        """
        shelf, known = self._state()
        asked = self._asked(shelf, known, users, histories, times, events, unknown=unknown)
        rows, missed = known_rows(items, shelf.items, "items", unknown)
        able = np.flatnonzero(asked.readable)
        n, m = len(able), len(rows)
        clocks = np.full(n, clock(now), dtype=np.int64)
        code = None if target_event is None else event_code(target_event, shelf.towers.net.users, self.event_names)
        read = asked.histories.take(able)
        vectors = (
            numpy_of(shelf.towers.user_vectors(read, asked.users[able], clocks, code)) if n else shelf.towers.vectors[:0]
        )
        if sentence := (asked.left_out + LeftOut(unknown_items=missed)).sentence(len(asked.owners)):
            warn(sentence)
        owners = np.repeat(np.arange(n), m)
        return pl.DataFrame(
            {
                asked.owners.name: asked.owners.gather(pl.Series(able[owners], dtype=pl.UInt32)),
                ITEM: shelf.items.to_ids(np.tile(rows, n)),
                SCORE: shelf.index.scores(vectors, owners, np.tile(rows, n).astype(np.int64)),
            }
        )

    def similar_items(
        self, items: RawIds, *, k: int = 10, where: str | pl.Expr | None = None, unknown: Unknown = "error"
    ) -> pl.DataFrame:
        """The items whose vectors are nearest, by the model's own score; the item itself left out.

        Gives ``item_id``, ``similar_item_id``, ``score``, ``rank``; raises as :meth:`recommend`.
        """
        shelf, _ = self._state()
        k = check_k(k)
        rows, missed = known_rows(items, shelf.items, "items", unknown)
        if len(rows) + missed == 0:
            raise ConfigError("there is nothing to compare with: items is empty")
        if missed:
            warn(LeftOut(unknown_items=missed).sentence(len(rows)))
        eligible, _ = eligible_items(shelf, None, where)
        itself = Ragged.from_lengths(np.ones(len(rows), dtype=np.int64), rows)
        ranked = shelf.index.search(shelf.towers.vectors[rows], k, itself, eligible=eligible)
        return frame_of(ranked, shelf.items.to_ids(rows).alias(ITEM), shelf.items, SIMILAR)

    def similar_users(self, users: RawIds, *, k: int = 10, unknown: Unknown = "error") -> pl.DataFrame:
        """The users whose vectors are nearest, by cosine: ``user_id``, ``similar_user_id``, ``score``, ``rank``.

        All users with a history are encoded at the first call, and again after items were added or updated, whose vectors
        the histories are read by; raises as :meth:`recommend`.
        """
        shelf, known = self._state()
        k = check_k(k)
        asked = known_users(users, self.users, known, unknown=unknown)
        if told := asked.left_out.sentence(len(asked.owners)):
            warn(told)
        rows = asked.users[asked.readable]
        index, places = self._remembered("users_index", shelf.towers, lambda: users_index(shelf.towers, known))
        at = np.searchsorted(places, rows)
        itself = Ragged.from_lengths(np.ones(len(rows), dtype=np.int64), at.astype(np.int32))
        found = index.search(index.vectors()[at], k, itself)
        ranked = Ranked(Ragged(found.lists.offsets, places[found.lists.rows]), found.scores)
        return frame_of(ranked, self.users.to_ids(rows).alias(USER), self.users, SIMILAR_USER)

    def search(self, texts: str | Sequence[str], *, k: int = 10, where: str | pl.Expr | None = None) -> pl.DataFrame:
        """Items that free text describes: the item tower's text encoder compares it with the items' own texts.

        Items without a text are never found.

        Returns
        -------
        DataFrame
            ``query`` (the text), ``item_id``, ``score`` (cosine), ``rank``.

        Raises
        ------
        UnsupportedError
            The model was trained without text.
        DataError, ConfigError
            A text is blank; there is none; a k below 1.
        """
        shelf, _ = self._state()
        k = check_k(k)
        check_where(where)
        asked = search_texts(texts)
        queries = shelf.towers.query_vectors(asked)
        eligible = shelf.searchable if where is None else shelf.searchable & shelf.matching(where)
        ranked = shelf.text_index.search(queries, k, eligible=eligible)
        return frame_of(ranked, pl.Series(QUERY, asked), shelf.items, ITEM)

    def with_titles(self, frame: pl.DataFrame, column: str = ITEM) -> pl.DataFrame:
        """The same frame with the title of each item in ``column`` beside it, for people to read."""
        shelf, _ = self._state()
        return frame.with_columns(shelf.catalog.title_of(shelf.items.to_rows(frame[column])))

    def history(self, user: RawId) -> pl.DataFrame:
        """A known user's history, oldest first: ``item_id``, ``title``."""
        shelf, known = self._state()
        rows = known[int(known_rows(single(user, "user"), self.users, "user")[0][0])]
        return pl.DataFrame({ITEM: shelf.items.to_ids(rows), TITLE: shelf.catalog.title_of(rows)})

    def snapshot(self) -> Retriever:
        """This retriever as it is now, which no change to this one reaches; it shares what never changes."""
        check_process()
        with self._changing:
            return replace(self)

    def save(
        self,
        folder: str | Path,
        *,
        overwrite: bool = False,
        metrics: dict[str, Any] | None = None,
        figures: dict[str, Any] | None = None,
        like: str | Path | None = None,
    ) -> None:
        """Write the bundle, all or nothing; see :func:`recsys.bundle.io.save`."""
        from recsys.bundle.io import save  # noqa: PLC0415 - the bundle knows the retriever, not the other way round

        save(self.snapshot(), Path(folder), overwrite=overwrite, metrics=metrics, figures=figures, like=like)


def users_index(towers: TwoTowerModel, histories: Ragged) -> tuple[ItemIndex, Int32]:
    """The vectors of all users with a history, by cosine, and whose they are: int32 (m,)."""
    rows = np.flatnonzero(histories.lengths).astype(np.int32)
    vectors = numpy_of(towers.user_vectors(histories.take(rows), rows))
    return ItemIndex.build(vectors / np.linalg.norm(vectors, axis=1, keepdims=True)), rows
