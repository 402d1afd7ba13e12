"""A compressed bundle is smaller, ranks as well, and says how that was found."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from recsys.bundle.contents import Bundle
from recsys.bundle.io import load
from recsys.cli.parser import main
from recsys.compression import measure, steps
from recsys.compression.compress import Targets, compress
from recsys.compression.steps import bytes_of_parts, pruned, steps_for
from recsys.core.ragged import Ragged
from recsys.data.split import Holdout
from recsys.errors import ConfigError, DataError, UnsupportedError
from recsys.pipeline.compress import EVIDENCE, compress_bundle
from recsys.serving.retriever import Retriever
from tests.compression.conftest import make_bundle


def with_holdout(bundle: Bundle) -> Bundle:
    """Everybody's next item round the ring is to be found."""
    histories, n = bundle.histories, len(bundle.users)
    last = bundle.items.to_ids(histories.rows[histories.offsets[1:] - 1]).to_list()
    following = bundle.items.to_rows([f"i{(int(one[1:]) + 1) % 30}" for one in last])
    targets = Ragged.from_lengths(np.ones(n, dtype=np.int64), following)
    rows = np.arange(n, dtype=np.int32)
    held = Holdout(bundle.users, bundle.items, rows, histories.without_events(), targets, "the next one")
    return replace(bundle, holdout=held, trained=None)


@pytest.fixture(autouse=True)
def few_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing here looks at times."""
    monkeypatch.setattr(measure, "_TIMED", 2)
    monkeypatch.setattr(steps, "_ENTRIES", (3, 1))


@pytest.fixture(scope="module")
def bundle(tiny_encoder: Path, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RECSYS_CACHE", str(tmp_path_factory.mktemp("cache")))
        options = {"dim": 8, "ensemble_size": 2, "blocks": 1, "heads": 1, "max_length": 6, "text_dim": 8}
        made = make_bundle(tiny_encoder, events=False, **options)
    return with_holdout(made)


@pytest.fixture(scope="module")
def run(bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run") / "ring"
    Retriever(bundle).save(folder)
    return folder


def size_of(bundle: Bundle) -> int:
    return 10_000 + bytes_of_parts(bundle)


def test_every_step_makes_its_part_smaller_and_still_answers(bundle: Bundle) -> None:
    found = steps_for(bundle)
    assert {step.part for step in found} == {
        "text encoder", "transition memory", "item vectors in memory", "members",
    }  # fmt: skip
    for step in found:
        smaller = step.change(bundle)
        if step.part == "item vectors in memory":
            assert smaller.index.nbytes < bundle.index.nbytes
        else:
            assert bytes_of_parts(smaller) < bytes_of_parts(bundle)
        lists = Retriever(smaller).recommend(["u3", "u4"], k=30)
        assert lists.height > 0
        assert not lists["item_id"].is_in(["i5"]).any()  # what was removed stays so


def test_a_pruned_memory_keeps_the_largest_entries_of_each_row(bundle: Bundle) -> None:
    memory = bundle.corpus.transitions
    assert memory is not None
    dense, kept = memory.table.toarray(), pruned(memory, 2).table.toarray()
    for row, some in zip(dense, kept, strict=True):
        assert sorted(some[some > 0]) == sorted(sorted(row[row > 0])[-2:])
        assert (row[some > 0] == some[some > 0]).all()


def test_the_smallest_combination_that_ranks_as_well_is_kept(bundle: Bundle) -> None:
    found = compress(bundle, Targets(loss=0.05), size_of)
    assert found.measured[0].steps == ()
    assert found.chosen.bytes < found.measured[0].bytes
    assert found.chosen.loss_interval[1] <= 0.05
    smallest = min((one for one in found.measured if found.targets.held_by(one)), key=lambda one: one.bytes)
    assert found.chosen.bytes == smallest.bytes == size_of(found.bundle)
    assert all(len(one.steps) == len({step.partition(":")[0] for step in one.steps}) for one in found.measured)


def test_a_target_that_nothing_holds_is_told_and_nothing_is_written(run: Path, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match=r"nothing that was tried holds .* 0.0 MiB; the smallest that ranks as well"):
        compress_bundle(run, tmp_path / "out", size=10)
    assert not (tmp_path / "out").exists()


def test_the_command_writes_a_bundle_its_evidence_and_a_page(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "small [1]"
    assert main(["compress", str(run), "--out", str(out), "--recall-loss", "5%", "--judges", "30"]) == 0
    said = capsys.readouterr().out
    evidence = json.loads((out / EVIDENCE).read_text())
    assert evidence["users"] == 30
    assert evidence["chosen"]
    assert "chosen: " + " + ".join(evidence["chosen"]) in said
    assert "as it was" in (tmp_path / "small [1]-compression.html").read_text()
    smaller = Retriever(load(out))
    assert smaller.search("a red car").height == 10
    assert sum(file.stat().st_size for file in out.rglob("*")) < sum(file.stat().st_size for file in run.rglob("*"))
    assert main(["index", str(out), "--remove", "i3"]) == 0
    assert json.loads((out / EVIDENCE).read_text()) == evidence  # a change of items keeps what was found
    with pytest.raises(DataError, match="already holds something"):
        compress_bundle(run, out)
    with pytest.raises(DataError, match="is the bundle itself"):
        compress_bundle(run, run, overwrite=True)


def test_what_cannot_be_judged_or_asked_for_is_refused(bundle: Bundle, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UnsupportedError, match="no held-out users"):
        compress(replace(bundle, holdout=None), Targets(), size_of)
    for wrong in ({"loss": 1.5}, {"size": 0}, {"latency": -1.0}):
        with pytest.raises(ConfigError):
            Targets(**wrong)
    with pytest.raises(SystemExit):
        main(["compress", "run", "--out", "out", "--latency", "5"])
    assert "write a time such as 5ms or 0.2s, not '5'" in capsys.readouterr().err
