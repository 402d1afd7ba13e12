"""Sequence augmentation: histories that might as well have happened, made anew for every batch."""

from __future__ import annotations

import numpy as np

from recsys.config.augment import Augment
from recsys.core.ragged import Int32, Int64, Ragged, found_among, ragged_positions
from recsys.errors import ConfigError, DataError


def augment(
    windows: Ragged, options: Augment, generator: np.random.Generator, neighbours: Int32 | None = None
) -> tuple[Ragged, Ragged]:
    """Inputs and targets of windows, varied as the options say: crop, then delete, then reorder, then substitute.

    The first three change what the window is, so that inputs and targets change together and every target is the event
    that follows in the window so changed. Only inputs are substituted.

    Parameters
    ----------
    windows : Ragged (W)
        The events of each window in time order, two at least: its inputs and its last target.
    options : Augment
    generator : numpy Generator
        Not drawn from by what is off.
    neighbours : int32 (n_items, m), optional
        Nearest items of each item, nearest first, from :func:`recsys.training.neighbours.nearest_by_text`; needed to
        substitute.

    Returns
    -------
    inputs, targets : Ragged (W)
        Of equal lengths, at least 1: event t and event t + 1 of each window.

    Raises
    ------
    ConfigError
        ``substitute`` is asked for without neighbours, or with fewer than ``options.neighbours``.
    DataError
        A window has fewer than two events.
    """
    return taken(windows, arrange(windows.lengths, options, generator), options, generator, neighbours)


def taken(
    windows: Ragged,
    order: Ragged,
    options: Augment,
    generator: np.random.Generator,
    neighbours: Int32 | None = None,
) -> tuple[Ragged, Ragged]:
    """The second half of :func:`augment`, for callers that need the order too.

    Parameters
    ----------
    windows, options, neighbours
        As for :func:`augment`, which lists what is raised.
    order : Ragged (W)
        From :func:`arrange`.
    generator : numpy Generator
        As :func:`arrange` left it.

    Returns
    -------
    inputs, targets : Ragged (W)
    """
    events = Ragged(order.offsets, windows.rows[order.rows])
    lengths = events.lengths - 1
    inputs = events.head(lengths)
    targets = Ragged(inputs.offsets, events.rows[ragged_positions(events.offsets[:-1] + 1, lengths)])
    if options.substitute == 0.0:
        return inputs, targets
    if neighbours is None:
        raise ConfigError(
            f"substitute={options.substitute} needs the items' neighbours, and there are none: give a text encoder"
        )
    if neighbours.shape[1] < options.neighbours:
        raise ConfigError(f"neighbours={options.neighbours}, but the table holds {neighbours.shape[1]} per item")
    return _substitute(inputs, events, options.substitute, neighbours[:, : options.neighbours], generator), targets


def arrange(lengths: Int64, options: Augment, generator: np.random.Generator) -> Ragged:
    """Which events of each window are left, and in which order, after crop, delete and reorder.

    By these positions :func:`augment` takes the items; a caller takes by them whatever else belongs to the events, such as
    their times.

    Parameters
    ----------
    lengths : int64 (W,)
        Events of each window, at least two.
    options : Augment
    generator : numpy Generator

    Returns
    -------
    Ragged (W)
        Positions in the windows' flat events; at least two of each window.

    Raises
    ------
    DataError
        A window has fewer than two events.
    """
    short = np.flatnonzero(lengths < 2)
    if len(short):
        raise DataError(
            f"a window needs at least 2 events, an input and its target; window {short[0]} has {lengths[short[0]]}"
        )
    order = Ragged.from_lengths(lengths, np.arange(lengths.sum(), dtype=np.int32))
    if options.crop > 0.0:
        order = _crop(order, options.crop, generator)
    if options.delete > 0.0:
        order = _delete(order, options.delete, generator)
    if options.reorder > 0.0:
        order = _reorder(order, options.reorder, generator)
    return order


def _crop(lists: Ragged, probability: float, generator: np.random.Generator) -> Ragged:
    """Some lists of n > 2 elements cut to 2 .. n − 1 in a row; every length and every place is as likely as another."""
    lengths = lists.lengths
    chosen = (generator.random(len(lists)) < probability) & (lengths > 2)
    kept = np.where(chosen, generator.integers(2, np.maximum(lengths, 3)), lengths)
    starts = lists.offsets[:-1] + generator.integers(0, lengths - kept + 1)
    return Ragged.from_lengths(kept, lists.rows[ragged_positions(starts, kept)])


def _delete(lists: Ragged, probability: float, generator: np.random.Generator) -> Ragged:
    """Each element left out with a probability, save the two of each list that drew highest."""
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


def _substitute(
    inputs: Ragged, windows: Ragged, probability: float, neighbours: Int32, generator: np.random.Generator
) -> Ragged:
    """Inputs with some items replaced by a neighbour drawn evenly.

    A neighbour that the window holds anyway is not put in: the model would be shown a target before it has to predict it.
    """
    places = np.flatnonzero(generator.random(len(inputs.rows)) < probability)
    drawn = neighbours[inputs.rows[places], generator.integers(0, neighbours.shape[1], len(places))]
    owners, n_items = inputs.list_index()[places], len(neighbours)
    fresh = ~found_among(owners * n_items + drawn, windows.list_index() * n_items + windows.rows)
    rows = inputs.rows.copy()
    rows[places[fresh]] = drawn[fresh]
    return Ragged(inputs.offsets, rows)
