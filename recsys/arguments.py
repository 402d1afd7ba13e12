"""One rule for what an argument may be, at every public border: the right kind, or an error that says what to pass."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from pathlib import PurePath
from typing import Any, TypeVar

import numpy as np
import polars as pl

from recsys.errors import ConfigError

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


def instance(value: object, kind: type[T], name: str, hint: str) -> T:
    """The value itself, if it is of the kind.

    Parameters
    ----------
    value : object
    kind : type
    name : str
        Of the argument.
    hint : str
        What to pass, as the end of a sentence: ``"pass split.test"``.

    Raises
    ------
    ConfigError
        It is not.
    """
    if not isinstance(value, kind):
        article = "an" if kind.__name__[0] in "AEIO" else "a"
        raise ConfigError(f"{name} must be {article} {kind.__name__}, not {described(value)}; {hint}")
    return value
