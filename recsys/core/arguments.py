"""One rule for what an argument may be, at every public border: the right kind, or an error that says what to pass."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from functools import wraps
from pathlib import Path, PurePath
from typing import Any, ParamSpec, TypeVar

import numpy as np
import polars as pl

from recsys.errors import ConfigError

P = ParamSpec("P")
T = TypeVar("T")

_MOST = 2**63 - 1
"""What an int64 holds."""


def described(value: object) -> str:
    """A value for a message: what it is, and its own text where that is short."""
    kind = type(value)
    if value is None or isinstance(value, bool | int | float | np.generic):
        return repr(value)
    if isinstance(value, str | PurePath):
        return f"the text {str(value)!r}" if isinstance(value, str) else f"the path {str(value)!r}"
    if isinstance(value, np.ndarray):
        return f"an array of shape {value.shape} and dtype {value.dtype}"
    module = kind.__module__.partition(".")[0]
    name = kind.__name__ if module in ("builtins", "recsys", "__main__") else f"{module}.{kind.__name__}"
    return f"{'an' if name[0] in 'aeiouAEIOU' else 'a'} {name}"


def whole_number(value: object, name: str, least: int = 1, most: int | None = _MOST) -> int:
    """A whole number as an int: Python's or NumPy's; not a bool, not a float, not a text.

    Raises
    ------
    ConfigError
        It is something else, below ``least`` or above ``most``: what an int64 holds, by default.
    """
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise ConfigError(f"{name} must be a whole number of {least} or more, not {described(value)}")
    if value < least:
        raise ConfigError(f"{name} must be at least {least}, not {value}")
    if most is not None and value > most:
        raise ConfigError(f"{name} must be at most {most}, not {value}")
    return int(value)


def number(value: object, name: str) -> float:
    """A number as a float: Python's or NumPy's; not a bool, not a text.

    Raises
    ------
    ConfigError
        It is something else.
    """
    if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
        raise ConfigError(f"{name} must be a number, not {described(value)}")
    return float(value)


def share(value: object, name: str) -> float:
    """A number between 0 and 1 (both excluded) as a float.

    Raises
    ------
    ConfigError
        It is something else.
    """
    if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
        raise ConfigError(f"{name} must be a number between 0 and 1, not {described(value)}")
    if not 0.0 < value < 1.0:
        raise ConfigError(f"{name} must lie between 0 and 1, not {value}")
    return float(value)


def flag(value: object, name: str) -> bool:
    """True or False, as a bool; nothing else is one, since ``"false"`` and ``[0]`` would count as true.

    Raises
    ------
    ConfigError
        It is something else.
    """
    if not isinstance(value, bool | np.bool_):
        raise ConfigError(f"{name} must be True or False, not {described(value)}")
    return bool(value)


def listed(value: object, name: str, of: str) -> list[Any]:
    """The elements of a list, a tuple, a range, a one-dimensional array, a Series, or a generator, which is read once.

    Parameters
    ----------
    value : object
    name : str
        Of the argument.
    of : str
        What its elements are, in the plural, for the message.

    Raises
    ------
    ConfigError
        It has no order or more than one dimension, or is a single value (None, a text, a number).
    """
    if isinstance(value, pl.Series):
        return value.to_list()
    wrong = (
        not isinstance(value, Iterable)
        or isinstance(value, str | bytes | PurePath | Mapping | Set | pl.DataFrame | pl.LazyFrame)
        or getattr(value, "ndim", 1) != 1
    )
    if wrong:
        raise ConfigError(f"{name} must be a list of {of}, not {described(value)}")
    return value.tolist() if isinstance(value, np.ndarray) else list(value)  # type: ignore[call-overload,no-any-return]


HOW = {
    "Interactions": "recsys.read_interactions(file), recsys.Interactions.from_frame(frame), or the .train of a split",
    "Holdout": "the .test or .validation of a split, such as recsys.leave_last_out(log)",
    "Catalog": "recsys.read_catalog(file) or recsys.Catalog.from_frame(frame, text=[...])",
    "UserTable": "recsys.read_user_table(file, categorical=[...])",
    "CleaningRules": "recsys.CleaningRules(min_weight=4), or recsys.CleaningRules.read(file)",
    "ModelConfig": "recsys.ModelConfig(dim=64)",
    "Training": "recsys.Training(epochs=10)",
    "Objective": "recsys.Objective(loss='softmax')",
    "Augment": "recsys.Augment(crop=0.2)",
    "UpdateOptions": "recsys.config.update.UpdateOptions(epochs=2)",
    "DayBounds": "recsys.config.day.DayBounds(least_events=0.5)",
    "GateOptions": "recsys.config.gate.GateOptions(margin=0.05)",
    "Retriever": "recsys.load(folder), or fitted.retriever()",
    "Ranker": "a fitted model, such as recsys.TwoTower().fit(train), or what recsys.load(folder) opens",
}
"""How one comes by a value of a kind, for messages."""


def choice(value: object, name: str, allowed: Sequence[str]) -> None:
    """Refuse a value that is not among the allowed ones.

    Raises
    ------
    ConfigError
        It is another; the message lists the allowed ones.
    """
    if value not in allowed:
        names = " or ".join(allowed) if len(allowed) == 2 else f"one of {', '.join(allowed)}"
        raise ConfigError(f"{name} must be {names}, not {value!r}")


def instance(value: object, kind: type[T], name: str, hint: str | None = None) -> T:
    """The value itself, if it is of the kind.

    Parameters
    ----------
    value : object
    kind : type
    name : str
        Of the argument.
    hint : str, optional
        What to pass, as the end of a sentence: ``"pass split.test"``; needed for kinds that ``HOW`` lacks.

    Raises
    ------
    ConfigError
        It is not; the message says how to come by one.
    """
    if not isinstance(value, kind):
        article = "an" if kind.__name__[0] in "AEIO" else "a"
        hint = hint or f"pass {HOW[kind.__name__]}"
        raise ConfigError(f"{name} must be {article} {kind.__name__}, not {described(value)}; {hint}")
    return value


def instance_or_none(value: object, kind: type[T], name: str) -> T | None:
    """:func:`instance` of an argument that may be left out."""
    return None if value is None else instance(value, kind, name)


def text(value: object, name: str) -> str:
    """A text that is not empty, such as the name of a column.

    Raises
    ------
    ConfigError
        It is something else.
    """
    if not isinstance(value, str) or not value:
        raise ConfigError(f"{name} must be a text that is not empty, not {described(value)}")
    return value


def text_or_none(value: object, name: str) -> str | None:
    """:func:`text` of an argument that may be left out."""
    return None if value is None else text(value, name)


def texts(value: object, name: str) -> list[str]:
    """A list of texts, such as names of columns; a single text is refused, as its letters would be taken for a list.

    Raises
    ------
    ConfigError
        It is something else.
    """
    return [text(one, f"each of {name}") for one in listed(value, name, "texts")]


def different(names: list[str], name: str) -> list[str]:
    """The same names, if none occurs twice.

    Raises
    ------
    ConfigError
        One does.
    """
    if twice := [one for one in names if names.count(one) > 1]:
        raise ConfigError(f"{name} names {twice[0]!r} twice; name it once")
    return names


def place(value: object, name: str) -> Path:
    """A path of a file or folder, from a text or a path.

    Raises
    ------
    ConfigError
        It is something else, or empty.
    """
    if not isinstance(value, str | os.PathLike) or isinstance(value, bytes) or not os.fspath(value):
        raise ConfigError(f"{name} must be the path of a file or folder, not {described(value)}")
    return Path(value)


def function_or_none(value: object, name: str) -> None:
    """Refuse what can neither be called nor is None.

    Raises
    ------
    ConfigError
        It is something else.
    """
    if value is not None and not callable(value):
        raise ConfigError(f"{name} must be a function, not {described(value)}")


def renamed(**names: str) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Refuse old names of a function's keywords with the new name.

    Parameters
    ----------
    **names : str
        Old name → new name.

    Examples
    --------
    >>> @renamed(allow="eligible")
    ... def recommend(*, eligible=None): ...
    >>> recommend(allow=[1])
    Traceback (most recent call last):
    recsys.errors.ConfigError: recommend has no argument 'allow'; it is now called 'eligible'
    """

    def decorate(function: Callable[P, T]) -> Callable[P, T]:
        @wraps(function)
        def checked(*args: P.args, **kwargs: P.kwargs) -> T:
            for old in names.keys() & kwargs.keys():
                raise ConfigError(f"{function.__name__} has no argument {old!r}; it is now called {names[old]!r}")
            return function(*args, **kwargs)

        return checked

    return decorate
