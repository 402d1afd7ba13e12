"""Quarantine: rows that cannot be used are set aside with the reason, and every row is accounted for."""

from __future__ import annotations

import errno
import gzip
import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import recsys
from recsys.cli.parser import main
from recsys.data import quarantine
from recsys.data.formats import delimited
from recsys.data.sql import read_sql
from recsys.data.streaming.bounds import Bounds
from recsys.errors import ConfigError, DataError

HEAD = "user_id,item_id,timestamp,stars\n"
GOOD = "".join(f"u{one % 5},i{one % 7},{1_700_000_000 + one},3\n" for one in range(60))
BAD = " ,i1,1700000000,3\nu1,NULL,1700000000,x\nu1,i1,yesterday,3\nu2,i1,1700000000,\nu2,i2,inf,1e39\n"


def _file(folder: Path, rows: str) -> Path:
    (file := folder / "log.csv").write_text(HEAD + rows)
    return file


def _read(file: Path, **how: Any) -> recsys.Interactions:
    how = {"weight": "stars", "on_error": "quarantine", "quarantine": file.parent / "bad"} | how
    return recsys.read_interactions(file, **how)


def test_bad_rows_are_written_with_reason_row_and_values(tmp_path: Path) -> None:
    file = _file(tmp_path, BAD + GOOD)
    log = _read(file)
    assert log.fingerprint == recsys.read_interactions(_file(tmp_path, GOOD), weight="stars").fingerprint
    rows = pl.read_parquet(tmp_path / "bad" / "rows.parquet")
    assert rows["row"].to_list() == [1, 2, 3, 4, 5]
    assert rows["reason"].to_list() == [
        "column 'user_id': no value",
        "column 'item_id': a word for a missing value; column 'stars': not a finite number",
        "column 'timestamp': not a time",
        "column 'stars': no value",
        "column 'timestamp': not a time; column 'stars': not a finite number",
    ]
    assert rows.row(2)[5:] == ("u1", "i1", "yesterday", "3")
    assert rows["line"].to_list() == [2, 3, 4, 5, 6]
    counts = json.loads((tmp_path / "bad" / "counts.json").read_text())
    assert (counts["rows"], counts["kept"], counts["quarantined"]) == (65, 60, 5)


CELLS = st.tuples(
    st.sampled_from(["u1", "u2", " ", "NULL", ""]), st.sampled_from(["i1", "i2", "nan", ""]),
    st.sampled_from(["1700000000", "1700000001", "x", "", "inf"]), st.sampled_from(["1", "2.5", "x", "", "nan", "1e40"]),
)  # fmt: skip


@settings(max_examples=25)
@given(st.lists(CELLS, min_size=1, max_size=8))
def test_what_is_kept_can_be_read_and_the_counts_add_up(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, ...]]
) -> None:
    file = _file(tmp_path_factory.mktemp("log"), "".join(",".join(row) + "\n" for row in rows))
    good = [r for r in rows if r[0] in ("u1", "u2") and r[1] in ("i1", "i2") and r[2][:2] == "17" and r[3] in ("1", "2.5")]
    if not good:
        with pytest.raises(DataError, match="every row was quarantined"):
            _read(file, quarantine_limit=1)
        return
    assert len(_read(file, quarantine_limit=1)) == len(good)
    counts = json.loads((file.parent / "bad" / "counts.json").read_text())
    assert counts["kept"] == len(good)
    assert counts["rows"] == len(rows) == counts["kept"] + sum(counts["reasons"].values())


def test_a_wrong_column_is_no_dirt_and_nothing_is_written(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"60 of 60 rows cannot be used.*row 1 of .*'item_id': not a time"):
        _read(_file(tmp_path, GOOD), timestamp="item_id")
    with pytest.raises(DataError, match=r"5 of 65 rows.*more than the share 0.05"):
        _read(_file(tmp_path, BAD + GOOD), quarantine_limit=0.05)
    assert not (tmp_path / "bad").exists()


