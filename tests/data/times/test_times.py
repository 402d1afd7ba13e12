"""Times are what they are in every unit, notation and format, or they are refused."""

import logging
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from recsys.data.interactions import Interactions
from recsys.data.read import read_interactions
from recsys.data.times.columns import read_times
from recsys.data.times.request_time import request_second, seconds_of
from recsys.data.times.units import DATE_YEARS, instants, parse_timestamp
from recsys.errors import ConfigError
from tests.data.worlds import parquet, refused, written

START = datetime(2023, 11, 14, 18, 30, 15)
SECONDS = int(START.replace(tzinfo=UTC).timestamp())
FACTOR = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}


def seconds(raw: pl.Series, **options: object) -> list[int | None]:
    made = parse_timestamp(raw, "log.csv, column 't'", **options)
    return made.dt.epoch("s").to_list() if made.dtype.is_temporal() else made.to_list()


@pytest.mark.parametrize("unit", FACTOR)
@pytest.mark.parametrize("kind", [int, float, str, lambda n: f"{n}.0"], ids=["integers", "floats", "text", "float text"])
def test_the_unit_of_numbers_is_told_from_their_values(unit, kind, caplog):
    caplog.set_level(logging.INFO, logger="recsys")
    wanted = [SECONDS, SECONDS + 86_400]
    assert seconds(pl.Series([kind(one * FACTOR[unit]) for one in wanted])) == wanted
    name = {"s": "seconds", "ms": "milliseconds", "us": "microseconds", "ns": "nanoseconds"}[unit]
    assert f"read as {name} since 1970: 2023-11-14 to 2023-11-15" in caplog.text


@pytest.mark.parametrize("unit", FACTOR)
def test_events_within_one_unit_stay_apart(unit):
    raw = pl.Series([SECONDS * FACTOR[unit] + n for n in (2, 0, 1)])
    assert parse_timestamp(raw, "w").arg_sort().to_list() == [1, 2, 0]


@pytest.mark.parametrize("unit", FACTOR)
def test_a_unit_that_is_named_is_taken(unit):
    assert seconds(pl.Series([SECONDS * FACTOR[unit]]), unit=unit) == [SECONDS]


def test_a_named_unit_holds_for_numbers_that_no_unit_would_be_told_from():
    assert seconds(pl.Series([100_000_000_000]), unit="ms") == [100_000_000]
    with refused("row 1 is 100000000000", "between 1980 and 2100 in no unit", "time_unit= (--time-unit)"):
        seconds(pl.Series([100_000_000_000]))


def test_a_unit_that_does_not_exist_is_refused():
    with refused("one of s, ms, us, ns, not 'h'", error=ConfigError):
        seconds(pl.Series([1]), unit="h")


@pytest.mark.parametrize("other", ["ms", "us", "ns"])
def test_units_that_are_mixed_in_a_column_are_refused_with_a_row_of_each(other):
    with refused("several units", f"row 1 is {SECONDS} (seconds)", f"row 3 is {SECONDS * FACTOR[other]}", "time_unit="):
        seconds(pl.Series([SECONDS, SECONDS, SECONDS * FACTOR[other]]))


def test_a_named_unit_that_gives_an_impossible_calendar_is_refused():
    with refused("row 1", SECONDS * 1000, "as seconds since 1970 is not between the years 1900 and 2200; correct"):
        seconds(pl.Series([SECONDS * 1000]), unit="s")


def test_placeholders_are_told(caplog):
    assert seconds(pl.Series([SECONDS * 1000, 0, SECONDS * 1000])) == [SECONDS, 0, SECONDS]
    assert "1 of 3 times lie before 1980 or after 2100" in caplog.text
    assert "row 2 is 0" in caplog.text


def test_numbers_that_are_no_epoch_order_events_and_are_told(caplog):
    caplog.set_level(logging.INFO, logger="recsys")
    assert seconds(pl.Series([0, 1, 317])) == [0, 1, 317]
    assert "from 0 to 317, too small for dates after 1980" in caplog.text


