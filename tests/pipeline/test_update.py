"""An update is checked, judged and saved as a whole, or refused with everything as it was."""

from __future__ import annotations

import importlib
import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import recsys
from recsys.cli.parser import main
from recsys.config.gate import GateOptions
from recsys.core.files import exclusive, sha256_of
from recsys.data.interactions import Interactions
from recsys.errors import ConfigError, DataError
from recsys.pipeline.update import UpdateResult
from tests.pipeline.shop import START, events

BENCHMARKS = Path(__file__).parents[2] / "training" / "benchmarks"
NEW = events(range(70, 77), step=7)  # the walk has changed: there is something to learn
ITEMS = pl.DataFrame({"item_id": [f"i{n}" for n in range(200)], "title": [f"thing {n}" for n in range(200)]})


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fast model of seventy days, fitted on the command line from a file with columns of its own."""
    folder = tmp_path_factory.mktemp("update")
    theirs = {"user_id": "who", "item_id": "what", "timestamp": "when"}
    events(range(70)).rename(theirs).write_csv(folder / "log.csv")
    words = ["--user", "who", "--item", "what", "--timestamp", "when"]
    assert main(["fit", str(folder / "log.csv"), *words, "--fast", "--split", "none", "--out", str(folder / "run")]) == 0
    NEW.write_parquet(folder / "new.parquet")
    NEW.rename(theirs).write_csv(folder / "new.csv")
    return folder / "run"


def digests(folder: Path) -> dict[str, str]:
    return {str(one.relative_to(folder)): sha256_of(one) for one in sorted(folder.rglob("*")) if one.is_file()}


def test_an_update_is_judged_and_saved_with_what_was_found(run: Path, tmp_path: Path) -> None:
    before = digests(run)
    found = recsys.update(run, Interactions.from_frame(NEW), out=tmp_path / "two")
    assert found.accepted, str(found)
    assert found.gate is not None
    assert found.gate.chosen == "update"
    assert "update is accepted" in str(found)
    assert f"updated with {len(NEW):,} events, 0 users, 0 items that are new to the model" in str(found)
    made = recsys.load(tmp_path / "two").bundle
    assert digests(run) == before
    lineage = made.lineage
    assert lineage is not None
    assert (lineage["parent"], lineage["forced"]) == (recsys.load(run).bundle.seal, False)
    assert lineage["gate"]["events"]["new"] == len(NEW)
    assert {one["verdict"] for one in lineage["day"]["checks"]} == {"passed"}
    assert len(made.histories.rows) == len(events(range(70))) + len(NEW)
    card = (tmp_path / "two" / "MODEL_CARD.md").read_text()
    assert "| update | all users | recall@10 |" in card
    assert "not worse" in card
    day = Interactions.from_frame(events(range(77, 78), step=7))
    recsys.update(tmp_path / "two", day, out=tmp_path / "three", force=True)
    card = (tmp_path / "three" / "MODEL_CARD.md").read_text()
    assert card.count("## Last update") == card.count("# Model card: updated bundle") == 1
    assert card.count("## Card of the last training") == 1
    again = recsys.update(tmp_path / "two", day, force=True)
    assert again.bundle is None
    assert again.retriever is not None
    assert again.retriever.bundle.lineage["updates"] == 2  # type: ignore[index]


def test_a_refused_day_changes_nothing(run: Path, tmp_path: Path) -> None:
    before = digests(run)
    gift = Interactions.from_frame(NEW.with_columns(item_id=pl.lit("gift")))
    found = recsys.update(run, gift, out=tmp_path / "two", force=True)  # force is not for this
    assert (found.accepted, found.gate, found.bundle) == (False, None, None)
    assert "top-item: the share of events on one item is 1, allowed up to" in str(found)
    assert "--accept" in found.reasons[0]
    assert not (tmp_path / "two").exists()
    assert digests(run) == before


def test_a_worse_update_is_refused_unless_forced(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The walk is as it was, and the update forgets all of it."""
    from recsys.training.update import run as real

    def spoiled(*given: object, **named: object) -> object:
        made = updated(*given, **named)  # type: ignore[arg-type]
        memory = made.corpus.transitions
        assert memory is not None
        table = memory.table.copy()
        table.data = np.random.default_rng(0).permutation(table.data)
        table.indices = np.random.default_rng(0).integers(0, table.shape[1], len(table.indices)).astype(table.indices.dtype)
        from dataclasses import replace

        return replace(made, corpus=made.corpus.with_transitions(replace(memory, table=table)))

    updated = real.updated
    monkeypatch.setattr(real, "updated", spoiled)
    day = Interactions.from_frame(events(range(70, 77)))
    found = recsys.update(run, day, out=tmp_path / "two")
    assert not found.accepted
    assert "worse: recall@10 of all users" in str(found)
    assert not (tmp_path / "two").exists()
    forced = recsys.update(run, day, out=tmp_path / "two", force=True)
    assert (forced.accepted, forced.forced, forced.bundle) == (True, True, tmp_path / "two")
    assert "accepted by force" in str(forced)


def test_known_events_count_once_and_nothing_new_is_told(run: Path) -> None:
    whole = Interactions.from_frame(events(range(70)))
    with pytest.raises(DataError, match="no event that the bundle does not know"):
        recsys.update(run, whole)
    more = Interactions.from_frame(pl.concat([events(range(70)), NEW]))
    found = recsys.update(run, more, gate=GateOptions(judge_share=0.0))
    assert found.day.checks[0].value == len(NEW)


