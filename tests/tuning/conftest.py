"""What the tests of the search need hurried."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import event
from sqlalchemy.engine import Engine


@pytest.fixture(scope="module")
def hasty_sqlite() -> Iterator[None]:
    """SQLite that leaves writing to the operating system: what a killed process has committed is kept all the same."""

    def hurry(connection: Any, _: object) -> None:
        connection.execute("PRAGMA synchronous = OFF")

    event.listen(Engine, "connect", hurry)
    yield
    event.remove(Engine, "connect", hurry)
