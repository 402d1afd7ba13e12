"""A compressed bundle is smaller, ranks as well, and says how that was found."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from safetensors.numpy import load_file

from recsys.bundle.contents import Bundle
from recsys.bundle.io import load
from recsys.cli.parser import main
from recsys.compression import measure, networks, steps
from recsys.compression.compress import Targets, compress
from recsys.compression.distilled import distilled_steps
from recsys.compression.encoders import changed
from recsys.compression.shallow import with_first_layers, with_word_vectors
from recsys.compression.step import Step
from recsys.compression.steps import bytes_of_parts, pruned, steps_for
from recsys.config.training import Training
from recsys.core.ragged import Ragged
from recsys.data.split import Holdout
from recsys.errors import ConfigError, DataError, UnsupportedError
from recsys.models.encoders.coded import code_weights
from recsys.models.encoders.held import HeldEncoder
from recsys.models.encoders.pretrained import TextEncoder
from recsys.models.encoders.proof import same_vectors
from recsys.pipeline.compress import EVIDENCE, compress_bundle
from recsys.serving.retriever import Retriever
from tests.conftest import COLOURS, THINGS
from tests.exports import make_bundle
from tests.models.tiny_encoders import make_encoder


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
    monkeypatch.setattr(networks, "_SHORTEST", 3)


@pytest.fixture(scope="module")
def bundle(tiny_encoder: Path, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RECSYS_CACHE", str(tmp_path_factory.mktemp("cache")))
        options = {"dim": 8, "ensemble_size": 2, "blocks": 1, "heads": 1, "max_length": 6, "text_dim": 8}
        made = make_bundle(tiny_encoder, events=False, **options)
    return with_holdout(made)


@pytest.fixture(scope="module")
def found(bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> list[Step]:
    """All steps that the bundle allows."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RECSYS_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setattr(steps, "_ENTRIES", (3, 1))
        patch.setattr(networks, "_SHORTEST", 3)
        return steps_for(bundle)


@pytest.fixture(scope="module")
def run(bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run") / "ring"
    Retriever(bundle).save(folder)
    return folder


def size_of(bundle: Bundle) -> int:
    return 10_000 + bytes_of_parts(bundle)


def test_every_step_makes_its_part_smaller_and_still_answers(bundle: Bundle, found: list[Step]) -> None:
    assert {step.part for step in found} == {
        "text encoder", "transition memory", "item vectors in memory", "members", "tables and weights", "history",
    }  # fmt: skip
    for step in found:
        smaller = step.change(bundle)
        if step.part == "item vectors in memory":
            assert smaller.index.nbytes < bundle.index.nbytes
        elif step.part == "history":
            assert smaller.towers.net.users.max_length == smaller.config.max_length == 3
        else:
            assert bytes_of_parts(smaller) < bytes_of_parts(bundle)
        lists = Retriever(smaller).recommend(["u3", "u4"], k=30)
        assert lists.height > 0
        assert not lists["item_id"].is_in(["i5"]).any()  # what was removed stays so


def test_a_shorter_history_reads_as_a_short_one(bundle: Bundle, found: list[Step]) -> None:
    step = next(step for step in found if step.part == "history")
    smaller, last = step.change(bundle), bundle.histories.tail(3)
    rows = np.arange(len(last), dtype=np.int32)
    made = smaller.towers.user_vectors(bundle.histories, rows)
    assert torch.allclose(made, bundle.towers.user_vectors(last, rows), atol=1e-6)


def test_rounded_tables_are_saved_as_codes_and_take_in_new_items(bundle: Bundle, found: list[Step], tmp_path: Path) -> None:
    step = next(step for step in found if step.name == "items in 4 bits, weights in 8")
    smaller = step.change(bundle)
    Retriever(smaller).save(tmp_path / "whole")
    codes = load_file(tmp_path / "whole" / "towers.safetensors")
    assert codes["items.text.codes"].dtype == np.uint8  # two a byte
    assert codes["items.project.weight.codes"].dtype == np.int8
    again = Retriever(load(tmp_path / "whole"))
    asked = {"k": 5, "request_time": 1_700_000_000}
    assert again.recommend(["u3", "u4"], **asked).equals(Retriever(smaller).recommend(["u3", "u4"], **asked))
    new = pl.DataFrame({"item_id": ["new"], "title": ["red car"], "kind": ["a"], "price": [1.0]})
    columns = bundle.catalog.columns.columns
    again.add_items(new.select("item_id", *(name for name in columns if name in new.columns)))
    again.save(tmp_path / "grown")
    grown = load(tmp_path / "grown").towers.net.items.text
    assert torch.equal(grown, again.towers.net.items.text)  # the new row whole, the others as codes
    assert load_file(tmp_path / "grown" / "towers.safetensors")["items.text.others"].shape == (1, grown.shape[1])


def test_an_encoder_in_8_bits_is_read_wherever_encoders_are(bundle: Bundle, found: list[Step], tmp_path: Path) -> None:
    step = next(step for step in found if step.name == "weights in 8 bits")
    held = step.change(bundle).towers.held_encoder
    assert held is not None
    held.write(tmp_path / "encoder")
    assert not (tmp_path / "encoder" / "model.safetensors").exists()
    texts = ["red car", "blue boat"]
    made = held.opened("cpu").encode(texts)
    assert np.array_equal(TextEncoder(tmp_path / "encoder").encode(texts), made)
    assert np.array_equal(held.opened("cpu").encode(texts[:1]), made[:1])  # whatever is read beside it
    assert same_vectors(made, bundle.towers.encoder.encode(texts), 0.05).all()


def test_an_ensemble_is_distilled_on_the_events_that_the_bundle_holds(bundle: Bundle) -> None:
    assert not list(distilled_steps(bundle, 1))  # nothing is known of the training
    lists = bundle.histories
    held = replace(bundle.holdout, histories=lists)  # type: ignore[type-var]
    known = replace(bundle, trained=lists.lengths - 1, holdout=held, training=Training(batch_tokens=256, validate_users=0))
    (step,) = distilled_steps(known, 1)
    one = step.change(known)
    assert one.config.ensemble_size == one.towers.net.users.ensemble_size == 1
    assert one.record["distilled_from"] == 2
    assert step.change(known) is one  # trained once
    assert Retriever(one).recommend(["u3"], k=5, request_time=1_700_000_000).height == 5


def test_fewer_layers_and_word_vectors_stand_in_for_a_whole_encoder(tmp_path: Path) -> None:
    folder = make_encoder(tmp_path / "encoder", layers=3)
    texts = [f"{a} {b} and {c}" for a in COLOURS for b in THINGS for c in THINGS]
    expected = TextEncoder(folder).encode(texts)
    spread = np.linalg.norm(expected - expected.mean(axis=0))
    for change, share in ((with_first_layers(2, texts), 0.5), (with_word_vectors(texts), 0.5)):
        held = changed(HeldEncoder.of(folder), change, code_weights)
        assert sum(file.size for file in held.files.values()) < sum(file.stat().st_size for file in folder.rglob("*"))
        made = held.opened("cpu").encode(texts)
        assert np.linalg.norm(made - expected) < share * spread
    with pytest.raises(UnsupportedError, match="cannot do with 9 layers|gives other vectors"):
        changed(HeldEncoder.of(folder), with_first_layers(9, texts))


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
