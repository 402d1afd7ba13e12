"""A history without each of its events in turn, and what that tells of a score."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from recsys.core.ragged import Float32, Int32, Ragged
from recsys.core.schema import CONTRIBUTION, ITEM, PLACE, TITLE
from recsys.data.catalog import Catalog
from recsys.errors import ConfigError, DataError


@dataclass(frozen=True, eq=False)
class Explanation:
    """What each event of a history does to the score of one item.

    Attributes
    ----------
    item : int
        Row of the item whose score is explained.
    score : float
        Its score after the whole history.
    history : int32 (n,)
        Item rows of the events, oldest first.
    contributions : float32 (n,)
        How much of the score goes when this event alone is left out; see :func:`occlusion`.
    """

    item: int
    score: float
    history: Int32
    contributions: Float32


def without_each(history: Ragged, longest: int) -> Ragged:
    """The history without each event that is read, oldest first, and as the last list the whole of it.

    Parameters
    ----------
    history : Ragged (1)
        n events, oldest first.
    longest : int
        How many of the newest events are read; where one of these is left out, the event before them takes its place.

    Returns
    -------
    Ragged (min(n, longest) + 1)

    Raises
    ------
    ConfigError
        There is not exactly one history.
    DataError
        It is empty.
    """
    if len(history) != 1:
        raise ConfigError(f"one history is explained at a time, and there are {len(history)}; take one of them")
    n = len(history.rows)
    if n == 0:
        raise DataError("the history is empty, so that no event of it can be left out")
    read, window = min(n, longest), history.tail(longest + 1)
    width = len(window.rows)
    left_out = np.arange(width - read, width + 1)  # the last of these is no event: the whole history
    kept = np.arange(width) != left_out[:, None]
    return window.take(np.zeros(len(left_out), dtype=np.int64)).where(kept.reshape(-1))


def whole_and_without(scores: Float32, n: int) -> tuple[Float32, Float32]:
    """Scores after the whole history, float32 (m,), and without each of its n events, float32 (n, m).

    Parameters
    ----------
    scores : float32 (read + 1, m)
        Of what :func:`without_each` gives; events that are not read change nothing.
    n : int
    """
    without = np.repeat(scores[-1:], n, axis=0)
    without[n - (len(scores) - 1) :] = scores[:-1]
    return scores[-1], without


def explanation_frame(explanation: Explanation, catalog: Catalog) -> pl.DataFrame:
    """An explanation in raw ids, for people to read.

    Parameters
    ----------
    explanation : Explanation
    catalog : Catalog
        In the towers' item rows.

    Returns
    -------
    DataFrame
        ``item_id`` and ``title`` of each event's item, its ``contribution``, and its ``place`` in the history (1: the
        oldest); the largest contribution first, equal ones oldest first.
    """
    rows = explanation.history
    places = np.arange(1, len(rows) + 1, dtype=np.int32)
    frame = pl.DataFrame(
        {
            ITEM: catalog.items.to_ids(rows),
            TITLE: catalog.title_of(rows),
            CONTRIBUTION: explanation.contributions,
            PLACE: places,
        }
    )
    return frame.sort(CONTRIBUTION, descending=True, maintain_order=True)


def sentences(frame: pl.DataFrame, top: int = 5) -> list[str]:
    """The first rows of an :func:`explanation_frame` in words.

    Parameters
    ----------
    frame : DataFrame
    top : int
        Rows to tell of. One whose contribution rounds to 0.00 explains nothing and is passed over.

    Returns
    -------
    list of str
        Such as ``because you interacted with Toy Story (1): +0.12``, with the id in brackets; ``although`` where the
        contribution is below 0.
    """
    rows = frame.head(top).select(ITEM, TITLE, CONTRIBUTION)
    return [
        f"{'because' if amount > 0 else 'although'} you interacted with "
        f"{title if title == str(item) else f'{title} ({item})'}: {amount:+.2f}"
        for item, title, amount in rows.iter_rows()
        if round(amount, 2) != 0
    ]
