"""What the routes ask of the engine, and what it answers: plain values in raw ids."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from recsys.data.times.request_time import Instant
from recsys.serving.request_arguments import RawId, Similarity, Unknown
from recsys.serving.rules.spec import Rules

Fallback = Literal["error", "popular"]
Source = Literal["model", "popular"]


@dataclass(frozen=True, kw_only=True)
class PersonAsk:
    """Somebody of whom something is asked: a user, whose stored events count, or a history that the request brings.

    Attributes
    ----------
    user : id, optional
        Their history in the bundle, and the events that the store holds of them.
    history : sequence of item ids, optional
        Instead of ``user``: oldest first.
    times, events : sequences, optional
        Time and type of each event of ``history``; only models that read them need them.
    request_time : number, text, date or datetime, optional
        By default now.
    target_event : str, optional
        Type of the event to come.
    unknown : {"error", "skip"}
        What to do with unknown ids in ``user``, ``history`` and filters.
    """

    user: RawId | None = None
    history: Sequence[RawId] | None = None
    times: Sequence[Instant] | None = None
    events: Sequence[str] | None = None
    request_time: Instant | None = None
    target_event: str | None = None
    unknown: Unknown = "error"


@dataclass(frozen=True, kw_only=True)
class RecommendAsk(PersonAsk):
    """Items for one person; every field means what it means in :meth:`recsys.serving.retriever.Retriever.recommend`.

    Attributes
    ----------
    k : int
    filter_seen : bool
    exclude, eligible : sequence of item ids, optional
    where : str, optional
    rules : Rules, optional
    fallback : {"error", "popular"}
    rule_effects : bool
        Whether the answer says what the rules moved.
    titles : bool
        Whether it has the items' titles.
    """

    k: int = 10
    filter_seen: bool = True
    exclude: Sequence[RawId] | None = None
    eligible: Sequence[RawId] | None = None
    where: str | None = None
    rules: Rules | None = None
    fallback: Fallback = "error"
    rule_effects: bool = False
    titles: bool = False


@dataclass(frozen=True, kw_only=True)
class SimilarAsk:
    """The items most like one item; see :meth:`recsys.serving.retriever.Retriever.similar_items`.

    Attributes
    ----------
    item : id
    k : int
    where : str, optional
    by : {"vectors", "transitions"}, optional
    titles : bool
    """

    item: RawId
    k: int = 10
    where: str | None = None
    by: Similarity | None = None
    titles: bool = False


@dataclass(frozen=True, kw_only=True)
class SearchAsk:
    """Items that a free text describes; see :meth:`recsys.serving.retriever.Retriever.search`.

    Attributes
    ----------
    text : str
    k : int
    where : str, optional
    titles : bool
    """

    text: str
    k: int = 10
    where: str | None = None
    titles: bool = False


@dataclass(frozen=True, kw_only=True)
class ExplainAsk(PersonAsk):
    """Why one person gets one item; see :meth:`recsys.serving.retriever.Retriever.explain`.

    Attributes
    ----------
    item : id
    """

    item: RawId


@dataclass(frozen=True, kw_only=True)
class ScoreAsk(PersonAsk):
    """The scores of some items for one person; see :meth:`recsys.serving.retriever.Retriever.score`.

    Attributes
    ----------
    items : sequence of item ids
    """

    items: Sequence[RawId]


Ask = RecommendAsk | SimilarAsk | SearchAsk | ExplainAsk | ScoreAsk


@dataclass(frozen=True, slots=True)
class Passed:
    """What was passed over, in numbers.

    Attributes
    ----------
    unknown_items : int
        Ids of the request, or items of stored events, that the bundle does not know.
    unreadable_events : int
        Stored events of types that the model does not know, or without a type where it reads types.
    """

    unknown_items: int = 0
    unreadable_events: int = 0


@dataclass(frozen=True, slots=True)
class RuleEffect:
    """What one rule did to one item of a list; see :meth:`recsys.serving.retriever.Retriever.rule_effects`.

    Attributes
    ----------
    item_id : id
    rule : str
        Its name.
    change : float or None
        Added to the score; None for rules that leave scores alone.
    rank_before, rank_after : int or None
        From 1; None where the item was not among the candidates, or fell out of the list.
    """

    item_id: RawId
    rule: str
    change: float | None
    rank_before: int | None
    rank_after: int | None


@dataclass(frozen=True, slots=True)
class Listed:
    """Ranked items.

    Attributes
    ----------
    item_ids : list of id (m)
        Best first; fewer than k where fewer are eligible.
    scores : list of float or None (m)
        None for a pinned item that nobody scored.
    source : {"model", "popular"}
    digest : str
        Of the bundle that answered.
    history_length : int
        Events of the person that were read.
    fresh_events : int
        How many of these came from the store.
    passed : Passed
    rule_effects : tuple of RuleEffect
        Where these were asked for.
    titles : mapping
        Of the items, and of those that rules moved, by the bundle that answered; empty unless they were asked for.
    """

    item_ids: list[RawId]
    scores: list[float | None]
    source: Source
    digest: str
    history_length: int = 0
    fresh_events: int = 0
    passed: Passed = Passed()
    rule_effects: tuple[RuleEffect, ...] = ()
    titles: Mapping[RawId, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Reason:
    """What one event of a history does to the score of an item.

    Attributes
    ----------
    item_id : id
    title : str
    contribution : float
        How much of the score goes without the event.
    place : int
        From 1, the oldest.
    """

    item_id: RawId
    title: str
    contribution: float
    place: int


@dataclass(frozen=True, slots=True)
class Explained:
    """Why one person gets one item.

    Attributes
    ----------
    reasons : list of Reason
        The largest contribution first.
    parts : dict
        What each part of the item adds to its score, by name; they add up to the score.
    digest : str
    """

    reasons: list[Reason]
    parts: dict[str, float]
    digest: str


@dataclass(frozen=True, slots=True)
class HistoryEvent:
    """One event of a user's history.

    Attributes
    ----------
    item_id : id
    title : str or None
        None for an item that the bundle does not know.
    timestamp : int or None
        Seconds since 1970.
    event : str or None
        Its type.
    source : {"bundle", "store"}
    """

    item_id: RawId
    title: str | None
    timestamp: int | None
    event: str | None
    source: Literal["bundle", "store"]
