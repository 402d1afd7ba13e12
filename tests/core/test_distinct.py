import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys.core.distinct import Distinct
from recsys.core.vocabulary import Vocabulary
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


@small
@given(
    st.one_of(
        st.lists(st.lists(st.one_of(st.none(), one), max_size=12), min_size=1, max_size=5) for one in COLUMNS.values()
    )
)
def test_a_vocabulary_of_pieces_is_that_of_the_whole_column(pieces):
    whole = pl.Series([value for piece in pieces for value in piece])
    parts = [pl.Series(piece, dtype=whole.dtype) for piece in pieces]
    vocabulary = Vocabulary(whole.dtype)
    codes = np.concatenate([vocabulary.add(part) for part in parts])
    distinct = Distinct.of(whole)
    assert vocabulary.values.equals(distinct.values)
    assert codes.tolist() == distinct.codes.tolist()
    assert vocabulary.first.tolist() == distinct.first.tolist()
    assert vocabulary.rows == len(whole)


def test_a_vocabulary_whose_hashes_collide_in_a_late_piece_stays_exact(monkeypatch):
    monkeypatch.setattr(pl.Series, "hash", lambda series: pl.Series([len(one) for one in series], dtype=pl.UInt64))
    vocabulary = Vocabulary(pl.String())
    assert vocabulary.add(pl.Series(["a", "bb", "a"])).tolist() == [0, 1, 0]
    assert vocabulary.add(pl.Series(["ccc", "b", "dddd"])).tolist() == [2, 3, 4]
    assert vocabulary.add(pl.Series(["dddd", "e", "bb"])).tolist() == [4, 5, 1]
    assert vocabulary.values.to_list() == ["a", "bb", "ccc", "b", "dddd", "e"]
    assert vocabulary.first.tolist() == [0, 1, 3, 4, 5, 7]


def test_whole_numbers_of_128_bits_are_told_apart():
    held_to_polars(pl.Series([1, 2**64 + 1, 1, 2**65 + 1], dtype=pl.Int128))


@pytest.mark.parametrize("step", [1, 2**20, 2**40 + 1])
def test_many_whole_numbers_and_their_gaps(step):
    column = pl.Series(np.random.default_rng(step).integers(0, 90_000, 200_000) * step)
    held = Distinct.of(column)
    assert held.values.equals(column.unique(maintain_order=True))
    assert (held.values.to_numpy()[held.codes] == column.to_numpy()).all()
