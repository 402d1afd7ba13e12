"""The split that a command asks for by name."""

from __future__ import annotations

from typing import Literal, TypeAlias, get_args

import numpy as np

from recsys.core.progress import log as say
from recsys.core.progress import warn
from recsys.core.ragged import is_in
from recsys.data.interactions import Interactions
from recsys.data.split import Holdout, leave_last_out, random_split, time_split
from recsys.errors import ConfigError

SplitName: TypeAlias = Literal["last", "time", "random", "none"]
RefitName: TypeAlias = Literal["validation", "all", "update"]

_SPLITS = {"last": leave_last_out, "time": time_split, "random": random_split}


def split_for(log: Interactions, asked: str | None) -> SplitName:
    """The split that was asked for; by default the last events, or random items of a log without an order."""
    name = asked or ("last" if log.ordered else "random")
    if name not in ("last", "time", "random", "none"):
        raise ConfigError(f"split must be last, time, random or none, not {asked!r}")
    return name  # type: ignore[return-value]


def split_log(log: Interactions, name: SplitName) -> tuple[Interactions, Holdout | None, Holdout | None]:
    """Training part, validation and test of a log; the last two are None without a split."""
    if name == "none":
        return log, None, None
    if name == "random":
        say("random split: two random items of each user are held out, one for validation and one for test")
        if log.ordered:
            warn("the log has an order: histories of a random split hold events from after what is to be found")
    split = _SPLITS[name](log)
    return split.train, split.validation, split.test


def refit_log(log: Interactions, name: SplitName, refit: RefitName) -> Interactions:
    """What a model is trained on again, or updated with: the log without its test events, or all of it.

    Raises
    ------
    ConfigError
        Nothing is held out.
    """
    if refit not in get_args(RefitName):
        raise ConfigError(f"refit must be validation, all or update, not {refit!r}")
    if name == "none":
        raise ConfigError(
            "refit trains again on events that were held out, and split none holds out nothing; leave out one"
        )
    if refit != "validation":
        return log
    if name == "time":
        return time_split(log, validation=False).train
    test = _SPLITS[name](log).test
    if name == "last":  # the last event alone, which may repeat an earlier one
        keep = np.ones(len(log), dtype=np.bool_)
        keep[log.histories.offsets[test.user_rows.astype(np.int64) + 1] - 1] = False
        return log.select(keep)
    held = np.sort(test.user_rows[test.targets.list_index()].astype(np.int64) * len(log.items) + test.targets.rows)
    return log.select(~is_in(log.histories.list_index() * len(log.items) + log.histories.rows, held))
