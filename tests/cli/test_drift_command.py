"""``recsys drift`` from the command line: text, JSON, the page and exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest

import recsys
from recsys.cli.parser import main
from tests.pipeline.test_drift import newer, shop


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("drift") / "run"
    log = recsys.Interactions.from_frame(shop(range(60), 0))
    recsys.TwoTower(fast=True).fit(log).retriever(log=log, index="exact").save(folder)
    newer().write_parquet(folder.parent / "newer.parquet")
    spoiled = newer().with_columns(item_id=pl.format("x{}", "item_id"), user_id=pl.format("x{}", "user_id"))
    spoiled.write_parquet(folder.parent / "spoiled.parquet")
    return folder


def test_text_page_and_json(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page, log = tmp_path / "a [page] é.html", str(run.parent / "newer.parquet")
    assert main(["drift", str(run), log, "--page", str(page), "--windows", "5", "--fail-on", "check"]) == 0
    text = capsys.readouterr().out
    assert "advice: " in text
    assert "loss of recall@10 by age" in text
    html = page.read_text(encoding="utf-8")
    assert "What age costs" in html
    assert "plot-figures" in html
    assert main(["drift", str(run), log, "--backtest", "none", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["advice"] in ("leave", "update")
    assert found["aged"]["loss"] is None


def test_a_strange_log_ends_with_the_code_that_was_asked_for(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = str(run.parent / "spoiled.parquet")
    assert main(["drift", str(run), log, "--fail-on", "retrain", "check"]) == 4
    assert "advice: check" in capsys.readouterr().out
    assert main(["drift", str(run), log]) == 0
    assert main(["drift", str(run), log, "--page", "page.txt"]) == 2
