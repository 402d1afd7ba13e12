"""Tables and logs made by chance, in every format: they read back equal, or they are refused by name.

``RECSYS_FUZZ_CASES`` sets how many tables are tried, instead of 2,000; 20,000 take a minute and a half on one core.
"""

import os
from collections import Counter
from pathlib import Path

from tests.data.fuzz_logs import check_log, make_log
from tests.data.fuzz_tables import FORMATS, main

CASES = int(os.environ.get("RECSYS_FUZZ_CASES", "2000"))


def test_tables_read_back_equal_or_are_refused():
    outcomes = main(CASES)
    assert sum(outcomes.values()) == CASES
    for fmt in set(FORMATS):
        assert outcomes[f"{fmt}: equal"] > CASES // 100
    for fmt in set(FORMATS) - {"parquet"}:  # the fuzz proves nothing unless damage is both met and survived
        assert outcomes[f"{fmt}: refused"] > CASES // 100
        assert outcomes[f"{fmt}: equal, damaged"] > CASES // 100


def test_logs_read_back_event_by_event(tmp_path: Path):
    outcomes = Counter(check_log(make_log(seed, tmp_path)) for seed in range(CASES // 4))
    assert outcomes["equal"] > CASES // 6
    assert outcomes["refused"] > CASES // 250
