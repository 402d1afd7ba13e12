"""One request, resolved once: raw ids become rows, times become seconds, names become codes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypedDict

import numpy as np
import polars as pl

from recsys.bundle.contents import Bundle
from recsys.core.arguments import flag, instance
from recsys.core.progress import warn
from recsys.core.ragged import Bool, Int32, Int64, Ragged, repeated
from recsys.core.ranking import check_k
from recsys.data.times.request_time import Instant, request_second
from recsys.errors import ConfigError, UnknownIdError
from recsys.serving.people import LeftOut, People, people_of
from recsys.serving.request_arguments import RawId, RawIds, Unknown, known_rows, single
from recsys.serving.rules.spec import Rules


@dataclass(frozen=True, eq=False)
class Request:
    """A request and the bundle that answers it.

    Attributes
    ----------
    bundle : Bundle
    people : People (n)
    readable : int64 (m,)
        Positions of the people who have a history to read.
    exclude : Ragged (n)
        Item rows that must not be recommended to each person.
    eligible : bool (n_items,) or None
        Items that may be recommended at all; None: every item.
    k : int
        Most items per person, at most the number of items.
    request_time : int
        Seconds since 1970.
    target_event : int or None
        Code of the event type to come; None: any.
    rules : Rules or None
    left_out : LeftOut
        What was passed over in histories and filters.
    """

    bundle: Bundle
    people: People
    readable: Int64
    exclude: Ragged
    eligible: Bool | None
    k: int
    request_time: int
    target_event: int | None
    rules: Rules | None
    left_out: LeftOut

    @classmethod
    def of(
        cls,
        bundle: Bundle,
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
        cold: bool = False,
        unknown: Unknown = "error",
    ) -> Request:
        """Resolve the arguments of :meth:`recsys.serving.retriever.Retriever.recommend`; raises what that does.

        ``cold`` accepts people who are unknown or have no history.
        """
        k = check_k(k)
        if rules is not None:
            instance(rules, Rules, "rules", "read a file with recsys.Rules.read, or a mapping with recsys.Rules.of")
        people = people_of(bundle, users, histories, times, events, cold=cold, unknown=unknown)
        n, missed = len(people.users), 0
        excluded = people.histories.without_events() if flag(filter_seen, "filter_seen") else Ragged.empty(n)
        if exclude is not None:
            never, missed = known_rows(exclude, bundle.items, "exclude", unknown)
            excluded = excluded.merged(repeated(never, n))
        chosen = None
        if eligible is not None:
            chosen, more = known_rows(eligible, bundle.items, "eligible", unknown)
            missed += more
        left_out, corpus = people.left_out, bundle.corpus
        k = min(k, len(corpus.items))
        return cls(
            bundle,
            people,
            np.flatnonzero(people.histories.lengths),
            excluded,
            corpus.mask(chosen, where),
            k,
            request_second(request_time),
            None if target_event is None else event_code(bundle, target_event),
            rules,
            replace(left_out, unknown_items=left_out.unknown_items + missed),
        )

    @property
    def candidates(self) -> Bool:
        """bool (n_items,): the items that are eligible and not removed."""
        alive = self.bundle.corpus.index.alive
        return alive if self.eligible is None else alive & self.eligible

    def of_readable(self) -> Request:
        """The same request of only the people who have a history."""
        readable = self.readable
        people, exclude = self.people.take(readable), self.exclude.take(readable)
        return replace(self, people=people, readable=np.arange(len(readable)), exclude=exclude)


class OnePerson(TypedDict, total=False):
    """The keywords of :func:`about_item`."""

    history: Sequence[RawId] | None
    times: Sequence[Instant] | None
    events: Sequence[str] | None
    request_time: Instant | None
    target_event: str | None
    unknown: Unknown


def about_item(
    bundle: Bundle,
    user: RawId | None,
    item: RawId,
    *,
    history: Sequence[RawId] | None = None,
    times: Sequence[Instant] | None = None,
    events: Sequence[str] | None = None,
    request_time: Instant | None = None,
    target_event: str | None = None,
    unknown: Unknown = "error",
) -> tuple[Request, Int32, int | None]:
    """The request of one person, the row of one item, int32 (1,), and the request time (None: none was given).

    Unknown items of the history may be skipped, but not the item and the user.

    Raises
    ------
    UnknownIdError
        The user, the item, or every item of the history is unknown.
    """
    request = Request.of(
        bundle,
        None if user is None else single(user, "user"),
        histories=None if history is None else [history],
        times=None if times is None else [times],
        events=None if events is None else [events],
        request_time=request_time,
        target_event=target_event,
        unknown=unknown,
    )
    if not len(request.readable):
        raise UnknownIdError("there is nothing to explain: the user, or every item of the history, is unknown")
    if passed_over := request.left_out.sentence(1, "histories"):
        warn(passed_over)
    row = known_rows(single(item, "item"), bundle.items, "item")[0]
    return request, row, None if request_time is None else request.request_time


def event_code(bundle: Bundle, target_event: str) -> int:
    """The code of the event type that a request names.

    Raises
    ------
    ConfigError
        The tower does not tell types apart, or does not know the type.
    """
    if bundle.towers.net.users.event_heads is None:
        raise ConfigError(
            f"target_event={target_event!r} needs a model that tells event types apart; fit it with event_heads=True"
        )
    if target_event not in bundle.event_names:
        raise ConfigError(
            f"target_event={target_event!r} is no event type of the model; it has {', '.join(bundle.event_names)}"
        )
    return bundle.event_names.index(target_event)
