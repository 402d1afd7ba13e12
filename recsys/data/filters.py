"""Predicates on catalogue columns, such as ``category == "Books" and price < 20``: read as data, never run as code."""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from difflib import get_close_matches
from typing import Any, TypeAlias

import polars as pl

from recsys.core.arguments import described
from recsys.core.ragged import Bool
from recsys.core.schema import ITEM, TITLE
from recsys.data.catalog import Catalog
from recsys.errors import ConfigError

Literal: TypeAlias = str | int | float | bool | None

_LONGEST = 10_000
_DEEPEST = 50
_ALLOWED = (
    'columns (col("odd name") where a name is not one word), numbers, text, True, False, None, lists of these, '
    "and, or, not, ==, !=, <, <=, >, >=, in, not in, is None, is not None"
)
_COMPARE: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}
_NUMBER, _TEXT, _TRUTH, _TIME, _LIST, _BLANK, _OTHER = "number", "text", "truth", "time", "list", "blank", "other"
_WANTED = {
    _NUMBER: "a number",
    _TEXT: "a text in quotes",
    _TRUTH: "True or False",
    _TIME: 'a date or an instant as text, such as "2024-05-31" or "2024-05-31T18:00:00"',
}
_INSTANT = pl.Datetime("us")
_WHOLE = (pl.Int64, pl.Int128)


def matching(catalog: Catalog, where: str | pl.Expr) -> Bool:
    """Find the items of a catalogue that match a predicate.

    Three-valued logic, as in SQL: a comparison with an unknown value (a null, or a float that is NaN) is neither true nor
    false, so an item without a price matches neither ``price < 20`` nor ``not (price < 20)`` nor ``price != 20``. An item
    with an unknown result does not match. ``price is None`` matches items without a price.

    Parameters
    ----------
    catalog : Catalog
    where : str or polars expression
        A predicate as :func:`parse` reads it, or an expression that gives one truth value per item. Either may use the
        catalogue's columns, ``item_id``, and ``title`` (the file's own column if it has one).

    Returns
    -------
    bool (n_items,)

    Raises
    ------
    ConfigError
        The predicate is not allowed, names an unknown column, or does not give one truth value per item.
    """
    if not isinstance(where, str | pl.Expr):
        raise ConfigError(f"where must be a text such as 'price < 20' or a polars expression, not {described(where)}")
    own = [column for column in catalog.columns.iter_columns() if column.name != ITEM]
    title = [] if TITLE in catalog.columns.columns else [catalog.titles.alias(TITLE)]
    frame = pl.DataFrame([catalog.items.ids.alias(ITEM), *title, *own])
    expression = parse(where, frame.schema) if isinstance(where, str) else where
    try:
        found = frame.select(expression)
    except pl.exceptions.ColumnNotFoundError as error:
        raise ConfigError(
            f"{_first_line(error)}: no such column in the catalogue; it has {_names(frame.schema)}"
        ) from error
    except pl.exceptions.PolarsError as error:
        raise ConfigError(f"the predicate {_short(str(where))} cannot be computed: {_first_line(error)}") from error
    if found.width != 1 or found.height != len(catalog) or found.dtypes[0] not in (pl.Boolean, pl.Null):
        kinds = ", ".join(map(str, found.dtypes))
        raise ConfigError(
            f"the predicate {_short(str(where))} gives {found.height} rows of {kinds} for {len(catalog)} items; "
            "it must give one truth value for each"
        )
    return found.to_series().cast(pl.Boolean).fill_null(False).to_numpy(writable=True)


