"""Each recipe on files that look like the published ones, with each of their quirks."""

from __future__ import annotations

import gzip
import json
import re
import shlex
import shutil
import zipfile
from collections.abc import Callable
from datetime import date, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import recsys
from recsys.cli.parser import build_parser, main
from recsys.data.recipes.blocks import blocks
from recsys.data.recipes.prepare import Prepared, prepared
from recsys.data.recipes.sieve import Sieve
from recsys.data.recipes.spec import names, public_set
from recsys.data.recipes.tables import frames
from recsys.errors import ConfigError, DataError
from tests.data.recipes.look_alikes import (
    EDITIONS,
    LOOK_ALIKES,
    lines,
    ml_1m,
    ml_latest,
)


@pytest.fixture
def made(tmp_path: Path) -> Callable[[str], Prepared]:
    def make(name: str, size: int = 1 << 20) -> Prepared:
        shutil.rmtree(tmp_path / "raw", ignore_errors=True)
        (tmp_path / "raw").mkdir()
        LOOK_ALIKES[name](tmp_path / "raw")
        return prepared(name, tmp_path / "raw", tmp_path / "out", overwrite=True, size=size)

    return make


def log_of(done: Prepared) -> pl.DataFrame:
    return pl.read_parquet(done.folder / "interactions.parquet")


def items_of(done: Prepared) -> pl.DataFrame:
    return pl.read_parquet(done.folder / "items.parquet")


def test_every_recipe_has_a_look_alike() -> None:
    assert names() == sorted([*LOOK_ALIKES, *EDITIONS])
    assert all(public_set(name).published["interactions"] > 1e5 and public_set(name).items for name in EDITIONS)


