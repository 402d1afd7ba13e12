"""Every script of faults, short: what falls is named in the assertion. ``RECSYS_FAULTS`` multiplies the rounds."""

import os
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from recsys.data.filters import matching
from recsys.data.interactions import Interactions
from recsys.data.read import read_interactions
from recsys.errors import ConfigError, DataError
from recsys.serving.rules.bind import bind
from recsys.serving.rules.spec import Rules
from tests.faults import flips, kills, loads, logs, predicates
from tests.faults.tally import Tally

TIMES = int(os.environ.get("RECSYS_FAULTS", "1"))


def held(tally: Tally) -> Tally:
    assert not tally.fallen, tally.closing()
    return tally


def test_mutated_logs_are_read_row_by_row_or_refused(tmp_path: Path) -> None:
    tally = held(logs.run(tmp_path, 400 * TIMES))
    for kind in logs.KINDS:  # damage is both met and survived
        assert tally.outcomes[kind, "refused"] > 20
        assert tally.outcomes[kind, "equal"] + tally.outcomes[kind, "row by row"] > 3


def test_a_stray_quote_beside_a_bad_byte_is_refused_by_its_line(tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_bytes(b'user_id,item_id,note\nu1,i1,15" screen\nu2,i2,na\xefve\n')
    with pytest.raises(DataError, match="line 3 is not utf-8"):
        read_interactions(tmp_path / "log.csv")


def test_predicates_and_rules_are_answered_or_refused(tmp_path: Path) -> None:
    tally = held(predicates.run(tmp_path, 1000 * TIMES))
    assert tally.outcomes["predicate", "answered"] > 50
    assert tally.outcomes["rules", "answered"] > 30


def test_the_ends_of_the_calendar_and_of_numbers_are_refused() -> None:
    items = predicates.catalog()
    for instant in ("9999-12-31T23:59:59-23:59", "0001-01-01T00:00:00+23:59"):
        with pytest.raises(ConfigError, match="compare it with"):
            matching(items, f"at < '{instant}'")
    with pytest.raises(ConfigError, match="must be a finite number"):
        Rules.of({"boost": [{"items": ["i1"], "times": 10**400}]})
    with pytest.raises(ConfigError, match="a cap needs text, numbers"):
        bind(Rules.of({"cap": [{"column": "gap", "at_most": 1}]}), items, np.zeros((len(items), 2), dtype=np.float32))


def test_damaged_files_give_no_other_results(tmp_path: Path) -> None:
    held(flips.run(tmp_path, 64 * TIMES))


def test_loads_beside_saves_see_one_version(tmp_path: Path) -> None:
    held(loads.run(tmp_path, 30 * TIMES))


def test_a_killed_process_leaves_what_the_next_goes_on_from(tmp_path: Path) -> None:
    held(kills.run(tmp_path, 4 * TIMES, order=["save", "recommend", "fit", "index"]))


def test_a_saved_log_whose_bytes_changed_is_refused(tmp_path: Path) -> None:
    frame = pl.DataFrame({"user_id": ["u1", "u2"] * 40, "item_id": [f"i{n}" for n in range(80)], "timestamp": range(80)})
    Interactions.from_frame(frame).save(tmp_path / "log")
    file = tmp_path / "log" / "rows.npy"
    data = bytearray(file.read_bytes())
    for at in range(4, len(data), 29):
        file.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
        with pytest.raises(DataError, match=r"rows\.npy is damaged"):
            Interactions.load(tmp_path / "log")
