"""Errors as answers: problem details (RFC 9457) that name the field and the remedy; bad input is never a 5xx."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.routing import Match
from starlette.types import Scope

from recsys import errors

MEDIA_TYPE: Final = "application/problem+json"
PROBLEM: Final = "problem"
"""Under which the state of a request has the kind of the problem that it was answered."""
_LONGEST: Final = 2000
"""Characters of a detail."""
_INVALID: Final = "The request is not valid"
_MOST: Final = 20
"""Fields that one answer names."""


@dataclass(frozen=True)
class FieldProblem:
    """What is wrong with one field.

    Attributes
    ----------
    field : str
        Its place in the request, such as ``body.history[2]``.
    message : str
    """

    field: str
    message: str


class Problem(HTTPException):
    """An answer that says what went wrong.

    The framework hands on HTTPException, of all errors, where a body is read.

    Parameters
    ----------
    status : int
        Of HTTP.
    kind : str
        For programs; ends the type URI ``urn:recsys:problem:KIND``.
    title : str
        The same for every problem of a kind.
    detail : str
        What is wrong here, and what to do.
    fields : sequence of FieldProblem
    retry_after : float, optional
        Seconds to wait before the same request is worth sending again.
    headers : dict, optional
    """

    def __init__(
        self,
        status: int,
        kind: str,
        title: str,
        detail: str,
        *,
        fields: Sequence[FieldProblem] = (),
        retry_after: float | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(status, detail if len(detail) <= _LONGEST else detail[: _LONGEST - 3] + "...", headers)
        self.kind, self.title, self.fields, self.retry_after = kind, title, tuple(fields), retry_after

    def __str__(self) -> str:
        return str(self.detail)

    def to_dict(self, request_id: str | None = None) -> dict[str, Any]:
        """The body."""
        found: dict[str, Any] = {
            "type": f"urn:recsys:problem:{self.kind}",
            "title": self.title,
            "status": self.status_code,
            "detail": self.detail,
        }
        if request_id is not None:
            found["request_id"] = request_id
        if self.fields:
            found["errors"] = [{"field": one.field, "message": one.message} for one in self.fields]
        return found

    def response(self, request_id: str | None = None) -> Response:
        """The whole answer."""
        headers = dict(self.headers or {})
        if self.retry_after is not None:
            headers["retry-after"] = str(max(1, math.ceil(self.retry_after)))
        return Response(orjson.dumps(self.to_dict(request_id)), self.status_code, headers, MEDIA_TYPE)


def of_field(field: str, message: str, status: int = 422) -> Problem:
    """What is wrong with one field of a request."""
    return Problem(status, "invalid", _INVALID, f"{field}: {message}", fields=[FieldProblem(field, message)])


_METHODS: Final = ("DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT")
_OF_LIBRARY: Final[tuple[tuple[type[errors.RecsysError], int, str, str], ...]] = (
    (errors.UnknownIdError, 404, "unknown-id", "There is no such user or item"),
    (errors.OverloadedError, 429, "overloaded", "The server has too much to do"),
    (errors.DeadlineError, 503, "deadline", "The answer would have come too late"),
    (errors.StoreUnavailableError, 503, "store-unavailable", "The database does not answer"),
    (errors.UnsupportedError, 409, "unsupported", "This bundle cannot answer that"),
    (errors.EncoderError, 409, "unsupported", "This bundle cannot answer that"),
    (errors.BundleError, 422, "bundle", "The bundle cannot be served"),
    (errors.DataError, 422, "invalid", _INVALID),
    (errors.ConfigError, 422, "invalid", _INVALID),
)
"""Error of the library, status, kind and title; the first that fits. Every other one is the server's own fault."""


