"""What cannot be resumed is refused and left as it was; what breaks while a run goes on leaves a good checkpoint."""

import errno
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from recsys.config.augment import Augment
from recsys.config.training import Objective, Training
from recsys.data.catalog import Catalog
from recsys.data.interactions import Interactions
from recsys.data.split import Split
from recsys.errors import CheckpointError, ConfigError, NotFittedError, RecsysError
from recsys.training import checkpoint as checkpoints
from recsys.training.checkpoint import FILE, Snapshot, read_snapshot
from recsys.training.next_item_loss import NextItemLoss
from tests.training.test_resume import EVERYTHING, assert_same, contents, fit, model

pytestmark = pytest.mark.usefixtures("no_forecast")


def rewrite(file: Path, change: Callable[[bytes], bytes]) -> None:
    file.write_bytes(change(file.read_bytes()))


QUICK = replace(EVERYTHING, epochs=1, checkpoint_steps=2)


@pytest.fixture
def checkpoint(ring_split: Split, ring_catalog: Catalog, tmp_path: Path) -> Path:
    fit(ring_split, ring_catalog, tmp_path / "run", QUICK)
    return tmp_path / "run"


def test_a_folder_is_needed_to_resume_from(ring_split: Split) -> None:
    with pytest.raises(ConfigError, match="needs the folder of a checkpoint"):
        model(word_features="off").fit(ring_split.train, resume=True)


def test_nothing_to_resume_from_is_told(ring_split: Split, ring_catalog: Catalog, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"there is no checkpoint in .*nowhere to resume from; start again"):
        fit(ring_split, ring_catalog, tmp_path / "nowhere", resume=True)
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize(
    "change", [lambda data: data[:-1], lambda data: data[1:], lambda data: data[:100], lambda data: b""]
)
def test_a_damaged_checkpoint_is_refused(
    change: Callable[[bytes], bytes], checkpoint: Path, ring_split: Split, ring_catalog: Catalog
) -> None:
    rewrite(checkpoint / FILE, change)
    damaged = (checkpoint / FILE).read_bytes()
    with pytest.raises(CheckpointError, match=r"the checkpoint in .*run is damaged"):
        fit(ring_split, ring_catalog, checkpoint, QUICK, resume=True)
    assert (checkpoint / FILE).read_bytes() == damaged


def test_no_damage_is_resumed_from(checkpoint: Path) -> None:
    """Single bits and whole stretches, at every kind of place: header, tensors, seal."""
    file, generator = checkpoint / FILE, np.random.default_rng(0)
    good = file.read_bytes()
    read_snapshot(checkpoint)
    places = [*range(0, 200, 8), *generator.integers(0, len(good), 150).tolist(), *range(len(good) - 100, len(good), 5)]
    damaged = [
        good[:place] + bytes([good[place] ^ (1 << int(generator.integers(8)))]) + good[place + 1 :] for place in places
    ]
    damaged += [good[: int(end)] for end in np.linspace(0, len(good) - 1, 40)]
    damaged += [good + b"\0", b"\0" + good, good + good, bytes(len(good)), good[:-100], good[:500] + bytes(64) + good[564:]]
    for data in damaged:
        file.write_bytes(data)
        with pytest.raises(CheckpointError, match="is damaged.*start again without resume=True"):
            read_snapshot(checkpoint)


@pytest.mark.parametrize(
    "change",
    [
        lambda snapshot: snapshot.place.pop("epoch"),
        lambda snapshot: snapshot.place.update(record={"epochs": 3}),
        lambda snapshot: snapshot.place.update(record=[], best="high"),
        lambda snapshot: snapshot.place.update(record={"none": 1}),
        lambda snapshot: snapshot.tensors.pop("draws"),
        lambda snapshot: snapshot.tensors.update(draws=torch.zeros(3)),
        lambda snapshot: snapshot.tensors.update({"optimizer.x.step": torch.zeros(())}),
        lambda snapshot: snapshot.tensors.update({"optimizer.999.exp_avg": torch.zeros(())}),
        lambda snapshot: [snapshot.tensors.pop(name) for name in list(snapshot.tensors) if name.startswith("best.")],
        lambda snapshot: [snapshot.tensors.pop(name) for name in list(snapshot.tensors) if name.startswith("average.")],
        lambda snapshot: [snapshot.tensors.pop(name) for name in list(snapshot.tensors) if name.startswith("process.")],
        lambda snapshot: [snapshot.tensors.pop(name) for name in list(snapshot.tensors) if name.startswith("state.")],
        lambda snapshot: snapshot.identity.clear(),
    ],
)
def test_a_whole_checkpoint_with_something_else_in_it_is_refused_by_name(
    change: Callable[[Snapshot], object], checkpoint: Path, ring_split: Split, ring_catalog: Catalog
) -> None:
    snapshot = read_snapshot(checkpoint)
    change(snapshot)
    checkpoints.save_snapshot(snapshot, checkpoint)
    with pytest.raises(CheckpointError, match=str(checkpoint)):
        fit(ring_split, ring_catalog, checkpoint, QUICK, resume=True)


