"""Old names of arguments are refused with the new one."""

from __future__ import annotations

from pathlib import Path

import pytest

import recsys
from recsys.errors import ConfigError
from recsys.serving.retriever import Retriever


@pytest.mark.parametrize(
    ("old", "new"),
    [("allow", "eligible"), ("now", "request_time"), ("form", "output"), ("wanted", "target_event")],
)
def test_an_old_argument_is_refused_with_its_new_name(retriever: Retriever, old: str, new: str) -> None:
    with pytest.raises(ConfigError, match=f"has no argument '{old}'; it is now called '{new}'"):
        retriever.recommend("u1", **{old: None})  # type: ignore[arg-type]


@pytest.mark.parametrize(("old", "new"), [("allow", "eligible"), ("now", "request_time")])
def test_so_is_one_of_a_batch(retriever: Retriever, tmp_path: Path, old: str, new: str) -> None:
    with pytest.raises(ConfigError, match=f"has no argument '{old}'; it is now called '{new}'"):
        recsys.recommend_to_parquet(retriever, tmp_path / "x.parquet", **{old: None})  # type: ignore[arg-type]
