"""Retriever: the object that answers requests in raw ids."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal, Unpack, get_args

import numpy as np
import polars as pl

from recsys.bundle.choice import with_chosen_index
from recsys.bundle.contents import Bundle
from recsys.bundle.shown import bundle_html
from recsys.core.arguments import choice, place, renamed
from recsys.core.id_map import IdMap
from recsys.core.processes import begin_threads, check_process, note_threads
from recsys.core.progress import warn
from recsys.core.ragged import Bool, Float32, Int32, Int64, Ragged
from recsys.core.ranking import Ranked, check_k
from recsys.core.schema import ITEM, TITLE
from recsys.data.catalog import Catalog
from recsys.data.formats.frames import Frame
from recsys.data.split import Holdout
from recsys.data.times.request_time import Instant
from recsys.errors import ConfigError
from recsys.evaluation.protocol import Traits
from recsys.index.item_index import ItemIndex
from recsys.models.towers import TwoTowerModel
from recsys.serving.answer import Answered, answer, scored
from recsys.serving.explain import broken_down, explained
from recsys.serving.frames import Output, as_output
from recsys.serving.nearest import Files, SearchedBy, nearest_items, nearest_users, searched, users_index
from recsys.serving.people import LeftOut
from recsys.serving.ranking import rank
from recsys.serving.request import OnePerson, Request, about_item
from recsys.serving.request_arguments import RawId, RawIds, Similarity, Unknown, item_frame, known_rows, single
from recsys.serving.rules.spec import Rules

_OLD_NAMES = {"now": "request_time", "allow": "eligible", "form": "output", "wanted": "target_event"}
_TRIES = 3
"""How often an index is built while others may change the items."""


class Retriever:
    """Answers requests in raw ids from a bundle.

    Made by :meth:`recsys.TwoTower.retriever` or :func:`recsys.load`. Every answer is a polars frame of raw ids, scores and
    ranks (from 1); an answer has fewer than k rows if fewer items are eligible, and never a placeholder.

    Any number of threads may ask at once, also while items are added or removed: each request is answered from the bundle
    that it found. From asyncio, call ``await asyncio.to_thread(retriever.recommend, ...)``.

    Parameters
    ----------
    bundle : Bundle

    Attributes
    ----------
    bundle : Bundle
        What it answers from; swapped as a whole.

    Examples
    --------
    >>> retriever.recommend(["u1", "u2"], k=2)["rank"].to_list()
    [1, 2, 1, 2]
    >>> retriever.recommend(histories=[["i3", "i4"]], k=2).columns  # somebody who was never seen in training
    ['query', 'item_id', 'score', 'rank']
    """

    def __init__(self, bundle: Bundle) -> None:
        begin_threads()
        self.bundle = bundle
        self.name = bundle.towers.name
        self._changing = threading.Lock()
        self._made: dict[str, tuple[Any, Any]] = {}

    def __getstate__(self) -> dict[str, Any]:
        """All that it answers from, and none of what it remembers; processes of one machine may load the bundle instead."""
        check_process()
        return {"bundle": self.bundle, "name": self.name}

    def __setstate__(self, kept: dict[str, Any]) -> None:
        note_threads()  # an error here would end the worker of a pool, whose parent then waits for ever
        self.bundle, self.name = kept["bundle"], kept["name"]
        self._changing, self._made = threading.Lock(), {}

    def __copy__(self) -> Retriever:
        return self.snapshot()

    def __deepcopy__(self, memo: dict[int, Any]) -> Retriever:
        """A retriever that changes apart from this one; what never changes is shared."""
        return self.snapshot()

    def _state(self) -> Bundle:
        """The bundle, read once, so that a request sees no change in between."""
        check_process()
        return self.bundle

    def _remembered(self, name: str, of: Any, make: Callable[[], Any]) -> Any:
        """What was made of an immutable object; made anew for another object."""
        found = self._made.get(name)
        if found is None or found[0] is not of:
            self._made[name] = found = of, make()
        return found[1]

    @property
    def users(self) -> IdMap:
        """The users known by id."""
        return self.bundle.users

    @property
    def histories(self) -> Ragged:
        """The users' histories."""
        return self.bundle.histories

    @property
    def items(self) -> IdMap:
        """All items in row order, removed ones too."""
        return self.bundle.items

    @property
    def towers(self) -> TwoTowerModel:
        """The fitted towers."""
        return self.bundle.towers

    @property
    def index(self) -> ItemIndex:
        """The index of the item vectors."""
        return self.bundle.index

    @property
    def catalog(self) -> Catalog:
        """What is known about the items, in row order."""
        return self.bundle.catalog

    @property
    def holdout(self) -> Holdout | None:
        """Users and targets kept from training, to evaluate on."""
        return self.bundle.holdout

    @property
    def event_names(self) -> tuple[str, ...]:
        """The event types that the model was trained on."""
        return self.bundle.event_names

    @property
    def vectors(self) -> Float32:
        """float32 (n_items, D): item vectors as they are compared and indexed."""
        return self.bundle.vectors

    @property
    def traits(self) -> Traits:
        """What evaluation should know about the model."""
        bundle = self.bundle
        return Traits(
            trained_on=bundle.trained_on,
            vectors=None if bundle.towers.fast else bundle.vectors,
            reads_request_time=bundle.towers.reads_request_time,
            event_names=bundle.event_names,
            keep_seen=bundle.keep_seen,
        )

    def __repr__(self) -> str:
        return f"Retriever({len(self.users):,} users, {len(self.items):,} items, {self.index.dim} dimensions)"

    def _repr_html_(self) -> str:
        return bundle_html("Retriever", self.bundle)

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
        return rank(
            self._state().corpus, histories, k, exclude=exclude, users=users, request_times=request_times,
            target_event=target_event, eligible=eligible,
        )  # fmt: skip

    @renamed(**_OLD_NAMES)
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
        rules: Rules | None = None,
        fallback: Literal["error", "popular"] = "error",
        unknown: Unknown = "error",
        output: Output = "polars",
    ) -> Any:
        """Items for known users, or for histories of people never seen before.

        Parameters
        ----------
        users : id or ids
            Known users; their stored histories are read.
        histories : sequence of sequences of item ids
            Instead of ``users``: each in time order, oldest first.
        times, events : sequence of sequences, optional
            Time (as ``request_time``) and type of each event of ``histories``; only models that read them need them.
        request_time : number, text, date or datetime, optional
            Time of the request, for models and rules that read it: since 1970, or ISO 8601; by default now.
        target_event : str, optional
            Type of the event to come, such as ``"buy"``, of a model with ``event_heads``; by default any.
        k : int
            Most items per user; fewer where fewer are eligible.
        filter_seen : bool
            Whether items of the history are left out.
        exclude, eligible : item id or ids, optional
            Items never to recommend; the only items that may be recommended. All filters hold at once.
        where : str or polars expression, optional
            Such as ``'category == "Books" and price < 20'``; see :func:`recsys.data.filters.matching`.
        rules : Rules, optional
            Boosts, pins, caps and so on, which change scores too. :meth:`rule_effects` says what they did.
        fallback : {"error", "popular"}
            For people who are unknown or have no history: an error, or the most popular items that the filters leave, their
            score being a number of interactions. The column ``source`` then says ``"model"`` or ``"popular"``.
        unknown : {"error", "skip"}
            What to do with ids that the model does not know, in ``users``, ``histories``, ``exclude`` and ``eligible``, and
            with people without a history: fail, or skip them. One line says how many were skipped and, in either case, how
            many people get nothing because no item is left for them; :meth:`answered` has the numbers.
        output : {"polars", "arrow", "lists"}
            A frame, an Arrow table, or one list of dicts per person, in the order of the request.

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
        choice(output, "output", get_args(Output))
        found = self.answered(
            users, histories=histories, times=times, events=events, request_time=request_time, target_event=target_event,
            k=k, filter_seen=filter_seen, exclude=exclude, eligible=eligible, where=where, rules=rules, fallback=fallback,
            unknown=unknown,
        )  # fmt: skip
        answered = as_output(found.frame, output, found.lengths)
        if sentence := found.left_out.sentence(len(found.lengths), "users" if histories is None else "histories"):
            warn(sentence)
        return answered

    @renamed(**_OLD_NAMES)
    def answered(
        self, users: RawIds | None = None, *, fallback: Literal["error", "popular"] = "error", **options: Any
    ) -> Answered:
        """The answer of :meth:`recommend` with what was left out, in numbers, and what the rules moved.

        Takes what :meth:`recommend` takes, save for ``output``, and raises the same.
        """
        choice(fallback, "fallback", ("error", "popular"))
        bundle, popular = self._state(), fallback == "popular"
        request = Request.of(bundle, users, cold=popular, **options)
        counts = None
        if popular:
            counts = self._remembered("popularity", bundle.histories, lambda: np.bincount(bundle.histories.rows))
        return answer(request, counts)

    def rule_effects(self, users: RawIds | None = None, *, rules: Rules, **options: Any) -> pl.DataFrame:
        """What each rule did to whose items: a row for every item that a rule moved.

        Takes what :meth:`recommend` takes, save for ``fallback`` and ``output``, and gives ``user_id`` (or ``query``),
        ``item_id``, ``rule``, ``change`` (of the score), ``rank_before``, ``rank_after``.
        """
        effects = self.answered(users, rules=rules, **options).rule_effects
        if effects is None:
            raise ConfigError("rule_effects needs rules=, such as recsys.Rules.read('rules.toml')")
        return effects

    @renamed(**_OLD_NAMES)
    def score(
        self,
        users: RawIds | None = None,
        items: RawIds = (),
        *,
        histories: Sequence[Sequence[RawId]] | None = None,
        times: Sequence[Sequence[Instant]] | None = None,
        events: Sequence[Sequence[str]] | None = None,
        request_time: Instant | None = None,
        target_event: str | None = None,
        unknown: Unknown = "error",
    ) -> pl.DataFrame:
        """The score of each item for each user, seen or not: ``user_id`` (or ``query``), ``item_id``, ``score``.

        Items come in the order given; arguments and errors as of :meth:`recommend`.
        """
        bundle = self._state()
        request = Request.of(
            bundle, users, histories=histories, times=times, events=events, request_time=request_time,
            target_event=target_event, unknown=unknown,
        )  # fmt: skip
        rows, missed = known_rows(items, bundle.items, "items", unknown)
        if not len(rows) and not missed:
            raise ConfigError("there is nothing to score: items is empty")
        if sentence := (request.left_out + LeftOut(unknown_items=missed)).sentence(len(request.people.users)):
            warn(sentence)
        return scored(request, rows)

    def similar_items(
        self,
        items: RawIds,
        *,
        k: int = 10,
        where: str | pl.Expr | None = None,
        unknown: Unknown = "error",
        by: Similarity | None = None,
    ) -> pl.DataFrame:
        """The items that are most like others, the item itself left out.

        By ``"vectors"``, the default, those whose vectors are nearest by the model's own score; by ``"transitions"``, which
        is all that a fast model has, those that the transition memory leads to: fewer than k where it knows fewer.

        Gives ``item_id``, ``similar_item_id``, ``score``, ``rank``; raises as :meth:`recommend`, and UnsupportedError where
        the model has no vectors or no memory.
        """
        return nearest_items(self._state(), items, check_k(k), where, unknown, by)

    def similar_users(self, users: RawIds, *, k: int = 10, unknown: Unknown = "error") -> pl.DataFrame:
        """The users whose vectors are nearest, by cosine: ``user_id``, ``similar_user_id``, ``score``, ``rank``.

        All users with a history are encoded at the first call, and again after items were added or updated, whose vectors
        the histories are read by; raises as :meth:`recommend`.
        """
        bundle, k = self._state(), check_k(k)
        index = partial(self._remembered, "users_index", bundle.towers, lambda: users_index(bundle))
        return nearest_users(bundle, users, k, index, unknown)

    def search(
        self, texts: str | Sequence[str] | None = None, *, pictures: Files | None = None, k: int = 10,
        where: str | pl.Expr | None = None, by: SearchedBy = "texts",
    ) -> pl.DataFrame:  # fmt: skip
        """Items that free text describes, or whose pictures are like those in files.

        The text encoder compares texts with the items' own; with ``by="pictures"`` an image encoder that reads texts too,
        such as CLIP, compares them with the items' pictures. Items without a text, or a picture, are never found. Gives
        ``query`` (the text or the file), ``item_id``, ``score`` (cosine), ``rank``.

        Raises
        ------
        UnsupportedError
            The model was trained without text, or without pictures.
        DataError, ConfigError
            A text is blank, a file no picture, or the list empty; k is below 1; not one of texts and pictures.
        """
        return searched(self._state(), texts, pictures, check_k(k), where, by)

    def with_titles(self, frame: pl.DataFrame, column: str = ITEM) -> pl.DataFrame:
        """The same frame with the title of each item in ``column`` beside it, for people to read."""
        corpus = self._state().corpus
        return frame.with_columns(corpus.catalog.title_of(corpus.items.to_rows(frame[column])))

    def history(self, user: RawId) -> pl.DataFrame:
        """A known user's history, oldest first: ``item_id``, ``title``."""
        bundle = self._state()
        corpus, known = bundle.corpus, bundle.histories
        rows = known[
            int(known_rows(single(user, "user"), self.users, "user", remedy="name a user that the bundle knows")[0][0])
        ]
        return pl.DataFrame({ITEM: corpus.items.to_ids(rows), TITLE: corpus.catalog.title_of(rows)})

    @renamed(**_OLD_NAMES)
    def explain(self, user: RawId | None = None, item: RawId = "", **person: Unpack[OnePerson]) -> pl.DataFrame:
        """Which events of a history move an item's score, and by how much; see :func:`recsys.serving.explain.occlusion`.

        Takes a known user, or the ``history`` of somebody else, oldest first, with ``times`` and ``events`` if the model
        reads them; ``request_time`` and ``target_event`` as :meth:`recommend`, but by default the time of the last event;
        ``unknown="skip"`` passes over unknown items of the history. Gives ``item_id`` and ``title`` of each event's item,
        its ``contribution`` and its ``place``; the largest contribution first.
        """
        return explained(*about_item(self._state(), user, item, **person))

    @renamed(**_OLD_NAMES)
    def score_breakdown(self, user: RawId | None = None, item: RawId = "", **person: Unpack[OnePerson]) -> dict[str, float]:
        """What id, text and other content of an item add to its score, by name, with ``"bias"``; the sum is the score.

        Takes what :meth:`explain` takes; see :func:`recsys.serving.score_breakdown.score_breakdown`.
        """
        return broken_down(*about_item(self._state(), user, item, **person))

    def add_items(self, frame: Frame) -> None:
        """Add new items: the item tower makes their vectors from what the frame says about them.

        Requests that run meanwhile are answered from the state before. A bundle on disk stays as it is until :meth:`save`.

        Parameters
        ----------
        frame : frame
            Of polars or pandas, or any Arrow table: ``item_id`` and columns of the catalogue, the text columns among them.

        Raises
        ------
        DataError
            An item is already known, an id is null or repeated, or a column does not fit.
        UnsupportedError
            The model knows items by their ids alone, or reads pictures and its bundle holds no image encoder.
        """
        self._change(Bundle.with_items, item_frame(frame))

    def update_items(self, frame: Frame) -> None:
        """Replace the content of known items; takes and raises what :meth:`add_items` does."""
        self._change(Bundle.with_updated_items, item_frame(frame))

    def remove_items(self, items: RawIds) -> None:
        """Remove items: they are never recommended again. Histories keep them, and the user tower still reads them.

        Raises
        ------
        UnknownIdError, DataError
            An item is unknown, or was removed before.
        """
        remedy = "leave out items that the bundle does not know"
        self._change(lambda bundle: bundle.without_items(known_rows(items, bundle.items, "items", remedy=remedy)[0]))

    def compact(self) -> None:
        """Drop the rows of removed items that no history refers to, and build the index anew of the other items.

        A removed item that a history, or a held-out user, refers to stays known; the others become unknown.

        Raises
        ------
        DataError
            No item would be left.
        """
        self._change(Bundle.compacted)

    def _change(self, change: Callable[..., Bundle], *given: Any) -> None:
        """Swap the bundle for a changed one; writers wait for each other."""
        check_process()
        with self._changing:
            self.bundle = change(self.bundle, *given)

    def choose_index(self, **bounds: Any) -> None:
        """Build the index that answers fastest within bounds, measured on this retriever's own user vectors.

        Takes ``recall_target``, ``memory_budget`` and ``kinds``, and raises, as :func:`recsys.index.choose.choose`. Others
        may add and remove items meanwhile; if they did, it is chosen once more.
        """
        check_process()
        for _ in range(_TRIES):
            before = self.bundle
            after = with_chosen_index(before, **bounds)
            with self._changing:
                if self.bundle is before:
                    self.bundle = after
                    return
        with self._changing:  # others change it again and again: let them wait this time
            self.bundle = with_chosen_index(self.bundle, **bounds)

    def snapshot(self) -> Retriever:
        """This retriever as it is now, which no change to this one reaches; it shares what never changes."""
        check_process()
        found = Retriever(self.bundle)
        found.name = self.name
        return found

    def save(
        self,
        folder: str | Path,
        *,
        overwrite: bool = False,
        metrics: dict[str, Any] | None = None,
        extras: dict[str, str] | None = None,
        like: str | Path | None = None,
    ) -> None:
        """Write the bundle, all or nothing; see :func:`recsys.bundle.io.save`."""
        from recsys.bundle.io import save  # noqa: PLC0415

        check_process()
        save(self.bundle, place(folder, "folder"), overwrite=overwrite, metrics=metrics, extras=extras, like=like)