def test_frames_and_numbers_are_sifted_and_unordered_rows_are_left_to_drop_unordered(tmp_path: Path) -> None:
    frame = pl.DataFrame(
        {
            "user_id": [1, None, 3],
            "item_id": [1, 2, 3],
            "timestamp": [1.7e9, 1.7e9, None],
            "stars": [1.0, float("nan"), 3.0],
        }
    )
    how: dict[str, Any] = {"weight": "stars", "on_error": "quarantine", "quarantine_limit": 0.9}
    assert len(recsys.read_interactions(frame, **how, quarantine=tmp_path / "a")) == 1
    assert pl.read_parquet(tmp_path / "a" / "rows.parquet")["row"].to_list() == [2, 3]
    assert len(recsys.read_interactions(frame, **how, drop_unordered=True, quarantine=tmp_path / "b")) == 1
    assert pl.read_parquet(tmp_path / "b" / "rows.parquet")["row"].to_list() == [2]


def test_damaged_lines_of_json_are_set_aside_and_the_rows_keep_their_numbers(tmp_path: Path) -> None:
    good = '{"user_id": "a", "item_id": "x", "timestamp": 1700000000, "stars": 3}\n'
    (file := tmp_path / "log.ndjson").write_text(good + "\n" + '{"user_id": "a", "item\n' + good * 2 + "7\n" + good)
    with pytest.raises(DataError, match="line 3: "):
        recsys.read_interactions(file)
    assert len(_read(file, quarantine_limit=0.5)) == 4
    rows = pl.read_parquet(tmp_path / "bad" / "rows.parquet")
    assert rows["row"].to_list() == [2, 5]
    assert rows["line"].to_list() == [3, 6]
    assert rows["text"].to_list() == ['{"user_id": "a", "item', "7"]
    assert rows["reason"][1] == "damaged line: it is not a JSON object"


DAMAGED = {
    "u1,i1,1700000000": "it has 3 fields, and the header has 4",
    "u1,i1,1700000000,3,": "it has 5 fields, and the header has 4",
    '"u1,i1,1700000000,3': "it holds a quote that is not closed, or stands where none may be",
    '"u1"x,i1,1700000000,3': "it holds a quote that is not closed, or stands where none may be",
}


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_damaged_lines_of_csv_are_set_aside_and_the_rows_keep_their_numbers(tmp_path: Path, end: str) -> None:
    rows = GOOD.splitlines()
    bad = list(DAMAGED)
    lines = [rows[0], bad[0], "", *rows[1:3], *bad[1:3], '"u,""7""\n",i1,1700000000,3', *rows[3:], *bad[3:]]
    file = tmp_path / "log.csv"
    file.write_bytes((HEAD + "\n".join(lines)).replace("\n", end).encode())
    with pytest.raises(DataError, match="log.csv cannot be read as csv: line "):
        recsys.read_interactions(file)
    log = _read(file)
    assert len(log) == 61
    assert f'u,"7"{end}' in log.users.ids.to_list()
    aside = pl.read_parquet(tmp_path / "bad" / "rows.parquet")
    assert aside["row"].to_list() == [2, 5, 6, 65]
    assert aside["line"].to_list() == [3, 7, 8, 68]
    assert aside["text"].to_list() == bad
    assert aside["reason"].to_list() == [f"damaged line: {why}" for why in DAMAGED.values()]
    counts = json.loads((tmp_path / "bad" / "counts.json").read_text())
    assert (counts["rows"], counts["kept"], counts["quarantined"]) == (65, 61, 4)


TEXTS = {
    "log.csv": HEAD + "\r\n" + '"u\n""x""",i1,1700000000,3\n' + "\n\n,i1,1700000000,3\n" + GOOD + "u1,,1700000000,3",
    "log.tsv": (HEAD + 'u"1,i1,1700000000,3\n' + "\n,i1,1700000000,3\n" + GOOD + "\nu1,,1700000000,3").replace(",", "\t"),
    "log.ndjson": '\n {"user_id": "u", "item_id": null, "timestamp": 1700000000, "stars": 3}\n \n'
    + '{"user_id": "u", "item_id": 1, "timestamp": 1700000000, "stars": 3}\n' * 20
    + '{"user_id": "", "item_id": 1, "timestamp": 1700000000, "stars": 3}',
    "log.dat": "u::i::3::1700000000\n\n::i::3::1700000000\n" + "u::i::3::1700000000\r\n" * 20 + "u::::3::1700000000\n",
}


