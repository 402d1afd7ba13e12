"""One attempt after another: what is sent again, when, and what its answers mean."""

from __future__ import annotations

import math
import random
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final, Generic, TypeVar

import httpx2
import orjson

from recsys.errors import DataError, DeadlineError, RecsysError, ServerError
from recsys.server.client.calls import Call
from recsys.server.client.failures import error_of
from recsys.server.client.patience import Patience

Made = TypeVar("Made")
_FIRST: Final = 0.1
"""Seconds before the second attempt; each further one waits twice as long."""
_LONGEST: Final = 5.0
_LIMIT: Final = "x-deadline-milliseconds"
_PASSING: Final = frozenset({408, 429, 502, 503, 504})
"""Statuses after which another attempt may succeed; after 429 nothing was done, after the others nobody knows."""


@dataclass(frozen=True)
class Failure:
    """An attempt that failed.

    Attributes
    ----------
    error : RecsysError
    again : bool
        Whether another attempt may succeed, and does no harm.
    retry_after : float
        Seconds that the server asked to wait.
    """

    error: RecsysError
    again: bool
    retry_after: float = 0.0


class Attempts(Generic[Made]):
    """The attempts of one call, all under one request id.

    Parameters
    ----------
    call : Call
    patience : Patience
    """

    def __init__(self, call: Call[Made], patience: Patience) -> None:
        self._call, self._patience = call, patience
        self._until = time.monotonic() + min(patience.total_timeout, patience.within or math.inf)
        self._done = 0
        self._headers = {"x-request-id": uuid.uuid4().hex}
        self._content = None if call.body is None else _json(call.body)
        if self._content is not None:
            self._headers["content-type"] = "application/json"

    def request(self, client: httpx2.Client | httpx2.AsyncClient) -> httpx2.Request:
        """The request of one attempt."""
        left = max(self._until - time.monotonic(), 0.001)
        headers = self._headers
        if self._patience.within is not None:
            headers = headers | {_LIMIT: str(max(1, round(1e3 * left)))}
        return client.build_request(
            self._call.method, self._call.path, content=self._content, headers=headers,
            timeout=min(self._patience.timeout, left),
        )  # fmt: skip

    def result(self, response: httpx2.Response) -> Made | Failure:
        """The result of the call, or why there is none."""
        status = response.status_code
        if response.is_success:
            try:
                found = orjson.loads(response.content)
                if not isinstance(found, dict):
                    raise TypeError("an object is expected")
                return self._call.read(found)
            except (KeyError, TypeError, ValueError) as error:
                if isinstance(error, RecsysError):
                    raise
                raise ServerError(_strange(response)) from error
        problem = _problem(response)
        if problem is None:
            problem = {"detail": _strange(response)}
        wait = _seconds(response.headers.get("retry-after", ""))
        again = status in _PASSING and (status == 429 or self._call.repeatable)
        return Failure(error_of(status, problem, wait or 1.0), again, wait)

    def unreached(self, error: httpx2.RequestError, url: str) -> Failure:
        """Why nothing came back."""
        if self._patience.within is not None and time.monotonic() >= self._until:
            late = (
                f"the server {url} did not answer within {self._patience.within:g} seconds, and may have done what "
                "was asked or not; ask again, or allow it more"
            )
            return Failure(DeadlineError(late), again=False)
        untouched = isinstance(error, httpx2.ConnectError | httpx2.ConnectTimeout | httpx2.PoolTimeout)
        what = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        failed = ServerError(f"the server {url} did not answer ({what}); is it running, and is the address right?")
        return Failure(failed, untouched or self._call.repeatable)

    def pause(self, failure: Failure) -> float:
        """Seconds to wait before the next attempt.

        Raises
        ------
        RecsysError
            There is no next attempt.
        """
        self._done += 1
        longest = min(_FIRST * 2 ** (self._done - 1), _LONGEST)
        wait = failure.retry_after + random.uniform(longest / 2, longest)  # noqa: S311 - spreads clients, guards nothing
        if not failure.again or self._done > self._patience.retries or time.monotonic() + wait >= self._until:
            raise failure.error
        return wait


def _json(body: object) -> bytes:
    try:
        return orjson.dumps(body, option=orjson.OPT_SERIALIZE_NUMPY)
    except TypeError as error:
        raise DataError(f"the request cannot be written as JSON: {error}") from error


def _problem(response: httpx2.Response) -> Mapping[str, Any] | None:
    if "json" not in response.headers.get("content-type", ""):
        return None
    try:
        found = orjson.loads(response.content)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def _strange(response: httpx2.Response) -> str:
    if response.is_redirect:
        return f"the server sends elsewhere, to {response.headers.get('location', '')[:200]!r}; give that address"
    return "the answer is not one of a recsys server; is the address right, and does a proxy in front let it pass?"


def _seconds(header: str) -> float:
    """Seconds of a Retry-After header, a number or a date; 0 without one."""
    if header.strip().isdigit():
        return float(header)
    try:
        return max((parsedate_to_datetime(header) - datetime.now(UTC)).total_seconds(), 0.0)
    except (TypeError, ValueError):
        return 0.0
