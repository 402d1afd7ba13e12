"""Rows rounded to few bits come back to the last bit; rows that were not are lost in no case."""

import numpy as np
import pytest

from recsys.core.coded import Bits, from_codes, rounded, to_codes


@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("width", [1, 7, 64])
def test_codes_tell_rounded_rows_and_leave_the_others_whole(bits: Bits, width: int) -> None:
    chance = np.random.default_rng(width)
    table = (chance.normal(size=(500, width)) * np.exp(10 * chance.normal(size=(500, 1)))).astype(np.float32)
    table[3], table[4] = 0.0, 1e-42
    made = rounded(table, bits)
    step = np.abs(table).max(axis=1, keepdims=True) / (127 if bits == 8 else 7)
    assert (np.abs(made - table) <= 0.51 * step + 1e-37).all()
    assert np.array_equal(rounded(made, bits), made)
    made[5], made[6, 0] = table[5], -0.0
    parts = to_codes("a.b", made)
    assert sum(part.nbytes for part in parts.values()) < made.nbytes + 4 * len(made)
    again = from_codes({"x": np.ones(3), **parts})
    assert again["a.b"].tobytes() == made.tobytes()
    assert set(again) == {"x", "a.b"}


def test_tables_that_were_not_rounded_stay_as_they_are() -> None:
    for table in (np.random.default_rng(0).normal(size=(50, 8)).astype(np.float32), np.full((2, 2), np.nan, np.float32)):
        assert to_codes("t", table)["t"] is table
    with pytest.raises(ValueError, match="the codes of t have no steps"):
        from_codes({"t.codes": np.ones((2, 2), np.int8)})
