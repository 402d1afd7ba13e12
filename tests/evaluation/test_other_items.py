"""A model of other items is not judged as if it found nothing."""

import logging

import polars as pl
import pytest

import recsys
from recsys.data.interactions import Interactions
from recsys.data.split import Split
from recsys.errors import DataError


def with_other_ids(log: Interactions, share: float) -> Interactions:
    """The log with another id for this share of its items."""
    cut = round(share * len(log.items))
    moved = log.items.ids.head(cut).to_list()
    frame = log.frame()
    other = pl.when(pl.col("item_id").is_in(moved)).then("other-" + pl.col("item_id")).otherwise("item_id")
    return Interactions.from_frame(frame.with_columns(other.alias("item_id")))


def test_a_model_of_other_items_is_refused(ring_split: Split):
    mine = recsys.Popularity().fit(ring_split.train)
    other = recsys.EASE().fit(with_other_ids(ring_split.train, 1.0))
    for ask in (lambda: recsys.evaluate(other, ring_split.test), lambda: recsys.compare([mine, other], ring_split.test)):
        with pytest.raises(
            DataError, match=r"EASE does not know \d+ of the \d+ items to find, such as 'i\d+'; its own are"
        ):
            ask()


def test_a_model_that_lacks_most_items_is_told(ring_split: Split, caplog: pytest.LogCaptureFixture):
    other = recsys.EASE().fit(with_other_ids(ring_split.train, 0.8))
    with caplog.at_level(logging.WARNING, logger="recsys"):
        recsys.evaluate(other, ring_split.test)
    assert "EASE does not know" in caplog.text
