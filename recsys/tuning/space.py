"""The options that a search may change: a recipe whose table [search] holds lists and ranges beside fixed values."""

from __future__ import annotations

import json
import math
import types
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields, make_dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal, TypeAlias, Union, get_args, get_origin, get_type_hints

from recsys.config.options import build, nearest, read_recipe
from recsys.config.renamed import now_called
from recsys.errors import ConfigError

Scalar: TypeAlias = str | int | float | bool | None
"""A value that can be searched; fixed values may be lists of names too."""
Options: TypeAlias = dict[str, dict[str, Any]]
"""Table → key → value, as :func:`recsys.config.options.read_recipe` gives them."""

_JUDGES = ("monitor", "validate_users")
"""Options that decide how a trial is evaluated; trials evaluated differently cannot be compared."""


@dataclass(frozen=True)
class Choice:
    """One of several values without an order."""

    values: tuple[Scalar, ...]


@dataclass(frozen=True)
class Range:
    """Numbers from ``low`` to ``high``, both included; whole numbers if both are ints.

    Attributes
    ----------
    low, high : int or float
    step : int or float, optional
        Only ``low`` plus multiples of it.
    log : bool
        Search evenly in the logarithm.
    """

    low: float
    high: float
    step: float | None = None
    log: bool = False


@dataclass(frozen=True)
class Space:
    """Fixed values, and a domain for each searched option.

    Attributes
    ----------
    tables : dict
        Table name → the dataclass that it configures.
    fixed : dict of dict
        Table → key → value.
    searched : dict
        ``"table.key"`` → :class:`Choice` or :class:`Range`.
    """

    tables: dict[str, type]
    fixed: Options
    searched: dict[str, Choice | Range]

    def options(self, values: Mapping[str, Scalar]) -> Options:
        """The fixed values together with one value for each ``"table.key"`` that is searched."""
        made = {table: dict(options) for table, options in self.fixed.items()}
        for name, value in values.items():
            table, _, key = name.partition(".")
            made[table][key] = value
        return made

    def configs(self, values: Mapping[str, Scalar]) -> dict[str, Any]:
        """One dataclass per table.

        Raises
        ------
        ConfigError
            A dataclass refuses the combination.
        """
        return {table: build(self.tables[table], options) for table, options in self.options(values).items()}

    def facts(self) -> dict[str, Any]:
        """Every option's value or domain, defaults included, under ``"[table] key"``, as JSON can hold it."""
        facts: dict[str, Any] = {}
        for table, owner in self.tables.items():
            for field in fields(owner):
                if field.default is not MISSING:
                    facts[f"[{table}] {field.name}"] = field.default
            facts |= {f"[{table}] {key}": value for key, value in self.fixed[table].items()}
        for name, domain in self.searched.items():
            table, _, key = name.partition(".")
            facts[f"[{table}] {key}"] = {type(domain).__name__.lower(): vars(domain)}
        made: dict[str, Any] = json.loads(json.dumps(facts, default=repr))
        return made


def read_space(file: Path, tables: dict[str, type]) -> Space:
    """Read a search space.

    Parameters
    ----------
    file : Path
        A recipe with fixed values and, for searched options, ``[search.TABLE]`` with ``key = [a, b]`` (one of these) or
        ``key = { low = a, high = b }``; a range takes ``step`` or ``log = true`` too. An int field gets ints, a float
        field floats.
    tables : dict
        Table name → the dataclass whose fields it may set or search.

    Returns
    -------
    Space

    Raises
    ------
    ConfigError
        An option is unknown, of a wrong type, empty or contradictory; the message names file, table and key.

    Examples
    --------
    >>> written = '''
    ... [training]
    ... epochs = 20
    ... [search.model]
    ... dim = [64, 128]
    ... dropout = { low = 0.1, high = 0.6 }
    ... [search.training]
    ... learning_rate = { low = 1e-4, high = 5e-3, log = true }
    ... '''
    >>> _ = Path("space.toml").write_text(written)
    >>> space = read_space(Path("space.toml"), {"model": recsys.ModelConfig, "training": recsys.Training})
    >>> sorted(space.searched)
    ['model.dim', 'model.dropout', 'training.learning_rate']
    """
    found = read_recipe(file, tables | {"search": make_dataclass("Search", tables.items())})
    asked = found.pop("search")
    searched: dict[str, Choice | Range] = {}
    for table, domains in asked.items():
        where, hints = f"{file}: [search.{table}]", get_type_hints(tables[table])
        if not isinstance(domains, dict):
            raise ConfigError(f"{file}: [search] {table} must be a table of options, not {domains!r}")
        known = [field.name for field in fields(tables[table])]
        for key, given in domains.items():
            if key not in known:
                raise ConfigError(f"{where} has no option {key!r}; {now_called(key, known) or nearest(key, known)}")
            if key in found[table]:
                raise ConfigError(f"{where} {key} is fixed by [{table}] as well; keep one of them")
            if key in _JUDGES:
                raise ConfigError(
                    f"{where} {key} decides how trials are evaluated, which must not differ; set it in [{table}]"
                )
            searched[f"{table}.{key}"] = _domain(where, key, hints[key], given)
        if not domains:
            raise ConfigError(f"{where} is empty; give it an option, or leave it out")
    if found.get("model", {}).get("fast") or "model.fast" in searched:
        raise ConfigError(f"{file}: a search tries options of towers, and a fast model has none; leave out fast")
    if not searched:
        raise ConfigError(f"{file} has nothing to search: add a table such as [search.{next(iter(tables))}]")
    for table in tables.keys() - asked.keys():
        try:
            build(tables[table], found[table])
        except ConfigError as error:
            raise ConfigError(f"{file}: [{table}] {error}") from error
    return Space(tables, found, searched)


