"""Who may ask what: bearer keys with roles and rates; closed to everybody else."""

from __future__ import annotations

import asyncio
import hashlib
import time
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, get_args

from starlette.requests import Request

from recsys.errors import ConfigError
from recsys.server import settings
from recsys.server.keys import Key, Keys, Role
from recsys.server.problems import Problem
from recsys.server.rates import Windows, rate_of

_REMEMBERED: Final = 1024
_SECONDS: Final = 1.0
"""How long a key that was found good is not looked up again; beside what :class:`recsys.server.keys.Keys` remembers."""
_LOCAL: Final = frozenset({"localhost", "127.0.0.1", "::1", "testserver"})


@dataclass(frozen=True)
class Caller:
    """Who asks.

    Attributes
    ----------
    key_id : str
        For logs; ``open`` on a server without keys.
    role : str
    """

    key_id: str
    role: str


class Access:
    """Admits a request, or refuses it with 401, 403 or 429.

    Parameters
    ----------
    keys : Keys
    chosen : settings.Access

    Raises
    ------
    ConfigError
        The rate cannot be read.
    """

    def __init__(self, keys: Keys, chosen: settings.Access) -> None:
        self._keys, self._open = keys, chosen.open
        self._rate = None if chosen.rate is None else rate_of(chosen.rate)
        self._windows = Windows()
        self._good = dict[bytes, tuple[float, Key]]()

    async def admit(self, request: Request) -> Caller:
        """Let a request with a good key pass.

        Raises
        ------
        Problem
            401 without a good key, 429 over the key's rate; 403 for what another site sent to an open server.
        """
        if self._open:
            _check_local(request)
            return Caller("open", "admin")
        scheme, _, secret = request.headers.get("authorization", "").partition(" ")
        key = await self._found(secret.strip()) if scheme.lower() == "bearer" and secret.strip() else None
        if key is None:
            raise Problem(
                401, "no-key", "A key is needed", "send a key that is valid: Authorization: Bearer rk_...",
                headers={"www-authenticate": 'Bearer realm="recsys"'},
            )  # fmt: skip
        self._spend(key)
        return Caller(key.id, key.role)

    async def _found(self, secret: str) -> Key | None:
        """The key, looked up beside the event loop; a good one at most once a second."""
        digest, now = hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest(), time.monotonic()
        known = self._good.get(digest)
        if known is not None and now < known[0]:
            return known[1]
        key = await asyncio.to_thread(self._keys.check, secret)
        if key is None:
            self._good.pop(digest, None)
            return None
        if len(self._good) >= _REMEMBERED:
            self._good.clear()
        self._good[digest] = now + _SECONDS, key
        return key

    def _spend(self, key: Key) -> None:
        rate = self._rate if key.rate is None else rate_of(key.rate)
        if rate is not None and (wait := self._windows.hit(key.id, rate)):
            raise Problem(429, "rate", "The key has asked too often", f"it may ask {rate}; wait", retry_after=wait)


def check_role(role: str) -> Role:
    """A role that there is; a route without one is not made.

    Raises
    ------
    ConfigError
        There is no such role.
    """
    for one in get_args(Role):
        if one == role:
            found: Role = one
            return found
    raise ConfigError(f"a route needs a role, one of {', '.join(get_args(Role))}, not {role!r}")


def _check_local(request: Request) -> None:
    """Refuse what a page of another site could make a browser send to an open server on this machine.

    Raises
    ------
    Problem
        403 for a foreign Host or Origin.
    """
    hosts = [request.headers.get("host", ""), request.headers.get("origin", "").partition("://")[2]]
    for host in hosts:
        if host and not _is_local(host):
            raise Problem(
                403, "foreign", "The server is open to this machine alone",
                "a server without keys (--open) answers requests to localhost alone, not those of other sites",
            )  # fmt: skip


@lru_cache(_REMEMBERED)
def _is_local(host: str) -> bool:
    """Whether a host, perhaps with a port, is this machine."""
    name = host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() else host
    return name.strip("[]") in _LOCAL
