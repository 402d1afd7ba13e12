"""A run that was killed and resumed ends as if nothing had happened, and what is kept is the best that was judged."""

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
from recsys.data.split import Split
from recsys.evaluation.evaluate import evaluate
from recsys.training.checkpoint import FILE, read_snapshot
from recsys.training.ema import MovingAverage
from recsys.training.loop import Run
from recsys.training.next_item_loss import NextItemLoss
from recsys.training.prepare import prepare
from recsys.training.tower_ranker import TowerRanker
from recsys.training.trainer import train
from recsys.two_tower import TwoTower

pytestmark = pytest.mark.usefixtures("no_forecast")

EVERYTHING = Training(
    epochs=7,
    batch_tokens=64,
    learning_rate=0.05,
    ema_decay=0.8,
    l1=1e-4,
    patience=1,
    monitor="recall@1",
    validate_users=30,
    device="cpu",
)
AUGMENT = Augment(crop=0.3, delete=0.2, reorder=0.3)


class KilledError(Exception):
    """Stands for whatever ends a process."""


def model(**options: Any) -> TwoTower:
    own = {"encoder": None, "word_features": "on", "word_dropout": 0.1, "id_dropout": 0.2, "dropout": 0.2}
    return TwoTower(**({"dim": 16, "max_length": 8} | own | options))  # type: ignore[arg-type]


def fit(split: Split, catalog: Catalog, folder: Path, training: Training = EVERYTHING, **options: Any) -> TwoTower:
    """Fit the standard model, or ``model``."""
    chosen: TwoTower = options.pop("model", None) or model()
    common = {"validation": split.validation, "training": training, "augment": AUGMENT, "checkpoint": folder}
    return chosen.fit(split.train, catalog, **(common | options))


def killing(step: int) -> Callable[..., Tensor]:
    """A forward pass that is the last one when it is called for the ``step``-th time."""
    real, calls = NextItemLoss.forward, [0]

    def forward(self: NextItemLoss, batch: Any) -> Tensor:
        calls[0] += 1
        if calls[0] == step:
            raise KilledError
        return real(self, batch)

    return forward


def kill(monkeypatch: pytest.MonkeyPatch, step: int, run: Callable[[], object]) -> None:
    """Run until the forward pass of a step."""
    with monkeypatch.context() as patch:
        patch.setattr(NextItemLoss, "forward", killing(step))
        with pytest.raises(KilledError):
            run()


def untimed(rows: list[dict[str, float]]) -> list[dict[str, float]]:
    return [{name: value for name, value in row.items() if "seconds" not in name} for row in rows]


