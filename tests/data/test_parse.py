from datetime import UTC, date, datetime, time, timedelta

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys.data.parse import check_ids, parse_event, parse_number, parse_order, parse_weight
from recsys.data.times.units import parse_timestamp
from tests.data.worlds import refused, small

NOON = datetime(2024, 5, 31, 12)
NOON_SECONDS = int(NOON.replace(tzinfo=UTC).timestamp())


def seconds(raw: pl.Series) -> list[int | None]:
    parsed = parse_timestamp(raw, "log.csv, column 't'")
    assert parsed.dtype in (pl.Int64, pl.Datetime("us"), pl.Datetime("ns"))
    return parsed.dt.epoch("s").to_list() if parsed.dtype.is_temporal() else parsed.to_list()


@pytest.mark.parametrize(
    "raw",
    [
        pl.Series([NOON_SECONDS, 0]),
        pl.Series([NOON_SECONDS, 0], dtype=pl.UInt32),
        pl.Series([float(NOON_SECONDS), 0.0]),
        pl.Series([str(NOON_SECONDS), "0"]),
        pl.Series([f" {NOON_SECONDS} ", "0"]),
        pl.Series([f"{NOON_SECONDS}.0", "0.0"]),
        pl.Series(["1.7171568e9", "0"]),
        pl.Series([NOON, datetime(1970, 1, 1)], dtype=pl.Datetime("ms")),
        pl.Series([NOON, datetime(1970, 1, 1)], dtype=pl.Datetime("ns")),
        pl.Series([NOON, datetime(1970, 1, 1)], dtype=pl.Datetime("us")).dt.replace_time_zone("UTC"),
        pl.Series(["2024-05-31T12:00:00Z", "1970-01-01T00:00:00+00:00"]),
        pl.Series(["2024-05-31T14:00:00+02:00", "1969-12-31T19:00:00-0500"]),
        pl.Series(["2024-05-31T12:00:00", "1970-01-01"]),
        pl.Series(["2024-05-31 12:00:00", "1970-01-01 00:00:00.000"]),
        pl.Series([str(NOON_SECONDS), "1970-01-01"]),
    ],
    ids=str,
)
def test_the_same_instants_in_every_notation(raw):
    assert seconds(raw) == [NOON_SECONDS, 0]


def test_a_time_zone_is_taken_into_account():
    berlin = pl.Series([datetime(2024, 5, 31, 14)]).dt.replace_time_zone("Europe/Berlin")
    assert seconds(berlin) == [NOON_SECONDS]


def test_dates_are_midnights_in_utc():
    assert seconds(pl.Series([date(1970, 1, 2), date(1969, 12, 31)])) == [86_400, -86_400]
    assert seconds(pl.Series(["1970-01-02", "1969-12-31"])) == [86_400, -86_400]


@pytest.mark.parametrize(
    "raw", [pl.Series([1, None]), pl.Series([NOON, None]), pl.Series(["5", "  "]), pl.Series(["5", None])]
)
def test_null_and_blank_timestamps_stay_null(raw):
    assert parse_timestamp(raw, "w").null_count() == 1


@small
@given(st.lists(st.datetimes(datetime(1900, 1, 1), datetime(2200, 1, 1)), min_size=1, max_size=6))
def test_what_lies_between_two_seconds_is_kept_for_sorting(instants):
    for raw in (pl.Series(instants), pl.Series([one.isoformat(timespec="microseconds") for one in instants])):
        assert parse_timestamp(raw, "w").to_list() == instants


@small
@given(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1))
def test_whole_numbers_that_order_are_never_rounded(numbers):
    assert parse_order(pl.Series(numbers), "w").to_list() == numbers
    assert parse_order(pl.Series([str(one) for one in numbers]), "w").to_list() == numbers


@small
@given(st.lists(st.integers(1_000_000_000, 4_000_000_000), min_size=1))
def test_whole_seconds_stay_as_they_are(numbers):
    assert parse_timestamp(pl.Series(numbers), "w").to_list() == numbers
    assert parse_timestamp(pl.Series([str(one) for one in numbers]), "w").to_list() == numbers


@pytest.mark.parametrize("value", ["yesterday", "2024-13-01", "31/05/2024", "inf", "1e300", "9223372036854775808"])
def test_an_unparsable_timestamp_is_named_with_its_row(value):
    with refused("log.csv, column 't'", "row 3", repr(value), "whole seconds since 1970", "2024-05-31T18:00:00"):
        seconds(pl.Series(["1", "2", value]))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e300])
def test_a_float_that_is_no_time_is_named_with_its_row(value):
    with refused("log.csv, column 't'", "row 2", repr(value), "whole seconds since 1970"):
        seconds(pl.Series([1.0, value]))


def test_bad_timestamps_are_counted():
    with refused("row 2 is 'a'", "(2 such rows)"):
        seconds(pl.Series(["1", "a", "b"]))


@pytest.mark.parametrize(
    "raw", [pl.Series([True]), pl.Series([time(1)]), pl.Series([timedelta(1)]), pl.Series([[1]])], ids=str
)
def test_a_column_that_holds_no_instants_is_refused_by_type(raw):
    with refused("log.csv, column 't'", f"is of type {raw.dtype}", "whole seconds since 1970"):
        seconds(raw)


@pytest.mark.parametrize("parse", [parse_timestamp, parse_order])
def test_an_integer_beyond_64_bits_is_named(parse):
    with refused("log.csv", "row 2", 2**63, "64 bits"):
        parse(pl.Series([1, 2**63], dtype=pl.UInt64), "log.csv")


