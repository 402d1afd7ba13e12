"""One source for every option: dataclass fields become command-line flags and recipe keys."""

from __future__ import annotations

import argparse
import ast
import difflib
import functools
import inspect
import itertools
import math
import numbers
import textwrap
import tomllib
import types
from collections.abc import Iterable
from dataclasses import fields, is_dataclass
from importlib.resources.abc import Traversable
from pathlib import Path, PurePath
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from recsys.config.renamed import now_called
from recsys.config.shipped import recipe_source, unknown_recipe
from recsys.errors import ConfigError

T = TypeVar("T")


class Gather(argparse.Action):
    """A list that may be given in several parts (``--users a --users b``): no part is lost, and a default is replaced."""

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, option_string: str | None = None
    ) -> None:
        """Add the values to those of earlier parts."""
        begun: set[str] = vars(namespace).setdefault("_gathered", set())
        earlier = getattr(namespace, self.dest) if self.dest in begun else []
        begun.add(self.dest)
        setattr(namespace, self.dest, [*earlier, *values])


def nearest(word: str, known: Iterable[str]) -> str:
    """The end of an error about an unknown word, such as ``"it has blocks, dim, heads; did you mean 'dim'?"``."""
    names = sorted(known)
    alike = difflib.get_close_matches(word, names, n=1, cutoff=0.6)
    return f"it has {', '.join(names)}" + (f"; did you mean {alike[0]!r}?" if alike else "")


def checked_options(owner: type[T]) -> type[T]:
    """Decorate a dataclass of options: an unknown keyword is refused with the nearest one that there is.

    Its ``__post_init__`` calls :func:`settle`, which sees to the types of the values.
    """
    plain = owner.__init__

    @functools.wraps(plain)
    def init(self: T, *args: Any, **given_: Any) -> None:
        known = [field.name for field in fields(owner)]  # type: ignore[arg-type]
        for name in given_:
            if name not in known:
                if renamed := now_called(name, known):
                    raise ConfigError(f"{owner.__name__} has no option {name!r}; {renamed}")
                raise ConfigError(f"{owner.__name__} has no option {name!r}; {nearest(name, known)}")
        plain(self, *args, **given_)

    owner.__init__ = init  # type: ignore[assignment, method-assign]
    return owner


def settle(owner: Any) -> None:
    """Turn each field of a dataclass into a plain value of its type, which a file can hold.

    NumPy's numbers become Python's, paths become text, lists of names become tuples.

    Parameters
    ----------
    owner : dataclass instance
        Frozen or not.

    Raises
    ------
    ConfigError
        A value is of another type than its field, or a number is infinite.
    """
    kind: type = type(owner)
    hints = _hints(kind)
    for field in fields(owner):
        object.__setattr__(owner, field.name, as_option(field.name, hints[field.name], getattr(owner, field.name)))


@functools.cache
def _hints(owner: type) -> dict[str, Any]:
    return get_type_hints(owner)


def as_option(name: str, hint: Any, value: Any) -> Any:
    """A value as the plain Python value that a field of this type holds.

    Raises
    ------
    ConfigError
        It is none.
    """
    if getattr(value, "ndim", None) == 0 and hasattr(value, "item"):
        value = value.item()  # NumPy's scalars, and arrays and tensors of one number
    if get_origin(hint) is tuple:
        return _names(name, value)
    if get_origin(hint) is Literal:
        if not isinstance(value, str) or str.__str__(value) not in get_args(hint):
            raise ConfigError(f"{name} must be one of {', '.join(get_args(hint))}, not {value!r}")
        return str.__str__(value)
    kinds = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
    if value is None and types.NoneType in kinds:
        return None
    if isinstance(value, bool):
        if bool in kinds:
            return value
    elif int in kinds and isinstance(value, numbers.Integral):
        return int(value)
    elif float in kinds and isinstance(value, numbers.Real):
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        if math.isinf(number):  # NaN lies in no range, which each dataclass checks
            raise ConfigError(f"{name} must be a finite number, not {value!r}")
        return number
    elif str in kinds and isinstance(value, str):
        return str.__str__(value)  # of a subclass too
    elif str in kinds and (isinstance(value, PurePath) or _is_device(value)):
        return str(value)
    wanted = " or ".join("none" if one is types.NoneType else one.__name__ for one in kinds)
    raise ConfigError(f"{name} must be of type {wanted}, not {value!r}")


