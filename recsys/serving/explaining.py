"""Why an item is recommended, asked in raw ids."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl

from recsys.bundle.corpus import Corpus
from recsys.core.progress import warn
from recsys.core.ragged import Int32, Ragged
from recsys.data.times.request_time import Instant, clock
from recsys.errors import UnknownIdError
from recsys.models.towers import numpy_of
from recsys.serving.context import event_code
from recsys.serving.request import Asked, Unknown, known_rows
from recsys.serving.request_arguments import RawId, single


class Explaining:
    """The part of a retriever that explains."""

    event_names: tuple[str, ...]

    def _state(self) -> tuple[Corpus, Ragged]:
        raise NotImplementedError  # the retriever's

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
        raise NotImplementedError  # the retriever's

    def explain(
        self,
        user: RawId | None = None,
        item: RawId = "",
        *,
        history: Sequence[RawId] | None = None,
        times: Sequence[Instant] | None = None,
        events: Sequence[str] | None = None,
        now: Instant | None = None,
        wanted: str | None = None,
        unknown: Unknown = "error",
    ) -> pl.DataFrame:
        """Which events of a history move an item's score, and by how much; see :func:`recsys.serving.explain.occlusion`.

        Takes a known user, or the ``history`` of somebody else, oldest first, with ``times`` and ``events`` where the model
        reads them; ``unknown="skip"`` passes over unknown items of the history. Gives ``item_id`` and ``title`` of each
        event's item, its ``contribution`` and its ``place``; the largest contribution first.
        """
        from recsys.serving.explain import explain, explanation_frame  # noqa: PLC0415

        shelf, asked, row = self._one(user, item, history, times, events, unknown)
        code = None if wanted is None else event_code(wanted, shelf.towers.net.users, self.event_names)
        at = None if now is None else clock(now)
        found = explain(
            shelf.towers,
            asked.histories,
            row,
            user=int(asked.users[0]),
            request=at,
            wanted=code,
        )
        return explanation_frame(found[0], shelf.catalog)

    def score_breakdown(
        self,
        user: RawId | None = None,
        item: RawId = "",
        *,
        history: Sequence[RawId] | None = None,
        times: Sequence[Instant] | None = None,
        events: Sequence[str] | None = None,
        now: Instant | None = None,
        wanted: str | None = None,
        unknown: Unknown = "error",
    ) -> dict[str, float]:
        """What id, text and other content of an item add to its score, by name, with ``"bias"``; the sum is the score.

        Takes what :meth:`explain` takes; see :func:`recsys.serving.score_breakdown.score_breakdown`.
        """
        from recsys.serving.score_breakdown import score_breakdown  # noqa: PLC0415

        shelf, asked, row = self._one(user, item, history, times, events, unknown)
        code = None if wanted is None else event_code(wanted, shelf.towers.net.users, self.event_names)
        clocks = None if now is None else np.array([clock(now)], dtype=np.int64)
        vector = numpy_of(shelf.towers.user_vectors(asked.histories, asked.users, clocks, code))[0]
        shares = score_breakdown(shelf.towers, vector, row)
        return {name: float(values[0]) for name, values in shares.items()}

    def _one(
        self, user: Any, item: Any, history: Any, times: Any, events: Any, unknown: Unknown
    ) -> tuple[Corpus, Asked, Int32]:
        """One person and one item; unknown items of the history may be passed over, but the item and the user may not."""
        shelf, known = self._state()
        one = [[given] if given is not None else None for given in (history, times, events)]
        asked = self._asked(shelf, known, None if user is None else single(user, "user"), *one, unknown=unknown)
        if not asked.readable.all():
            raise UnknownIdError("there is nothing to explain: the user, or every item of the history, is unknown")
        if told := asked.left_out.sentence(1, "histories"):
            warn(told)
        return shelf, asked, known_rows(single(item, "item"), shelf.items, "item")[0]
