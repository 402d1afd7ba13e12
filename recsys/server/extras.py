"""The packages that the server needs come with an extra; without it, an error says how to install it."""

from __future__ import annotations

from importlib.util import find_spec

from recsys.errors import DependencyError

SERVE = ("alembic", "fastapi", "limits", "opentelemetry", "orjson", "prometheus_client", "structlog", "uvicorn")
"""What the extra serve brings."""

CLIENT = ("httpx2", "orjson")
"""What the client needs of it."""


def require_serve() -> None:
    """Refuse to go on without the extra serve.

    Raises
    ------
    DependencyError
        The message names what is missing, and how to install it.
    """
    _require(SERVE, "the server")


def require_client() -> None:
    """Refuse to go on without what the client needs.

    Raises
    ------
    DependencyError
        As :func:`require_serve`.
    """
    _require(CLIENT, "recsys.Client")


def _require(names: tuple[str, ...], who: str) -> None:
    if missing := [name for name in names if find_spec(name) is None]:
        raise DependencyError(f"{who} needs {', '.join(missing)}: pip install 'recsys[serve]'")