def problem_of(error: BaseException) -> Problem:
    """An error as an answer; one that nobody foresaw gives 500 and says nothing of what it was."""
    if isinstance(error, Problem):
        return error
    if isinstance(error, RequestValidationError):
        return _of_validation(error)
    if isinstance(error, HTTPException):
        return _of_http(error)
    for kind, status, name, title in _OF_LIBRARY:
        if isinstance(error, kind):
            detail = str(error).replace(" (--unknown skip)", "")  # what the command line would write
            return Problem(status, name, title, detail, retry_after=_retry_after(error))
    return Problem(
        500, "internal", "The server made a mistake", "the log of the server has the cause under this request_id; report it"
    )


def _retry_after(error: errors.RecsysError) -> float | None:
    if isinstance(error, errors.OverloadedError):
        return error.retry_after
    return 1.0 if isinstance(error, errors.StoreUnavailableError | errors.DeadlineError) else None


def _of_http(error: HTTPException) -> Problem:
    """What the framework refuses: routes and methods that there are not."""
    kinds = {404: "no-route", 405: "no-method", 400: "unreadable", 413: "too-large"}
    details = {404: "there is no such route; /openapi.json lists the routes", 405: "the route has no such method"}
    return Problem(
        error.status_code,
        kinds.get(error.status_code, "http"),
        "The request cannot be answered",
        details.get(error.status_code, str(error.detail)),
        headers=dict(error.headers or {}),
    )


def _of_validation(error: RequestValidationError) -> Problem:
    found = error.errors()
    unreadable = any(one["type"] == "json_invalid" for one in found)
    messages = dict[str, list[str]]()  # the members of a union each complain
    for one in found:
        messages.setdefault(_place(_without_kind(one)), []).append(_message(one))
    fields = [FieldProblem(place, ", or ".join(dict.fromkeys(said))[:500]) for place, said in messages.items()]
    status, kind = (400, "unreadable") if unreadable else (422, "invalid")
    more = f" (and {len(fields) - 1} more)" if len(fields) > 1 else ""
    title = "The body is not JSON" if unreadable else _INVALID
    return Problem(status, kind, title, f"{fields[0].field}: {fields[0].message}{more}", fields=fields[:_MOST])


def _message(error: dict[str, Any]) -> str:
    if error["type"] == "json_invalid":
        return f"{error['ctx']['error']}"[:200]
    if error["type"] == "extra_forbidden":
        return "there is no such field; /openapi.json lists the fields"
    return str(error["msg"]).replace("Input should", "it should")[:300]


def _without_kind(error: dict[str, Any]) -> Sequence[int | str]:
    """Where it is; each member of a union names its kind behind the field."""
    place: Sequence[int | str] = error["loc"]
    kind = len(place) > 2 and place[-1] in ("float", "int", "str", "bool") and error["type"] != "extra_forbidden"
    return place[:-1] if kind else place


def _place(location: Sequence[int | str]) -> str:
    """``("body", "history", 2, "constrained-str")`` as ``body.history[2]``."""
    found = ""
    for part in location:
        if isinstance(part, str) and part.startswith("constrained-"):
            continue
        found += f"[{part}]" if isinstance(part, int) else f".{part}" if found else str(part)
    return found[:200]


def _methods(app: FastAPI, scope: Scope) -> list[str]:
    """All methods of a path; the framework names those of the first route alone."""
    asked = [(method, {**scope, "method": method}) for method in _METHODS]
    return [method for method, one in asked if any(route.matches(one)[0] is Match.FULL for route in app.routes)]


def install(app: FastAPI) -> None:
    """Answer every error that a route raises as a problem."""

    async def answer(request: Request, error: Exception) -> Response:
        problem = problem_of(error)
        if problem.status_code == 405:
            problem.headers = {**(problem.headers or {}), "Allow": ", ".join(_methods(app, request.scope))}
        setattr(request.state, PROBLEM, problem.kind)
        return problem.response(request.state.request_id)

    for kind in (RequestValidationError, HTTPException, errors.RecsysError):
        app.add_exception_handler(kind, answer)
