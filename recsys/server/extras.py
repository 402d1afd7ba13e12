"""The packages that the server needs come with an extra; without it, an error says how to install it."""

from __future__ import annotations

from importlib.util import find_spec

from recsys.errors import DependencyError

SERVE = ("alembic", "fastapi", "limits", "opentelemetry", "orjson", "prometheus_client", "structlog", "uvicorn")
"""What the extra serve brings."""


def require_serve() -> None:
    """Refuse to go on without the extra serve.

    Raises
    ------
    DependencyError
        The message names what is missing, and how to install it.
    """
    if missing := [name for name in SERVE if find_spec(name) is None]:
        raise DependencyError(f"the server needs {', '.join(missing)}: pip install 'recsys[serve]'")
