"""The README's Python runs as it is printed, on a small made-up log with a tiny text encoder."""

from __future__ import annotations

import re
from pathlib import Path

import polars as pl
import pytest

from tests.conftest import make_events, make_items

README = Path(__file__).parents[1] / "README.md"


def first_block() -> str:
    """The block under the heading "Python"."""
    found = re.search(r"^## Python\n+```python\n(.*?)```", README.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    assert found is not None
    return found[1]


def test_the_first_python_block_runs(tmp_path: Path, tiny_encoder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    make_events().rename({"user_id": "userId", "item_id": "movieId"}).write_csv("ratings.csv")
    items = make_items().with_columns(genres=pl.lit("Drama|Comedy")).rename({"item_id": "movieId"})
    items.write_csv("movies.csv")
    code = first_block()
    known = {'"42", "7"': '"u3", "u7"', '"42"': '"u3"', '"1193", "661"': '"i4", "i5"', '"1193"': '"i4"', '"1196"': '"i6"'}
    for printed, made in known.items():
        assert printed in code
        code = code.replace(printed, made)
    code = code.replace(
        'encoder="all-MiniLM-L6-v2", dim=128', f"encoder={str(tiny_encoder)!r}, dim=8, blocks=1, max_length=8"
    )
    code = code.replace("validation=split.validation)", "validation=split.validation, training=recsys.Training(epochs=1))")
    exec(compile(code, str(README), "exec"), {})  # noqa: S102 - our own README
    assert Path("runs/ml/manifest.json").is_file()