def parse(text: str, columns: Mapping[str, pl.DataType]) -> pl.Expr:
    """Convert a predicate written as a Python comparison to a polars expression; it is never run as Python.

    ``category == "Books" and 5 <= price < 20``, ``brand in ["A", "B"]``, ``"Comedy" in genres``, ``not (stock is None)``,
    ``published >= "2024-05-31"``, ``for_children`` (a column of truth values).

    ``"x" in column`` asks for a member: of a list column, or of a text column with "|" between its values; white space
    around a member does not count, and null members match nothing. Categories are compared as text; instants are UTC. A
    column of Float32 is compared in its own precision, so that a price stored as 19.99 equals ``19.99``.

    Parameters
    ----------
    text : str
        At most 10,000 characters, nested at most 50 deep.
    columns : mapping
        Column name → polars type.

    Returns
    -------
    polars expression
        Boolean, null where an unknown value decides: see :func:`matching`.

    Raises
    ------
    ConfigError
        The predicate has other parts than comparisons of columns with literals (or of two columns), an unknown column, or
        a column compared with a value of another kind. The message names the part.
    """
    if len(text) > _LONGEST:
        raise ConfigError(f"a predicate of {len(text):,} characters is too long: at most {_LONGEST:,} are read")
    trimmed = text.strip()
    if not trimmed:
        raise ConfigError(f"a predicate is blank; it may have {_ALLOWED}")
    try:
        tree = ast.parse(trimmed, mode="eval")
    except SyntaxError as error:
        where = f" at character {error.offset}" if error.offset else ""
        raise ConfigError(f"the predicate {_short(trimmed)} cannot be read: {error.msg}{where}; use {_ALLOWED}") from error
    except (ValueError, RecursionError, MemoryError) as error:  # null bytes and lone surrogates; nests of parentheses
        raise ConfigError(f"the predicate {_short(trimmed)} cannot be read: {_first_line(error)}") from error
    return _Reader(trimmed, columns).truth(tree.body)


@dataclass(frozen=True, eq=False)
class _Column:
    """A column (or the members of a list column) in a form that compares by kind.

    Attributes
    ----------
    kind : str
    plain : polars type
        Of ``values``.
    values : expression
        NaN is null, integers are wide, categories are text, instants are UTC.
    """

    name: str
    dtype: pl.DataType
    kind: str
    plain: Any
    values: pl.Expr

    @classmethod
    def of(cls, name: str, dtype: pl.DataType, values: pl.Expr) -> _Column:
        return cls(name, dtype, *_plainly(dtype, values))

    def __str__(self) -> str:
        return f"the column {self.name!r} of type {self.dtype}"

    @property
    def written(self) -> str:
        """As a predicate names it."""
        return self.name if self.name.isidentifier() else f'col("{self.name}")'


