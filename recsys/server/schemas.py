"""What the routes read and answer, with examples that are executed by a test.

The bounds that an operator may set stand in ``x-limit`` (see :mod:`recsys.server.limits`); types and the rest stand here.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictFloat, StrictInt, StringConstraints

LONGEST_ID: Final = 500
_TEXT = StringConstraints(strict=True, min_length=1, max_length=LONGEST_ID, pattern=r"^[^\x00]*$")
_INT64 = Field(ge=-(2**63), le=2**63 - 1)

Id: TypeAlias = Annotated[str, _TEXT] | Annotated[StrictInt, _INT64]
"""A raw id as the log has it: a text, or a whole number."""
Label: TypeAlias = Annotated[str, StringConstraints(strict=True, min_length=1, max_length=200, pattern=r"^[^\x00]*$")]
Second: TypeAlias = Annotated[StrictInt, Field(ge=0, le=2**53)]
Time: TypeAlias = (
    Annotated[StrictInt, Field(ge=0, le=2**62)]
    | Annotated[StrictFloat, Field(ge=0, le=1e19)]
    | Annotated[str, StringConstraints(strict=True, min_length=1, max_length=64)]
)
"""Since 1970, or ISO 8601."""


class Given(BaseModel):
    """What a client sends: unknown fields are refused."""

    model_config = ConfigDict(extra="forbid")


class Answer(BaseModel):
    """What a client gets."""


def _limited(name: str, **more: Any) -> Any:
    """A field that an operator's limit bounds."""
    return Field(json_schema_extra={"x-limit": name}, **more)


class Person(Given):
    """Somebody: a known user, or a history that the request brings."""

    user: Annotated[Id | None, Field(description="A user: the history of the bundle, and the events that followed.")] = None
    history: Annotated[
        list[Id] | None,
        _limited("max_history", description="Instead of user: item ids of somebody's history, oldest first."),
    ] = None
    times: Annotated[
        list[Time] | None,
        _limited("max_history", description="The time of each event of history: since 1970, or ISO 8601."),
    ] = None
    events: Annotated[list[Label] | None, _limited("max_history", description="The type of each event of history.")] = None
    request_time: Annotated[
        Time | None, Field(description="When it is asked: since 1970, or ISO 8601; by default now.")
    ] = None
    target_event: Annotated[
        Label | None, Field(description="Type of the event to come, of a model that tells types apart.")
    ] = None
    unknown: Annotated[
        Literal["error", "skip"],
        Field(description="Whether unknown users and items are an error, or are passed over and counted."),
    ] = "error"


class Predicate(Given):
    """Which items may be answered."""

    where: Annotated[
        str | None,
        _limited("max_predicate_length", description="Only items for which this holds, such as price < 20 and stock > 0."),
    ] = None


class RecommendBody(Person, Predicate):
    """Items for one person."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {"user": "u1", "k": 3},
                {"history": ["i3", "i4"], "k": 3, "exclude": ["i5"]},
                {"user": "somebody-new", "k": 3, "fallback": "popular"},
            ]
        },
    )
    k: Annotated[StrictInt, _limited("max_k", ge=1, description="Most items; fewer where fewer are eligible.")] = 10
    filter_seen: Annotated[StrictBool, Field(description="Whether items of the history are left out.")] = True
    exclude: Annotated[list[Id] | None, _limited("max_filter_ids", description="Items never to recommend.")] = None
    eligible: Annotated[
        list[Id] | None, _limited("max_filter_ids", description="The only items that may be recommended.")
    ] = None
    rules: Annotated[
        dict[str, Any] | None,
        Field(description="Boosts, pins, caps, diversity and freshness: the tables of a rules file, as JSON."),
    ] = None
    fallback: Annotated[
        Literal["error", "popular"],
        Field(description="For somebody without a history: an error, or the most popular items."),
    ] = "error"
    rule_effects: Annotated[StrictBool, Field(description="Whether the answer says what the rules moved.")] = False
    titles: Annotated[StrictBool, Field(description="Whether the answer has the items' titles.")] = False


class BatchBody(Given):
    """Several requests in one call."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"requests": [{"user": "u1", "k": 2}, {"history": ["i3"], "k": 2}]}]},
    )
    requests: Annotated[list[RecommendBody], _limited("max_requests", min_length=1)]


