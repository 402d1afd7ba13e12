"""The command line reads text files as they are written, and refuses what it cannot read by line."""

import json
import shlex
from pathlib import Path

import polars as pl
import pytest

from recsys.cli.parser import build_parser
from recsys.cli.reading import written
from tests.cli.test_cli import answer, refused

LOG = "user_id^item_id^note^timestamp\n1^1^'Zoé ^ x'^5\n1^2^NA^6\n2^1^x^7\n"
FLAGS = ["--separator", "^", "--quote", "'", "--encoding", "cp1252", "--null-values", "NA"]


def odd(file: Path, text: str) -> str:
    file.write_bytes(text.encode("cp1252"))
    return str(file)


def test_inspect_reads_a_log_and_a_catalogue_written_in_another_way(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = odd(tmp_path / "log.csv", LOG)
    items = odd(tmp_path / "items.csv", "item_id^title\n1^'a ^ b'\n2^NA\n")
    code, out, _ = answer(capsys, "inspect", log, "--catalog", items, *FLAGS, "--json")
    assert code == 0
    assert json.loads(out)["interactions"] == 3


def test_a_semicolon_is_found_and_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "log.csv"
    file.write_text("user_id;item_id;timestamp\n1;1;5\n1;2;6\n")
    code, _, err = answer(capsys, "inspect", str(file))
    assert code == 0
    assert f"{file}: the columns are separated by ';' (semicolon)" in err
    assert answer(capsys, "inspect", str(file), "--separator", "semicolon")[0] == 0


def test_flags_for_text_files_pass_by_parquet_beside_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = odd(tmp_path / "log.csv", LOG)
    items = tmp_path / "items.parquet"
    pl.DataFrame({"item_id": [1, 2], "title": ["a", "b"]}).write_parquet(items)
    assert answer(capsys, "inspect", log, "--catalog", str(items), *FLAGS)[0] == 0


@pytest.mark.parametrize("flag", [["--separator", ";"], ["--quote", "none"], ["--encoding", "cp1252"]])
def test_a_flag_that_no_file_can_use_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], flag: list[str]
) -> None:
    file = tmp_path / "log.parquet"
    pl.DataFrame({"user_id": [1, 2], "item_id": [1, 2]}).write_parquet(file)
    assert f"{flag[0]} is for text files" in refused(capsys, "inspect", str(file), *flag)
    assert f"{flag[0]} is for text files" in refused(capsys, "evaluate", "nowhere", *flag)
    assert f"{flag[0]} is for text files" in refused(capsys, "index", "nowhere", "--add", str(file), *flag)


def test_ragged_rows_are_one_line_that_names_file_and_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "log.csv"
    file.write_text("user_id,note,item_id\nu1,Hello, world,i5\n")
    for command in (["inspect"], ["fit", "--out", str(tmp_path / "run")]):
        said = refused(capsys, *command, str(file))
        assert f"{file} cannot be read as csv: line 2 has more fields than the header" in said
    assert f"{file} cannot be read as csv: line 2" in refused(
        capsys, "index", "nowhere", "--add", str(file), "--quote", "none"
    )
    people = ["--user-table", str(file), "--user-columns", "note"]
    assert f"{file} cannot be read as csv: line 2" in refused(capsys, "evaluate", "nowhere", *people)


def test_tables_of_users_and_items_are_read_with_the_flags(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = odd(tmp_path / "t.csv", "user_id^item_id^city\n1^1^'Zoé ^ x'\n")
    people = ["--user-table", file, "--user-columns", "city"]
    assert "nowhere is not a recsys bundle: there is no such folder" in refused(
        capsys, "evaluate", "nowhere", *people, *FLAGS
    )
    assert "line 2 is not utf-8" in refused(capsys, "evaluate", "nowhere", *people, "--separator", "^", "--quote", "'")
    for change in ("--add", "--update"):
        assert "nowhere is not a recsys bundle: there is no such folder" in refused(
            capsys, "index", "nowhere", change, file, *FLAGS
        )
        assert "is not known" in refused(capsys, "index", "nowhere", change, file, "--encoding", "klingon")


def test_the_command_that_tune_prints_next_holds_the_flags() -> None:
    parsed = build_parser().parse_args(
        [
            "tune",
            "log.csv",
            "--space",
            "s.toml",
            "--out",
            "o",
            "--separator",
            "\t",
            "--quote",
            "",
            "--null-values",
            "NA",
            "-",
        ]
    )
    words = [word for flag in parsed.data_flags for word in written(flag, getattr(parsed, flag.dest))]
    assert shlex.split(shlex.join(words)) == ["log.csv", "--separator", "\t", "--quote", "", "--null-values", "NA", "-"]
