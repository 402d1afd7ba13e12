"""``recsys membership``: an attack on a recipe from the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from recsys.cli.parser import main
from tests.conftest import make_events, make_items


def test_it_tells_both_attacks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_events().write_csv(tmp_path / "log.csv")
    make_items().write_csv(tmp_path / "items.csv")
    words = ["membership", str(tmp_path / "log.csv"), "--catalog", str(tmp_path / "items.csv"), "--fast", "--shadows", "2"]
    assert main(words) == 0
    out = capsys.readouterr().out
    assert "no privacy: loss threshold: AUC" in out
    assert "20 members, 20 others" in out
    assert main([*words, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["privacy"] is None
    assert 0 <= found["shadow"]["low"] <= found["shadow"]["auc"] <= 1
    assert main([*words, "--shadows", "3"]) == 2
    assert "make 3 even" in capsys.readouterr().err
