"""The largest request that is read: bytes and nesting before parsing, lists and texts before anything is computed."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Mapping
from functools import cache
from typing import Any, Final, get_args, get_origin

import orjson
from pydantic import BaseModel
from starlette.requests import ClientDisconnect, Request

from recsys.server.problems import Problem, of_field
from recsys.server.protocol import WHOLE
from recsys.server.settings import Limits

LIMIT: Final = "x-limit"
"""The key in a field's schema that names the limit of :class:`recsys.server.settings.Limits` it stands under."""
_TEXT: Final = re.compile(rb'"(?:[^"\\]++|\\.)*+(?:"|\\?\Z)', re.DOTALL)
"""A text of JSON, also one that never ends: whatever follows a quote matches, so that nothing is read twice."""
_KEY: Final = re.compile(rb'"(?:[^"\\]++|\\.)*+"([ \t\n\r]*+:)?+', re.DOTALL)
"""A text of JSON; the group is there where it is a key."""
_BRACKET: Final = re.compile(rb"[\[\]{}]")
_LONGEST_TARGET: Final = 8192
_MOST_HEADERS: Final = 32_768


def check_target(scope: Mapping[str, Any]) -> None:
    """Refuse a path, a query or headers that are too long.

    Raises
    ------
    Problem
        414 or 431.
    """
    if len(scope.get("raw_path") or b"") + len(scope["query_string"]) > _LONGEST_TARGET:
        raise Problem(
            414, "too-large", "The request is too large", f"path and query have at most {_LONGEST_TARGET:,} bytes"
        )
    if sum(len(name) + len(value) for name, value in scope["headers"]) > _MOST_HEADERS:
        raise Problem(431, "too-large", "The request is too large", f"headers have at most {_MOST_HEADERS:,} bytes in all")


class LimitedRequest(Request):
    """A request whose body is read within limits of size, time and nesting, and only as JSON."""

    limits: Limits
    seconds: float

    @classmethod
    def of(cls, request: Request, limits: Limits, seconds: float) -> LimitedRequest:
        """The same request within limits."""
        made = cls(request.scope, request.receive)
        made.limits, made.seconds = limits, seconds
        return made

    async def body(self) -> bytes:
        """The whole body.

        Raises
        ------
        Problem
            413 over the limit, before more of it is read; 408 where it does not come in time; 415 of another type.
        """
        if not hasattr(self, "_body"):
            self._body = await self._read()
        return self._body

    async def _read(self) -> bytes:
        most, length = self.limits.body_bytes, self.headers.get("content-length", "")
        if length.isdigit() and int(length[:20]) > most:
            raise _too_large(most)
        try:
            if self.scope["state"].get(WHOLE):
                body = await self._joined(most)
            else:
                async with asyncio.timeout(self.seconds):
                    body = await self._joined(most)
        except TimeoutError as error:
            detail = f"the body did not come within {self.seconds:g} seconds"
            raise Problem(408, "too-slow", "The body came too slowly", detail, headers={"connection": "close"}) from error
        except ClientDisconnect as error:
            raise Problem(
                400, "unreadable", "The body is not whole", "the connection was closed within the body"
            ) from error
        kind = self.headers.get("content-type", "").partition(";")[0].strip().lower()
        if body and kind != "application/json":
            detail = f"the body is of type {kind[:100]!r}; send JSON and say so: Content-Type: application/json"
            raise Problem(415, "media-type", "The body is not JSON", detail)
        return body

    async def _joined(self, most: int) -> bytes:
        parts, size = list[bytes](), 0
        async for part in self.stream():
            size += len(part)
            if size > most:
                raise _too_large(most)
            parts.append(part)
        return b"".join(parts)

    async def json(self) -> Any:
        """The body as Python values.

        Raises
        ------
        Problem
            It is nested too deep, has too many lists and objects, or an object has a key twice.
        JSONDecodeError
            It is no JSON.
        """
        body = await self.body()
        check_nesting(body, self.limits.json_depth, self.limits.json_containers)
        found = orjson.loads(body)
        check_keys(body, found)
        return found


def check_nesting(body: bytes, deepest: int, most: int) -> None:
    """Refuse JSON that is nested too deep, or has too many lists and objects, without parsing it.

    Raises
    ------
    Problem
        It is one of these.

    Examples
    --------
    >>> check_nesting(b'{"text": "[[[[["}', 3, 10)
    >>> check_nesting(b"[[[[1]]]]", 3, 10)
    Traceback (most recent call last):
    recsys.server.problems.Problem: body: lists and objects are nested more than 3 deep
    """
    if body.count(b"[") + body.count(b"{") <= min(deepest, most):
        return
    bare = _TEXT.sub(b"", body)
    if bare.count(b"[") + bare.count(b"{") > most:
        raise of_field("body", f"it has more than {most:,} lists and objects", 413)
    depth = 0
    for found in _BRACKET.finditer(bare):
        depth += 1 if found[0] in b"[{" else -1
        if depth > deepest:
            raise of_field("body", f"lists and objects are nested more than {deepest} deep")