def contents(folder: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """All that a checkpoint holds but times."""
    snapshot = read_snapshot(folder)
    record = snapshot.place["record"]
    return snapshot.tensors, snapshot.place | {"record": (untimed(record["epochs"]), record["best_epoch"])}


def assert_same(one: TwoTower, two: TwoTower) -> None:
    """Weights and buffers bit by bit, and all figures."""
    first, second = one.towers.net.state_dict(), two.towers.net.state_dict()
    assert [name for name in first if not torch.equal(first[name], second[name])] == []
    assert one.log is not None
    assert two.log is not None
    assert untimed(one.log.epochs) == untimed(two.log.epochs)
    assert one.log.best_epoch == two.log.best_epoch


def assert_same_checkpoint(one: Path, two: Path) -> None:
    (tensors, place), (others, other_place) = contents(one), contents(two)
    assert tensors.keys() == others.keys()
    assert [name for name in tensors if not torch.equal(tensors[name], others[name])] == []
    assert place == other_place


@pytest.mark.parametrize("loss", ["softmax", "sampled", "gbce"])
def test_a_killed_and_resumed_run_is_bit_by_bit_the_unbroken_one(
    loss: str, ring_split: Split, ring_catalog: Catalog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    objective = Objective(loss=loss, negatives=8)  # type: ignore[arg-type]
    options: dict[str, Any] = {"objective": objective}
    whole = fit(ring_split, ring_catalog, tmp_path / "whole", **options)
    assert whole.log is not None
    steps = contents(tmp_path / "whole")[1]["step"]
    assert whole.log.best_epoch < len(whole.log.epochs) < EVERYTHING.epochs  # it stopped early
    generator = np.random.default_rng(len(loss))
    for every, first in ((1, 2), (3, 4), (0, steps // len(whole.log.epochs) + 1)):
        training, folder = replace(EVERYTHING, checkpoint_steps=every), tmp_path / f"every-{every}"
        step = int(generator.integers(first, steps + 1))
        kill(monkeypatch, step, lambda: fit(ring_split, ring_catalog, folder, training, **options))  # noqa: B023
        assert 0 <= step - 1 - contents(folder)[1]["step"] < (every or steps)
        resumed = fit(ring_split, ring_catalog, folder, training, resume=True, **options)
        assert_same(whole, resumed)
        assert_same_checkpoint(tmp_path / "whole", folder)


def test_a_run_may_be_killed_again_and_again(
    ring_split: Split, ring_catalog: Catalog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    training = replace(EVERYTHING, checkpoint_steps=2, epochs=3, patience=0)
    whole = fit(ring_split, ring_catalog, tmp_path / "whole", training)
    for resume in (False, True, True):
        kill(monkeypatch, 4, lambda: fit(ring_split, ring_catalog, tmp_path / "broken", training, resume=resume))  # noqa: B023
    assert_same(whole, fit(ring_split, ring_catalog, tmp_path / "broken", training, resume=True))


def test_a_run_killed_between_its_last_step_and_the_validation_judges_when_it_is_resumed(
    ring_split: Split, ring_catalog: Catalog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object) -> None:
        raise KilledError

    training = replace(EVERYTHING, checkpoint_steps=1)
    with monkeypatch.context() as patch:
        patch.setattr(Run, "_validate", killed)
        with pytest.raises(KilledError):
            fit(ring_split, ring_catalog, tmp_path / "broken", training)
    resumed = fit(ring_split, ring_catalog, tmp_path / "broken", training, resume=True)
    assert_same(fit(ring_split, ring_catalog, tmp_path / "whole", training), resumed)


def test_resuming_a_run_that_had_ended_changes_nothing(ring_split: Split, ring_catalog: Catalog, tmp_path: Path) -> None:
    ended = fit(ring_split, ring_catalog, tmp_path / "run")
    before = (tmp_path / "run" / FILE).read_bytes()
    assert_same(ended, fit(ring_split, ring_catalog, tmp_path / "run", resume=True))
    assert (tmp_path / "run" / FILE).read_bytes() == before


def test_patience_may_be_lengthened_and_the_run_goes_on(ring_split: Split, ring_catalog: Catalog, tmp_path: Path) -> None:
    ended = fit(ring_split, ring_catalog, tmp_path / "run")
    patient = replace(EVERYTHING, patience=0)
    more = fit(ring_split, ring_catalog, tmp_path / "run", patient, resume=True)
    assert ended.log is not None
    assert more.log is not None
    assert len(ended.log.epochs) < len(more.log.epochs) == EVERYTHING.epochs
    assert_same(fit(ring_split, ring_catalog, tmp_path / "whole", patient), more)


# What is kept


def test_the_kept_weights_are_the_averages_that_were_judged_best(ring_split: Split, tmp_path: Path) -> None:
    training = Training(epochs=6, batch_tokens=64, learning_rate=0.02, ema_decay=0.95, device="cpu", patience=0)
    options: dict[str, Any] = {"validation": ring_split.validation, "training": training}
    kept = TwoTower(encoder=None, dim=16, max_length=8, transitions="none").fit(ring_split.train, **options)
    assert kept.log is not None
    assert ring_split.validation is not None
    figures = [row["val_ndcg@10"] for row in kept.log.epochs]
    assert evaluate(kept, ring_split.validation, 10)["ndcg@10"] == max(figures) == figures[kept.log.best_epoch - 1]

    def stop(row: dict[str, float]) -> None:  # so that the checkpoint is of the best epoch
        assert kept.log is not None
        if row["epoch"] == kept.log.best_epoch + 1:
            raise KilledError

    with pytest.raises(KilledError):
        TwoTower(encoder=None, dim=16, max_length=8).fit(ring_split.train, **options, checkpoint=tmp_path, on_epoch=stop)
    state, tensors = kept.towers.net.state_dict(), contents(tmp_path)[0]
    averages = {name: value for name, value in tensors.items() if name.startswith("ema_decay.")}
    assert all(torch.equal(state[name.removeprefix("ema_decay.net.")], value) for name, value in averages.items())
    assert not any(torch.equal(tensors[name.replace("ema_decay.", "state.")], value) for name, value in averages.items())


def test_without_validation_the_averages_at_the_end_are_kept(ring_split: Split, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[dict[str, Tensor]] = []
    real = MovingAverage.update

    def spy(self: MovingAverage, step: int) -> None:
        seen.append({name: p.double() for name, p in self._followed.items()})
        real(self, step)

    monkeypatch.setattr(MovingAverage, "update", spy)
    begun = TwoTower(encoder=None, dim=16, max_length=8)
    training = Training(epochs=2, batch_tokens=64, learning_rate=0.02, ema_decay=0.7, device="cpu")
    inputs = prepare(begun.config, ring_split.train, training=training)
    towers = inputs.towers
    by_hand = {f"net.{name}": p.detach().double() for name, p in towers.net.named_parameters()}
    train(inputs, None, training)
    for step, weights in enumerate(seen, start=1):
        decay = min(0.7, (1 + step) / (10 + step))
        by_hand = {name: decay * by_hand[name] + (1 - decay) * weights[name] for name in by_hand}
    for name, p in towers.net.named_parameters():
        assert torch.allclose(p.double(), by_hand[f"net.{name}"], atol=1e-6)


def encoding(tiny_encoder: Path, **options: Any) -> TwoTower:
    return model(encoder=str(tiny_encoder), word_features="off", encoder_mode="full", texts_per_step=8, **options)


@pytest.mark.parametrize("ema_decay", [0.0, 0.9])
def test_a_trained_encoder_is_resumed_with_the_text_vectors_it_had_given(
    ema_decay: float,
    ring_split: Split,
    ring_catalog: Catalog,
    tiny_encoder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    training = replace(
        EVERYTHING, epochs=2, patience=0, ema_decay=ema_decay, encoder_learning_rate=1e-2, checkpoint_steps=2
    )
    whole = fit(ring_split, ring_catalog, tmp_path / "whole", training, model=encoding(tiny_encoder))
    kill(
        monkeypatch,
        4,
        lambda: fit(ring_split, ring_catalog, tmp_path / "broken", training, model=encoding(tiny_encoder)),
    )
    resumed = fit(ring_split, ring_catalog, tmp_path / "broken", training, model=encoding(tiny_encoder), resume=True)
    assert_same(whole, resumed)
    assert_same_checkpoint(tmp_path / "whole", tmp_path / "broken")


@pytest.mark.parametrize("judged", [True, False])
def test_the_kept_text_vectors_are_those_of_the_kept_encoder(
    judged: bool, ring_split: Split, ring_catalog: Catalog, tiny_encoder: Path
) -> None:
    training = replace(EVERYTHING, epochs=3, patience=0, encoder_learning_rate=1e-2, learning_rate=0.2, ema_decay=0.5)
    inputs = prepare(encoding(tiny_encoder).config, ring_split.train, ring_catalog, training=training)
    towers = inputs.towers
    untrained = towers.net.items.text.clone()
    record = train(inputs, ring_split.validation if judged else None, training)
    kept = towers.net.items.text.clone()
    towers.net.items.refresh()
    assert torch.equal(kept, towers.net.items.text)
    assert not torch.allclose(kept, untrained, atol=1e-3)
    if judged:
        assert ring_split.validation is not None
        again = evaluate(TowerRanker(towers), ring_split.validation.sample(30), 1)["recall@1"]
        assert again == record.epochs[record.best_epoch - 1]["val_recall@1"]
