"""Retriever: the object that answers requests in raw ids."""

from __future__ import annotations

import time
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import polars as pl

from recsys.data.catalog import Catalog
from recsys.data.interactions import Interactions
from recsys.data.row_lists import Float32, Int32, Int64, RowLists
from recsys.data.split import Holdout
from recsys.data.vocabulary import Vocabulary
from recsys.errors import ConfigError, DataError
from recsys.index.exact import ExactIndex
from recsys.models.towers import Towers, numpy_of
from recsys.recommender import Ranked, check_k
from recsys.schema import ITEM, QUERY, RANK, SCORE, SIMILAR, TITLE, USER
from recsys.serving.side import event_code, with_side

RawId: TypeAlias = str | int
RawIds: TypeAlias = RawId | Sequence[RawId] | pl.Series

_BLOCK = 4096


@dataclass(eq=False)
class Retriever:
    """Towers, index, histories and catalogue, as one thing to ask.

    Made by :meth:`recsys.TwoTower.retriever` or :func:`recsys.load`. Every answer is a polars frame of raw ids, scores and
    ranks (from 1); an answer has fewer than k rows where fewer items are eligible, and never a placeholder.

    Attributes
    ----------
    towers : Towers
    index : ExactIndex
    catalog : Catalog
        In the towers' item rows.
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

    towers: Towers
    index: ExactIndex
    catalog: Catalog
    users: Vocabulary
    histories: RowLists
    options: dict[str, Any] = field(default_factory=dict)
    record: dict[str, Any] = field(default_factory=dict)
    holdout: Holdout | None = None
    data: dict[str, Any] = field(default_factory=dict)
    trained: Int64 | None = None
    event_names: tuple[str, ...] = ()

    name = "two towers"

    @classmethod
    def build(
        cls,
        towers: Towers,
        catalog: Catalog,
        log: Interactions,
        *,
        options: dict[str, Any],
        record: dict[str, Any],
        holdout: Holdout | None = None,
        train: Interactions | None = None,
    ) -> Retriever:
        """Index the towers' item vectors and take over the histories of ``log``.

        Raises
        ------
        DataError
            The log, or the holdout, has items, users or event types that the model does not know.
        """
        places = towers.items.find(log.items.ids)
        unknown = np.flatnonzero((places < 0) & (log.item_counts > 0))
        if len(unknown):
            raise DataError(
                f"{len(unknown)} items of the log are unknown to the model, such as {log.items.ids[int(unknown[0])]!r}"
            )
        told = (towers, train, log, holdout)  # the first that has any: what the towers were trained on goes before all else
        names = next((one.event_names for one in told if one is not None and one.event_names), ())
        if towers.user_codes is not None:
            towers = replace(towers, users=log.users, user_codes=towers.codes_for(log.users))
        histories = log.histories.renamed(places).recoded(log.event_names, names)
        return cls(
            towers=towers,
            index=ExactIndex.build(numpy_of(towers.item_vectors)),
            catalog=catalog,
            users=log.users,
            histories=histories,
            trained=None if train is None else _prefix_lengths(train, log.users, histories),
            options=options,
            record=record,
            holdout=None if holdout is None else _in_rows_of(holdout, log.users, towers.items, names),
            data={
                "fingerprint": log.fingerprint,
                "interactions": len(log),
                "users": len(log.users),
                "items": len(towers.items),
            },
            event_names=names,
        )

    @property
    def items(self) -> Vocabulary:
        """The items that can be recommended, in row order."""
        return self.towers.items

    @cached_property
    def trained_on(self) -> Interactions | None:
        """The part of the histories that the model was trained on, in its own item rows."""
        if self.trained is None:
            return None
        histories = self.histories.head(self.trained)
        names = () if histories.events is None else self.event_names
        return Interactions(self.users, self.items, histories, event_names=names)

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
    ) -> Ranked:
        """Rank by user tower and index; see :meth:`recsys.TwoTower.recommend_rows`.

        A model with ``event_heads`` can be asked for the next event of one type, ``wanted``, by its code.
        """
        parts = []
        for start in range(0, len(histories), _BLOCK):
            part = slice(start, start + _BLOCK)
            known = None if users is None else users[part]
            clocks = None if requests is None else requests[part]
            vectors = numpy_of(self.towers.user_vectors(histories.block(start, start + _BLOCK), known, clocks, wanted))
            hidden = None if exclude is None else exclude.block(start, start + _BLOCK)
            parts.append(self.index.search(vectors, k, hidden, candidates))
        return Ranked.joined(parts)

    def recommend(
        self,
        users: RawIds | None = None,
        *,
        histories: Sequence[Sequence[RawId]] | None = None,
        times: Sequence[Sequence[int]] | None = None,
        events: Sequence[Sequence[str]] | None = None,
        now: int | None = None,
        wanted: str | None = None,
        k: int = 10,
        filter_seen: bool = True,
        exclude: RawIds | None = None,
    ) -> pl.DataFrame:
        """Items for known users, or for histories of people never seen before.

        Parameters
        ----------
        users : id or ids
            Known users; their stored histories are read.
        histories : sequence of sequences of item ids
            Instead of ``users``: each in time order, oldest first.
        times : sequence of sequences of int, optional
            Seconds since 1970 of each event of ``histories``; a model that reads times needs them, others pass over them.
        events : sequence of sequences of str, optional
            Type of each event of ``histories``; a model that reads types needs them, others pass over them.
        now : int, optional
            Clock of the request, in seconds, for a model that reads it; by default this machine's.
        wanted : str, optional
            Type of the event to come, such as ``"buy"``, of a model with ``event_heads``; by default any.
        k : int
            Most items per user, at most the size of the catalogue.
        filter_seen : bool
            Whether items of the history are left out.
        exclude : item id or ids, optional
            Items that nobody gets.

        Returns
        -------
        DataFrame
            ``user_id`` (or ``query``, the position in ``histories``), ``item_id``, ``score``, ``rank``.

        Raises
        ------
        UnknownIdError
            A user or item that the model does not know.
        ConfigError
            Both or neither of ``users`` and ``histories``; a k below 1 or above the catalogue; a ``wanted`` type that the
            model does not tell apart.
        DataError
            A history is empty, or has events of types that the model does not know.
        """
        self._check_k(k)
        code = None if wanted is None else event_code(wanted, self.towers.net.users, self.event_names)
        if (users is None) == (histories is None):
            raise ConfigError("give either users or histories")
        if users is not None:
            asked = _listed(users)
            rows = self.users.rows(asked)
            read, name, owners = self.histories.take(rows), USER, self.users.raw(rows)
            empty = np.flatnonzero(read.lengths == 0)
            if len(empty):
                raise DataError(f"the user {owners[int(empty[0])]!r} has no history to read; give histories= instead")
        else:
            assert histories is not None  # noqa: S101 - one of the two is there
            if any(isinstance(one, str | int) for one in histories):
                raise ConfigError("histories is a list of lists of item ids, one list per person")
            bare = RowLists.from_lists([self.items.rows(list(one)) for one in histories])
            read = with_side(bare, times, events, self.towers.net.users, self.event_names)
            rows = np.full(len(read), -1, dtype=np.int32)
            name, owners = QUERY, pl.Series(np.arange(len(read), dtype=np.int64))
        hidden = read.bare() if filter_seen else RowLists.empty(len(read))
        if exclude is not None:
            hidden = hidden.merged(_repeated(self.items.rows(_listed(exclude)), len(read)))
        clocks = np.full(len(read), int(time.time()) if now is None else now, dtype=np.int64)
        ranked = self.recommend_rows(read, k, exclude=hidden, users=rows, requests=clocks, wanted=code)
        return self._frame(ranked, owners, name, ITEM)

    def similar_items(self, items: RawIds, *, k: int = 10) -> pl.DataFrame:
        """The items whose vectors are nearest, by the model's own score; the item itself left out.

        Returns
        -------
        DataFrame
            ``item_id``, ``similar_item_id``, ``score``, ``rank``.

        Raises
        ------
        UnknownIdError, ConfigError
            As for :meth:`recommend`.
        """
        self._check_k(k)
        rows = self.items.rows(_listed(items))
        itself = RowLists.from_lengths(np.ones(len(rows), dtype=np.int64), rows)
        queries = numpy_of(self.towers.item_vectors)[rows]
        return self._frame(self.index.search(queries, k, itself), self.items.raw(rows), ITEM, SIMILAR)

    def search(self, texts: str | Sequence[str], *, k: int = 10) -> pl.DataFrame:
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
        self._check_k(k)
        asked = [texts] if isinstance(texts, str) else list(texts)
        if any(not text.strip() for text in asked):
            raise DataError("a search text is blank")
        queries = self.towers.query_vectors(asked)
        ranked = self._text_index.search(queries, k, _repeated(self._textless, len(queries)))
        return self._frame(ranked, pl.Series(asked), QUERY, ITEM)

    @cached_property
    def _text_index(self) -> ExactIndex:
        return ExactIndex.build(self.towers.text_vectors)

    @cached_property
    def _textless(self) -> Int32:
        return np.flatnonzero(~self.towers.text_vectors.any(axis=1)).astype(np.int32)

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
    ) -> None:
        """Write the bundle, all or nothing; see :func:`recsys.bundle.save`."""
        from recsys.bundle import save  # noqa: PLC0415 - the bundle knows the retriever, not the other way round

        save(self, Path(folder), overwrite=overwrite, metrics=metrics or {}, figures=figures)

    def _check_k(self, k: int) -> None:
        check_k(k)
        if k > len(self.items):
            raise ConfigError(f"k is {k}, but the catalogue has {len(self.items)} items")

    def _frame(self, ranked: Ranked, owners: pl.Series, owner_name: str, item_name: str) -> pl.DataFrame:
        lists = ranked.lists
        place = np.arange(len(lists.rows)) - np.repeat(lists.offsets[:-1], lists.lengths)
        return pl.DataFrame(
            {
                owner_name: owners.gather(pl.Series(lists.owners(), dtype=pl.UInt32)),
                item_name: self.items.raw(lists.rows),
                SCORE: ranked.scores,
                RANK: (place + 1).astype(np.int32),
            }
        )


def _listed(ids: RawIds) -> pl.Series | list[Hashable]:
    """One id or many, as many."""
    if isinstance(ids, pl.Series):
        return ids
    if isinstance(ids, str) or not isinstance(ids, Iterable):
        return [ids]
    return list(ids)


def _in_rows_of(holdout: Holdout, users: Vocabulary, items: Vocabulary, event_names: tuple[str, ...]) -> Holdout:
    """The holdout in other rows and event types; ids and types that these do not know are refused."""
    place = items.find(holdout.items.ids)
    needed = np.unique(np.concatenate([holdout.histories.rows, holdout.targets.rows]))
    items.rows(holdout.items.raw(needed))
    return replace(
        holdout,
        users=users,
        items=items,
        user_rows=users.rows(holdout.users.raw(holdout.user_rows)),
        histories=holdout.histories.renamed(place).recoded(holdout.event_names, event_names),
        targets=holdout.targets.renamed(place),
        event_names=() if holdout.histories.events is None else event_names,
    )


def _prefix_lengths(train: Interactions, users: Vocabulary, histories: RowLists) -> Int64 | None:
    """How long a start of each history is what was trained on; None where some history does not start with it.

    ``train`` is in the same item rows as ``histories``.
    """
    rows = users.find(train.users.ids)
    if (rows < 0).any():
        return None
    lengths = np.zeros(len(users), dtype=np.int64)
    lengths[rows] = train.histories.lengths
    same = np.array_equal(histories.take(rows).head(train.histories.lengths).rows, train.histories.rows)
    return lengths if same else None


def _repeated(rows: Int32, times: int) -> RowLists:
    return RowLists.from_lengths(np.full(times, len(rows), dtype=np.int64), np.tile(rows, times))