@pytest.mark.parametrize(("name", "lines"), list(zip(TEXTS, [[7, 68], [4, 66], [2, 24], [3, 24]], strict=True)))
@pytest.mark.parametrize("packed", [False, True])
def test_the_lines_of_rows_that_are_set_aside_are_those_of_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, lines: list[int], packed: bool
) -> None:
    monkeypatch.setattr("recsys.data.formats.text_lines._BLOCK", 64)
    text = TEXTS[name].encode()
    file = tmp_path / (f"{name}.gz" if packed else name)
    file.write_bytes(gzip.compress(text) if packed else text)
    _read(file, weight="rating" if name == "log.dat" else "stars")
    assert pl.read_parquet(tmp_path / "bad" / "rows.parquet")["line"].to_list() == lines
    for line in lines:
        assert "yesterday" not in text.decode().split("\n")[line - 1]
        assert any(
            gap in text.decode().split("\n")[line - 1] for gap in ('""', "null", ",,", "\t\t", "::::", ",i", "\ti", "::i")
        )


def test_a_damaged_file_is_read_piece_by_piece(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = GOOD.splitlines()
    file = _file(tmp_path, "\n".join([*rows[:9], *DAMAGED, *rows[9:]]))
    sizes = list[int]()
    scanned = delimited.Delimited._scanned

    def held(*given: Any, **how: Any) -> pl.DataFrame:
        sizes.append((frame := scanned(*given, **how)).height)
        return frame

    monkeypatch.setattr(delimited.Delimited, "_scanned", held)
    monkeypatch.setattr("recsys.data.importing.Bounds.of", lambda _: Bounds(rows=7, events=50, memory=1 << 30))
    how: dict[str, Any] = {"on_error": "quarantine", "quarantine": tmp_path / "bad"}
    assert len(recsys.import_log(file, tmp_path / "store", **how)) == 60
    assert max(sizes) <= 7
    assert pl.read_parquet(tmp_path / "bad" / "rows.parquet")["line"].to_list() == [11, 12, 13, 14]


def test_an_append_that_fails_leaves_no_quarantine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, store = _file(tmp_path, BAD + GOOD), tmp_path / "store"
    recsys.import_log(pl.DataFrame({"user_id": ["u1"], "item_id": ["i1"], "timestamp": [1]}), store)
    how: dict[str, Any] = {"on_error": "quarantine", "quarantine": tmp_path / "bad", "append": True}

    def full(*_: object, **__: object) -> None:
        assert not (tmp_path / "bad").exists()
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("recsys.data.importing.append_to", full)
        with pytest.raises(OSError, match="No space left"):
            recsys.import_log(file, store, **how)
    assert sorted(one.name for one in tmp_path.iterdir()) == ["log.csv", "store"]
    assert len(recsys.import_log(file, store, **how)) == 62
    assert (tmp_path / "bad" / "rows.parquet").exists()


def test_rows_of_a_query_are_set_aside(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/shop.db"
    frame = pl.DataFrame({"user_id": ["a", None, "b"], "item_id": [1, 2, 3], "timestamp": [1.7e9, 1.7e9, 1.7e9]})
    frame.write_database("events", url)
    how: dict[str, Any] = {"on_error": "quarantine", "quarantine": tmp_path / "bad", "quarantine_limit": 0.5}
    assert len(read_sql("SELECT * FROM events", url, **how)) == 2
    rows = pl.read_parquet(tmp_path / "bad" / "rows.parquet")
    assert rows.row(0)[:4] == ("the query's result", 2, None, "column 'user_id': no value")


def test_damaged_lines_of_tsv_have_quotes_that_are_ordinary(tmp_path: Path) -> None:
    (file := tmp_path / "log.tsv").write_text((HEAD + GOOD).replace(",", "\t") + 'u"1\ti1\n' + 'u"1\ti1\t1700000000\t3\n')
    assert len(_read(file)) == 61
    assert pl.read_parquet(tmp_path / "bad" / "rows.parquet")["text"].to_list() == ['u"1\ti1']


@pytest.mark.parametrize("append", [False, True])
def test_an_import_sets_the_same_rows_aside_piece_by_piece(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, append: bool
) -> None:
    monkeypatch.setattr("recsys.data.importing.Bounds.of", lambda _: Bounds(rows=7, events=50, memory=1 << 30))
    lines = (BAD + GOOD).splitlines()
    file = _file(tmp_path, "\n".join([*lines[:20], *list(DAMAGED)[:2], *lines[20:]]))
    read = _read(file, quarantine_limit=0.2)
    how: dict[str, Any] = {
        "weight": "stars",
        "on_error": "quarantine",
        "quarantine": tmp_path / "aside",
        "quarantine_limit": 0.2,
    }
    if append:
        (tmp_path / "old").mkdir()
        recsys.import_log(_file(tmp_path / "old", GOOD), tmp_path / "store", weight="stars")
    log = recsys.import_log(file, tmp_path / "store", append=append, **how)
    assert len(log) == len(read) + 60 * append == 60 * (1 + append)
    for name in ("rows.parquet", "counts.json"):
        assert (tmp_path / "aside" / name).read_bytes() == (tmp_path / "bad" / name).read_bytes()


def test_an_import_of_which_too_much_is_dirt_leaves_no_store(tmp_path: Path) -> None:
    how: dict[str, Any] = {"on_error": "quarantine", "quarantine": tmp_path / "bad", "timestamp": "item_id"}
    for limit, told in ((0.1, "60 of 60 rows cannot be used"), (1.0, "every row was quarantined")):
        with pytest.raises(DataError, match=told):
            recsys.import_log(_file(tmp_path, GOOD), tmp_path / "store", quarantine_limit=limit, **how)
    assert [one.name for one in tmp_path.iterdir()] == ["log.csv"]


@pytest.mark.parametrize(
    ("how", "told"),
    [
        ({"on_error": "skip"}, "on_error must be raise or quarantine"),
        ({"on_error": "raise"}, "quarantine= .* needs on_error"),
        ({"quarantine": None}, "needs quarantine=FOLDER"),
        ({"quarantine_limit": 2}, "must lie between 0 and 1"),
    ],
)
def test_arguments_that_contradict_each_other_are_refused(tmp_path: Path, how: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        _read(_file(tmp_path, GOOD), **how)


def test_a_quarantine_and_a_store_lie_apart(tmp_path: Path) -> None:
    file = _file(tmp_path, BAD + GOOD)
    for store, bad in (("out", "out/bad"), ("bad/out", "bad"), ("out", "out")):
        with pytest.raises(ConfigError, match="lies in the other"):
            recsys.import_log(file, tmp_path / store, on_error="quarantine", quarantine=tmp_path / bad)
    assert [one.name for one in tmp_path.iterdir()] == ["log.csv"]


def test_a_folder_with_something_in_it_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "mine").write_text("mine")
    with pytest.raises(ConfigError, match="holds something already"):
        _read(_file(tmp_path, GOOD))


def test_a_full_disk_ends_in_an_error_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(quarantine.pl.DataFrame, "write_parquet", full)
    with pytest.raises(OSError, match="No space left"):
        _read(_file(tmp_path, BAD + GOOD))
    assert [one.name for one in tmp_path.iterdir()] == ["log.csv"]


def test_the_command_line_prints_the_counts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["inspect", str(_file(tmp_path, BAD + GOOD)), "--weight", "stars", "--on-error", "quarantine"]
    assert main([*words, "--quarantine", str(tmp_path / "bad")]) == 0
    assert "65 rows read: 60 kept, 5 quarantined in" in capsys.readouterr().err
    assert main(words) == 2
    assert "--quarantine FOLDER" in capsys.readouterr().err
