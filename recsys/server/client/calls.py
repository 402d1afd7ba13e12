"""The questions to a server: what is sent, and how the answer is read; both clients share them."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Generic, Literal, TypeVar, Unpack
from urllib.parse import quote, urlencode

from recsys.errors import DataError, RecsysError
from recsys.server.client import answers
from recsys.server.client.answers import Read
from recsys.server.client.failures import error_of
from recsys.server.client.given import Asked, EventFields, Options, Person, RawId

Made = TypeVar("Made")


@dataclass(frozen=True)
class Call(Generic[Made]):
    """One question.

    Attributes
    ----------
    method, path : str
    read : function
        Makes the result from the answer's JSON.
    body : object
        To be sent as JSON.
    repeatable : bool
        Whether it may be sent again where nobody knows if it was done: the second time must do no harm.
    """

    method: str
    path: str
    read: Callable[[Read], Made]
    body: object = None
    repeatable: bool = True


def recommend(user: RawId | None = None, **options: Unpack[Options]) -> Call[answers.Recommended]:
    """Items for one person, best first.

    Parameters
    ----------
    user : id, optional
    **options
        ``history`` (instead of user), ``times``, ``events``, ``request_time``, ``target_event``, ``k``, ``filter_seen``,
        ``exclude``, ``eligible``, ``where``, ``rules``, ``fallback``, ``unknown``, as of
        :meth:`recsys.Retriever.recommend`; ``titles=True`` for titles, ``rule_effects=True`` for what the rules moved.

    Raises
    ------
    UnknownIdError
        The server does not know the user, or an item.
    DataError
        An option that cannot be; the message names it.
    AccessError, OverloadedError, DeadlineError, UnsupportedError, ServerError
    """
    return Call("POST", "/v1/recommend", answers.Recommended.of, _with_user(user, options))


def recommend_batch(requests: Sequence[Asked]) -> Call[list[answers.Recommended | RecsysError]]:
    """Items for several people in one call: for each its answer, or the error that stands in its place.

    Parameters
    ----------
    requests : sequence of dict
        Each with ``user`` or ``history`` and the options of :meth:`recommend`.
    """
    return Call("POST", "/v1/recommend/batch", _answers_or_errors, {"requests": list(requests)})


def similar(
    items: RawId | Sequence[RawId], *, k: int = 10, where: str | None = None, titles: bool = False,
    by: Literal["vectors", "transitions"] | None = None,
) -> Call[answers.Lists]:  # fmt: skip
    """The items that are most like others, as :meth:`recsys.Retriever.similar_items`."""
    body = {"items": _several(items), "k": k, "where": where, "by": by, "titles": titles}
    return Call("POST", "/v1/similar", answers.Lists.similar, body)


def search(
    texts: str | Sequence[str], *, k: int = 10, where: str | None = None, titles: bool = False
) -> Call[answers.Lists]:
    """Items that free text describes, as :meth:`recsys.Retriever.search`."""
    return Call(
        "POST", "/v1/search", answers.Lists.searched, {"texts": _several(texts), "k": k, "where": where, "titles": titles}
    )


def explain(item: RawId, user: RawId | None = None, **person: Unpack[Person]) -> Call[answers.Explained]:
    """Which events of a history, and which parts of an item, raise or lower its score."""
    return Call("POST", "/v1/explain", answers.Explained.of, {**_with_user(user, person), "item": item})


def score(items: RawId | Sequence[RawId], user: RawId | None = None, **person: Unpack[Person]) -> Call[answers.Scored]:
    """The score of items for somebody, seen or not."""
    return Call("POST", "/v1/score", answers.Scored.of, {**_with_user(user, person), "items": _several(items)})


def send_events(events: Sequence[EventFields]) -> Call[answers.Receipts]:
    """Store events; what is accepted is on disk, and in the next answer to that user.

    Each gets an ``event_id`` here if it has none, so that a repeated attempt of this call counts once. To repeat a call of
    your own, give ``event_id`` yourself.

    Parameters
    ----------
    events : sequence of dict
        ``user_id``, ``item_id``, and optionally ``event_id``, ``timestamp`` (seconds since 1970 or a datetime; by default
        the server's clock), ``event``, ``weight``, ``kind``, ``request_id``.

    Raises
    ------
    StoreUnavailableError
        The database cannot be written, or did not answer in time; sending the same event ids again does no harm.
    """
    return Call("POST", "/v1/events", answers.Receipts.of, {"events": [_event(one) for one in events]})


def send_event(**event: Unpack[EventFields]) -> Call[answers.Receipt]:
    """Store one event; see :meth:`send_events`.

    Raises
    ------
    DataError
        It was refused; the message says why.
    """
    return Call("POST", "/v1/events", _only_receipt, {"events": [_event(event)]})


def user(user: RawId, *, last: int = 100) -> Call[answers.User]:
    """What is known of a user: the history of the bundle and the events that followed, of which the last are shown."""
    return Call("GET", f"/v1/users/{_quoted(user)}?{urlencode({'last': last})}", answers.User.of)


def forget(user: RawId) -> Call[answers.Forgotten]:
    """Remove a user's events and what else the server remembers of them."""
    return Call("DELETE", f"/v1/users/{_quoted(user)}", answers.Forgotten.of)


def put_item(item: RawId, columns: Mapping[str, Any]) -> Call[answers.ChangedItem]:
    """Add an item, or replace all that is known of it: values by the columns of the catalogue."""
    return Call("PUT", f"/v1/items/{_quoted(item)}", answers.ChangedItem.of, dict(columns))


def patch_item(item: RawId, columns: Mapping[str, Any]) -> Call[answers.ChangedItem]:
    """Replace some of what is known of an item."""
    return Call("PATCH", f"/v1/items/{_quoted(item)}", answers.ChangedItem.of, dict(columns))


def delete_item(item: RawId) -> Call[answers.ChangedItem]:
    """Remove an item: no answer has it from now on."""
    return Call("DELETE", f"/v1/items/{_quoted(item)}", answers.ChangedItem.of)


def bundles() -> Call[tuple[answers.LoadedBundle, ...]]:
    """The bundles in the server's memory, the active one first."""
    return Call("GET", "/admin/bundles", answers.bundles_of)


def load_bundle(path: str) -> Call[tuple[answers.LoadedBundle, ...]]:
    """Load and verify a bundle beside the active one; ``path`` is on the server's machine."""
    return Call("POST", "/admin/bundles", answers.bundles_of, {"path": path}, repeatable=False)


def activate(digest: str, *, force: bool = False) -> Call[tuple[answers.LoadedBundle, ...]]:
    """Let a loaded bundle answer from now on; with ``force`` also where it lacks items that can be recommended now."""
    path = f"/admin/bundles/{_quoted(digest)}/activate"
    return Call("POST", path, answers.bundles_of, {"force": force}, repeatable=False)


def roll_back() -> Call[tuple[answers.LoadedBundle, ...]]:
    """Let the bundle that was active before answer again."""
    return Call("POST", "/admin/rollback", answers.bundles_of, repeatable=False)


def unload(digest: str) -> Call[tuple[answers.LoadedBundle, ...]]:
    """Free a bundle that is loaded beside the active one."""
    return Call("DELETE", f"/admin/bundles/{_quoted(digest)}", answers.bundles_of, repeatable=False)


def shadow() -> Call[answers.Shadow]:
    """What the shadow has shown so far.

    Raises
    ------
    DataError
        There is none.
    """
    return Call("GET", "/admin/shadow", answers.Shadow.of)


def start_shadow(digest: str, *, share: float | None = None) -> Call[answers.Shadow]:
    """Let a loaded bundle answer a share of the requests too, unseen, to compare it with the active one."""
    body = {"digest": digest} if share is None else {"digest": digest, "share": share}
    return Call("POST", "/admin/shadow", answers.Shadow.of, body, repeatable=False)


def stop_shadow() -> Call[answers.Shadow]:
    """End the shadow, whose bundle stays loaded, and tell what it has shown; raises as :meth:`shadow`."""
    return Call("DELETE", "/admin/shadow", answers.Shadow.of, repeatable=False)


def _with_user(user: RawId | None, given: Mapping[str, Any]) -> dict[str, Any]:
    return dict(given) if user is None else {"user": user, **given}


def _several(given: Any) -> list[Any]:
    return [given] if isinstance(given, str | int) else list(given)


def _quoted(part: RawId) -> str:
    return quote(str(part), safe="")


def _event(given: EventFields) -> dict[str, Any]:
    made = {"event_id": uuid.uuid4().hex, **given}
    if isinstance(time := given.get("timestamp"), datetime):
        made["timestamp"] = int((time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp())
    return made


def _answers_or_errors(given: Read) -> list[answers.Recommended | RecsysError]:
    return [answers.Recommended.of(one) if "items" in one else error_of(one["status"], one) for one in given["answers"]]


def _only_receipt(given: Read) -> answers.Receipt:
    (receipt,) = answers.Receipts.of(given).receipts
    if receipt.result == "refused":
        raise DataError(f"the event was refused: {receipt.reason}")
    return receipt
