"""``config.json`` of a bundle: each key, its type and its range, told by name where it is wrong."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from recsys.config.model import ModelConfig
from recsys.config.renamed import RENAMED
from recsys.core.opened import Source
from recsys.errors import BundleError, RecsysError

if TYPE_CHECKING:
    from recsys.bundle.contents import Bundle

FILE = "config.json"
T = TypeVar("T")


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


def _is_table(value: Any) -> bool:
    return isinstance(value, dict)


def _is_table_or_none(value: Any) -> bool:
    return value is None or isinstance(value, dict)


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
    "catalog": (_is_table, "a table"),
    "catalog.text_columns": (_is_names, "a list of columns"),
    "catalog.trained_items": (_is_count, "a number of items"),
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


def check_items(source: Source, config: dict[str, Any], items: int, columns: set[str]) -> None:
    """Refuse what the configuration tells of items where the table of items does not bear it out.

    Raises
    ------
    BundleError
    """
    file, told = source.folder / FILE, config["catalog"]
    if told.get("trained_items", items) > items:
        raise BundleError(f"{file}: catalog.trained_items is {told['trained_items']}, and items.parquet has {items}")
    if missing := [name for name in told["text_columns"] if name not in columns and f"_{name}" not in columns]:
        raise BundleError(f"{file}: catalog.text_columns names {missing[0]!r}, which items.parquet does not have")


def model_of(folder: Path, options: dict[str, Any]) -> ModelConfig:
    """The model's options; raises as :func:`options_of`."""
    return _made(folder, "model", ModelConfig, options)


def options_of(folder: Path, table: str, owner: type[T], options: dict[str, Any] | None) -> T | None:
    """The options of one table as their dataclass; None if the bundle does not have them.

    Raises
    ------
    BundleError
        An option has an old name, is unknown, or has a value that is not allowed; the message names it.
    """
    return None if options is None else _made(folder, table, owner, options)


def _made(folder: Path, table: str, owner: type[T], options: dict[str, Any]) -> T:
    known = {field.name for field in fields(owner)}  # type: ignore[arg-type]
    strange = sorted(options.keys() - known)
    for name in strange:
        if name in RENAMED:
            raise BundleError(
                f"{folder} was written by an older recsys ({table} option {name!r}, now {RENAMED[name]!r}): fit it again"
            )
    if strange:
        what = "the model" if table == "model" else table
        raise BundleError(
            f"{folder}: {what} has options that this recsys does not know ({', '.join(strange)}); upgrade recsys"
        )
    try:
        return owner(**options)
    except (RecsysError, TypeError, ValueError, OverflowError) as error:
        raise BundleError(f"{folder / FILE}: {table}: {error}") from error


def written(bundle: Bundle) -> dict[str, Any]:
    """What ``config.json`` holds of a bundle."""
    return {
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