@pytest.mark.parametrize(
    ("raw", "wanted"),
    [
        (pl.Series([20231114, 20240229]), ["2023-11-14", "2024-02-29"]),
        (pl.Series(["20231114", "20240229"]), ["2023-11-14", "2024-02-29"]),
        (pl.Series([20231114.0, None]), ["2023-11-14", None]),
        (pl.Series([202311141800]), ["2023-11-14T18:00:00"]),
        (pl.Series([20231114180059]), ["2023-11-14T18:00:59"]),
        (pl.Series(["20231114T180059Z"]), ["2023-11-14T18:00:59"]),
        (pl.Series(["20231114T180059", "20231114"]), ["2023-11-14T18:00:59", "2023-11-14"]),
        (pl.Series(["2023-11-14T18:00", "2023-11-14 18:01"]), ["2023-11-14T18:00", "2023-11-14T18:01"]),
        (pl.Series(["2023-11-14T18:00+02:00", "2023-11-14 18:00:00+00"]), ["2023-11-14T16:00", "2023-11-14T18:00"]),
        (pl.Series(["2023-11-14 18:00:00 UTC", "2023-11-14 18:00:00,250"]), ["2023-11-14T18:00", "2023-11-14T18:00"]),
        (pl.Series(["2023/11/14", "2023-11-14"], dtype=pl.Categorical), ["2023-11-14", "2023-11-14"]),
        (
            pl.Series(["31.12.2023", "1.2.2024 07:05", "01.02.2024, 18:00:59"]),
            ["2023-12-31", "2024-02-01T07:05", "2024-02-01T18:00:59"],
        ),
        (pl.Series([str(SECONDS * 1000), "2023-11-14T18:30:15"]), [START.isoformat()] * 2),
        (pl.Series([f"{SECONDS}.5", "", "\\N"]), [START.isoformat(), None, None]),
        (pl.Series([str(SECONDS)]).cast(pl.Decimal(20, 0)), [START.isoformat()]),
        (pl.Series([START]).cast(pl.Datetime("ns")), [START.isoformat()]),
    ],
    ids=str,
)
def test_every_notation_gives_its_instant(raw, wanted):
    known = [None if one is None else datetime.fromisoformat(one).replace(tzinfo=UTC).timestamp() for one in wanted]
    assert seconds(raw) == known


def test_a_column_of_compact_dates_with_one_that_is_none_is_refused():
    with refused("row 2 is 20231399", "not a date although", "dates such as 20240531", "time_unit="):
        seconds(pl.Series([20231114, 20231399]))


@pytest.mark.parametrize("other", [0, SECONDS])
def test_compact_dates_beside_other_numbers_are_refused(other):
    with refused("written in several ways", "row 1 is 20231114", f"row 3 is {other}"):
        seconds(pl.Series([20231114, 20231115, other]))


def test_sequence_numbers_that_pass_through_written_dates_are_no_dates():
    raw = pl.Series(range(20_230_000, 20_240_000))
    with refused("not a date although"):  # all of them look like dates, and 4 % are
        seconds(raw)
    assert seconds(pl.Series(range(19_000_000, 21_100_000, 100))) == list(range(19_000_000, 21_100_000, 100))


@pytest.mark.parametrize(
    "value",
    [
        "31/05/2024",
        "05.31.2024",
        "31.05.24",
        "2024-02-30",
        "2024-05-31T24:01",
        "2024-05-31T18:00+25:00",
        "yesterday",
        "1e300",
        "5 o'clock",
    ],
)
def test_text_that_is_no_time_is_refused_by_row(value):
    with refused("log.csv, column 't'", "row 2", repr(value)):
        seconds(pl.Series(["2024-05-31", value]))


def test_day_and_month_between_slashes_are_not_guessed():
    with refused("row 1 is '05/06/2024'", "in some countries the day comes first", "write the year first"):
        seconds(pl.Series(["05/06/2024"]))


@pytest.mark.parametrize(
    "raw", [pl.Series([timedelta(1)]), pl.Series([True]), pl.Series([b"1"]), pl.Series([[1]])], ids=str
)
def test_durations_and_the_like_are_no_times(raw):
    with refused("log.csv", f"is of type {raw.dtype}"):
        seconds(raw)


@pytest.mark.parametrize("physical", [10**16, -(10**17), 9 * 10**18, -9 * 10**18])
def test_dates_outside_the_calendar_are_refused_without_a_panic(physical):
    raw = pl.Series([0, physical]).cast(pl.Datetime("us"))
    with refused("row 2 is not between the years 1900 and 2200", "seconds from 1970); correct"):
        seconds(raw)


