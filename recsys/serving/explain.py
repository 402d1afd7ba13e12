"""Why somebody is given an item: what each event of the history does to the item's score."""

from __future__ import annotations

import numpy as np
import polars as pl

from recsys.core.ragged import Float32, Int32, Ragged
from recsys.errors import ConfigError, DataError
from recsys.models.towers import TwoTowerModel, numpy_of
from recsys.serving.occlude import Explanation, explanation_frame, whole_and_without, without_each
from recsys.serving.request import Request
from recsys.serving.score_breakdown import score_breakdown
from recsys.transitions.memory import TransitionMemory


def explain(
    towers: TwoTowerModel,
    history: Ragged,
    targets: Int32,
    *,
    user: int | None = None,
    request_time: int | None = None,
    target_event: int | None = None,
    transitions: TransitionMemory | None = None,
) -> list[Explanation]:
    """One explanation per target; arguments and errors as for :func:`occlusion`, and at the same cost."""
    whole, without = _with_and_without(towers, transitions, history, targets, user, request_time, target_event)
    return [
        Explanation(item, score, history.rows, contributions)
        for item, score, contributions in zip(targets.tolist(), whole.tolist(), (whole - without).T, strict=True)
    ]


def occlusion(
    towers: TwoTowerModel,
    history: Ragged,
    targets: Int32,
    *,
    user: int | None = None,
    request_time: int | None = None,
    target_event: int | None = None,
    transitions: TransitionMemory | None = None,
) -> Float32:
    """How much of each target's score goes when one event is left out of the history (occlusion, arXiv 1311.2901).

    The values are exactly what the model says when it is asked with the event and without it, in one batch:

    - The user tower reads the last ``max_length`` events, and the transition memory its window. When one of these is left
      out, the event before them is read in its place, as it would be had the event never happened. Leaving out an earlier
      one changes nothing: exactly 0.
    - A history of one event has nothing left without it, and the model has no answer to nothing; it counts as a user
      vector of zeros, so that the event's contribution is the whole score.
    - An item that occurs twice is two events, each left out alone.

    Contributions do not add up to the score: of two events that tell the same, each can go without a loss.

    Parameters
    ----------
    towers : TwoTowerModel
    history : Ragged (1)
        n events, oldest first, with times and event types where the model reads these.
    targets : int32 (m,)
        Item rows.
    user : int, optional
        User row, by which features are looked up; −1, or None: unknown.
    request_time : int, optional
        Seconds since 1970; by default the time of the last event, also where that event is left out.
    target_event : int, optional
        Code of the event to come, for a model with ``event_heads``; by default any.
    transitions : TransitionMemory, optional
        What is added to the towers' score; without an event, each older one is an event younger.

    Returns
    -------
    float32 (n, m)
        In units of the score, which is the inner product of user vector and item vector plus what is added to it; above 0
        where the event speaks for the target.

    Raises
    ------
    ConfigError
        There is not exactly one history; or a ``target_event`` is given to a model without ``event_heads``.
    DataError
        The history is empty, or lacks times or event types that the model reads.
    """
    whole, without = _with_and_without(towers, transitions, history, targets, user, request_time, target_event)
    gone: Float32 = whole - without
    return gone


def _with_and_without(
    towers: TwoTowerModel,
    transitions: TransitionMemory | None,
    history: Ragged,
    targets: Int32,
    user: int | None,
    request_time: int | None,
    target_event: int | None,
) -> tuple[Float32, Float32]:
    """Scores of the targets after the whole history, float32 (m,), and without each event, float32 (n, m)."""
    longest = towers.net.users.max_length
    if transitions is not None:
        longest = max(longest, transitions.form.window)
    variants = without_each(history, longest)
    some = np.flatnonzero(variants.lengths)
    if request_time is None and history.times is not None:
        request_time = int(history.times[-1])
    vectors = np.zeros((len(variants), towers.vectors.shape[1]), dtype=np.float32)
    vectors[some] = numpy_of(
        towers.user_vectors(
            variants.take(some),
            None if user is None else np.full(len(some), user, dtype=np.int32),
            None if request_time is None else np.full(len(some), request_time, dtype=np.int64),
            target_event,
        )
    )
    scores = vectors @ towers.vectors[targets].T  # (read + 1, m)
    if transitions is not None:
        owners, rows = np.repeat(np.arange(len(variants)), len(targets)), np.tile(targets, len(variants))
        scores = scores + transitions.pair_scores(variants, owners, rows).reshape(scores.shape)
    return whole_and_without(scores, len(history.rows))


def nearest_in_history(towers: TwoTowerModel, history: Int32, targets: Int32, top: int = 1) -> tuple[Int32, Float32]:
    """The items of a history that are most like each target, by the item vectors; no user vector is computed.

    This tells what an item is like, not what the user tower made of the history; that costs an :func:`occlusion`.

    Parameters
    ----------
    towers : TwoTowerModel
    history : int32 (n,)
        Item rows; one that occurs more than once counts once. A target that is among them is nearest to itself.
    targets : int32 (m,)
    top : int
        Items per target; all of the history where it has fewer.

    Returns
    -------
    rows : int32 (m, min(top, distinct items))
        Nearest first; equally near ones in row order.
    cosines : float32 (m, min(top, distinct items))

    Raises
    ------
    ConfigError
        ``top`` is below 1.
    DataError
        The history is empty.
    """
    if top < 1:
        raise ConfigError(f"top must be at least 1, not {top}")
    if len(history) == 0:
        raise DataError("the history is empty, so that nothing in it is near to anything")
    distinct = np.unique(history)
    cosines = _unit(towers.vectors[targets]) @ _unit(towers.vectors[distinct]).T  # (m, distinct)
    best = np.argsort(-cosines, axis=1, kind="stable")[:, :top]
    return distinct[best], np.take_along_axis(cosines, best, axis=1)


def _unit(vectors: Float32) -> Float32:
    """Vectors of unit length; zeros stay, and are like nothing."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return (vectors / np.where(lengths > 0, lengths, 1)).astype(np.float32)


def explained(request: Request, item: Int32, request_time: int | None) -> pl.DataFrame:
    """The events of one person's history and what each contributes to the score of an item, int32 (1,), as a frame."""
    bundle, people = request.bundle, request.people
    found = explain(
        bundle.towers,
        people.histories,
        item,
        user=int(people.users[0]),
        request_time=request_time,
        target_event=request.target_event,
        transitions=bundle.corpus.transitions,
    )
    return explanation_frame(found[0], bundle.catalog)


def broken_down(request: Request, item: Int32, request_time: int | None) -> dict[str, float]:
    """What the parts of an item, int32 (1,), add to its score for one person, by name."""
    towers, people = request.bundle.towers, request.people
    times = None if request_time is None else np.array([request_time], dtype=np.int64)
    vector = numpy_of(towers.user_vectors(people.histories, people.users, times, request.target_event))[0]
    shares = score_breakdown(towers, vector, item)
    found = {name: float(values[0]) for name, values in shares.items()}
    memory = request.bundle.corpus.transitions
    return found if memory is None else found | memory.shares(people.histories, int(item[0]))
