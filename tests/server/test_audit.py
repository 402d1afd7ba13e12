"""The audit log has whole lines, through kills, full disks and rotation."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from recsys.errors import ConfigError, StoreUnavailableError
from recsys.server.audit import Audit


def lines(file: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def write(audit: Audit, action: str) -> None:
    audit.write(action, allowed=False, key_id=None, role=None, request_id="r\n1", facts={"reason": "é" * 1000})


def test_lines_are_whole_after_a_kill_in_one_and_a_rotation(tmp_path: Path) -> None:
    file = tmp_path / "logs" / "audit.jsonl"
    first = Audit(file)
    write(first, "a")
    first.close()
    assert file.stat().st_mode & 0o077 == 0
    with file.open("a") as stream:
        stream.write('{"half')
    audit = Audit(file)
    write(audit, "b")
    file.rename(tmp_path / "logs" / "audit.1")
    write(audit, "c")
    audit.close()
    kept = (tmp_path / "logs" / "audit.1").read_text().splitlines()
    assert [json.loads(line)["action"] for line in (kept[0], kept[2])] == ["a", "b"]
    assert [(line["action"], line["request_id"], len(str(line["reason"]))) for line in lines(file)] == [("c", "r\n1", 200)]


def test_what_cannot_be_recorded_is_said_and_leaves_no_half_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "audit.jsonl"
    audit = Audit(file)
    write(audit, "a")
    whole = os.write
    monkeypatch.setattr(os, "write", lambda handle, line: whole(handle, line[:10]))
    with pytest.raises(StoreUnavailableError, match="what is not recorded is not done"):
        write(audit, "b")
    monkeypatch.undo()
    write(audit, "c")
    assert [line["action"] for line in lines(file)] == ["a", "c"]
    audit.close()


@pytest.mark.parametrize("place", [".", "/dev/null"])
def test_a_place_that_is_no_file_is_refused(place: str) -> None:
    with pytest.raises(ConfigError, match="audit_file"):
        Audit(Path(place))