def test_a_checkpoint_that_cannot_be_read_is_told(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(_: Path) -> bytes:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(checkpoints, "read_digested", denied)
    with pytest.raises(CheckpointError, match=r"state.safetensors cannot be read: Permission denied"):
        read_snapshot(checkpoint)


def test_a_file_of_tensors_that_is_no_checkpoint_is_refused(
    checkpoint: Path, ring_split: Split, ring_catalog: Catalog
) -> None:
    checkpoints.save_file({"a": torch.zeros(1)}, checkpoint / FILE)
    with pytest.raises(CheckpointError, match="damaged"):
        fit(ring_split, ring_catalog, checkpoint, QUICK, resume=True)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"training": replace(QUICK, learning_rate=0.01)}, "training.learning_rate: 0.05 then, 0.01 now"),
        ({"training": replace(QUICK, epochs=2)}, "training.epochs: 1 then, 2 now"),
        ({"objective": Objective(loss="bpr")}, "objective.loss: 'auto' then, 'bpr' now"),
        ({"augment": Augment(crop=0.9)}, "augment.crop: 0.3 then, 0.9 now"),
        ({"validation": None}, "validation: '.*' then, None now"),
        ({"model": model(dim=32)}, "model.dim: 16 then, 32 now"),
    ],
)
def test_a_checkpoint_of_another_run_is_refused_with_the_difference(
    options: dict[str, Any], says: str, checkpoint: Path, ring_split: Split, ring_catalog: Catalog
) -> None:
    before = (checkpoint / FILE).read_bytes()
    with pytest.raises(CheckpointError, match=says):
        fit(ring_split, ring_catalog, checkpoint, **({"training": QUICK} | options), resume=True)
    assert (checkpoint / FILE).read_bytes() == before


def test_other_data_are_refused(checkpoint: Path, ring: Interactions, ring_split: Split, ring_catalog: Catalog) -> None:
    fewer = replace(ring_split, train=ring_split.train.select(np.arange(len(ring_split.train)) != 0))
    with pytest.raises(CheckpointError, match="data: .* then, .* now"):
        fit(fewer, ring_catalog, checkpoint, QUICK, resume=True)


def test_a_catalogue_that_shrank_is_refused(checkpoint: Path, ring_split: Split) -> None:
    from tests.conftest import make_items

    smaller = Catalog.from_frame(make_items(extra=1), text=["title"])
    with pytest.raises(CheckpointError, match="items: 32 then, 31 now"):
        fit(ring_split, smaller, checkpoint, QUICK, resume=True)


def test_an_encoder_of_another_width_under_the_same_name_is_refused(
    ring_split: Split, ring_catalog: Catalog, tiny_encoder: Path, tmp_path: Path
) -> None:
    import shutil

    from transformers import BertConfig, BertModel

    folder = tmp_path / "encoder"
    shutil.copytree(tiny_encoder, folder)
    reading = {"encoder": str(folder), "word_features": "off"}
    fit(ring_split, ring_catalog, tmp_path / "run", QUICK, model=model(**reading))
    BertModel(BertConfig.from_pretrained(folder, hidden_size=8, intermediate_size=16)).save_pretrained(folder)
    with pytest.raises(CheckpointError, match="text_dimensions: 16 then, 8 now"):
        fit(ring_split, ring_catalog, tmp_path / "run", QUICK, model=model(**reading), resume=True)


def breaking(step: int, spoil: Callable[[Tensor, NextItemLoss], Tensor]) -> Callable[..., Tensor]:
    real, calls = NextItemLoss.forward, [0]

    def forward(self: NextItemLoss, batch: Any) -> Tensor:
        calls[0] += 1
        return spoil(real(self, batch), self) if calls[0] == step else real(self, batch)

    return forward


@pytest.mark.parametrize(
    "spoil",
    [
        lambda loss, _: loss * float("nan"),
        lambda loss, _: loss * float("inf"),
        lambda loss, owner: loss + (owner.net.users.position * 0.0).sqrt().sum(),  # a finite loss, no finite gradient
    ],
)
def test_a_broken_loss_or_gradient_ends_the_run_before_it_reaches_weights_or_checkpoint(
    spoil: Callable[[Tensor, NextItemLoss], Tensor],
    ring_split: Split,
    ring_catalog: Catalog,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    training = replace(EVERYTHING, checkpoint_steps=1, epochs=2)
    with monkeypatch.context() as patch:
        patch.setattr(NextItemLoss, "forward", breaking(7, spoil))
        broken = model()
        with pytest.raises(RecsysError, match=r"in step 7, epoch 2; lower the learning rate \(0.05\)"):
            fit(ring_split, ring_catalog, tmp_path / "run", training, model=broken)
    with pytest.raises(NotFittedError):
        _ = broken.towers
    tensors, place = contents(tmp_path / "run")
    assert place["step"] == 6
    assert all(bool(torch.isfinite(value).all()) for value in tensors.values() if value.is_floating_point())
    resumed = fit(ring_split, ring_catalog, tmp_path / "run", training, resume=True)
    assert_same(fit(ring_split, ring_catalog, tmp_path / "whole", training), resumed)


def test_a_full_disk_is_told_and_the_checkpoint_before_it_survives(
    ring_split: Split, ring_catalog: Catalog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    training = replace(EVERYTHING, checkpoint_steps=2, epochs=2)
    real, calls = checkpoints.save_file, [0]

    def full(tensors: dict[str, Tensor], file: Path, metadata: dict[str, str]) -> None:
        calls[0] += 1
        if calls[0] == 3:
            file.write_bytes(b"half of it")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(tensors, file, metadata)

    with monkeypatch.context() as patch:
        patch.setattr(checkpoints, "save_file", full)
        with pytest.raises(CheckpointError, match=r"cannot be written \(.*No space left on device\); free some space"):
            fit(ring_split, ring_catalog, tmp_path / "run", training)
    assert contents(tmp_path / "run")[1]["step"] == 4
    assert os.listdir(tmp_path / "run") == [FILE]
    resumed = fit(ring_split, ring_catalog, tmp_path / "run", training, resume=True)
    assert_same(fit(ring_split, ring_catalog, tmp_path / "whole", training), resumed)


def test_a_learning_rate_of_nothing_is_refused() -> None:
    with pytest.raises(ConfigError, match="learning_rate must be above 0, not 0.0"):
        Training(learning_rate=0.0)
