"""``recsys import``, and commands that take a store in place of a log."""

import json
from pathlib import Path

import polars as pl
import pytest

import recsys
from recsys.cli.parser import main

COLUMNS = ["--user", "who", "--item", "what"]


def refused(capsys: pytest.CaptureFixture[str], words: list[str], *said: str) -> None:
    assert main(words) == 2
    message = capsys.readouterr().err
    assert all(one in message for one in said), message


def test_import_inspect_and_append(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = pl.DataFrame({"who": ["a", "a", "b"], "what": [1, 2, 1], "timestamp": [1, 3, 2]})
    log.write_csv(tmp_path / "log.csv")
    log.with_columns(pl.lit(2).alias("timestamp"), pl.lit("c").alias("who")).write_csv(tmp_path / "new.csv", separator="|")
    store, first, new = (str(tmp_path / name) for name in ("sto[r]e", "log.csv", "new.csv"))
    assert main(["import", first, *COLUMNS, "--out", store, "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["events"], facts["users"], facts["imports"][0]["source"]) == (3, 2, ["log.csv"])
    assert main(["import", new, *COLUMNS, "--separator", "|", "--append", "--out", store]) == 0
    assert "recsys fit" in capsys.readouterr().out
    assert main(["inspect", store, "--verify", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["interactions"], facts["users"], facts["store"]["verified"], len(facts["store"]["imports"])) == (
        6,
        3,
        True,
        2,
    )
    (tmp_path / "items.csv").write_text("what,name\n1,One\n2,Two\n")
    items = str(tmp_path / "items.csv")
    assert main(["inspect", store, "--catalog", items, "--catalog-item", "what"]) == 0
    assert "from new.csv: 3 events" in capsys.readouterr().out

    refused(capsys, ["inspect", store, "--user", "who"], "is a store, and --user says how a log is read")
    refused(capsys, ["inspect", store, first], "name it alone")
    refused(capsys, ["inspect", store, "--item", "x", "--catalog", items], "use --catalog-item")
    refused(capsys, ["inspect", store, "--null-values", "NA"], "--null-values says how a log is read")
    refused(capsys, ["inspect", first, "--verify", *COLUMNS], "--verify is for a store")
    refused(capsys, ["import", first, *COLUMNS, "--out", store], "already holds something", "--overwrite")
    refused(capsys, ["import", first, *COLUMNS, "--append", "--overwrite", "--out", store], "exclude each other")
    refused(capsys, ["import", store, "--out", str(tmp_path / "x")], "is a store, not the files of a log")
    with pytest.raises(recsys.RecsysError, match="is a store"):
        recsys.read_interactions(store)
    assert main(["import", first, *COLUMNS, "--overwrite", "--out", store]) == 0
    assert len(recsys.open_store(store)) == 3
    (tmp_path / "sto[r]e" / "rows.npy").write_bytes(b"cut")
    refused(capsys, ["inspect", store], "rows.npy is damaged")