@dataclass(frozen=True, eq=False)
class _Reader:
    """Walks the syntax tree; whatever is not named here is refused."""

    text: str
    columns: Mapping[str, pl.DataType]

    def truth(self, node: ast.expr, depth: int = 0) -> pl.Expr:
        if depth > _DEEPEST:
            raise ConfigError(f"the predicate {_short(self.text)} is nested more than {_DEEPEST} deep; write it flatter")
        if isinstance(node, ast.BoolOp):
            parts = [self.truth(value, depth + 1) for value in node.values]
            return pl.all_horizontal(parts) if isinstance(node.op, ast.And) else pl.any_horizontal(parts)
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            return ~self.truth(node.operand, depth + 1)
        if isinstance(node, ast.Compare):
            lefts = [node.left, *node.comparators[:-1]]
            pairs = [self._pair(*pair) for pair in zip(lefts, node.ops, node.comparators, strict=True)]
            return pairs[0] if len(pairs) == 1 else pl.all_horizontal(pairs)
        column = self._column(node)
        if column.kind not in (_TRUTH, _BLANK):
            raise self._error(f"{column} is neither true nor false; compare it with something")
        return column.values

    def _pair(self, left: ast.expr, op: ast.cmpop, right: ast.expr) -> pl.Expr:
        if isinstance(op, ast.Is | ast.IsNot):
            if not (isinstance(right, ast.Constant) and right.value is None):
                raise self._refused(right, "`is` asks for None alone; write == or !=")
            known = self._column(left).values.is_not_null()
            return known if isinstance(op, ast.IsNot) else ~known
        if isinstance(op, ast.In | ast.NotIn):
            listed = isinstance(right, ast.List | ast.Tuple)
            found = self._among(left, right.elts) if listed else self._member(left, right)  # type: ignore[attr-defined]
            return found if isinstance(op, ast.In) else ~found
        compare, ordered = _COMPARE[type(op)], not isinstance(op, ast.Eq | ast.NotEq)
        one, two = self._operand(left), self._operand(right)
        for side in (one, two):
            if isinstance(side, _Column) and side.kind == _TRUTH and ordered:
                raise self._error(f"{side} has no order; compare it with == or !=")
        if isinstance(one, _Column):
            left_side, right_side = self._both(one, two) if isinstance(two, _Column) else self._fitted(one, two)
        elif isinstance(two, _Column):
            right_side, left_side = self._fitted(two, one)
        else:
            raise self._refused(right, "a comparison needs a column on one side")
        made: pl.Expr = compare(left_side, right_side)
        return made

    def _among(self, left: ast.expr, elements: list[ast.expr]) -> pl.Expr:
        """``column in [literals]``."""
        column, values = self._column(left), list[Any](map(self._literal, elements))
        if not values:
            raise self._error(f"{column} is looked for in an empty list; name the values")
        for value in values:
            self._check(column, value)
        if column.kind == _BLANK:
            return column.values
        if column.plain in _WHOLE:
            wholes = [_whole(value) for value in values]
            most = 2**63 if column.plain == pl.Int64 else 2**64
            values = [whole for whole in wholes if whole is not None and abs(whole) < most]
        elif column.kind == _TIME:
            values = [self._instant(column, value) for value in values]
        return column.values.is_in(pl.Series(values, dtype=column.plain).implode())

    def _member(self, left: ast.expr, right: ast.expr) -> pl.Expr:
        """``literal in column``."""
        value, column = self._literal(left), self._column(right)
        if column.kind == _BLANK:
            return column.values
        if column.kind == _LIST:
            lists = column.values.arr.to_list() if column.dtype == pl.Array else column.values
            member = _Column.of(column.name, column.dtype.inner, pl.element())  # type: ignore[attr-defined]
        elif column.kind == _TEXT:
            lists, member = column.values.str.split("|"), _Column.of(column.name, pl.String(), pl.element())
        elif column.kind == _OTHER:
            raise self._error(f"{column} cannot be compared with {_short(value)}; it can only be asked whether it is None")
        else:
            raise self._error(f"{column} holds one value for each item; write {column.written} == {_short(value)}")
        values, literal = self._fitted(replace(member, dtype=column.dtype), value)
        values = values.str.strip_chars() if member.kind == _TEXT else values
        return lists.list.eval((values == literal).fill_null(False)).list.any()

    def _both(self, one: _Column, two: _Column) -> tuple[pl.Expr, pl.Expr]:
        """Two columns to compare with each other."""
        for column in (one, two):
            if column.kind == _BLANK:
                return column.values, pl.lit(None, dtype=pl.Boolean)
        if one.kind != two.kind or one.kind in (_LIST, _OTHER):
            raise self._error(f"{one} cannot be compared with {two}")
        return one.values, two.values

    def _fitted(self, column: _Column, value: Any) -> tuple[pl.Expr, pl.Expr]:
        """A column and a literal to compare it with, in one type."""
        self._check(column, value)
        if column.kind == _BLANK:
            return column.values, pl.lit(None, dtype=pl.Boolean)
        if column.kind == _TIME:
            return column.values, pl.lit(self._instant(column, value), dtype=_INSTANT)
        if column.plain in _WHOLE:
            whole = _whole(value)
            if whole is None:  # exact all the same: rounding is monotone, and no whole number is carried past the literal
                return column.values.cast(pl.Float64), pl.lit(value, dtype=pl.Float64)
            if abs(whole) >= 2**63:
                return column.values.cast(pl.Int128), pl.lit(whole, dtype=pl.Int128)
            value = whole
        return column.values, pl.lit(value, dtype=column.plain)

    def _check(self, column: _Column, value: Literal) -> None:
        """Refuse a literal of another kind than the column."""
        if value is None:
            raise self._error(f"{column} is compared with None; write {column.written} is None, or is not None")
        if column.kind == _BLANK:
            return
        if column.kind == _LIST:
            raise self._error(f"{column} holds several values for each item; write {_short(value)} in {column.written}")
        if column.kind == _OTHER:
            raise self._error(f"{column} cannot be compared with {_short(value)}; it can only be asked whether it is None")
        fits = {
            _NUMBER: isinstance(value, int | float) and not isinstance(value, bool),
            _TRUTH: isinstance(value, bool),
        }.get(column.kind, isinstance(value, str))
        if not fits:
            raise self._error(f"{column} is compared with {_short(value)}; compare it with {_WANTED[column.kind]}")

    def _instant(self, column: _Column, value: Any) -> datetime:
        try:
            read = datetime.fromisoformat(value)
            return read if read.tzinfo is None else read.astimezone(UTC).replace(tzinfo=None)
        except (ValueError, OverflowError) as error:  # the ends of the calendar have no UTC elsewhere
            raise self._error(f"{column} is compared with {_short(value)}; compare it with {_WANTED[_TIME]}") from error

    def _operand(self, node: ast.expr) -> _Column | Literal:
        return self._column(node) if isinstance(node, ast.Name | ast.Call) else self._literal(node)

    def _literal(self, node: ast.expr) -> Literal:
        negative = isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub)
        bare = node.operand if isinstance(node, ast.UnaryOp) and negative else node
        value: Any = bare.value if isinstance(bare, ast.Constant) else ...
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if isinstance(value, bytes | complex) or value is ... or (negative and not number):
            raise self._refused(node, f"a predicate has {_ALLOWED}")
        if number and (abs(value) >= 2**64 if isinstance(value, int) else not math.isfinite(value)):
            raise self._refused(node, "a number must be finite, and a whole one fit into 64 bits")
        if isinstance(value, str) and any("\ud800" <= letter <= "\udfff" for letter in value):
            raise self._refused(node, "half a surrogate pair is not text")
        made: Literal = -value if negative else value
        return made

    def _column(self, node: ast.expr) -> _Column:
        if isinstance(node, ast.Name):
            name = node.id
            if name.startswith("__"):
                raise self._refused(node, f'names that begin with "__" are not read; write col("{name}") for such a column')
        elif (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Name)
            and node.func.id == "col"
            and not node.keywords
            and len(node.args) == 1
            and isinstance(node.args[0], ast.Constant)
            and isinstance(node.args[0].value, str)
        ):
            name = node.args[0].value
        else:
            raise self._refused(node, f"a predicate has {_ALLOWED}")
        if name not in self.columns:
            near = get_close_matches(name, self.columns, n=1)
            meant = f" (did you mean {near[0]}?)" if near else ""
            raise self._error(f"the catalogue has no column {_short(name)}{meant}; it has {_names(self.columns)}")
        return _Column.of(name, self.columns[name], pl.col(name))

    def _refused(self, node: ast.AST, why: str) -> ConfigError:
        return self._error(f"{_short(ast.get_source_segment(self.text, node) or self.text)} is not allowed here; {why}")

    def _error(self, why: str) -> ConfigError:
        return ConfigError(f"the predicate {_short(self.text)}: {why}")


