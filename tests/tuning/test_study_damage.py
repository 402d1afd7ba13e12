"""A study's file that is damaged, locked or of something else is refused by its name before any trial."""

import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from recsys.data.split import Split
from recsys.errors import ConfigError
from recsys.tuning import study
from tests.tuning.searching import FIXED, SEARCH, hill, pretend, search, space_of

pytestmark = pytest.mark.usefixtures("hasty_sqlite")


def sql(*lines: str) -> Callable[[Path], None]:
    def change(file: Path) -> None:
        connection = sqlite3.connect(file)
        for line in lines:
            connection.execute(line)
        connection.commit()
        connection.close()

    return change


def overwritten(place: int, data: bytes) -> Callable[[Path], None]:
    def change(file: Path) -> None:
        good = file.read_bytes()
        file.write_bytes(good[:place] + data + good[place + len(data) :])

    return change


@pytest.mark.parametrize(
    "change",
    [
        sql("delete from trial_values"),
        sql("delete from study_directions"),
        sql("update study_user_attributes set value_json='nonsense'"),
        sql("update trial_params set distribution_json='{}'"),
        sql("update trial_params set param_value=99 where param_name='model.dropout'"),
        sql("update trial_values set value=NULL"),
        sql("update trials set state='STRANGE'"),
        overwritten(0, b"x"),
        overwritten(20, b"\xff"),
        overwritten(4096, bytes(4096)),
        overwritten(12288, bytes(4096)),
        lambda file: file.write_bytes(file.read_bytes()[:50_000]),
    ],
)
def test_a_damaged_study_is_refused_by_name(
    change: Callable[[Path], object], ring_split: Split, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(monkeypatch, hill)
    space = space_of(tmp_path, FIXED + SEARCH)
    search(ring_split, space, tmp_path, trials=2)
    change(tmp_path / "study.db")
    asked = pretend(monkeypatch, hill)
    with pytest.raises(ConfigError, match="study.db cannot be used as a study's storage: .*move it away"):
        search(ring_split, space, tmp_path, trials=3)
    assert asked == []


def test_a_study_that_another_program_has_locked_is_told(
    ring_split: Split, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(study, "_PATIENCE", 0.05)
    pretend(monkeypatch, hill)
    space = space_of(tmp_path, FIXED + SEARCH)
    search(ring_split, space, tmp_path, trials=1)
    connection = sqlite3.connect(tmp_path / "study.db")
    connection.execute("begin exclusive")
    try:
        with pytest.raises(ConfigError, match="study.db cannot be used .*: database is locked"):
            search(ring_split, space, tmp_path, trials=2)
    finally:
        connection.close()
