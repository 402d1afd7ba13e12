"""What a text file is encoded and packed in is found out or told; a wrong guess is refused by its line."""

import gzip
import logging
from pathlib import Path

import pytest

from recsys.data.formats.dialect import Dialect
from recsys.data.formats.table import collect
from recsys.errors import ConfigError
from tests.data.worlds import parquet, refused, written

NAMES = ("user_id", "item_id")
WANTED = {"user_id": "user_id", "item_id": "item_id"}
TEXT = {
    "a.csv": "user_id,item_id\nZoé,1\nJörg €,2\n",
    "a.tsv": "user_id\titem_id\nZoé\t1\nJörg €\t2\n",
    "a.dat": "Zoé::1\nJörg €::2\n",
    "a.ndjson": '{"user_id": "Zoé", "item_id": "1"}\n{"user_id": "Jörg €", "item_id": "2"}\n',
}
ROWS = [("Zoé", "1"), ("Jörg €", "2")]


def rows(file: Path, **dialect: object) -> list[tuple]:
    return collect(file, None, NAMES, WANTED, Dialect(**dialect)).rows()


@pytest.mark.parametrize("name", TEXT)
@pytest.mark.parametrize("encoding", ["utf-8", "cp1252", "iso8859-15", "utf-16", "utf-16-le", "utf-32", "UTF8"])
@pytest.mark.parametrize("packed", [False, True])
def test_every_text_format_may_be_encoded_as_the_caller_says(tmp_path: Path, name, encoding, packed):
    data = TEXT[name].encode(encoding)
    file = written(tmp_path / (name + ".gz" * packed), gzip.compress(data) if packed else data)
    assert rows(file, encoding=encoding) == ROWS


@pytest.mark.parametrize("name", TEXT)
@pytest.mark.parametrize("encoding", ["utf-16", "utf-32", "utf-8-sig"])
def test_a_byte_order_mark_tells_the_encoding(tmp_path: Path, name, encoding, caplog):
    caplog.set_level(logging.INFO, "recsys")
    file = written(tmp_path / name, TEXT[name].encode(encoding))
    assert rows(file) == ROWS
    assert ("read as" in caplog.text) == (encoding != "utf-8-sig")


@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.ndjson"])
def test_a_text_that_is_not_utf8_is_refused_by_its_first_bad_line(tmp_path: Path, name):
    file = written(tmp_path / name, TEXT[name].encode("cp1252"))
    with refused(file, f"line {1 if 'json' in name else 2} is not utf-8", "byte 0xe9", "--encoding cp1252"):
        rows(file)


def test_a_wrong_encoding_is_refused_by_its_first_bad_line(tmp_path: Path):
    good = "user_id,item_id\n" + "u,i\n" * 400_000
    file = written(tmp_path / "a.csv", good.encode() + "Zoé,1\nJörg,\x81\n".encode("latin-1"))
    with refused(file, "line 400003 is not cp1252", "byte 0x81"):
        rows(file, encoding="cp1252")
    with refused(file, "line 400002 is not ascii"):
        rows(file, encoding="ascii")


def test_an_encoding_that_makes_nonsense_of_utf8_is_warned_of(tmp_path: Path, caplog):
    file = written(tmp_path / "a.csv", "user_id,item_id\nZoé,1\n")
    assert rows(file, encoding="latin-1") == [("ZoÃ©", "1")]
    assert [(one.levelname, "its bytes are UTF-8" in one.message) for one in caplog.records] == [("WARNING", True)]


def test_an_encoding_that_the_byte_order_mark_contradicts_is_refused(tmp_path: Path):
    file = written(tmp_path / "a.csv", TEXT["a.csv"].encode("utf-8-sig"))
    with refused(file, "byte order mark of utf-8", "not in cp1252", "leave out encoding="):
        rows(file, encoding="cp1252")


@pytest.mark.parametrize("encoding", ["klingon", "rot13", "", "utf-8\0"])
def test_an_unknown_encoding_is_refused(tmp_path: Path, encoding):
    with refused("encoding= (--encoding)", "is not known", error=ConfigError):
        rows(written(tmp_path / "a.csv", TEXT["a.csv"]), encoding=encoding)


def test_utf16_without_a_mark_is_refused_with_the_likely_cause(tmp_path: Path):
    file = written(tmp_path / "a.csv", TEXT["a.csv"].encode("utf-16-le"))
    with refused(file, "NUL", "encoding='utf-16'"):
        rows(file)


def test_movielens_in_latin1_is_told(tmp_path: Path, caplog):
    caplog.set_level(logging.INFO, "recsys")
    file = written(tmp_path / "a.dat", "A::1\nZoé::2\n".encode("latin-1"))
    assert rows(file) == [("A", "1"), ("Zoé", "2")]
    assert "read as latin-1" in caplog.text
    assert "line 2" in caplog.text


@pytest.mark.parametrize("bad", [b"\xff", b"\x81", b"\xc3"])
def test_one_bad_byte_does_not_turn_a_utf8_movielens_file_into_latin1(tmp_path: Path, bad):
    file = written(tmp_path / "a.dat", "Zoé::1\n".encode() + b"x" + bad + b"::2\n")
    with refused(file, "line 2 is not utf-8", "not latin-1"):
        rows(file)
    assert rows(file, encoding="latin-1")[0] == ("ZoÃ©", "1")


@pytest.mark.parametrize("name", ["a.csv.gz", "a.dat.gz", "a.ndjson.gz", "a.csv"])
def test_a_small_gzip_file_of_nuls_is_refused_before_it_fills_the_memory(tmp_path: Path, name):
    tracked = written(tmp_path / name, gzip.compress(bytes(1 << 26)))
    assert tracked.stat().st_size < 1 << 17
    with refused(tracked, "NUL bytes after unzipping", "damaged"):
        rows(tracked)


def test_a_gzip_file_that_grows_as_no_log_does_is_refused(tmp_path: Path, monkeypatch):
    monkeypatch.setattr("recsys.data.formats.text_bytes._FREE", 1 << 20)
    file = written(tmp_path / "a.csv.gz", gzip.compress(b"user_id,item_id\n" + b"u,i\n" * (1 << 19)))
    with refused(file, "grows more than 200 times", "unzip it yourself"):
        rows(file)


def test_other_packings_are_named(tmp_path: Path):
    with refused("is packed by zip;", "unpack it"):
        rows(written(tmp_path / "a.csv", b"PK\x03\x04" + bytes(50)))


@pytest.mark.parametrize("options", [{"separator": ";"}, {"quote": ""}, {"encoding": "cp1252"}])
def test_what_a_format_does_not_have_is_refused(tmp_path: Path, options):
    file = parquet(tmp_path / "a.parquet", user_id=["u"], item_id=["i"])
    with refused(file, "read as parquet", f"leave out {next(iter(options))}=", error=ConfigError):
        rows(file, **options)