def _is_device(value: object) -> bool:
    """Whether it is a torch.device, told without loading torch."""
    return (type(value).__module__, type(value).__name__) == ("torch", "device")


def _names(name: str, value: Any) -> tuple[str, ...]:
    if isinstance(value, str | bytes | dict | set | frozenset) or not isinstance(value, Iterable):
        raise ConfigError(f"{name} must be a list of names, not {value!r}")
    listed = list(value)
    if strange := [one for one in listed if not isinstance(one, str)]:
        raise ConfigError(f"{name} must be a list of names; {strange[0]!r} is none")
    names = tuple(str.__str__(one) for one in listed)
    if twice := [one for one in names if names.count(one) > 1]:
        raise ConfigError(f"{name} names {twice[0]!r} twice; name it once")
    return names


def field_docs(owner: type) -> dict[str, str]:
    """The sentence that stands under each field of a dataclass of options, by the field's name."""
    (body,) = ast.parse(textwrap.dedent(inspect.getsource(owner))).body
    assert isinstance(body, ast.ClassDef)  # noqa: S101 - it is the source of a class
    found = dict[str, str]()
    for field, after in itertools.pairwise(body.body):
        if isinstance(field, ast.AnnAssign) and isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
            found[ast.unparse(field.target)] = " ".join(str(after.value.value).split())
    return found


def _or_none(kind: type) -> Any:
    def parse(text: str) -> Any:
        return None if text.lower() == "none" else kind(text)

    parse.__name__ = kind.__name__
    return parse


def _in_terminal(text: str) -> str:
    """A field's sentence in the style of all help texts: a small letter first, no full stop."""
    first = text[0].lower() if text[1:2].islower() else text[0]  # "L1" stays
    return first + text[1:].removesuffix(".")


def value_text(value: Any) -> str:
    """The value of an option as the command line and reports say it."""
    if value is None or value == ():
        return "none"
    if isinstance(value, bool):
        return "on" if value else "off"
    return str(value)


def add_flags(parser: argparse.ArgumentParser, owner: type, title: str) -> None:
    """Give a parser one flag per field of a dataclass; a flag that is not given leaves no trace.

    Parameters
    ----------
    parser : ArgumentParser
    owner : type
        A dataclass whose fields are int, float, bool, ``bool | None``, str, ``str | None``, ``tuple[str, ...]`` or Literal.
    title : str
        Heading of the group in the help text.
    """
    group = parser.add_argument_group(title)
    hints, texts = get_type_hints(owner), field_docs(owner)
    for field in fields(owner):
        hint = hints[field.name]
        flag = f"--{field.name.replace('_', '-')}"
        shown = _in_terminal(texts[field.name]).replace("%", "%%")
        if "(default:" not in shown:
            shown += f" (default: {value_text(field.default)})"
        if hint is bool or bool in get_args(hint):
            group.add_argument(flag, action=argparse.BooleanOptionalAction, default=argparse.SUPPRESS, help=shown)
        elif get_origin(hint) is tuple:
            group.add_argument(flag, nargs="*", action=Gather, metavar="NAME", default=argparse.SUPPRESS, help=shown)
        elif get_origin(hint) is Literal:
            group.add_argument(flag, choices=get_args(hint), default=argparse.SUPPRESS, help=shown)
        else:
            optional = get_origin(hint) in (Union, types.UnionType)
            kind = next(one for one in get_args(hint) if one is not types.NoneType) if optional else hint
            metavar = kind.__name__.upper()
            parse = _or_none(kind) if optional else kind
            group.add_argument(flag, type=parse, metavar=metavar, default=argparse.SUPPRESS, help=shown)


def given(arguments: argparse.Namespace, owner: type) -> dict[str, Any]:
    """The fields of a dataclass that were given as flags."""
    return {field.name: getattr(arguments, field.name) for field in fields(owner) if hasattr(arguments, field.name)}


