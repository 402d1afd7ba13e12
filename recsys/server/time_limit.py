"""The time limit that a request brings: nothing is computed for somebody who could not use the answer any longer."""

from __future__ import annotations

from typing import Any, Final

from starlette.types import Scope

from recsys.server.problems import of_field

HEADER: Final = "x-deadline-milliseconds"
_HEADER: Final = HEADER.encode()
_MOST: Final = 600_000
"""What ``deadline_milliseconds`` of the settings may be at most."""
PARAMETER: Final[dict[str, Any]] = {
    "name": HEADER,
    "in": "header",
    "required": False,
    "description": (
        "Milliseconds from the arrival of the request within which it is answered, or refused with 503 or 429; it is "
        "dropped from the queue then. Of this and the server's own deadline_milliseconds the shorter holds."
    ),
    "schema": {"type": "integer", "minimum": 1, "maximum": _MOST},
}
"""Of the OpenAPI schema."""


def own_seconds(scope: Scope) -> float | None:
    """The time limit of a request, in seconds; None if it brings none.

    Raises
    ------
    Problem
        It is no whole number of milliseconds from 1 to 600,000.
    """
    given = [value for name, value in scope["headers"] if name == _HEADER]
    if not given:
        return None
    (text, *more) = given
    if more or not (text.isdigit() and len(text) <= 6 and 1 <= int(text) <= _MOST):
        raise of_field(HEADER, f"must be one whole number of milliseconds from 1 to {_MOST:,}")
    return int(text) / 1e3