class RankedItem(Answer):
    """One item of an answer."""

    item_id: str | int
    score: float | None = Field(description="null for a pinned item that nobody scored.")
    rank: int = Field(ge=1)
    title: str | None = Field(None, description="Where titles were asked for.")


class RuleEffectAnswer(Answer):
    """What one rule did to one item."""

    item_id: str | int
    rule: str
    change: float | None = Field(description="Added to the score; null for rules that leave scores alone.")
    rank_before: int | None = Field(description="null where it was not among the candidates.")
    rank_after: int | None = Field(description="null where it fell out of the list.")
    title: str | None = Field(None, description="Where titles were asked for.")


class RecommendAnswer(Answer):
    """Ranked items, best first."""

    items: list[RankedItem]
    source: Literal["model", "popular"]
    history_length: int = Field(description="Events of the person that were read.")
    fresh_events: int = Field(description="How many of these came after the bundle was made.")
    unknown_items: int = Field(description="Items of the request and of stored events that the bundle does not know.")
    unreadable_events: int = Field(description="Stored events of types that the model does not know.")
    rule_effects: list[RuleEffectAnswer] | None = Field(None, description="Where these were asked for.")
    stale: bool = Field(description="True while the database does not answer, so that the newest events may be missing.")
    bundle: str = Field(description="Digest of the bundle that answered.")
    request_id: str


class ProblemAnswer(Answer):
    """What went wrong, as of RFC 9457."""

    type: str
    title: str
    status: int
    detail: str
    request_id: str | None = None
    errors: list[dict[str, str]] | None = None


class BatchAnswer(Answer):
    """The answers to several requests, in their order; one that failed has its problem in its place."""

    answers: list[RecommendAnswer | ProblemAnswer]


class SimilarBody(Predicate):
    """Items to find others like."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"items": ["i3", "i4"], "k": 3}]})
    items: Annotated[list[Id], _limited("max_items", min_length=1)]
    k: Annotated[StrictInt, _limited("max_k", ge=1)] = 10
    by: Annotated[
        Literal["vectors", "transitions"] | None,
        Field(description="Compare vectors, or take what came next in the log; by default vectors where there are any."),
    ] = None
    titles: StrictBool = False


class SimilarList(Answer):
    """The items most like one item, or that one text describes."""

    item_id: str | int | None = None
    text: str | None = None
    items: list[RankedItem]


class ListsAnswer(Answer):
    """One list for each item or text that was asked about, in their order."""

    results: list[SimilarList]
    bundle: str
    request_id: str


class SearchBody(Predicate):
    """Texts to find items by."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"texts": ["a red car"], "k": 3}]})
    texts: Annotated[
        list[Annotated[str, StringConstraints(strict=True, min_length=1)]], _limited("max_texts", min_length=1)
    ]
    k: Annotated[StrictInt, _limited("max_k", ge=1)] = 10
    titles: StrictBool = False


class TitlesBody(Given):
    """A part of a title."""

    text: Annotated[str, StringConstraints(strict=True, min_length=1), _limited("max_text_length")]


class ExplainBody(Person):
    """Why somebody gets an item."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"user": "u1", "item": "i9"}]})
    item: Id


class ReasonAnswer(Answer):
    """What one event of the history does to the score."""

    item_id: str | int
    title: str
    contribution: float
    place: int = Field(description="From 1, the oldest.")


class ExplainAnswer(Answer):
    """What each event of the history, and each part of the item, does to the item's score."""

    reasons: list[ReasonAnswer]
    parts: dict[str, float]
    bundle: str
    request_id: str


class ScoreBody(Person):
    """Items to score for somebody."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"user": "u1", "items": ["i8", "i9"]}]})
    items: Annotated[list[Id], _limited("max_items", min_length=1)]


class Scored(Answer):
    """The score of one item."""

    item_id: str | int
    score: float


class ScoreAnswer(Answer):
    """A score for each known item, in the order asked."""

    items: list[Scored]
    bundle: str
    request_id: str


class EventBody(Given):
    """One event: an interaction, or an impression (an item that was shown)."""

    event_id: Annotated[
        Label | None,
        Field(
            description="Chosen by the client, so that a repetition counts once; by default a new one: then it does not."
        ),
    ] = None
    user_id: Id
    item_id: Annotated[Id, Field(description="Kept also where the bundle does not know it.")]
    timestamp: Annotated[Second | None, Field(description="Seconds since 1970; by default now.")] = None
    event: Annotated[Label | None, Field(description="Its type, such as view or buy.")] = None
    weight: Annotated[StrictFloat | StrictInt | None, Field(description="Its strength, such as a rating.")] = None
    kind: Literal["interaction", "impression"] = "interaction"
    request_id: Annotated[Label | None, Field(description="The request whose answer it followed.")] = None


class EventsBody(Given):
    """Events to store."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [{"events": [{"event_id": "e-1", "user_id": "u1", "item_id": "i9", "event": "view"}]}]
        },
    )
    events: Annotated[list[EventBody], _limited("max_events", min_length=1)]


