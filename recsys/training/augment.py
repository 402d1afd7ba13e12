"""Sequence augmentation: plausible variants of the windows, new ones for every batch."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from recsys.config.augment import Augment
from recsys.core.ragged import Int32, Int64, Ragged, found_among, ragged_positions
from recsys.errors import ConfigError, DataError


class Augmented(NamedTuple):
    """Windows to train on.

    Attributes
    ----------
    inputs, targets : Ragged (W)
        Item rows, of equal lengths of at least 1: event t and event t + 1 of each window.
    input_events, target_events : int32 (N,)
        Which event of the original windows' flat events each input and each target comes from: by these a caller selects
        whatever else belongs to the events, such as their times.
    """

    inputs: Ragged
    targets: Ragged
    input_events: Int32
    target_events: Int32


def augment(
    windows: Ragged, options: Augment, generator: np.random.Generator, neighbours: Int32 | None = None
) -> Augmented:
    """Make inputs and targets of windows, varied as the options say: crop, delete, reorder, ahead, then substitute.

    The first three change which events a window has, so inputs and targets change together, and every target is the event
    that follows in the changed window, or with ``ahead`` a later event of it. Substitution changes inputs only.

    Parameters
    ----------
    windows : Ragged (W)
        The events of each window in time order, at least two: its inputs and its last target.
    options : Augment
    generator : numpy Generator
        Options that are off draw nothing from it.
    neighbours : int32 (n_items, m), optional
        Nearest items of each item, nearest first, from :func:`recsys.training.neighbours.nearest_by_text`; needed to
        substitute.

    Returns
    -------
    Augmented

    Raises
    ------
    ConfigError
        ``substitute`` is above 0 without neighbours, or with fewer than ``options.neighbours``.
    DataError
        A window has fewer than two events.

    Examples
    --------
    >>> windows = Ragged.from_lists([[5, 6, 7], [8, 9]])
    >>> inputs, targets, *_ = augment(windows, Augment(), np.random.default_rng(0))
    >>> inputs.to_lists(), targets.to_lists()
    ([[5, 6], [8]], [[6, 7], [9]])
    """
    short = np.flatnonzero(windows.lengths < 2)
    if len(short):
        raise DataError(
            f"a window needs at least 2 events, an input and its target; window {short[0]} has {windows.lengths[short[0]]}"
        )
    order = Ragged.from_lengths(windows.lengths, np.arange(len(windows.rows), dtype=np.int32))
    if options.crop > 0.0:
        order = _crop(order, options.crop, generator)
    if options.delete > 0.0:
        order = _delete(order, options.delete, generator)
    if options.reorder > 0.0:
        order = _reorder(order, options.reorder, generator)
    events = Ragged(order.offsets, windows.rows[order.rows])
    lengths = events.lengths - 1
    read = ragged_positions(events.offsets[:-1], lengths)
    predicted = read + 1
    if options.ahead > 0.0:
        predicted += _ahead(np.repeat(events.offsets[1:], lengths) - 1 - predicted, options.ahead, generator)
    inputs = Ragged.from_lengths(lengths, events.rows[read])
    targets = Ragged(inputs.offsets, events.rows[predicted])
    if options.substitute > 0.0:
        inputs = _substitute(inputs, events, options.substitute, _nearest(neighbours, options), generator)
    return Augmented(inputs, targets, order.rows[read], order.rows[predicted])


def _nearest(neighbours: Int32 | None, options: Augment) -> Int32:
    """The first columns of the table of neighbours, as many as substitution draws from."""
    if neighbours is None:
        raise ConfigError(
            f"substitute={options.substitute} needs the neighbours of each item by text, "
            "which only a text encoder can give: set encoder"
        )
    if neighbours.shape[1] < options.neighbours:
        raise ConfigError(f"neighbours={options.neighbours}, but the table holds {neighbours.shape[1]} per item")
    return neighbours[:, : options.neighbours]


def _crop(lists: Ragged, probability: float, generator: np.random.Generator) -> Ragged:
    """Some lists of n > 2 elements cut to 2 .. n − 1 in a row; every length and every place is equally likely."""
    lengths = lists.lengths
    chosen = (generator.random(len(lists)) < probability) & (lengths > 2)
    kept = np.where(chosen, generator.integers(2, np.maximum(lengths, 3)), lengths)
    starts = lists.offsets[:-1] + generator.integers(0, lengths - kept + 1)
    return Ragged.from_lengths(kept, lists.rows[ragged_positions(starts, kept)])


def _delete(lists: Ragged, probability: float, generator: np.random.Generator) -> Ragged:
    """Drop each element with a probability, except the two of each list with the highest draws."""
    draws = generator.random(len(lists.rows))
    keep = draws >= probability
    ascending = np.lexsort((draws, lists.list_index()))
    keep[ascending[lists.offsets[1:] - 1]] = True
    keep[ascending[lists.offsets[1:] - 2]] = True
    return lists.where(keep)


def _reorder(lists: Ragged, probability: float, generator: np.random.Generator) -> Ragged:
    """Some lists of n > 5 elements with 2 .. n / 3 neighbouring ones in random order."""
    lengths = lists.lengths
    longest = lengths // 3
    chosen = (generator.random(len(lists)) < probability) & (longest >= 2)
    sizes = np.where(chosen, generator.integers(2, np.maximum(longest, 2) + 1), 0)
    places = ragged_positions(lists.offsets[:-1] + generator.integers(0, lengths - sizes + 1), sizes)
    owners = np.repeat(np.arange(len(lists), dtype=np.int64), sizes)
    rows = lists.rows.copy()
    rows[places] = rows[places[np.lexsort((generator.random(len(places)), owners))]]
    return Ragged(lists.offsets, rows)


def _ahead(room: Int64, probability: float, generator: np.random.Generator) -> Int64:
    """How many events after the next one each position predicts, int64 (N,): geometric, and 0 where the window ends before.

    ``room`` is the number of events that a window has after the next one.
    """
    steps = generator.geometric(1.0 - probability, len(room)) - 1
    return np.where(steps <= room, steps, 0)


def _substitute(
    inputs: Ragged, windows: Ragged, probability: float, neighbours: Int32, generator: np.random.Generator
) -> Ragged:
    """Inputs with some items replaced by a neighbour drawn evenly.

    A neighbour that is in the window already is not used: the model would see a target before it has to predict it.
    """
    places = np.flatnonzero(generator.random(len(inputs.rows)) < probability)
    drawn = neighbours[inputs.rows[places], generator.integers(0, neighbours.shape[1], len(places))]
    owners, n_items = inputs.list_index()[places], len(neighbours)
    fresh = ~found_among(owners * n_items + drawn, windows.list_index() * n_items + windows.rows)
    rows = inputs.rows.copy()
    rows[places[fresh]] = drawn[fresh]
    return Ragged(inputs.offsets, rows)
