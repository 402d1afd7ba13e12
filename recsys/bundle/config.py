"""``config.json`` of a bundle: each key, its type and its range, told by name where it is wrong."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recsys.config.augment import Augment
from recsys.config.model import ModelConfig
from recsys.config.renamed import RENAMED
from recsys.config.training import Objective, Training
from recsys.core.opened import Source
from recsys.data.user_table import UserFeature, features_from_list, features_to_list
from recsys.errors import BundleError, RecsysError

if TYPE_CHECKING:
    from recsys.bundle.contents import Bundle

FILE = "config.json"
_OWNERS: dict[str, type[Any]] = {
    "model": ModelConfig,
    "objective": Objective,
    "training.options": Training,
    "augment": Augment,
}


def _is_names(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(one, str) for one in value)


def _is_epochs(value: Any) -> bool:
    return isinstance(value, list) and all(
        isinstance(row, dict) and all(_is_number(one) or one is None for one in row.values()) for row in value
    )


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_seconds(value: Any) -> bool:
    return _is_number(value) and math.isfinite(value) and value >= 0


def _is_decisions(value: Any) -> bool:
    keys = {"option", "value", "because", "against"}
    return isinstance(value, list) and all(isinstance(row, dict) and set(row) == keys for row in value)


def _is_table(value: Any) -> bool:
    return isinstance(value, dict)


def _is_table_or_none(value: Any) -> bool:
    return value is None or isinstance(value, dict)


def _has_numbers(value: Any, *names: str) -> bool:
    return isinstance(value, dict) and all(_is_number(value.get(name)) and math.isfinite(value[name]) for name in names)


def _is_privacy(value: Any) -> bool:
    """What :func:`recsys.bundle.privacy.privacy_facts` reads."""
    return value is None or (
        _has_numbers(value, "epsilon", "delta", "noise", "norm", "rate", "steps", "users")
        and isinstance(value.get("accountant"), str)
        and isinstance(value.get("secure"), bool)
    )


def _is_exposure(value: Any) -> bool:
    """What :func:`recsys.bundle.exposure.exposure_facts` reads."""
    if value is None:
        return True
    rows = {"groups": ("group", ("floor", "factor", "before", "after")), "figures": ("name", ("before", "after"))}
    return (
        _has_numbers(value, "users")
        and all(
            isinstance(value.get(table), list) and all(_has_numbers(row, *numbers) and name in row for row in value[table])
            for table, (name, numbers) in rows.items()
        )
        and isinstance(value.get("column"), str)
    )


_FEATURE = {"name", "categories", "edges"}
_NEEDED = {"model", "catalog", "catalog.text_columns", "holdout", "training"}
_KEYS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "model": (_is_table, "a table of options"),
    "objective": (_is_table_or_none, "a table of options, or null"),
    "augment": (_is_table_or_none, "a table of options, or null"),
    "reading": (_is_table_or_none, "a table, or null"),
    "training": (_is_table, "a table"),
    "training.options": (_is_table, "a table of options"),
    "training.epochs": (_is_epochs, "a list of tables of numbers"),
    "training.best_epoch": (lambda value: value is None or _is_count(value), "the number of an epoch, or null"),
    "training.seconds": (_is_seconds, "a number of seconds"),
    "training.deciding_seconds": (_is_seconds, "a number of seconds"),
    "training.refitted_events": (_is_count, "a number of events"),
    "training.distilled_from": (_is_count, "a number of members"),
    "training.privacy": (_is_privacy, "a table with epsilon, delta, noise and how they were reckoned, or null"),
    "training.exposure": (_is_exposure, "a table with column, users, groups and figures, or null"),
    "training.decisions": (_is_decisions, "a list of tables with option, value, because and against"),
    "catalog": (_is_table, "a table"),
    "catalog.text_columns": (_is_names, "a list of columns"),
    "catalog.trained_items": (_is_count, "a number of items"),
    "user_features": (
        lambda value: isinstance(value, list) and all(_is_table(one) and set(one) == _FEATURE for one in value),
        "a list of tables with name, categories and edges",
    ),
    "event_names": (lambda value: _is_names(value) and len(set(value)) == len(value), "a list of different names"),
    "holdout": (lambda value: value is None or (isinstance(value, str) and value != ""), "the name of a protocol, or null"),
}


def parsed(source: Source) -> dict[str, Any]:
    """The configuration in a bundle's files.

    Raises
    ------
    BundleError
        It is damaged, a key is missing, or one has a value that cannot be; the message names the key.
    """
    file = source.folder / FILE
    try:
        config = json.loads(source.read(FILE))
    except (FileNotFoundError, ValueError, RecursionError) as error:
        raise BundleError(f"{file} is damaged: {error}") from error
    if not isinstance(config, dict):
        raise BundleError(f"{file} is damaged: it holds no table")
    if strange := config.keys() - _KEYS.keys():
        raise BundleError(f"{file} has a key that this recsys does not know ({min(strange)}); upgrade recsys")
    for key, (is_right, what) in _KEYS.items():
        table, _, name = key.rpartition(".")
        place = config.get(table, {}) if table else config
        if name in place and not is_right(place[name]):
            raise BundleError(f"{file}: {key} must be {what}, not {_short(place[name])}")
        if name not in place and key in _NEEDED:
            raise BundleError(f"{file} is damaged: it has no {key}")
    found: dict[str, Any] = config
    return found


def _short(value: Any) -> str:
    told = repr(value)
    return told if len(told) <= 80 else f"{told[:77]}..."


@dataclass(frozen=True)
class SavedConfig:
    """What ``config.json`` holds.

    Attributes
    ----------
    model : ModelConfig
    objective, augment, training : Objective, Augment, Training or None
        None: the bundle does not have them.
    record : dict
        What happened in training.
    reading : dict or None
        How the log was read and split.
    text_columns : tuple of str
        Columns of the catalogue that an item's text is made of.
    trained_items : int or None
        How many of the first items the model was trained with; None: all.
    event_names : tuple of str
    user_features : tuple of UserFeature
        What the codes of users mean.
    holdout : str or None
        The protocol by which users were held out; None: there are none.
    """

    model: ModelConfig
    objective: Objective | None
    augment: Augment | None
    training: Training | None
    record: dict[str, Any]
    reading: dict[str, Any] | None
    text_columns: tuple[str, ...]
    trained_items: int | None
    event_names: tuple[str, ...]
    user_features: tuple[UserFeature, ...]
    holdout: str | None


def read(source: Source) -> SavedConfig:
    """The configuration in a bundle's files; raises as :func:`parsed` and :func:`options_of`."""
    config = parsed(source)
    training, catalog = dict(config["training"]), config["catalog"]
    tables = {name: config.get(name) for name in ("model", "objective", "augment")}
    options = options_of(source.folder, tables | {"training.options": training.pop("options", None)})
    return SavedConfig(
        model=options["model"],
        objective=options.get("objective"),
        augment=options.get("augment"),
        training=options.get("training.options"),
        record=training,
        reading=config.get("reading"),
        text_columns=tuple(catalog["text_columns"]),
        trained_items=catalog.get("trained_items"),
        event_names=tuple(config.get("event_names", ())),  # bundles of older versions have none
        user_features=features_from_list(config.get("user_features", [])),
        holdout=config["holdout"],
    )


