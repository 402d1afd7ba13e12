import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys.core.id_map import IdMap, encode
from recsys.core.schema import canonical_ids
from recsys.errors import UnknownIdError
from tests.data.worlds import refused, small

numeric_looking = st.text(alphabet="0421 -+a.é", max_size=4).filter(lambda text: not text.endswith(".0"))
text_ids = st.lists(numeric_looking, min_size=1, max_size=12)
whole_ids = st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=12)
DIFFERENT = ["042", " 42", "42 ", "+42", "4_2", "٤٢"]


def items(ids: list[object], **kwargs: object) -> IdMap:
    return IdMap(pl.Series(ids, **kwargs), "item")


@small
@given(st.one_of(text_ids, whole_ids))
def test_encoding_round_trips(ids):
    id_map, rows = encode(pl.Series(ids), "item")
    assert id_map.to_ids(rows).cast(pl.String).to_list() == [str(one) for one in ids]
    assert len(id_map) == len(set(ids))
    assert rows.dtype == np.int32


@small
@given(text_ids)
def test_text_becomes_numbers_only_where_nothing_is_lost(ids):
    canonical = canonical_ids(pl.Series(ids))
    assert canonical.cast(pl.String).to_list() == ids
    assert canonical.dtype in (pl.Int64, pl.String)


@small
@given(whole_ids)
def test_a_number_and_its_text_are_the_same_id(ids):
    as_numbers, as_text = (canonical_ids(pl.Series(one)) for one in (ids, [str(i) for i in ids]))
    assert as_numbers.equals(as_text)
    assert as_numbers.dtype == pl.Int64


@pytest.mark.parametrize("pair", [("42", other) for other in DIFFERENT] + [("0", "-0"), ("0", "00")])
def test_ids_written_differently_are_different_ids(pair):
    id_map, rows = encode(pl.Series(pair), "item")
    assert id_map.ids.to_list() == list(pair)
    assert rows.tolist() == [0, 1]
    assert id_map.find_rows(pair).tolist() == [0, 1]


@pytest.mark.parametrize("dtype", [pl.Int8, pl.Int32, pl.UInt8, pl.UInt64, pl.Int128])
def test_integers_of_any_width_become_int64(dtype):
    assert canonical_ids(pl.Series([7, 1], dtype=dtype)).to_list() == [7, 1]
    assert canonical_ids(pl.Series([7, 1], dtype=dtype)).dtype == pl.Int64


@pytest.mark.parametrize("dtype", [pl.UInt64, pl.Int128])
def test_integers_too_large_for_int64_become_text_and_stay_apart(dtype):
    huge = pl.Series([2**63, 2**63 + 1, 5], dtype=dtype)
    assert canonical_ids(huge).to_list() == ["9223372036854775808", "9223372036854775809", "5"]


def test_categories_and_enums_are_read_as_their_text():
    assert canonical_ids(pl.Series(["b", "a"], dtype=pl.Categorical)).to_list() == ["b", "a"]
    assert canonical_ids(pl.Series(["7", "8"], dtype=pl.Enum(["8", "7"]))).to_list() == [7, 8]


def test_booleans_are_text_and_not_0_and_1():
    assert canonical_ids(pl.Series([True, False])).to_list() == ["true", "false"]


def test_rows_follow_first_appearance():
    id_map, rows = encode(pl.Series(["b", "a", "b", "c"]), "item")
    assert id_map.ids.to_list() == ["b", "a", "c"]
    assert rows.tolist() == [0, 1, 0, 2]


@small
@given(text_ids, text_ids)
def test_find_gives_the_row_of_the_very_same_id_or_minus_one(known, asked):
    id_map = items(list(dict.fromkeys(known)))
    naive = {str(one): row for row, one in enumerate(id_map.ids.to_list())}
    wanted = [naive.get(one, -1) for one in asked]
    assert id_map.find_rows(asked).tolist() == wanted
    assert id_map.find_rows(pl.Series(asked)).tolist() == wanted


@small
@given(whole_ids, whole_ids)
def test_find_takes_numbers_and_their_text_alike(known, asked):
    id_map = items(list(dict.fromkeys(known)))
    naive = {one: row for row, one in enumerate(id_map.ids.to_list())}
    wanted = [naive.get(one, -1) for one in asked]
    for way in (asked, [str(one) for one in asked], pl.Series(asked), pl.Series([str(one) for one in asked])):
        assert id_map.find_rows(way).tolist() == wanted


@pytest.mark.parametrize("ids", [[3, 1, 2], ["c", "a", "b"], ["042", "42", "7"]])
def test_many_ids_are_found_as_few_are(ids):
    id_map = items(ids)
    asked = [*ids, None, "042", "42", "nobody", "1"]
    few = id_map.find_rows(asked)
    many = id_map.find_rows(asked * 300)
    assert many.tolist() == few.tolist() * 300
    assert few.dtype == many.dtype == np.int32


