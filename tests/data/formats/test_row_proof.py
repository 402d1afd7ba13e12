"""No row is lost and none is invented: what is read of a CSV or TSV file is held against a count of the file."""

import logging
from pathlib import Path

import pytest

from recsys.data.formats.dialect import Dialect
from recsys.data.formats.row_proof import prove
from recsys.data.formats.table import collect
from recsys.data.formats.text_bytes import TextBytes
from tests.data.worlds import refused, written

WANTED = {"user_id": "user_id", "item_id": "item_id"}


def rows(file: Path, **dialect: object) -> list[tuple]:
    return collect(file, None, (), WANTED, Dialect(**dialect)).rows()


def many(line: str, separator: str = ",", odd: dict[int, str] | None = None, end: str = "\n") -> str:
    """A header and 318 rows of user, note and item, some of them replaced."""
    made = [line.format(n=n) for n in range(318)]
    for n, other in (odd or {}).items():
        made[n] = other
    return end.join([separator.join(["user_id", "note", "item_id"]), *made]) + end


EXPECTED = [(f"u{n}", f"i{n}") for n in range(318)]


@pytest.mark.parametrize(("name", "separator"), [("a.tsv", "\t"), ("a.csv", ",")])
@pytest.mark.parametrize("stray", [{7: '15" screen'}, {7: '15" screen', 203: '8" x 10" frame'}, {7: 'a"', 8: 'b""'}])
def test_a_stray_quote_in_a_column_that_nobody_selected_loses_no_row(tmp_path: Path, name, separator, stray):
    odd = {n: separator.join([f"u{n}", note, f"i{n}"]) for n, note in stray.items()}
    file = written(tmp_path / name, many(separator.join(["u{n}", "fine", "i{n}"]), separator, odd))
    assert rows(file) == EXPECTED


def test_a_stray_quote_in_a_selected_column_is_part_of_the_value(tmp_path: Path):
    file = written(tmp_path / "a.csv", 'user_id,item_id\nu,15" tv\nv,"x, ""y"""\n')
    assert rows(file) == [("u", '15" tv'), ("v", 'x, "y"')]


def test_long_texts_do_no_harm_beside_a_stray_quote_or_in_a_header(tmp_path: Path):
    long = "x" * 200_000
    file = written(tmp_path / "a.csv", f'user_id,{long},item_id\nu,{long},i\nv,15" tv,j\n')
    assert rows(file) == [("u", "i"), ("v", "j")]


def test_a_quote_that_never_closes_is_refused_by_its_line(tmp_path: Path):
    file = written(tmp_path / "a.csv", many("u{n},fine,i{n}", odd={7: 'u7,"15 inch,i7'}))
    with refused(file, "the quote that opens in line 9 does not close", "--quote none", '"15 inch'):
        rows(file)
    assert rows(file, quote="none") == EXPECTED


def test_rows_that_a_quote_may_have_swallowed_are_warned_of(tmp_path: Path, caplog):
    file = written(tmp_path / "a.csv", many("u{n},fine,i{n}", odd={7: 'u7,"15 inch,i7', 99: 'u99,12",i99'}))
    assert len(rows(file)) == 318 - 92
    assert "91 lines within quoted fields look like rows" in caplog.text
    assert [one.levelname for one in caplog.records] == ["WARNING"]


def test_a_quoted_field_that_goes_on_after_its_quote_is_refused_by_its_line(tmp_path: Path):
    file = written(tmp_path / "a.csv", 'user_id,note,item_id\nu,fine,i\nv,"big" one,j\n')
    with refused(file, "line 3 has a quote within a field", "double it", "--quote none", '"big" one'):
        rows(file)


def test_tsv_is_read_without_quoting_as_databases_write_it(tmp_path: Path):
    file = written(tmp_path / "a.tsv", 'user_id\tnote\titem_id\nu\t"open\ti\nv\tx\t"j"\n')
    assert rows(file) == [("u", "i"), ("v", '"j"')]


def test_tsv_is_read_with_quoting_where_the_caller_says_so(tmp_path: Path):
    file = written(tmp_path / "a.tsv", 'user_id\tnote\titem_id\nu\t"a\tb"\ti\n')
    with refused(file, "line 2 has more fields", "--quote '\"'"):
        rows(file)
    assert rows(file, quote='"') == [("u", "i")]


def test_tsv_whose_ids_stand_in_quotes_is_told(tmp_path: Path, caplog):
    file = written(tmp_path / "a.tsv", 'user_id\titem_id\n"u"\t"i"\n')
    assert rows(file) == [('"u"', '"i"')]
    assert "1 of 1 values in the column 'user_id' begin and end with a quote" in caplog.text
    assert "--quote '\"'" in caplog.text
    with refused("no column 'user_id'", "--quote '\"'"):
        rows(written(tmp_path / "b.tsv", '"user_id"\t"item_id"\n"u"\t"i"\n'))


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (
            "u1,Hello, world,i5",
            [
                "line 103 has more fields",
                "4 instead of 3",
                "does a text without quotes hold a comma?",
                "u1,Hello, world,i5",
            ],
        ),
        ("u1,i5", ["line 103 has fewer fields", "2 instead of 3", "cut off", "'u1,i5'"]),
        ("u1", ["line 103 has fewer fields", "1 instead of 3"]),
        ("  ", ["line 103 has fewer fields", "1 instead of 3"]),
    ],
)
def test_a_ragged_row_is_refused_whatever_was_projected(tmp_path: Path, row, words):
    file = written(tmp_path / "a.csv", many("u{n},fine,i{n}", odd={101: row}))
    with refused(file, *words):
        rows(file)