@pytest.mark.parametrize("name", sorted(LOOK_ALIKES))
def test_rows_add_up_and_the_command_it_gives_reads_them(made: Any, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    done = made(name)
    for counted in done.rows.values():
        assert counted.read == sum(counted.left_out.values()) + counted.written
    assert log_of(done).height == done.rows["log"].written > 0
    words = shlex.split(done.fit)[2:]
    assert main(["inspect", *words[: words.index("--out")], "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    keys = [one for one in log_of(done).columns if one in ("user_id", "item_id", "timestamp")]
    distinct = log_of(done).n_unique(keys) if "--drop-duplicates" in words else log_of(done).height
    assert facts["interactions"] == distinct
    if done.with_users:
        flags = vars(build_parser().parse_args(["fit", "x", *shlex.split(done.with_users)]))
        table = recsys.read_user_table(
            flags["user_table"], user="user_id", categorical=flags["user_columns"], numeric=flags["user_numbers"]
        )
        assert len(table) == done.rows["users"].written
    told = (done.folder / "README.md").read_text(encoding="utf-8")
    assert done.fit in told
    assert done.with_users in told
    assert all(line in told for line in (public_set(name).licence, public_set(name).citation, *public_set(name).quirks))
    small = made(name, 60)
    assert log_of(small).sort(pl.all()).equals(log_of(done).sort(pl.all())), "blocks change nothing"
    assert small.rows["log"].to_dict() == done.rows["log"].to_dict()


DIRT: dict[str, tuple[str, str, list[tuple[int, str]]]] = {
    "ml-1m": ("ratings.dat", "2::x::4::978298413\n2::661::4\n::661::4::978298413\n", [
        (5, "column 'movie': the item_id cannot be read"), (6, "damaged line: the line does not have 4 fields"),
        (7, "column 'user': no user_id")]),
    "ml-latest": ("ratings.csv", '3,3,nan,964982703\n3,3\n3,3,"4.0"x,9649\n3,3,4.0,soon\n', [
        (6, "column 'rating': the rating cannot be read"), (7, "damaged line: it has 2 fields, and the header has 4"),
        (8, "damaged line: it holds a quote that is not closed, or stands where none may be"),
        (9, "column 'timestamp': the timestamp cannot be read")]),
    "yelp": ("yelp_academic_dataset_review.json", '{"user_id": "u3"\n7\n', [
        (3, "column 'date': the timestamp cannot be read"),
        (5, "damaged line: it is neither JSON nor a Python literal"),
        (6, "damaged line: it is not an object")]),
    "steam": ("australian_users_items.json.gz", '{"user_id": "u", "items": [{"item_id": "x", "playtime_forever": 1}]}\n', [
        (4, "column 'item_id': the item_id cannot be read")]),
    "mind": ("behaviors.tsv", "4\tU7\tsomeday\t\tN3-1 N4-1\n", [(5, "column 'order': no order")] * 2),
    "retailrocket": ("item_properties_part2.csv", "soon,7,available,0\n", [
        (6, "column 'timestamp': the timestamp cannot be read")]),
    "online-retail": ("data.csv", "536382,22632,WARMER,1,yesterday,1.5,14527,France\n", [
        (9, "column 'InvoiceDate': the timestamp cannot be read")]),
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(DIRT))
def test_rows_that_cannot_be_used_are_set_aside_and_told_by_line(
    made: Any, name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, dirt, expected = DIRT[name]
    clean = log_of(made(name))
    where = tmp_path / "raw" / file
    with gzip.open(where, "at") if file.endswith(".gz") else where.open("a") as stream:
        stream.write("\n" + dirt)  # a blank line is no row, but a line
    words = ["prepare", name, "--from", str(tmp_path / "raw"), "--overwrite", "--out", str(tmp_path / "out"), "--on-error"]
    aside = ["quarantine", "--quarantine", str(tmp_path / "bad")]
    assert main([*words, *aside, "--quarantine-limit", "0.8", "--json"]) == 0
    done = json.loads(capsys.readouterr().out)["rows"]
    assert pl.read_parquet(tmp_path / "out" / "interactions.parquet").equals(clean)
    bad = pl.read_parquet(tmp_path / "bad" / "rows.parquet").filter(pl.col("file") == str(where))
    found = sorted(zip(bad["line"].to_list(), bad["reason"].to_list(), strict=True), key=lambda one: one[0])
    assert found == expected
    read = ["log"] if name == "online-retail" else done  # its catalogue is made from the log
    counts = json.loads((tmp_path / "bad" / "counts.json").read_text())
    assert counts["rows"] == sum(done[table]["read"] for table in read) == counts["kept"] + counts["quarantined"]
    assert counts["quarantined"] == sum(counts["reasons"].values())
    assert all(one["read"] == sum(one["left_out"].values()) + one["written"] for one in done.values())
    how: dict[str, Any] = {"overwrite": True, "on_error": "quarantine", "quarantine_limit": 0.8, "size": 40}
    prepared(name, tmp_path / "raw", tmp_path / "out", quarantine=tmp_path / "again", **how)
    again = pl.read_parquet(tmp_path / "again" / "rows.parquet").filter(pl.col("file") == str(where))
    assert again.sort("line", "reason").equals(bad.sort("line", "reason")), "blocks change nothing"
    assert main([*words, "raise"]) == 2
    assert re.search(rf"{re.escape(file)}.*line \d+", capsys.readouterr().err)


def test_a_quarantine_of_public_files_has_bounds(made: Any, tmp_path: Path) -> None:
    made("ml-1m")
    (tmp_path / "raw" / "ratings.dat").write_text("1::1::5::978300760\n1::2::5::soon\n")
    how: dict[str, Any] = {"overwrite": True, "on_error": "quarantine"}
    for place, limit, why in (
        ("bad", 0.1, "1 of 2 rows cannot be used"), ("out/bad", 0.5, "lies in the other"),
        (None, 0.5, "needs quarantine=")
    ):  # fmt: skip
        with pytest.raises((ConfigError, DataError), match=why):
            recsys.prepare(
                "ml-1m",
                tmp_path / "raw",
                tmp_path / "out",
                quarantine=place and tmp_path / place,
                quarantine_limit=limit,
                **how,
            )
    assert not (tmp_path / "bad").exists()
    assert log_of(made("ml-1m")).height == 3


def test_movielens_of_all_ages(made: Any) -> None:
    old = made("ml-100k")
    assert items_of(old).select("title", "genres").rows() == [
        ("Toy Story (1995)", "Animation|Comedy"),
        ("Kolyá (1996)", "unknown"),
    ]
    assert pl.read_parquet(old.folder / "users.parquet")["age"].to_list() == [24, 53]
    assert log_of(old)["timestamp"][0] == datetime(1997, 12, 4, 15, 55, 49)
    assert old.notes[0] == "the makers count 100,000 interactions, these files hold 3"
    one = made("ml-1m")
    assert items_of(one)["title"].to_list() == ["Amélie (1975)"]
    assert one.rows["items"].left_out == {"the line does not have 3 fields": 1}
    assert one.notes[-1] == "1 items of the log are not in the catalogue"
    new = made("ml-latest")
    assert items_of(new)["title"].to_list() == ["American President, The (1995)", 'A "quoted" one']
    assert log_of(new)["rating"].to_list() == [4.0, 0.5, 5.0]


def test_amazon_turned_its_columns_round(made: Any) -> None:
    old = made("amazon-2014")
    assert log_of(old).row(0) == ("A1", "B001", 5.0, date(2014, 2, 28))
    assert items_of(old).row(0)[1:5] == ("Soap & 'Water'", None, "Beauty > Bath | Gifts", None)
    middle = made("amazon-2018")
    assert log_of(middle).row(0) == ("A1", "B001", 5.0, date(2014, 2, 28))
    assert items_of(middle)["title"].to_list() == ["Soap bar", None]
    assert items_of(middle)["categories"][0] == "Beauty, Bath & Shower"
    assert middle.rows["items"].left_out == {"the item_id occurs before; its first row counts": 1}
    new = made("amazon-2023")
    assert log_of(new).row(1) == ("AG", "P1", 4.0, datetime(2020, 5, 5, 14, 8, 48, 923000))


def test_texts_that_are_no_json(made: Any) -> None:
    done = made("steam")
    assert log_of(done).rows() == [("js41637", 10, 6.0, 0.0), ("js41637", 20, 0.0, 0.0)]
    assert done.rows["items"].left_out == {"no item_id": 1}
    assert log_of(made("steam-reviews"))["timestamp"].to_list() == [date(2017, 12, 17), date(2017, 8, 2)]
    assert made("yelp").rows["log"].left_out == {"the timestamp cannot be read": 1}


def test_json_is_read_alike_fast_and_line_by_line(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"user_id": "u", "business_id": "b", "stars": 5.0, "date": "2018-07-07"},
        {"user_id": 7, "business_id": "\ud83d", "stars": "4", "date": None},
        {"business_id": "[b]", "stars": 2, "date": "é"},
    ]
    texts = [json.dumps(row) for row in rows]
    source = public_set("yelp").log[0]
    found = []
    for name, more in (("fast", []), ("slow", ['{"user_id": ["v", "w"]}'])):
        (tmp_path / name).write_text(lines(*texts[: 1 if name == "fast" else 3], "", *more))
        found.append(pl.concat(frames(tmp_path / name, source, Sieve())))
    assert found[0].rows()[0][:3] == found[1].rows()[0][:3] == (1, "u", "b")
    assert [one["stars"].cast(pl.Float64)[0] for one in found] == [5.0, 5.0]
    assert found[1]["business_id"].to_list() == ["b", "?", "[b]", None]
    assert found[1]["user_id"].to_list() == ["u", "7", None, "v, w"]


def test_logs_without_times(made: Any) -> None:
    done = made("goodbooks-10k")
    assert log_of(done)["order"].to_list() == [0, 1, 2]
    assert items_of(done).row(0) == (258, 'The "X"', "Ann, B.", -750.0, "eng")
    done = made("lastfm-360k")
    assert done.rows["log"].left_out == {
        "the line does not have 4 fields": 1, "the user is no sha1": 1, "no item_id": 1
    }  # fmt: skip
    assert items_of(done)["item_id"].to_list() == ['"the" band', "betty blowtorch"]


def test_what_is_no_purchase_is_left_out_and_counted(made: Any) -> None:
    done = made("online-retail")
    assert log_of(done)["user_id"].to_list() == [17850, 17850, 13047]
    assert log_of(done)["timestamp"][1] == datetime(2010, 12, 13, 8, 28)
    assert sum(done.rows["log"].left_out.values()) == len(done.rows["log"].left_out) == 3
    assert items_of(done).rows() == [("85123A", "HOLDER, £ SET")]


def test_a_workbook_is_read_as_its_csv(made: Any, tmp_path: Path) -> None:
    done = made("online-retail")
    plain = log_of(done)
    texts = [line.split("|") for line in SHEET.split("\n")]
    cells = "".join(
        f'<row r="{row}">{"".join(cell(row, place, text) for place, text in enumerate(one) if text)}</row>'
        for row, one in enumerate(texts, 1)
    )
    (tmp_path / "raw" / "data.csv").unlink()
    with zipfile.ZipFile(tmp_path / "raw" / "Online Retail.xlsx", "w") as book:
        space = 'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"'
        book.writestr("xl/sharedStrings.xml", f"<sst {space}><si><t>85123A</t></si></sst>")
        book.writestr("xl/worksheets/sheet1.xml", f"<worksheet {space}><sheetData>{cells}</sheetData></worksheet>")
    sheet = log_of(prepared("online-retail", tmp_path / "raw", tmp_path / "sheet"))
    assert sheet.equals(plain)


SHEET = """Invoice|StockCode|Description|Quantity|InvoiceDate|Price|Customer ID|Country
536365|85123A|HOLDER|6|40513.35138888889|2.55|17850|United Kingdom
536366|85123A||6|40525.352777777778|2.55|17850|United Kingdom
536367|85123A|HOLDER|2|40513.375|2.55|13047|United Kingdom
C536379|22632|HAND WARMER|-1|40513.403472222220|27.5|14527|United Kingdom"""


def cell(row: int, place: int, text: str) -> str:
    at = f"{chr(ord('A') + place)}{row}"
    if text == "85123A":
        return f'<c r="{at}" t="s"><v>0</v></c>'
    if row > 1 and text[0].isdigit():
        return f'<c r="{at}"><v>{text}</v></c>'
    return f'<c r="{at}" t="inlineStr"><is><t>{text}</t></is></c>'


def test_impressions_become_events_in_their_order(made: Any) -> None:
    done = made("mind")
    log = recsys.read_interactions(done.folder / "interactions.parquet", order="order", event="event_type")
    items = log.items.ids.gather(log.histories.rows[: log.histories.lengths[0]]).to_list()
    assert items == ["N1", "N2", "N3", "N5", "N6"]
    assert log_of(done)["timestamp"].null_count() == 2
    assert sum(done.rows["log"].left_out.values()) == 4
    assert items_of(done)["title"][0] == 'A "quoted" title 1'


def test_properties_become_a_catalogue(made: Any) -> None:
    done = made("retailrocket")
    assert items_of(done).rows() == [(355908, "1116713 960601", "1338", None, 552.0), (7, None, None, "0", None)]
    assert log_of(done)["timestamp"][0] == datetime(2015, 6, 2, 5, 2, 12, 117000)


def test_leading_zeros_stay(made: Any) -> None:
    done = made("hm")
    assert log_of(done)["item_id"].to_list() == ["0663713001", "0663713001", "0541518023"]
    assert items_of(done)["description"][0] == "Soft,\nwarm"
    assert recsys.read_interactions(done.folder / "interactions.parquet").items.ids.dtype == pl.String


def test_an_archive_is_read_as_it_was_downloaded(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ml_1m(tmp_path)
    with zipfile.ZipFile(tmp_path / "ml-1m.zip", "w") as archive:
        for name in ("ratings.dat", "movies.dat", "users.dat"):
            archive.write(tmp_path / name, f"ml-1m/{name}")
    words = ["prepare", "ml-1m", "--from", str(tmp_path / "ml-1m.zip"), "--out", str(tmp_path / "out")]
    assert main([*words, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["sizes"] == {"interactions": 3, "users": 2, "items": 2}
    assert main(words) == 2
    assert "already holds something" in capsys.readouterr().err
    assert main([*words, "--overwrite"]) == 0
    assert {one.name for one in (tmp_path / "out").iterdir()} == {
        "README.md", "counts.json", "interactions.parquet", "items.parquet", "users.parquet"
    }  # fmt: skip


def test_the_list_names_every_recipe(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["prepare", "--list", "--json"]) == 0
    assert [one["name"] for one in json.loads(capsys.readouterr().out)] == names()
    assert main(["prepare", "ml-1m"]) == 2
    assert "needs NAME, --from PATH and --out" in capsys.readouterr().err


def test_what_cannot_be_is_one_sentence(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    raw.mkdir()
    (raw / "notes.txt").write_text("x")
    with pytest.raises(DataError, match=r"is read from ratings.dat .* found: notes.txt; download it from https"):
        recsys.prepare("ml-1m", raw, tmp_path / "out")
    with pytest.raises(ConfigError, match="no recipe 'ml-2m'; the recipes are amazon-2014"):
        recsys.prepare("ml-2m", raw, tmp_path / "out")
    with pytest.raises(ConfigError, match="would be replaced"):
        recsys.prepare("ml-1m", raw, tmp_path, overwrite=True)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("x")
    with pytest.raises(ConfigError, match="was not prepared by recsys"):
        recsys.prepare("ml-1m", raw, tmp_path / "mine", overwrite=True)
    ml_latest(raw)
    (raw / "ratings.csv").write_text("a,b\n1,2\n")
    with pytest.raises(DataError, match=r"ratings.csv has no column 'userId'; its columns are a, b"):
        recsys.prepare("ml-latest", raw, tmp_path / "out")
    (raw / "ratings.csv").write_text("userId,movieId,rating,timestamp\nx,1,1,1\n")
    with pytest.raises(DataError, match="no row of .* is left: rows read 1, left out: the user_id cannot be read"):
        recsys.prepare("ml-latest", raw, tmp_path / "out")
    (raw / "more").mkdir()
    ml_latest(raw / "more")
    with pytest.raises(DataError, match="several files may be meant"):
        recsys.prepare("ml-latest", raw, tmp_path / "out")
    (raw / "reviews_X.json.gz").write_bytes(gzip.compress(b'{"reviewerID": "a"}\n{"reviewer')[:-9])
    with pytest.raises(DataError, match="cut off"):
        recsys.prepare("amazon-2014", raw / "reviews_X.json.gz", tmp_path / "out")
    (raw / "reviews_X.json").write_text('{"reviewerID": "a"}\n{"reviewer\n')
    with pytest.raises(DataError, match=r"reviews_X.json: line 2 is neither JSON nor a Python literal"):
        recsys.prepare("amazon-2014", raw / "reviews_X.json", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("size", [1, 3, 7, 1000])
def test_blocks_end_where_rows_do(tmp_path: Path, size: int) -> None:
    text = 'a,"b\nc"\r\nd,é\n"e\n\nf",g'
    (tmp_path / "x.csv").write_text(text, encoding="utf-8", newline="")
    found = list(blocks(tmp_path / "x.csv", "utf-8", quoted=True, size=size))
    assert "".join(part for _, part in found) == text.replace("\r\n", "\n")
    assert all(part.count('"') % 2 == 0 for _, part in found)
    assert [line for line, _ in found] == [1 + text[: text.index(part[0] + part[1])].count("\n") for _, part in found]
    (tmp_path / "bad.csv").write_bytes(b"a\nb\n\xff\n")
    with pytest.raises(DataError, match="line 3 is not utf-8"):
        list(blocks(tmp_path / "bad.csv", "utf-8", size=size))
