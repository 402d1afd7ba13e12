"""What a server's refusal means: problem details (RFC 9457) as the errors of the package."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from recsys.errors import (
    AccessError,
    BundleError,
    DataError,
    DeadlineError,
    OverloadedError,
    RecsysError,
    ServerError,
    StoreUnavailableError,
    UnknownIdError,
    UnsupportedError,
)

URN: Final = "urn:recsys:problem:"
_KINDS: Final[dict[str, type[RecsysError]]] = {
    "unknown-id": UnknownIdError,
    "deadline": DeadlineError,
    "store-unavailable": StoreUnavailableError,
    "unsupported": UnsupportedError,
    "bundle": BundleError,
    "no-key": AccessError,
    "role": AccessError,
    "foreign": AccessError,
    "no-route": ServerError,
    "no-method": ServerError,
}
"""Kind of a problem → the error. A problem of any other kind is about what was sent, if its status is a 4xx."""


def error_of(status: int, problem: Mapping[str, Any], retry_after: float = 1.0) -> RecsysError:
    """The error that a problem stands for.

    Parameters
    ----------
    status : int
        Of HTTP.
    problem : mapping
        The body.
    retry_after : float
        Seconds, where the server is overloaded.

    Examples
    --------
    >>> error_of(404, {"type": "urn:recsys:problem:unknown-id", "detail": "user 'u9' is unknown", "request_id": "4f"})
    UnknownIdError("user 'u9' is unknown (404, request 4f)")
    """
    request = f", request {problem['request_id']}" if problem.get("request_id") else ""
    message = f"{problem.get('detail') or problem.get('title') or 'no more was said'} ({status}{request})"
    kind = _KINDS.get(str(problem.get("type", "")).removeprefix(URN))
    if kind is not None:
        return kind(message)
    if status == 429:
        return OverloadedError(message, retry_after)
    if status in (401, 403):
        return AccessError(message)
    return DataError(message) if 400 <= status < 500 and "type" in problem else ServerError(message)