def test_a_row_too_long_and_another_too_short_do_not_make_up_for_each_other(tmp_path: Path):
    file = written(tmp_path / "a.csv", many("u{n},fine,i{n}", odd={5: "u,a,b,c", 6: "u,a"}))
    with refused(file, "line 7 has more fields"):
        rows(file)


def test_a_ragged_row_after_a_quoted_line_end_is_named_by_its_line(tmp_path: Path):
    file = written(tmp_path / "a.csv", 'user_id,note,item_id\nu,"two\nlines",i\nv,x\n')
    with refused(file, "line 4 has fewer fields"):
        rows(file)


def test_line_ends_and_separators_within_quotes_are_text(tmp_path: Path, caplog):
    caplog.set_level(logging.INFO, "recsys")
    file = written(tmp_path / "a.csv", many('u{n},"two\r\nlines, ""{n}""",i{n}', end="\r\n"))
    assert rows(file) == EXPECTED
    assert "318 line ends are within quoted fields" in caplog.text


def test_blank_lines_are_left_out_and_told(tmp_path: Path, caplog):
    caplog.set_level(logging.INFO, "recsys")
    file = written(tmp_path / "a.csv", "\n\r\nuser_id,item_id\n\nu,i\r\n\r\nv,j\n\n")
    assert rows(file) == [("u", "i"), ("v", "j")]
    assert "5 blank lines left out" in caplog.text


def test_a_blank_line_within_quotes_is_text(tmp_path: Path):
    file = written(tmp_path / "a.csv", 'user_id,item_id\n\nu,"i\n\nj"\n')
    assert rows(file) == [("u", "i\n\nj")]


@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.ndjson", "a.dat"])
@pytest.mark.parametrize("ends", [["\r"], ["\r", "\n"], ["\n", "\r\n", "\r"]])
def test_mixed_line_ends_lose_no_row(tmp_path: Path, name, ends):
    lines = {
        "a.csv": ["user_id,item_id", *(f"u{n},i{n}" for n in range(60))],
        "a.tsv": ["user_id\titem_id", *(f"u{n}\ti{n}" for n in range(60))],
        "a.dat": [f"u{n}::i{n}" for n in range(60)],
        "a.ndjson": [f'{{"user_id": "u{n}", "item_id": "i{n}"}}' for n in range(60)],
    }[name]
    text = "".join(line + ends[n % len(ends)] for n, line in enumerate(lines))
    file = written(tmp_path / name, text.encode())
    assert collect(file, None, ("user_id", "item_id"), WANTED).rows() == EXPECTED[:60]


@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.dat", "a.ndjson"])
def test_a_byte_order_mark_is_no_part_of_the_first_value(tmp_path: Path, name):
    text = {"a.csv": "user_id,item_id\nu,i\n", "a.tsv": "user_id\titem_id\nu\ti\n", "a.dat": "u::i\n"}
    file = written(tmp_path / name, text.get(name, '{"user_id": "u", "item_id": "i"}\n').encode("utf-8-sig"))
    assert collect(file, None, ("user_id", "item_id"), WANTED).rows() == [("u", "i")]


def test_a_header_that_names_a_wanted_column_twice_is_refused_by_name(tmp_path: Path):
    file = written(tmp_path / "a.csv", "user_id,item_id,note,user_id,note\nu,i,x,v,y\n")
    with refused(file, "names the column 'user_id' twice", "columns 1 and 4", "rename one"):
        rows(file)
    assert collect(file, None, (), {"item_id": "item_id"}).rows() == [("i",)]


@pytest.mark.parametrize("size", [1, 7, 64, 1 << 18])
def test_counting_does_not_depend_on_how_the_bytes_are_cut(monkeypatch, size):
    monkeypatch.setattr("recsys.data.formats.row_proof._PIECE", size)
    text = 'a,b\n1,"x\n,""y"""\n\n2,\r\n"3","\r"\n,'
    found = prove(TextBytes(Path("x"), text.encode()), ",", '"', 2)
    assert (found.rows, found.blank, found.inner_ends, found.flaw) == (5, 1, 1, None)


@pytest.mark.parametrize("size", [1, 7, 64, 1 << 18])
@pytest.mark.parametrize(
    ("text", "kind", "line"),
    [
        ("a,b\n1,2\n1\n", "fields", 3),
        ('a,b\n1,"2\n\n"\n1,2,3', "fields", 5),
        ('a,b\n1,2"\n', "stray", 2),
        ('a,b\n1,"2\n', "open", 2),
        ("a,b\n1,\0\n", "nul", 2),
    ],
)
def test_a_flaw_is_found_however_the_bytes_are_cut(monkeypatch, size, text, kind, line):
    monkeypatch.setattr("recsys.data.formats.row_proof._PIECE", size)
    flaw = prove(TextBytes(Path("x"), text.encode()), ",", '"', 2).flaw
    assert flaw is not None
    assert (flaw.kind, flaw.line) == (kind, line)
