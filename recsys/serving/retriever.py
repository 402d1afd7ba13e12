"""Retriever: the object that answers requests in raw ids."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl

from recsys.data.catalog import Catalog
from recsys.data.clock import Instant, clock
from recsys.data.interactions import Interactions
from recsys.data.row_lists import Bool, Float32, Int32, Int64, RowLists, overlap
from recsys.data.split import Holdout
from recsys.data.vocabulary import Vocabulary
from recsys.errors import ConfigError, DataError
from recsys.index.item_index import ItemIndex
from recsys.models.towers import Towers, numpy_of
from recsys.recommender import Ranked, check_k
from recsys.schema import ITEM, QUERY, SIMILAR, TITLE, USER
from recsys.serving.answers import Form, as_form, filled_by_popularity, frame_of
from recsys.serving.asked import Asked, RawId, RawIds, anonymous, known_users, listed
from recsys.serving.living import Living
from recsys.serving.ranking import Request, eligible_items, rank
from recsys.serving.rules import Rules
from recsys.serving.shelf import Shelf


@dataclass(eq=False)
class Retriever(Living):
    """Towers, index, histories and catalogue, as one thing to ask.

    Made by :meth:`recsys.TwoTower.retriever` or :func:`recsys.load`. Every answer is a polars frame of raw ids, scores and
    ranks (from 1); an answer has fewer than k rows where fewer items are eligible, and never a placeholder.

    Any number of threads may ask at once, also while items are added or removed: each request is answered from the state
    that it found. From asyncio, call ``await asyncio.to_thread(retriever.recommend, ...)``.

    Attributes
    ----------
    shelf : Shelf
        Towers, index and catalogue as they are now.
    users : Vocabulary
        The users that can be asked for by name.
    histories : RowLists
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
    """

    shelf: Shelf
    users: Vocabulary
    histories: RowLists
    options: dict[str, Any] = field(default_factory=dict)
    record: dict[str, Any] = field(default_factory=dict)
    holdout: Holdout | None = None
    data: dict[str, Any] = field(default_factory=dict)
    trained: Int64 | None = None
    event_names: tuple[str, ...] = ()
    _changing: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False)

    name = "two towers"

    @property
    def items(self) -> Vocabulary:
        """All items in row order, removed ones too."""
        return self.shelf.items

    @property
    def towers(self) -> Towers:
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

    @cached_property
    def trained_on(self) -> Interactions | None:
        """The part of the histories that the model was trained on, in its own item rows."""
        if self.trained is None:
            return None
        histories = self.histories.head(self.trained)
        names = () if histories.events is None else self.event_names
        return Interactions(self.users, self.items, histories, event_names=names, ordered=self.ordered)

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
        histories: RowLists,
        k: int,
        *,
        exclude: RowLists | None = None,
        users: Int32 | None = None,
        candidates: Int32 | None = None,
        requests: Int64 | None = None,
        wanted: int | None = None,
        eligible: Bool | None = None,
    ) -> Ranked:
        """Rank by user tower and index; see :meth:`recsys.TwoTower.recommend_rows`.

        ``wanted`` is the code of an event type; ``eligible``, bool (n_items,), says the same as ``candidates``.
        """
        shelf = self.shelf
        eligible = overlap(eligible, None if candidates is None else shelf.mask_of(candidates))
        return rank(shelf, histories, k, hidden=exclude, users=users, clocks=requests, wanted=wanted, eligible=eligible)

    def recommend(
        self,
        users: RawIds | None = None,
        *,
        histories: Sequence[Sequence[RawId]] | None = None,
        times: Sequence[Sequence[Instant]] | None = None,
        events: Sequence[Sequence[str]] | None = None,
        now: Instant | None = None,
        wanted: str | None = None,
        k: int = 10,
        filter_seen: bool = True,
        exclude: RawIds | None = None,
        allow: RawIds | None = None,
        where: str | pl.Expr | None = None,
        rules: Rules | None = None,
        fallback: Literal["error", "popular"] = "error",
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
        wanted : str, optional
            Type of the event to come, such as ``"buy"``, of a model with ``event_heads``; by default any.
        k : int
            Most items per user, at most the size of the catalogue.
        filter_seen : bool
            Whether items of the history are left out.
        exclude, allow : item id or ids, optional
            Items that nobody gets; the only items that anybody gets. All filters hold at once.
        where : str or polars expression, optional
            Such as ``'category == "Books" and price < 20'``; see :func:`recsys.data.predicate.matching`.
        rules : Rules, optional
            Boosts, pins, caps and so on; scores are then those that the rules make. :meth:`moves` tells what they did.
        fallback : {"error", "popular"}
            For people who are unknown or have no history: an error, or the most popular items that the filters leave, their
            score being a number of interactions. The column ``source`` then says ``"model"`` or ``"popular"``.
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
            Both or neither of ``users`` and ``histories``; a k below 1 or above the catalogue; a ``wanted`` type that the
            model does not tell apart; a predicate that cannot be read.
        DataError
            A history is empty, or has events of types that the model does not know.
        """
        shelf = self.shelf
        shelf.check_k(k)
        if fallback not in ("error", "popular"):
            raise ConfigError(f"fallback must be error or popular, not {fallback!r}")
        asked = self._asked(users, histories, times, events, cold=fallback == "popular")
        filters: dict[str, Any] = {"filter_seen": filter_seen, "exclude": exclude, "allow": allow, "where": where}
        request = Request.of(shelf, asked, self.event_names, k=k, now=now, wanted=wanted, rules=rules, **filters)
        able, source = np.flatnonzero(asked.readable), None
        ranked, _ = request.answer(shelf, able)
        if fallback == "popular":
            counts = np.pad(self._popularity, (0, len(shelf.items) - len(self._popularity)))
            ranked, source = filled_by_popularity(ranked, able, counts, request.there(shelf), request.hidden, k)
        frame = frame_of(ranked, asked.owners, shelf.items, ITEM)
        if source is not None:
            frame = frame.with_columns(source.gather(pl.Series(ranked.lists.owners(), dtype=pl.UInt32)))
        return as_form(frame, form, ranked.lists.lengths)

    @cached_property
    def _popularity(self) -> Int64:
        """Interactions of each item, up to the last that has any."""
        return np.bincount(self.histories.rows)

    def moves(self, users: RawIds | None = None, *, rules: Rules, k: int = 10, **request: Any) -> pl.DataFrame:
        """What each rule did to whose items: a row for every item that a rule moved.

        Takes what :meth:`recommend` takes, save for ``fallback`` and ``form``, and gives ``user_id`` (or ``query``),
        ``item_id``, ``rule``, ``change`` (of the score), ``rank_before``, ``rank_after``.
        """
        shelf = self.shelf
        shelf.check_k(k)
        asked = self._asked(users, *(request.pop(name, None) for name in ("histories", "times", "events")))
        made = Request.of(shelf, asked, self.event_names, k=k, rules=rules, **request)
        moves = made.answer(shelf, np.arange(len(asked.owners)))[1]
        assert moves is not None  # noqa: S101 - there are rules
        return moves.select(
            asked.owners.gather(moves["request"]).alias(asked.owners.name),
            shelf.items.raw(moves["row"].to_numpy()).alias(ITEM),
            *(moves[name] for name in ("rule", "change", "rank_before", "rank_after")),
        )

    def _asked(self, users: Any, histories: Any, times: Any = None, events: Any = None, *, cold: bool = False) -> Asked:
        if (users is None) == (histories is None):
            raise ConfigError("give either users or histories")
        if users is not None:
            return known_users(users, self.users, self.histories, cold=cold)
        return anonymous(histories, self.items, self.towers.net.users, self.event_names, times, events, cold=cold)

    def score(
        self,
        users: RawIds | None = None,
        items: RawIds = (),
        *,
        histories: Sequence[Sequence[RawId]] | None = None,
        now: Instant | None = None,
    ) -> pl.DataFrame:
        """The score of each item for each user, seen or not: ``user_id`` (or ``query``), ``item_id``, ``score``.

        Items come in the order of asking; raises as :meth:`recommend`.
        """
        shelf = self.shelf
        asked = self._asked(users, histories)
        rows = shelf.items.rows(listed(items))
        clocks = np.full(len(asked.owners), clock(now), dtype=np.int64)
        vectors = shelf.towers.user_vectors(asked.histories, asked.users, clocks)
        n, m = len(asked.owners), len(rows)
        owners = np.repeat(np.arange(n), m)
        return pl.DataFrame(
            {
                asked.owners.name: asked.owners.gather(pl.Series(owners, dtype=pl.UInt32)),
                ITEM: shelf.items.raw(np.tile(rows, n)),
                "score": shelf.index.scores(numpy_of(vectors), owners, np.tile(rows, n).astype(np.int64)),
            }
        )

    def similar_items(self, items: RawIds, *, k: int = 10, where: str | pl.Expr | None = None) -> pl.DataFrame:
        """The items whose vectors are nearest, by the model's own score; the item itself left out.

        Gives ``item_id``, ``similar_item_id``, ``score``, ``rank``; raises as :meth:`recommend`.
        """
        shelf = self.shelf
        shelf.check_k(k)
        rows = shelf.items.rows(listed(items))
        itself = RowLists.from_lengths(np.ones(len(rows), dtype=np.int64), rows)
        ranked = shelf.index.search(shelf.towers.vectors[rows], k, itself, eligible=eligible_items(shelf, None, where))
        return frame_of(ranked, shelf.items.raw(rows).alias(ITEM), shelf.items, SIMILAR)

    def similar_users(self, users: RawIds, *, k: int = 10) -> pl.DataFrame:
        """The users whose vectors are nearest, by cosine: ``user_id``, ``similar_user_id``, ``score``, ``rank``.

        All users with a history are encoded at the first call, and remembered; raises as :meth:`recommend`.
        """
        check_k(k)
        rows = known_users(users, self.users, self.histories, cold=False).users
        index, places = self._users_index
        at = np.searchsorted(places, rows)
        itself = RowLists.from_lengths(np.ones(len(rows), dtype=np.int64), at.astype(np.int32))
        found = index.search(index.vectors()[at], k, itself)
        ranked = Ranked(RowLists(found.lists.offsets, places[found.lists.rows]), found.scores)
        return frame_of(ranked, self.users.raw(rows).alias(USER), self.users, "similar_user_id")

    @cached_property
    def _users_index(self) -> tuple[ItemIndex, Int32]:
        rows = np.flatnonzero(self.histories.lengths).astype(np.int32)
        vectors = numpy_of(self.towers.user_vectors(self.histories.take(rows), rows))
        return ItemIndex.build(vectors / np.linalg.norm(vectors, axis=1, keepdims=True)), rows

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
            A text is blank; a k below 1 or above the catalogue.
        """
        shelf = self.shelf
        shelf.check_k(k)
        asked = [texts] if isinstance(texts, str) else list(texts)
        if any(not text.strip() for text in asked):
            raise DataError("a search text is blank")
        queries = shelf.towers.query_vectors(asked)
        eligible = shelf.searchable if where is None else shelf.searchable & shelf.matching(where)
        ranked = shelf.text_index.search(queries, k, eligible=eligible)
        return frame_of(ranked, pl.Series(QUERY, asked), shelf.items, ITEM)

    def explain(
        self,
        user: RawId | None = None,
        item: RawId = "",
        *,
        history: Sequence[RawId] | None = None,
        now: Instant | None = None,
    ) -> pl.DataFrame:
        """Which events of a history move an item's score, and by how much; see :func:`recsys.serving.explain.occlusion`.

        Takes a known user, or the ``history`` of somebody else, oldest first. Gives ``item_id`` and ``title`` of each
        event's item, its ``contribution`` and its ``place``; the largest contribution first.
        """
        from recsys.serving.explain import explain, explanation_frame  # noqa: PLC0415

        shelf, asked = self.shelf, self._asked(user, None if history is None else [history])
        rows = shelf.items.rows([item])
        found = explain(
            shelf.towers, asked.histories, rows, user=int(asked.users[0]), request=None if now is None else clock(now)
        )
        return explanation_frame(found[0], shelf.catalog)

    def item_shares(
        self,
        user: RawId | None = None,
        item: RawId = "",
        *,
        history: Sequence[RawId] | None = None,
        now: Instant | None = None,
    ) -> dict[str, float]:
        """What id, text and other content of an item add to its score, by name, with ``"bias"``; the sum is the score.

        Takes what :meth:`explain` takes; see :func:`recsys.serving.item_shares.item_shares`.
        """
        from recsys.serving.item_shares import item_shares  # noqa: PLC0415

        shelf, asked = self.shelf, self._asked(user, None if history is None else [history])
        clocks = None if now is None else np.array([clock(now)], dtype=np.int64)
        vector = numpy_of(shelf.towers.user_vectors(asked.histories, asked.users, clocks))[0]
        shares = item_shares(shelf.towers, vector, shelf.items.rows([item]))
        return {name: float(values[0]) for name, values in shares.items()}

    def titled(self, frame: pl.DataFrame, column: str = ITEM) -> pl.DataFrame:
        """The same frame with the title of each item in ``column`` beside it, for people to read."""
        return frame.with_columns(self.catalog.title_of(self.items.rows(frame[column])))

    def history(self, user: RawId) -> pl.DataFrame:
        """A known user's history, oldest first: ``item_id``, ``title``."""
        rows = self.histories[int(self.users.rows([user])[0])]
        return pl.DataFrame({ITEM: self.items.raw(rows), TITLE: self.catalog.title_of(rows)})

    def save(
        self,
        folder: str | Path,
        *,
        overwrite: bool = False,
        metrics: dict[str, Any] | None = None,
        figures: dict[str, Any] | None = None,
        like: str | Path | None = None,
    ) -> None:
        """Write the bundle, all or nothing; see :func:`recsys.bundle.save`."""
        from recsys.bundle import save  # noqa: PLC0415 - the bundle knows the retriever, not the other way round

        save(self, Path(folder), overwrite=overwrite, metrics=metrics, figures=figures, like=like)
