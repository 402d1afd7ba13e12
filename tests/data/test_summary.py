import json
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from recsys.data.catalog import Catalog
from recsys.data.interactions import Interactions
from recsys.data.split import leave_last_out
from recsys.data.summary import summary, summary_text
from tests.data.worlds import log_of, timeless

DAY = 86_400
EVENTS = [(1, 10, 0), (1, 11, DAY), (1, 10, 2 * DAY), (1, 12, DAY), (2, 10, 0), (3, 10, 3 * DAY), (3, 11, DAY)]


@pytest.fixture
def log() -> Interactions:
    return log_of(EVENTS)


def catalog(**columns: object) -> Catalog:
    return Catalog.from_frame(pl.DataFrame(columns), text=["title"])


def test_the_log_is_counted(log):
    assert summary(log) == {
        "interactions": 7,
        "users": 3,
        "items": 3,
        "density": 7 / 9,
        "repeated_pairs": 1,
        "history_min_median_max": [1, 2.0, 4],
        "users_with_under_3_events": 2,
        "share_of_most_popular_tenth": 4 / 7,
        "order": "the column 'timestamp'",
        "weights": False,
        "duplicate_events": 0,
        "from": "1970-01-01",
        "to": "1970-01-04",
    }


def test_a_log_without_times_says_so(log):
    assert not {"from", "to", "duplicate_events"} & set(summary(timeless(log)))


@pytest.mark.parametrize(
    ("columns", "options", "says"),
    [
        ({}, {}, "file order"),
        ({"order": [2, 1]}, {}, "the column 'order'"),
        ({"timestamp": [2, 1], "order": [2, 1]}, {}, "the column 'order'"),
        ({}, {"unordered": True}, "none; each history is in a random order"),
    ],
)
def test_what_orders_the_events_is_told(columns, options, says):
    frame = pl.DataFrame({"user_id": [1, 1], "item_id": [7, 8]} | columns)
    assert summary(Interactions.from_frame(frame, **options))["order"] == says


def test_events_that_stand_in_the_log_twice_are_counted():
    doubled = summary(log_of(EVENTS + EVENTS + [(1, 10, 5)]))
    assert (doubled["duplicate_events"], doubled["repeated_pairs"]) == (7, 9)


def test_instants_beyond_the_calendar_stay_numbers():
    log = log_of([(1, 10, 0)])
    beyond = replace(log, histories=replace(log.histories, times=np.array([10**15])))
    assert summary(beyond)["to"] == "1000000000000000"


def test_weights_that_cancel_out_still_count_as_pairs():
    frame = pl.DataFrame({"user_id": [1, 1], "item_id": [7, 7], "weight": [1.0, -1.0]})
    facts = summary(Interactions.from_frame(frame))
    assert (facts["weights"], facts["repeated_pairs"]) == (True, 1)


def test_the_catalogue_is_counted_against_the_log(log):
    known = catalog(item_id=[10, 11, 98, 99], title=["same", "same", None, "own"])
    assert summary(log, known)["catalogue"] == {
        "items": 4,
        "text_columns": ["title"],
        "without_interactions": 2,
        "interacted_but_not_in_catalogue": 1,
        "without_text": 1,
        "distinct_texts": 2,
    }


def test_ids_meet_whether_they_are_numbers_or_text(log):
    facts = summary(log, catalog(item_id=["10", "x", "011"], title=["a", "b", "c"]))["catalogue"]
    assert (facts["without_interactions"], facts["interacted_but_not_in_catalogue"]) == (2, 2)


def test_items_and_users_without_events_are_not_counted(log):
    known = catalog(item_id=[10, 11, 12, 98], title=["a", "b", "c", "d"])
    wider = log.with_items(known.items.ids).with_items(pl.Series([77]))
    assert summary(wider, known) == summary(log, known)
    train = leave_last_out(log).train
    assert summary(train, known)["items"] == 2
    assert summary(train, known)["catalogue"]["without_interactions"] == 2


def test_facts_are_plain_values(log):
    facts = summary(log, catalog(item_id=[10], title=["a"]))
    assert json.loads(json.dumps(facts)) == facts


def test_facts_as_text_have_one_line_each(log):
    facts = summary(log, catalog(item_id=[10], title=["a"]))
    lines = [line.split(maxsplit=1) for line in summary_text({"interactions": 1_234_567}).splitlines()]
    assert lines == [["interactions", "1,234,567"]]
    text = summary_text(facts)
    assert "density                             77.7778%" in text
    assert "history min median max              1 / 2.0 / 4" in text
    assert "weights                             no" in text
    assert "from                                1970-01-01" in text
    assert "  text columns                      title" in text
    assert len(text.splitlines()) == len(facts) + len(facts["catalogue"])