@pytest.mark.parametrize(
    "other", ["042", " 42", "+42", 42.5, True, None, 2**70, b"42", np.float64(42.5), "", "NaN", ("42",)]
)
def test_what_is_not_the_id_is_not_found(other):
    assert items([42, 1]).find_rows([other]).tolist() == [-1]
    assert items([42, 1]).find_rows([other, 1]).tolist() == [-1, 1]


@pytest.mark.parametrize("series", [pl.Series(["042", "42"]), pl.Series([42.5, 42.0]), pl.Series([True, False])])
def test_a_series_of_another_type_is_not_rounded_into_the_map(series):
    id_map = items([42, 1, 0])
    assert id_map.find_rows(series).tolist() == [0 if one in ("42", 42.0) else -1 for one in series.to_list()]


def test_text_ids_are_found_by_numbers():
    assert items(["a", "7"]).find_rows([7, np.int64(7), "7", "a"]).tolist() == [1, 1, 1, 0]
    assert items(["a", "7"]).find_rows(pl.Series([7])).tolist() == [1]


def test_nothing_asked_is_nothing_found():
    assert items([1]).find_rows([]).tolist() == []
    assert items(["a"]).to_rows([]).tolist() == []


def test_rows_are_found_from_any_iterable():
    assert items(["a", "b"]).to_rows(one for one in ("b", "a")).tolist() == [1, 0]


def test_unknown_ids_are_named():
    with refused("unknown item 'x', 'y': not among the 2 known items", "'a', 'b'", error=UnknownIdError):
        items(["a", "b"]).to_rows(["x", "a", "y"])


def test_an_id_without_the_zeros_of_a_known_one_is_asked_about():
    known = items(["000017", "0042", "042", "b"])
    with refused("unknown item '17'", "; did you mean '000017'?", error=UnknownIdError):
        known.to_rows(["17"])
    for other in ("42", "b17", "0"):  # two are alike, none is alike, no number
        with pytest.raises(UnknownIdError) as told:
            known.to_rows([other])
        assert "did you mean" not in str(told.value)


def test_many_unknown_ids_are_counted():
    with refused("unknown item 1, 2, 3, 4, 5 and 7 more", "known items (such as 0)", error=UnknownIdError):
        items([0]).to_rows(pl.Series(range(1, 13)))


@small
@given(st.one_of(text_ids, whole_ids), st.one_of(text_ids, whole_ids))
def test_extended_keeps_every_row_and_appends_the_rest(known, more):
    id_map = items(list(dict.fromkeys(known)))
    extended = id_map.extended(pl.Series(list(dict.fromkeys(more))))
    before, after = [str(one) for one in id_map.ids], [str(one) for one in extended.ids]
    assert after[: len(before)] == before
    assert set(after) == set(before) | {str(one) for one in more}
    assert len(after) == len(set(after))
    assert extended.kind == "item"


def test_extended_by_nothing_new_is_the_same_map():
    id_map = items([1, 2])
    assert id_map.extended(pl.Series(["2"])) is id_map
    assert id_map.extended(pl.Series([], dtype=pl.Int64)) is id_map


def test_same_means_same_ids_in_the_same_order():
    assert items([1, 2]).same(items(["1", "2"]))
    assert not items([1, 2]).same(items([2, 1]))
    assert not items([1, 2]).same(items([1]))
    assert not items([1, 2]).same(items(["1", "b"]))


def test_a_null_id_is_refused():
    with refused("1 item ids are null"):
        items(["a", None])


def test_an_id_that_occurs_twice_is_refused():
    with refused("item id 7 occurs more than once"):
        items(["7", "8", "7"])


def test_repr_says_how_many_of_what():
    assert repr(items(["a", "b"])) == "IdMap(2 items, String)"


@pytest.mark.parametrize("dtype", [pl.Int64, pl.String])
def test_maps_that_grow_from_one_another_know_their_own_ids_alone(dtype):
    """A random tree of maps, each one's look-up against a plain list."""
    rng = np.random.default_rng(0)
    first = pl.Series([f"{n}" if dtype == pl.Int64 else f"id {n}" for n in range(5)]).cast(dtype)
    states = [(items(first), first.to_list())]
    everything = pl.Series([f"{n}" if dtype == pl.Int64 else f"id {n}" for n in range(400)]).cast(dtype)
    for _ in range(200):
        id_map, ids = states[rng.integers(max(0, len(states) - 4), len(states))]
        more = everything.gather(rng.choice(400, rng.integers(1, 6), replace=False))
        states.append((id_map.extended(more), ids + [one for one in more.to_list() if one not in ids]))
    for id_map, ids in states:
        assert id_map.ids.to_list() == ids
        np.testing.assert_array_equal(id_map.find_rows(everything), [ids.index(o) if o in ids else -1 for o in everything])
