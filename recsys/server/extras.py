"""The packages that server and client need come with extras; without them, an error says how to install them."""

from __future__ import annotations

from importlib.util import find_spec

from recsys.errors import DependencyError

_DISTRIBUTION = __name__.partition(".")[0].replace("_", "-")
SERVE = ("alembic", "fastapi", "limits", "opentelemetry", "orjson", "prometheus_client", "structlog", "uvicorn")
"""What the extra serve brings."""

CLIENT = ("httpx2", "orjson")
"""What the extra client brings."""


def require_serve() -> None:
    """Refuse to go on without the extra serve.

    Raises
    ------
    DependencyError
        The message names what is missing, and how to install it.
    """
    _require(SERVE, "the server", "serve")


def require_client() -> None:
    """Refuse to go on without the extra client.

    Raises
    ------
    DependencyError
        As :func:`require_serve`.
    """
    _require(CLIENT, "recsys.Client", "client")


def _require(names: tuple[str, ...], who: str, extra: str) -> None:
    if missing := [name for name in names if find_spec(name) is None]:
        raise DependencyError(f"{who} needs {', '.join(missing)}: pip install '{_DISTRIBUTION}[{extra}]'")