def test_a_retrain_is_judged_too(run: Path) -> None:
    found = recsys.update(run, Interactions.from_frame(NEW), retrain=True)
    assert found.gate is not None
    assert {one.model for one in found.gate.judged} == {"update", "retrain"}
    assert found.accepted


@pytest.mark.parametrize("odd", ["u7", "007", "9" * 20])
def test_ids_of_another_type_are_refused(tmp_path: Path, odd: str) -> None:
    numbers = events(range(70)).with_columns(pl.col("user_id", "item_id").str.slice(1).cast(pl.Int64))
    recsys.TwoTower(fast=True).fit(Interactions.from_frame(numbers)).retriever().save(tmp_path / "run")
    new = numbers.tail(40).with_columns(pl.col("timestamp") + 10**6).cast({"user_id": pl.String})
    new = new.with_columns(user_id=pl.when(pl.int_range(40) == 7).then(pl.lit(odd)).otherwise("user_id"))
    with pytest.raises(DataError, match=rf"the user id '{odd}', and all user ids of the bundle are whole numbers"):
        recsys.update(tmp_path / "run", Interactions.from_frame(new))


def test_two_updates_at_once_one_is_refused(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["update", str(run), str(run.parent / "new.csv"), "--out", str(tmp_path / "two")]
    with exclusive(tmp_path / "two"):
        assert main(words) == 2
    assert "two is being written by process" in capsys.readouterr().err
    assert not (tmp_path / "two").exists()


def test_the_command_reads_as_fit_did_and_replaces_only_if_asked(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["update", str(run), str(run.parent / "new.csv"), "--out", str(tmp_path / "a"), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["accepted"], told["bundle"]) == (True, str(tmp_path / "a"))
    assert told["lineage"]["events"]["new"] == len(NEW)
    assert main(["update", str(tmp_path / "a"), str(run.parent / "new.csv"), "--out", str(tmp_path / "a")]) == 2
    assert "already exists; choose another --out, or add --overwrite" in capsys.readouterr().err
    events(range(77, 78), step=7).write_parquet(tmp_path / "exported.parquet")  # by our names, as exported events
    words = ["update", str(tmp_path / "a"), str(tmp_path / "exported.parquet"), "--out", str(tmp_path / "a"), "--overwrite"]
    assert main([*words, "--accept", "gap", "--force"]) == 0
    assert "accepted by force" in capsys.readouterr().out
    assert recsys.load(tmp_path / "a").bundle.lineage["updates"] == 2  # type: ignore[index]


def test_the_command_refuses_with_a_code_of_its_own(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recsys.import_log(NEW.head(60).with_columns(item_id=pl.lit("i3")), tmp_path / "store")
    assert main(["update", str(run), str(tmp_path / "store"), "--out", str(tmp_path / "two")]) == 3
    shown = capsys.readouterr().out
    assert "refused; nothing was changed" in shown
    assert "top-item" in shown
    for words, said in (
        ([str(tmp_path), "x.csv", "--out", "y"], "is not a recsys bundle"),
        ([str(run), str(run.parent / "new.csv")], "update needs --out"),
        ([str(run), str(run.parent / "new.csv"), "--out", str(tmp_path / "y"), "--every", "1d"], "--every is for --watch"),
        ([str(run), "--watch"], "--watch needs --db URL"),
        ([str(run), "x.csv", "--watch"], "leave out x.csv"),
        ([str(run), "--watch", "--out", "y"], "leave out --out"),
    ):
        assert main(["update", *words]) == 2
        assert said in capsys.readouterr().err


def test_new_items_come_with_their_texts(run: Path, tmp_path: Path) -> None:
    fitted = recsys.TwoTower(fast=True).fit(
        Interactions.from_frame(events(range(70))), recsys.Catalog.from_frame(ITEMS, text=["title"])
    )
    fitted.retriever().save(tmp_path / "run")
    new = NEW.with_columns(
        pl.when(pl.col("timestamp") % 11 == 0).then(pl.lit("fresh")).otherwise("item_id").alias("item_id")
    )
    rows = pl.DataFrame({"item_id": ["fresh"], "title": ["something new"]})
    result = recsys.update(
        tmp_path / "run", Interactions.from_frame(new), catalog=rows, accept=["top-item", "reach"], force=True
    )
    assert result.retriever is not None
    catalog = result.retriever.catalog
    row = result.retriever.items.to_rows(["fresh"])
    assert catalog.titles[int(row[0])] == "something new"


def test_a_killed_update_leaves_the_old_bundle_and_nothing_half_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    outcomes = importlib.import_module("update_durability").run(tmp_path, kills=2, events=2000)
    assert sum(outcomes.values()) == 2


def test_a_result_is_plain_text(run: Path) -> None:
    late = Interactions.from_frame(NEW.with_columns(pl.col("timestamp") - START))
    found = recsys.update(run, late)
    assert isinstance(found, UpdateResult)
    assert "late" in str(found)
    assert "nan" not in str(found).lower()
    with pytest.raises(ConfigError, match="accept"):
        recsys.update(run, late, accept=["everything"])