def options_of(folder: Path, tables: dict[str, dict[str, Any] | None]) -> dict[str, Any]:
    """The options of tables as their dataclasses, by the table's name; without tables that the bundle does not have.

    Raises
    ------
    BundleError
        An option has an old name, is unknown, or has a value that is not allowed; the message names it.
    """
    given = {table: options for table in _OWNERS if (options := tables.get(table)) is not None}
    for table, options in given.items():
        strange = sorted(options.keys() - {field.name for field in fields(_OWNERS[table])})
        for old in RENAMED.keys() & strange:
            raise BundleError(
                f"{folder} was written by an older recsys ({table} option {old!r}, now {RENAMED[old]!r}): fit it again"
            )
        if strange:
            what = "the model" if table == "model" else table
            raise BundleError(
                f"{folder}: {what} has options that this recsys does not know ({', '.join(strange)}); upgrade recsys"
            )
    made: dict[str, Any] = {}
    for table, options in given.items():
        try:
            made[table] = _OWNERS[table](**options)
        except (RecsysError, TypeError, ValueError, OverflowError) as error:
            raise BundleError(f"{folder / FILE}: {table}: {error}") from error
    return made


def first_line(error: BaseException) -> str:
    """The first line of an error, for a message; with its type, unless it is an error of ours or of the file system."""
    line = (str(error).splitlines() or [""])[0]
    return line if isinstance(error, RecsysError | OSError) else f"{type(error).__name__}: {line}"


def write(bundle: Bundle, target: Path) -> None:
    """Write the configuration of a bundle into a folder."""
    config: dict[str, Any] = {
        "model": bundle.options,
        "objective": None if bundle.objective is None else asdict(bundle.objective),
        "augment": None if bundle.augment is None else asdict(bundle.augment),
        "reading": bundle.reading,
        "training": ({} if bundle.training is None else {"options": asdict(bundle.training)}) | bundle.record,
        "catalog": {
            "text_columns": list(bundle.catalog.text_columns),
            "trained_items": bundle.corpus.trained_items,
        },
        "event_names": list(bundle.event_names),
        "holdout": bundle.holdout.protocol if bundle.holdout else None,
    }
    if bundle.towers.user_features:
        config["user_features"] = features_to_list(bundle.towers.user_features)
    (target / FILE).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
