"""What the server answers, as frozen dataclasses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from typing import Any, Literal, Self, TypeAlias

import polars as pl

from recsys.core.schema import ITEM, TITLE
from recsys.server.client.given import EventFields, RawId

Read: TypeAlias = Mapping[str, Any]
"""An object of JSON."""


@dataclass(frozen=True)
class _Answer:
    """Made from JSON; fields of a newer server are passed over."""

    @classmethod
    def of(cls, given: Read) -> Self:
        """Read an object of JSON.

        Raises
        ------
        KeyError
            It lacks a field.
        """
        return cls(**{one.name: given[one.name] for one in fields(cls) if one.name in given or one.default is MISSING})


@dataclass(frozen=True)
class RankedItem(_Answer):
    """One item of a list; ``score`` is None for a pinned item that nobody scored."""

    item_id: RawId
    score: float | None
    rank: int
    title: str | None = None


def _ranked(given: Read) -> tuple[RankedItem, ...]:
    return tuple(RankedItem.of(one) for one in given["items"])


def _frame(items: Sequence[RankedItem], **before: Any) -> pl.DataFrame:
    """Of ranked items, with columns of one value each before them."""
    columns = {ITEM: [one.item_id for one in items]}
    frame = pl.DataFrame(columns, None if items else {ITEM: pl.String}).with_columns(
        pl.Series("score", [one.score for one in items], pl.Float64),
        pl.Series("rank", [one.rank for one in items], pl.Int64),
    )
    if any(one.title is not None for one in items):
        frame = frame.with_columns(pl.Series(TITLE, [one.title for one in items], pl.String))
    return frame.select(*(pl.lit(value).alias(name) for name, value in before.items()), pl.all())


@dataclass(frozen=True)
class RuleEffect(_Answer):
    """What one rule did to one item.

    ``change`` was added to its score, or None; ``rank_before`` is None where it was not among the candidates,
    ``rank_after`` where it fell out of the list.
    """

    item_id: RawId
    rule: str
    change: float | None
    rank_before: int | None
    rank_after: int | None
    title: str | None = None


@dataclass(frozen=True)
class Recommended(_Answer):
    """Ranked items for somebody, best first.

    Attributes
    ----------
    items : tuple of RankedItem
    source : {"model", "popular"}
    history_length, fresh_events : int
        Events of the person that were read, and how many of these came after the bundle was made.
    unknown_items, unreadable_events : int
        What was passed over.
    stale : bool
        True while the database does not answer, so that the newest events may be missing.
    bundle : str
        Digest of the bundle that answered.
    request_id : str
    rule_effects : tuple of RuleEffect
        Where they were asked for.

    Examples
    --------
    >>> answer = Recommended((RankedItem("i7", 2.5, 1),), "model", 3, 1, 0, 0, False, "d1", "r1")
    >>> answer.to_frame().row(0)
    ('i7', 2.5, 1)
    >>> answer.impressions("u1")
    [{'event_id': 'r1-1', 'user_id': 'u1', 'item_id': 'i7', 'kind': 'impression', 'request_id': 'r1'}]
    """

    items: tuple[RankedItem, ...]
    source: Literal["model", "popular"]
    history_length: int
    fresh_events: int
    unknown_items: int
    unreadable_events: int
    stale: bool
    bundle: str
    request_id: str
    rule_effects: tuple[RuleEffect, ...] = ()

    @classmethod
    def of(cls, given: Read) -> Self:
        effects = tuple(RuleEffect.of(one) for one in given.get("rule_effects", ()))
        return super().of({**given, "items": _ranked(given), "rule_effects": effects})

    def to_frame(self) -> pl.DataFrame:
        """``item_id``, ``score``, ``rank``, and ``title`` where titles were asked for."""
        return _frame(self.items)

    def impressions(self, user: RawId) -> list[EventFields]:
        """Events for :meth:`Client.send_events`: a user was shown these items; sent twice, they count once."""
        return [
            {"event_id": f"{self.request_id}-{one.rank}", "user_id": user, "item_id": one.item_id, "kind": "impression",
             "request_id": self.request_id}
            for one in self.items
        ]  # fmt: skip


@dataclass(frozen=True)
class Found:
    """The items that are most like one item, or that one text describes."""

    about: RawId
    items: tuple[RankedItem, ...]


@dataclass(frozen=True)
class Lists(_Answer):
    """One list for each item or text that was asked about, in their order."""

    results: tuple[Found, ...]
    bundle: str
    request_id: str
    about: Literal["item_id", "query"]

    @classmethod
    def similar(cls, given: Read) -> Self:
        """The answer about items."""
        results = tuple(Found(one["item_id"], _ranked(one)) for one in given["results"])
        return cls.of({**given, "results": results, "about": "item_id"})

    @classmethod
    def searched(cls, given: Read) -> Self:
        """The answer about texts."""
        results = tuple(Found(one["text"], _ranked(one)) for one in given["results"])
        return cls.of({**given, "results": results, "about": "query"})

    def to_frame(self) -> pl.DataFrame:
        """The frame of :meth:`Retriever.similar_items` or :meth:`Retriever.search`."""
        frames = [_frame(one.items, **{"": one.about}) for one in self.results if one.items]
        frame = pl.concat(frames) if frames else _frame((), **{"": self.results[0].about})
        if self.about == "item_id":
            return frame.rename({ITEM: "similar_item_id", "": ITEM})
        return frame.rename({"": "query"})


@dataclass(frozen=True)
class Reason(_Answer):
    """What one event of a history does to a score; ``place`` 1 is the oldest event."""

    item_id: RawId
    title: str
    contribution: float
    place: int


@dataclass(frozen=True)
class Explained(_Answer):
    """What each event of the history, and each part of the item, does to the item's score."""

    reasons: tuple[Reason, ...]
    parts: Mapping[str, float]
    bundle: str
    request_id: str

    @classmethod
    def of(cls, given: Read) -> Self:
        return super().of({**given, "reasons": tuple(Reason.of(one) for one in given["reasons"])})