def _plainly(dtype: pl.DataType, values: pl.Expr) -> tuple[str, Any, pl.Expr]:
    """Kind of a type, and its values in the one type by which that kind is compared."""
    if dtype.is_integer():
        whole = pl.Int128 if dtype in (pl.UInt64, pl.Int128) else pl.Int64
        return _NUMBER, whole, values.cast(whole)
    if dtype.is_float():
        real = pl.Float64 if dtype == pl.Float64 else pl.Float32
        return _NUMBER, real, values.cast(real).fill_nan(None)
    if dtype.is_decimal():
        return _NUMBER, pl.Float64, values.cast(pl.Float64)
    if dtype in (pl.String, pl.Categorical, pl.Enum):
        return _TEXT, pl.String, values.cast(pl.String)
    if dtype in (pl.Date, pl.Datetime):
        zoned = getattr(dtype, "time_zone", None) is not None
        local = values.dt.convert_time_zone("UTC").dt.replace_time_zone(None) if zoned else values
        return _TIME, _INSTANT, local.cast(_INSTANT, strict=False)  # beyond its calendar: unknown
    if dtype == pl.Null:
        return _BLANK, pl.Boolean, values.cast(pl.Boolean)
    kind = _TRUTH if dtype == pl.Boolean else _LIST if dtype in (pl.List, pl.Array) else _OTHER
    return kind, dtype, values


def _whole(value: Any) -> int | None:
    """Convert a number to a whole one; None if it has a fraction, or is a float beyond 64 bits."""
    return int(value) if isinstance(value, int) or (abs(value) <= 2**64 and value.is_integer()) else None


def _short(value: object) -> str:
    return repr(value if not isinstance(value, str) or len(value) <= 80 else value[:77] + "...")


def _names(columns: Mapping[str, pl.DataType]) -> str:
    return ", ".join(columns)


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)
