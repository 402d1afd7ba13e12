"""``--clean FILE``: the log is cleaned as it is read, and what was left out is printed and kept."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest

import recsys
from recsys.cli.parser import build_parser, main
from recsys.cli.reading import fit_options, read_data


@pytest.fixture
def files(tmp_path: Path) -> tuple[str, str]:
    frame = pl.DataFrame({"user_id": [1, 1, 2], "item_id": [7, 8, 7], "stars": [5.0, 1.0, 4.0]})
    frame.write_csv(tmp_path / "log.csv")
    (tmp_path / "clean.toml").write_text("min_weight = 2\n")
    return str(tmp_path / "log.csv"), str(tmp_path / "clean.toml")


def test_inspect_shows_the_waterfall(files: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    words = ["inspect", files[0], "--weight", "stars", "--clean", files[1]]
    assert main(words) == 0
    shown, told = capsys.readouterr()
    assert "weight of at least 2        1       2      2      1" in shown
    assert f"cleaned by {files[1]}" in told
    assert main([*words, "--json"]) == 0
    cleaning = json.loads(capsys.readouterr().out)["cleaning"]
    assert cleaning[0]["rules"] == {"min_weight": 2.0}
    assert cleaning[0]["steps"][0]["dropped"] == 1


def test_rules_that_cannot_be_applied_end_in_one_line(files: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    Path(files[1]).write_text("min_weight = 6\n")
    assert main(["inspect", files[0], "--weight", "stars", "--clean", files[1]]) == 2
    assert f"recsys: {files[1]}: the rule min_weight = 6.0 leaves none of the 3 events; loosen" in capsys.readouterr().err


def test_a_store_keeps_the_waterfall_of_its_import(
    files: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["import", files[0], "--weight", "stars", "--clean", files[1], "--out", str(tmp_path / "store")]
    assert main(words) == 0
    assert "weight of at least 2" in capsys.readouterr().out
    assert main([*words, "--append"]) == 0
    log = recsys.open_store(tmp_path / "store")
    assert [len(log), *(one.events_left for one in log.waterfalls)] == [4, 2, 2]
    Path(files[1]).write_text("user_min = 2\n")
    assert main([*words, "--append"]) == 2
    assert "user_min judges whole histories" in capsys.readouterr().err
    assert sorted(one.name for one in tmp_path.iterdir()) == ["clean.toml", "log.csv", "store"]


def test_the_record_of_a_fit_holds_rules_and_waterfall(files: tuple[str, str]) -> None:
    parsed = build_parser().parse_args(["fit", files[0], "--weight", "stars", "--clean", files[1], "--out", "run"])
    log, _ = read_data(parsed)
    kept = fit_options(parsed, log, "last")["reading"]
    assert kept["clean"] is True
    assert "--clean" not in kept["words"]
    assert kept["waterfalls"][0]["rules"] == {"min_weight": 2.0}