class ReceiptAnswer(Answer):
    """What became of one event."""

    event_id: str
    result: Literal["accepted", "duplicate", "refused"]
    reason: str | None = None


class EventsAnswer(Answer):
    """Accepted events are on disk and in the next answer; one receipt for each, in their order."""

    accepted: int
    duplicates: int
    refused: int
    receipts: list[ReceiptAnswer]
    request_id: str


class HistoryAnswerEvent(Answer):
    """One event of a history."""

    item_id: str | int
    title: str | None = None
    timestamp: int | None = None
    event: str | None = None
    source: Literal["bundle", "store"]


class UserAnswer(Answer):
    """What is known of a user, oldest first."""

    user_id: str | int
    history: list[HistoryAnswerEvent]
    length: int = Field(description="Events in all, of which the last are shown.")
    request_id: str


class ForgottenAnswer(Answer):
    """What was removed; it names nobody."""

    receipt: str = Field(description="Under which the audit log has it.")
    interactions: int
    impressions: int
    pseudonyms: int
    at: int = Field(description="Seconds since 1970.")
    request_id: str


ColumnValue: TypeAlias = (
    StrictBool
    | Annotated[StrictInt, _INT64]
    | StrictFloat
    | Annotated[str, StringConstraints(strict=True)]
    | list[str]
    | None
)
Columns: TypeAlias = Annotated[
    dict[Label, ColumnValue],
    Field(description="Values by the columns of the catalogue.", examples=[{"title": "a red car"}]),
]


class ItemAnswer(Answer):
    """What is known of an item that was changed; every answer from now on, and every bundle that follows, has it so."""

    item_id: str
    change: Literal["put", "patch", "delete"]
    columns: dict[str, Any]
    request_id: str


class LoadBody(Given):
    """A bundle to load beside the active one."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"path": "run"}]})
    path: Annotated[
        str,
        StringConstraints(strict=True, min_length=1, max_length=1000, pattern=r"^[^\x00]*$"),
        Field(
            description="A folder in one of bundle_folders, or in the folder that holds RUN; relative to that, or whole."
        ),
    ]


class ActivateBody(Given):
    """How to activate a bundle."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"force": False}]})
    force: Annotated[StrictBool, Field(description="Also where it lacks items that can be recommended now.")] = False


class VersionAnswer(Answer):
    """A bundle in memory."""

    digest: str
    path: str
    loaded_at: float = Field(description="Seconds since 1970.")
    users: int
    items: int
    active: bool
    leases: int = Field(description="Requests that it answers at this moment.")


class VersionsAnswer(Answer):
    """The active bundle first, then those that are loaded beside it."""

    bundles: list[VersionAnswer]
    request_id: str


class ShadowBody(Given):
    """A loaded bundle to compare with the active one."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"digest": "{digest}", "share": 0.5}]})
    digest: Label
    share: Annotated[
        StrictFloat | StrictInt | None,
        Field(gt=0, le=1, description="Of the requests to recommend; by default shadow_share of the settings."),
    ] = None


class ShadowAnswer(Answer):
    """What a shadow has shown so far: means over the requests that it answered, null before the first."""

    digest: str
    share: float
    compared: int = Field(description="Requests that both answered.")
    passed_over: int = Field(description="Requests for which there was no time.")
    failed: int = Field(description="Requests that the shadow could not answer though the active bundle did.")
    overlap: float | None = Field(description="Share of the served items that it lists too.")
    rank_correlation: float | None = Field(description="Spearman's, over the items that both list.")
    score_drift: float | None = Field(description="Its score less that of the active bundle.")
    seconds: float | None = Field(description="For one request.")
    live_seconds: float | None = Field(description="For one request, of the active bundle.")
    request_id: str


class HealthAnswer(Answer):
    """Whether the server lives, or takes requests."""

    status: str
