"""What the tests of the data stage share: small logs, and how a refusal is checked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
from hypothesis import settings
from hypothesis import strategies as st

from recsys.data.interactions import Interactions
from recsys.errors import DataError, RecsysError

small = settings(max_examples=20, deadline=None, derandomize=True, database=None)

Event = tuple[int, int, int]
"""User, item, timestamp."""

events_lists = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 5), st.integers(0, 6)), min_size=1, max_size=30)
"""Few users, items and instants, so that repeated pairs and ties are common."""


def log_of(events: list[Event]) -> Interactions:
    return Interactions.from_frame(pl.DataFrame(events, schema=["user_id", "item_id", "timestamp"], orient="row"))


def timeless(log: Interactions) -> Interactions:
    """The same log in the same order, its instants forgotten."""
    return replace(log, histories=replace(log.histories, times=None))


def in_time_order(events: list[Event]) -> dict[int, list[Event]]:
    """Each user's events by timestamp, ties in their order in the list; users by first appearance."""
    histories: dict[int, list[Event]] = {}
    for event in events:
        histories.setdefault(event[0], []).append(event)
    return {user: sorted(own, key=lambda event: event[2]) for user, own in histories.items()}


@contextmanager
def refused(*words: object, error: type[RecsysError] = DataError) -> Iterator[None]:
    """The block raises ``error`` with a message of one line that holds all the words."""
    with pytest.raises(error) as caught:
        yield
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert str(word) in message


def written(file: Path, content: str | bytes) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.unlink(missing_ok=True)  # a reader that was refused may still have the old one mapped, and dies where that is cut
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    return file


def parquet(file: Path, **columns: object) -> Path:
    pl.DataFrame(columns).write_parquet(file)
    return file


busy_logs = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 9), st.integers(0, 12)), min_size=12, max_size=50)
"""Long enough to be split by any protocol more often than not; pairs and instants repeat."""


def events_of(log: Interactions) -> Counter[tuple[int, int]]:
    return Counter(log.frame().select("user_id", "item_id").iter_rows())