def test_numbers_too_far_off_to_stand_beside_dates_are_refused_and_do_not_wrap():
    with refused("log.csv", "row 2", 10**17, "between 1980 and 2100 in no unit"):
        parse_timestamp(pl.Series([1, 10**17]), "log.csv")
    with refused("row 1", 10**17):
        seconds(pl.Series([str(10**17), "2024-01-01"]))


def test_numbers_are_read_from_text_and_from_any_numeric_type():
    assert parse_number(pl.Series([" 1.5", "2", "", None, "-3e2"]), "w").to_list() == [1.5, 2.0, None, None, -300.0]
    assert parse_number(pl.Series([1, None], dtype=pl.UInt8), "w").to_list() == [1.0, None]
    assert parse_weight(pl.Series(["0.5"]), "w").dtype == pl.Float32


@pytest.mark.parametrize("parse", [parse_number, parse_weight, parse_order])
@pytest.mark.parametrize("value", ["much", "nan", "inf", "1,5"])
def test_text_that_is_no_finite_number_is_named(parse, value):
    with refused("log.csv", "row 2", repr(value), "a finite number"):
        parse(pl.Series(["1", value]), "log.csv")


@pytest.mark.parametrize("parse", [parse_number, parse_weight, parse_order])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_float_that_is_not_finite_is_named(parse, value):
    with refused("log.csv", "row 1", repr(value), "a finite number"):
        parse(pl.Series([value, 1.0]), "log.csv")


@pytest.mark.parametrize("raw", [pl.Series([True]), pl.Series([[1.0]]), pl.Series([date(2024, 1, 1)])], ids=str)
def test_a_weight_column_that_holds_no_numbers_is_refused_by_type(raw):
    with refused("log.csv", f"is of type {raw.dtype}", "expected numbers"):
        parse_weight(raw, "log.csv")


def test_a_weight_beyond_32_bits_is_refused_and_does_not_become_infinite():
    with refused("log.csv", "row 2", "1e+300", "32 bits"):
        parse_weight(pl.Series([1.0, 1e300]), "log.csv")


def test_order_keeps_fractions_where_there_are_any():
    assert parse_order(pl.Series(["1", "1.5"]), "w").to_list() == [1.0, 1.5]
    assert parse_order(pl.Series([3.0, None]), "w").to_list() == [3, None]


def test_large_integers_in_text_keep_their_order_beside_blanks():
    close = ["1700000000000000002", "", "1700000000000000001"]
    assert parse_order(pl.Series(close), "w").to_list() == [1700000000000000002, None, 1700000000000000001]


def test_order_may_be_dates_and_keeps_their_fractions():
    parsed = parse_order(pl.Series([NOON, NOON + timedelta(milliseconds=1)]), "w")
    assert parsed[1] - parsed[0] == 1000


@pytest.mark.parametrize("blank", [None, "", "  ", "\t"])
def test_a_blank_id_is_refused_with_count_and_first_row(blank):
    with refused("log.csv, column 'u'", "2 of 4 rows have no value", "the first is row 2", "fill it in, or remove the row"):
        check_ids(pl.Series(["a", blank, "b", blank]), "log.csv, column 'u'")


@pytest.mark.parametrize(
    "raw",
    [
        pl.Series([1, None]),
        pl.Series([1.0, float("nan")]),
        pl.Series(["a", " "], dtype=pl.Categorical),
        pl.Series(["a", " "], dtype=pl.Enum(["a", " "])),
        pl.Series([b"a", b""]),
    ],
    ids=str,
)
def test_a_missing_id_is_found_in_any_type_of_column(raw):
    with refused("1 of 2 rows has no value", "row 2"):
        check_ids(raw, "w")


@pytest.mark.parametrize("raw", [pl.Series([[1], [2]]), pl.Series([{"a": 1}])], ids=str)
def test_lists_and_structs_are_no_ids(raw):
    with refused("log.csv", f"is of type {raw.dtype}", "whole numbers or text"):
        check_ids(raw, "log.csv")


def test_bytes_that_are_no_text_are_no_ids():
    with refused("log.csv", "is of type Binary and not UTF-8", "write the ids as text"):
        check_ids(pl.Series([b"\xff"]), "log.csv")


@pytest.mark.parametrize(
    ("raw", "names"),
    [
        (pl.Series(["view", " Buy", "view"]), ["view", " Buy", "view"]),
        (pl.Series([2, 1]), ["2", "1"]),
        (pl.Series([True, False]), ["true", "false"]),
        (pl.Series(["b", "a"], dtype=pl.Categorical), ["b", "a"]),
        (pl.Series(["b", "a"], dtype=pl.Enum(["a", "b"])), ["b", "a"]),
    ],
    ids=str,
)
def test_event_types_are_kept_as_they_are_written(raw, names):
    assert parse_event(raw, "w").to_list() == names
    assert parse_event(raw, "w").dtype == pl.String


@pytest.mark.parametrize("blank", [None, "", " "])
def test_a_missing_event_type_is_refused_with_count_and_first_row(blank):
    with refused("log.csv, column 'e'", "2 of 3 rows have no value", "the first is row 1", "fill it in"):
        parse_event(pl.Series([blank, "view", blank], dtype=pl.String), "log.csv, column 'e'")


@pytest.mark.parametrize("raw", [pl.Series([1.0]), pl.Series([["view"]]), pl.Series([date(2024, 1, 1)])], ids=str)
def test_a_column_that_holds_no_event_types_is_refused_by_type(raw):
    with refused("log.csv", f"is of type {raw.dtype}", "expected event types: text or whole numbers"):
        parse_event(raw, "log.csv")