def recipe_text(options: Options, comment: str) -> str:
    """A recipe in TOML, which :func:`recsys.config.options.read_recipe` reads back; empty tables are left out.

    Parameters
    ----------
    options : dict of dict
        Table → key → str, int, float, bool, None or a list of these.
    comment : str
        Written above it, line by line.
    """
    lines = [f"# {line}".rstrip() for line in comment.splitlines()]
    for table, values in options.items():
        if values:
            lines += ["", f"[{table}]", *(f"{key} = {_toml(value)}" for key, value in values.items())]
    return "\n".join(lines) + "\n"


def _toml(value: Any) -> str:
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_toml, value))}]"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return repr(value)
    text = "none" if value is None else value
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _typed(where: str, key: str, hint: Any, value: Any) -> None:
    """Refuse a value that is not of the field's type; a dataclass with a single field of that type checks it."""
    if get_origin(hint) is Literal:
        if value not in get_args(hint):
            raise ConfigError(f"{where} {key} must be one of {', '.join(map(str, get_args(hint)))}, not {value!r}")
        return
    try:
        build(make_dataclass("Lone", [(key, hint)]), {key: value})
    except ConfigError as error:
        raise ConfigError(f"{where} {error}") from error


def _domain(where: str, key: str, hint: Any, given: Any) -> Choice | Range:
    if get_origin(hint) is tuple:
        raise ConfigError(f"{where} {key} is a list of names, which cannot be searched; fix it, or leave it out")
    kinds = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
    if isinstance(given, dict):
        return _range(f"{where} {key}", key, kinds, given, lambda value: _typed(where, key, hint, value))
    if not isinstance(given, list):
        raise ConfigError(f"{where} {key} must be a list of values or {{ low = a, high = b }}, not {given!r}")
    if not given:
        raise ConfigError(f"{where} {key} is an empty list; name the values to choose from")
    values: list[Scalar] = [None if value == "none" and types.NoneType in kinds else value for value in given]
    for value in values:
        _typed(where, key, hint, value)
    if float in kinds:
        values = [float(value) if type(value) is int else value for value in values]
    if len(set(values)) < len(values):
        raise ConfigError(f"{where} {key} names a value twice: {given}")
    return Choice(tuple(values))


def _range(where: str, key: str, kinds: tuple[Any, ...], given: dict[str, Any], typed: Any) -> Range:
    if float not in kinds and int not in kinds:
        raise ConfigError(f"{where} is not a number, so it has no range; give a list of values")
    if unknown := sorted(given.keys() - {"low", "high", "step", "log"}):
        raise ConfigError(f"{where}: a range has low, high, step and log, but not {', '.join(unknown)}")
    if missing := [end for end in ("low", "high") if end not in given]:
        raise ConfigError(f"{where}: the range has no {' and no '.join(missing)}")
    ends = {name: given[name] for name in ("low", "high", "step") if name in given}
    for name, value in ends.items():
        if isinstance(value, float) and not math.isfinite(value):
            raise ConfigError(f"{where}: {name} must be a finite number, not {value!r}")
        typed(value)
    if float in kinds:
        ends = {name: float(value) for name, value in ends.items()}
    low, high, step, log = ends["low"], ends["high"], ends.get("step"), given.get("log", False)
    if not isinstance(log, bool):
        raise ConfigError(f"{where}: log must be true or false, not {log!r}")
    if not low < high:
        raise ConfigError(f"{where}: a range needs low below high, not {low} and {high}")
    if log and low <= 0:
        raise ConfigError(f"{where}: a logarithmic range needs low above 0, not {low}")
    if step is not None:
        if log:
            raise ConfigError(f"{where}: step and log exclude each other; keep one of them")
        if not step > 0:
            raise ConfigError(f"{where}: step must be above 0, not {step}")
        if (Decimal(str(high)) - Decimal(str(low))) % Decimal(str(step)):
            raise ConfigError(f"{where}: {high} is not {low} plus a whole number of steps of {step}; choose another high")
    return Range(low, high, step, log)
