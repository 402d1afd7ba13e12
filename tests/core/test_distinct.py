import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys.core.distinct import Distinct
from tests.data.worlds import small

COLUMNS = {
    "integers": st.integers(-(2**63), 2**63 - 1),
    "few integers": st.integers(0, 3),
    "texts": st.text(max_size=20),
    "floats": st.floats(),
    "truth values": st.booleans(),
    "dates": st.dates(),
    "bytes": st.binary(max_size=3),
}


def held_to_polars(column: pl.Series) -> None:
    distinct = Distinct.of(column)
    assert distinct.values.equals(column.unique(maintain_order=True))
    assert distinct.values.gather(pl.Series(distinct.codes, dtype=pl.UInt32)).equals(column)
    assert column.gather(pl.Series(distinct.first, dtype=pl.UInt32)).equals(distinct.values)
    assert distinct.first.tolist() == sorted(distinct.first.tolist())
    assert [distinct.codes.tolist().index(code) for code in range(len(distinct))] == distinct.first.tolist()


@small
@given(st.one_of(st.lists(st.one_of(st.none(), one), max_size=30) for one in COLUMNS.values()))
def test_values_codes_and_first_rows_are_those_of_polars(values):
    held_to_polars(pl.Series(values))


@pytest.mark.parametrize("n", [1_000, 300_000])
def test_large_columns_in_several_chunks(n):
    random = np.random.default_rng(0)
    halves = [pl.Series(random.integers(0, n // 3, n // 2)).cast(pl.String) for _ in range(2)]
    column = pl.concat(halves, rechunk=False)
    distinct = Distinct.of(column)
    assert distinct.values.equals(column.unique(maintain_order=True))
    assert distinct.values.gather(pl.Series(distinct.codes, dtype=pl.UInt32)).equals(column)


@pytest.mark.parametrize("kept", [0, 1, 2, 7])
def test_values_that_share_a_hash_are_told_apart(kept, monkeypatch):
    def poor(series):
        return pl.Series([ord(one or "z") % (kept + 1) for one in series], dtype=pl.UInt64)

    monkeypatch.setattr(pl.Series, "hash", poor)
    held_to_polars(pl.Series(["b", "a", "b", None, "c", "a", "d", None]))


def test_hashes_that_differ_in_a_few_bits_only(monkeypatch):
    values = np.random.default_rng(0).integers(0, 5_000, 20_000)
    for shift in (0, 20, 40, 51):
        hashes = pl.Series(values.astype(np.uint64) << shift)
        monkeypatch.setattr(pl.Series, "hash", lambda _, hashes=hashes: hashes)
        column = pl.Series(values)
        distinct = Distinct.of(column)
        assert distinct.values.equals(column.unique(maintain_order=True))
        assert (distinct.values.to_numpy()[distinct.codes] == values).all()


def test_rows_of_chosen_values_are_counted():
    distinct = Distinct.of(pl.Series(["a", "b", "a", None, "a"]))
    assert distinct.rows_of(pl.Series([True, False, True])) == 4
    assert len(distinct) == 3