def check_keys(body: bytes, parsed: Any) -> None:
    """Refuse JSON of which a key was dropped because its object has it twice: programs disagree about which one counts.

    Parameters
    ----------
    body : bytes
        Valid JSON.
    parsed : object
        What became of it.

    Raises
    ------
    Problem
        An object has a key twice.

    Examples
    --------
    >>> check_keys(b'{"user": "a:b"}', {"user": "a:b"})
    >>> check_keys(b'{"user": "a", "user": "b"}', {"user": "b"})
    Traceback (most recent call last):
    recsys.server.problems.Problem: an object of the body has the same key twice; send each once
    """
    kept, left = 0, [parsed]
    while left:
        one = left.pop()
        if isinstance(one, dict):
            kept += len(one)
            left.extend(value for value in one.values() if isinstance(value, dict | list))
        elif isinstance(one, list):
            left.extend(value for value in one if isinstance(value, dict | list))
    if body.count(b":") == kept:
        return
    if sum(1 for found in _KEY.finditer(body) if found[1] is not None) != kept:
        raise Problem(
            400, "unreadable", "The body is ambiguous", "an object of the body has the same key twice; send each once"
        )


def check_model(model: BaseModel, limits: Limits, place: str = "body") -> None:
    """Refuse fields that are larger than their limit.

    A field of a schema names its limit with ``json_schema_extra={"x-limit": "max_k"}``; numbers, and lengths of texts,
    lists and mappings are held against it.

    Raises
    ------
    Problem
        422, with the field and the limit.
    """
    bounds, values, (limited, nested) = vars(limits), vars(model), _limited(type(model))
    for name, limit in limited:
        value = values[name]
        if value is None:
            continue
        most = bounds[limit]
        if isinstance(value, int):
            if value > most:
                raise of_field(f"{place}.{name}", f"must be at most {most:,}, not {value}")
        elif len(value) > most:
            raise of_field(f"{place}.{name}", f"must have a length of at most {most:,}, not {len(value):,}")
    for name in nested:
        for i, one in enumerate(values[name] or ()):
            check_model(one, limits, f"{place}.{name}[{i}]")


@cache
def _limited(model: type[BaseModel]) -> tuple[list[tuple[str, str]], list[str]]:
    """Fields and the limits that they stand under; fields that are lists of models."""
    extras = {name: field.json_schema_extra for name, field in model.model_fields.items()}
    found = [(name, str(extra[LIMIT])) for name, extra in extras.items() if isinstance(extra, dict) and LIMIT in extra]
    return found, [name for name, field in model.model_fields.items() if _of_models(field.annotation)]


def _of_models(annotation: Any) -> bool:
    """Whether a type is a list of models, or may be one."""
    if get_origin(annotation) is list:
        return any(isinstance(one, type) and issubclass(one, BaseModel) for one in get_args(annotation))
    return any(_of_models(one) for one in get_args(annotation))


def check_predicate(where: str | None, limits: Limits, place: str) -> None:
    """Refuse a predicate that is too long or nested too deep, before it is parsed.

    Raises
    ------
    Problem
        422.
    """
    if where is None:
        return
    if len(where) > limits.max_predicate_length:
        raise of_field(place, f"a predicate has at most {limits.max_predicate_length:,} characters, not {len(where):,}")
    depth = 0
    for letter in where:
        depth += (letter in "([{") - (letter in ")]}")
        if depth > limits.max_predicate_depth:
            raise of_field(place, f"parentheses of a predicate are nested more than {limits.max_predicate_depth} deep")


def check_rules(rules: Mapping[str, Any] | None, limits: Limits, place: str) -> None:
    """Refuse rules that are too many, name too many items, or choose from too large a pool.

    Raises
    ------
    Problem
        422.
    """
    if not rules:
        return
    tables = [one for value in rules.values() for one in (value if isinstance(value, list) else [value])]
    if len(tables) > limits.max_rules:
        raise of_field(place, f"there are {len(tables):,} rules; at most {limits.max_rules} are read")
    for one in [rules, *tables]:
        if not isinstance(one, Mapping):
            continue
        check_predicate(one.get("where") if isinstance(one.get("where"), str) else None, limits, f"{place}: where")
        items, pool = one.get("items"), one.get("pool")
        if isinstance(items, list) and len(items) > limits.max_filter_ids:
            raise of_field(f"{place}: items", f"names {len(items):,} items; at most {limits.max_filter_ids:,} are read")
        if isinstance(pool, int) and pool > limits.max_pool:
            raise of_field(f"{place}: pool", f"must be at most {limits.max_pool:,}, not {pool}")


def documented(schema: dict[str, Any], limits: Limits) -> dict[str, Any]:
    """A JSON schema in which ``x-limit`` has become ``maximum``, ``maxLength``, ``maxItems`` or ``maxProperties``."""
    bounds = vars(limits)
    words = {"string": "maxLength", "array": "maxItems", "integer": "maximum", "object": "maxProperties"}

    def walked(node: Any) -> Any:
        if isinstance(node, list):
            return [walked(one) for one in node]
        if not isinstance(node, dict):
            return node
        made = {key: _whole(key, walked(value)) for key, value in node.items() if key != LIMIT}
        if LIMIT in node:
            for one in [made, *made.get("anyOf", [])]:
                if one.get("type") in words:
                    one[words[one["type"]]] = bounds[node[LIMIT]]
        return made

    found: dict[str, Any] = walked(json.loads(json.dumps(schema)))
    return found


def _whole(key: str, value: Any) -> Any:
    """A bound of whole numbers, which the framework writes as a float: 2^63 - 1 became 2^63."""
    return min(int(value), 2**63 - 1) if key in ("minimum", "maximum") and isinstance(value, float) else value


def _too_large(most: int) -> Problem:
    return Problem(
        413, "too-large", "The request is too large", f"a body has at most {most:,} bytes; send it in parts",
        headers={"connection": "close"},
    )  # fmt: skip