def test_dates_of_a_catalogue_may_lie_further_off():
    raw = pl.Series([date(1605, 1, 1), date(9999, 12, 31)])
    assert instants([read_times(raw, "w")], years=DATE_YEARS)[0].dt.year().to_list() == [1605, 9999]
    with refused("row 1 is not between the years 1 and 9999"):
        instants([read_times(pl.Series(["9999-12-31T23:59:59-23:59"]), "w")], years=DATE_YEARS)


# Several files are one column.


def log_file(folder: Path, name: str, *times: object) -> Path:
    lines = "".join(f"u,i{place},{one}\n" for place, one in enumerate(times))
    return written(folder / name, "user_id,item_id,timestamp\n" + lines)


@pytest.mark.parametrize("unit", FACTOR)
def test_a_number_in_one_file_and_a_date_in_another_are_the_same_instant(tmp_path: Path, unit):
    one = log_file(tmp_path, "1.csv", SECONDS * FACTOR[unit])
    two = parquet(tmp_path / "2.parquet", user_id=["u"], item_id=["x"], timestamp=[START])
    assert read_interactions([one, two]).timestamps.tolist() == [SECONDS, SECONDS]


def test_one_unit_in_one_file_and_another_in_the_next_are_refused_by_name(tmp_path: Path):
    one, two = log_file(tmp_path, "1.csv", SECONDS), log_file(tmp_path, "2.csv", SECONDS * 1000)
    with refused(f"{one}, column 'timestamp', row 1 is {SECONDS} (seconds)", f"{two}, column 'timestamp', row 1"):
        read_interactions([one, two])


def test_small_numbers_beside_a_file_of_milliseconds_take_their_unit_and_are_told(tmp_path: Path, caplog):
    one, two = log_file(tmp_path, "1.csv", SECONDS * 1000), log_file(tmp_path, "2.csv", 5000)
    assert read_interactions([one, two]).timestamps.tolist() == [5, SECONDS]
    assert "before 1980" in caplog.text


def test_the_unit_may_be_named_for_a_file_and_for_a_frame(tmp_path: Path):
    file = log_file(tmp_path, "1.csv", 5000, 6000)
    assert read_interactions(file, time_unit="ms").timestamps.tolist() == [5, 6]
    frame = pl.read_csv(file)
    assert Interactions.from_frame(frame, time_unit="ms").timestamps.tolist() == [5, 6]
    assert (
        Interactions.from_frame(frame.with_columns(timestamp=pl.lit(SECONDS * 10**9))).timestamps.tolist() == [SECONDS] * 2
    )


def test_words_for_a_missing_time_are_missing(tmp_path: Path):
    file = log_file(tmp_path, "1.csv", SECONDS, "NULL", "\\N")
    with refused("2 of 3 rows have no value in the column 'timestamp'", "--drop-unordered"):
        read_interactions(file)
    assert len(read_interactions(file, drop_unordered=True)) == 1


# Requests.


@pytest.mark.parametrize(
    "now",
    [
        SECONDS,
        float(SECONDS),
        SECONDS * 1000,
        np.int64(SECONDS * 10**6),
        START,
        START.replace(tzinfo=UTC),
        START.isoformat(),
    ],
    ids=str,
)
def test_the_clock_of_a_request_is_read_as_a_log_is(now):
    assert request_second(now) == SECONDS


def test_a_clock_of_small_numbers_stays_as_it_is():
    assert request_second(318) == 318
    assert request_second(20231114) == SECONDS - SECONDS % 86_400


@pytest.mark.parametrize("now", ["soon", [1, 2], True, [None], {"a": 1}, 10**17, b"1"], ids=str)
def test_what_is_no_clock_is_refused(now):
    with refused("request_time="):
        request_second(now)


def test_times_of_a_request_are_of_one_kind():
    assert seconds_of([SECONDS * 1000, SECONDS * 1000 + 1999], "times=").tolist() == [SECONDS, SECONDS + 1]
    with refused("times="):
        seconds_of([SECONDS, START], "times=")
    with refused("several units"):
        seconds_of([SECONDS, SECONDS * 1000], "times=")
    assert seconds_of([], "times=").tolist() == []


def test_dates_beside_numbers_in_one_column_are_read_and_reported(tmp_path: Path, caplog):
    file = log_file(tmp_path, "1.csv", SECONDS, "2023-11-14")
    assert len(read_interactions(file)) == 2
    assert "1 of 2 times are written as dates and the others as numbers, the first date in row 2" in caplog.text
