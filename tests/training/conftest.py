"""What several test files of the training need switched off or hurried."""

from __future__ import annotations

import pytest


@pytest.fixture
def no_forecast(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forward passes are steps."""
    monkeypatch.setattr("recsys.training.trainer._FORECAST_STEPS", 10**9)
