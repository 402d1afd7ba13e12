"""Of newline-delimited JSON no line is lost, and of two equal keys none is taken in silence."""

import json
from pathlib import Path

import pytest

from recsys.data.formats.table import collect
from tests.data.worlds import refused, written

WANTED = {"user_id": "user_id", "item_id": "item_id"}


def rows(folder: Path, *lines: str) -> list[tuple]:
    return collect(written(folder / "a.ndjson", "\n".join(lines) + "\n"), None, (), WANTED).rows()


GOOD = '{"user_id": "u", "item_id": "i"}'


@pytest.mark.parametrize(
    "twice", ['{"user_id":1,"item_id":2,"user_id":3}', '{"user_id" : 1, "item_id": null, "user_id": null}']
)
def test_a_repeated_key_is_refused_by_its_line(tmp_path: Path, twice):
    with refused("a.ndjson: line 3 has the key 'user_id' twice", twice):
        rows(tmp_path, GOOD, "", twice, GOOD)


def test_a_repeated_key_is_found_where_another_line_lacks_it(tmp_path: Path):
    with refused("line 2 has the key 'user_id' twice"):
        rows(tmp_path, '{"item_id": "i"}', '{"user_id":"v","item_id":"j","user_id":"w"}')


@pytest.mark.parametrize("inner", [{"user_id": "x"}, [{"user_id": 1}], 'say "user_id": twice', '"user_id"', ["user_id"]])
def test_the_same_key_within_a_value_does_no_harm(tmp_path: Path, inner):
    line = json.dumps({"user_id": "u", "note": inner, "item_id": "i"})
    assert rows(tmp_path, GOOD, line) == [("u", "i")] * 2


def test_a_repeated_key_that_nobody_wants_does_no_harm(tmp_path: Path):
    assert rows(tmp_path, '{"user_id":"u","x":1,"item_id":"i","x":2}') == [("u", "i")]


@pytest.mark.parametrize("line", [GOOD + GOOD, GOOD + " " + GOOD, GOOD + " x", "5", "null", GOOD[:-4], '{"user_id": 042}'])
def test_a_line_that_is_not_one_object_is_refused(tmp_path: Path, line):
    with refused("cannot be read as ndjson"):
        rows(tmp_path, GOOD, line)


def test_a_json_list_is_refused_with_what_to_do(tmp_path: Path):
    with refused("one JSON list", "on a line of its own"):
        rows(tmp_path, f"[{GOOD}, {GOOD}]")


def test_half_a_letter_is_refused_by_its_line(tmp_path: Path):
    assert rows(tmp_path, r'{"user_id": "\ud83d\ude00", "item_id": "i"}') == [("😀", "i")]
    with refused("line 2 holds half a letter"):
        rows(tmp_path, GOOD, r'{"user_id": "a\ud83d", "item_id": "i"}')


def test_blank_lines_are_no_rows(tmp_path: Path):
    assert rows(tmp_path, "", GOOD, "   ", GOOD, "\t", "") == [("u", "i")] * 2


def test_a_broken_line_is_refused_by_its_number(tmp_path: Path):
    with refused("a.ndjson cannot be read as ndjson: line 2: ", "at character 15"):
        rows(tmp_path, '{"user_id": "u", "item_id": "i"}', '{"user_id": 1,')
    with refused("line 2: it is not a JSON object: '[1]'"):
        rows(tmp_path, '{"user_id": "u", "item_id": "i"}', "[1]")