def given_tables(arguments: argparse.Namespace, tables: dict[str, type]) -> dict[str, dict[str, Any]]:
    """The options that were given as flags, by the table of a recipe that they belong to."""
    return {table: given(arguments, owner) for table, owner in tables.items()}


def read_recipe(file: Path, tables: dict[str, type]) -> dict[str, dict[str, Any]]:
    """A recipe: a TOML file with one table of options per dataclass.

    Parameters
    ----------
    file : Path
        Where it lies, or the name of one that comes with the package.
    tables : dict
        Table name → the dataclass whose fields it may set.

    Returns
    -------
    dict of dict
        Table name → options, only those that the file sets.

    Raises
    ------
    ConfigError
        The file is missing or broken, has a table or key that nothing knows, or a value of another type than its field.
    """
    source = recipe_source(file)
    if source is file and not file.exists():
        raise ConfigError(f"the recipe {file} does not exist{unknown_recipe(file)}")
    found = read_toml(source, "the recipe")
    for table, options in found.items():
        if table not in tables:
            raise ConfigError(f"{file}: {unknown_table(table, tables)}")
        if not isinstance(options, dict):
            raise ConfigError(f"{file}: {table} must be a table of options, [{table}], not {options!r}")
        known = {field.name for field in fields(tables[table])}
        for key in sorted(options.keys() - known):
            raise ConfigError(f"{file}: [{table}] has no option {key!r}; {now_called(key, known) or nearest(key, known)}")
    return {table: _typed(f"{file}: [{table}]", owner, found.get(table, {})) for table, owner in tables.items()}


def read_toml(file: Path | Traversable, what: str) -> dict[str, Any]:
    """What a TOML file holds; ``what`` it is called in an error.

    Raises
    ------
    ConfigError
        It cannot be read, or is no TOML: names what, the file, and where it is at fault.
    """
    try:
        return tomllib.loads(file.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise ConfigError(f"{what} {file} cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{what} {file} is not valid TOML: {error}") from error


def unknown_table(table: str, tables: Iterable[str]) -> str:
    """What to say of a table that no recipe has."""
    alike = difflib.get_close_matches(table, list(tables), n=1, cutoff=0.6)
    guess = f"; did you mean [{alike[0]}]?" if alike else ""
    return f"unknown table {table!r}; a recipe has {', '.join(f'[{name}]' for name in tables)}{guess}"


def _typed(where: str, owner: type, options: dict[str, Any]) -> dict[str, Any]:
    """The options of one table, of the types of their fields; the word "none" stands for None, which TOML lacks."""
    hints, typed = _hints(owner), dict[str, Any]()
    for key, written in options.items():
        value = None if written == "none" and types.NoneType in get_args(hints[key]) else written
        try:
            typed[key] = value if is_dataclass(hints[key]) else as_option(key, hints[key], value)
        except ConfigError as error:
            raise ConfigError(f"{where} {error}") from error
    return typed


def build(owner: type, options: dict[str, Any]) -> Any:
    """Make the dataclass, its values checked against their types.

    Raises
    ------
    ConfigError
        An option is unknown, or a value is of another type than the field.
    """
    hints, known = _hints(owner), [field.name for field in fields(owner)]
    for name in options:
        if name not in known:
            raise ConfigError(f"{owner.__name__} has no option {name!r}; {now_called(name, known) or nearest(name, known)}")
    return owner(**{name: as_option(name, hints[name], value) for name, value in options.items()})


def build_over(owner: type, written: dict[str, Any], given: dict[str, Any], where: str) -> Any:
    """Make the dataclass of the options that a file holds and of those given beside it, which win.

    Parameters
    ----------
    owner : type
    written, given : dict
    where : str
        The file and its table.

    Raises
    ------
    ConfigError
        As for :func:`build`; the message begins with ``where`` if the file alone is refused for the same reason.
    """
    try:
        return build(owner, written | given)
    except ConfigError as error:
        if not written:
            raise
        try:
            build(owner, written)
        except ConfigError as alone:
            if str(alone) == str(error):
                raise ConfigError(f"{where} {error}") from error
        raise