@dataclass(frozen=True)
class Scored(_Answer):
    """The score of each known item, in the order asked."""

    scores: Mapping[RawId, float]
    bundle: str
    request_id: str

    @classmethod
    def of(cls, given: Read) -> Self:
        return super().of({**given, "scores": {one["item_id"]: one["score"] for one in given["items"]}})


@dataclass(frozen=True)
class Receipt(_Answer):
    """The result for one event; accepted and duplicate events are on disk."""

    event_id: str
    result: Literal["accepted", "duplicate", "refused"]
    reason: str | None = None


@dataclass(frozen=True)
class Receipts(_Answer):
    """One receipt for each event, in their order."""

    accepted: int
    duplicates: int
    refused: int
    receipts: tuple[Receipt, ...]
    request_id: str

    @classmethod
    def of(cls, given: Read) -> Self:
        return super().of({**given, "receipts": tuple(Receipt.of(one) for one in given["receipts"])})


@dataclass(frozen=True)
class HistoryEvent(_Answer):
    """One event of a history, of the bundle or of the store."""

    item_id: RawId
    source: Literal["bundle", "store"]
    title: str | None = None
    timestamp: int | None = None
    event: str | None = None


@dataclass(frozen=True)
class User(_Answer):
    """What is known of a user, oldest first; ``length`` counts all events, of which the last are in ``history``."""

    user_id: RawId
    history: tuple[HistoryEvent, ...]
    length: int
    request_id: str

    @classmethod
    def of(cls, given: Read) -> Self:
        return super().of({**given, "history": tuple(HistoryEvent.of(one) for one in given["history"])})


@dataclass(frozen=True)
class Forgotten(_Answer):
    """What was removed of a user, and the receipt under which the audit log has it; ``at`` is in seconds since 1970."""

    receipt: str
    interactions: int
    impressions: int
    pseudonyms: int
    at: int
    request_id: str


@dataclass(frozen=True)
class ChangedItem(_Answer):
    """What is known of an item now."""

    item_id: str
    change: Literal["put", "patch", "delete"]
    columns: Mapping[str, Any]
    request_id: str


@dataclass(frozen=True)
class LoadedBundle(_Answer):
    """A bundle in the server's memory."""

    digest: str
    path: str
    loaded_at: float
    users: int
    items: int
    active: bool
    leases: int


def bundles_of(given: Read) -> tuple[LoadedBundle, ...]:
    """The bundles in memory, the active one first."""
    return tuple(LoadedBundle.of(one) for one in given["bundles"])


@dataclass(frozen=True)
class Shadow(_Answer):
    """What a shadow has shown so far: means over the requests that it answered too, None before the first.

    Attributes
    ----------
    digest : str
        Of its bundle.
    share : float
        Of the requests, which it answers too.
    compared, passed_over, failed : int
        Requests that both answered; for which there was no time; that the shadow alone could not answer.
    overlap, rank_correlation, score_drift : float or None
        Share of the served items that it lists too; Spearman's over items of both; its score less the active bundle's.
    seconds, live_seconds : float or None
        For one request, of the shadow and of the active bundle.
    request_id : str
    """

    digest: str
    share: float
    compared: int
    passed_over: int
    failed: int
    overlap: float | None
    rank_correlation: float | None
    score_drift: float | None
    seconds: float | None
    live_seconds: float | None
    request_id: str
