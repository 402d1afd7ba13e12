import importlib.util
from collections import defaultdict
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch
from lightning.fabric.loggers.tensorboard import TensorBoardLogger

import recsys
from recsys.config.training import Objective, Training
from recsys.data.catalog import Catalog
from recsys.data.interactions import Interactions
from recsys.data.split import Split
from recsys.data.user_table import UserTable
from recsys.errors import ConfigError, DataError, LeakageError, NotFittedError, RecsysError
from recsys.training import loop as run
from recsys.training.optimizer import warmup_cosine
from recsys.two_tower import TwoTower

QUICK = Training(epochs=2, batch_tokens=64, device="cpu")


def small(**options: object) -> TwoTower:
    return TwoTower(**({"encoder": None, "dim": 16, "max_length": 8, "dropout": 0.0} | options))  # type: ignore[arg-type]


def test_the_towers_learn_what_follows_what(ring_split: Split) -> None:
    training = Training(epochs=25, batch_tokens=64, learning_rate=1e-2, patience=0, device="cpu")
    model = small().fit(ring_split.train, validation=ring_split.validation, training=training)
    assert recsys.evaluate(model, ring_split.test, 1)["recall@1"] > 0.9


def weights(model: TwoTower) -> dict[str, torch.Tensor]:
    return model.towers.net.state_dict()


@pytest.mark.parametrize("loss", ["softmax", "sampled"])
def test_the_same_seed_gives_the_same_weights_bit_by_bit(ring_split: Split, loss: str) -> None:
    objective = Objective(loss=loss, negatives=8)  # type: ignore[arg-type]
    one, two = (weights(small(dropout=0.2).fit(ring_split.train, training=QUICK, objective=objective)) for _ in range(2))
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_another_seed_gives_other_weights(ring_split: Split) -> None:
    one, two = (
        weights(small().fit(ring_split.train, training=Training(epochs=1, batch_tokens=64, seed=seed, device="cpu")))
        for seed in (0, 1)
    )
    assert not torch.equal(one["items.id.weight"], two["items.id.weight"])


def test_fitting_leaves_the_callers_random_state_alone(ring_split: Split) -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    small(dropout=0.5).fit(ring_split.train, training=QUICK)
    assert torch.equal(before, torch.get_rng_state())


def test_the_best_epoch_is_kept_and_training_stops_early(ring_split: Split) -> None:
    training = Training(epochs=60, batch_tokens=64, learning_rate=0.02, patience=2, device="cpu")
    model = small().fit(ring_split.train, validation=ring_split.validation, training=training)
    assert model.log is not None
    figures = [row["val_ndcg@10"] for row in model.log.epochs]
    assert len(figures) < 60
    assert figures[model.log.best_epoch - 1] == max(figures)
    assert ring_split.validation is not None
    assert recsys.evaluate(model, ring_split.validation, 10)["ndcg@10"] == pytest.approx(max(figures))


def test_without_validation_the_last_epoch_is_kept(ring_split: Split) -> None:
    model = small().fit(ring_split.train, training=QUICK)
    assert model.log is not None
    assert model.log.best_epoch == 2


def test_the_model_is_left_in_evaluation_mode(ring_split: Split) -> None:
    model = small(dropout=0.5).fit(ring_split.train, validation=ring_split.validation, training=QUICK)
    assert not any(module.training for module in model.towers.net.modules())


def test_tensorboard_gets_the_curves(ring_split: Split, tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    small().fit(ring_split.train, validation=ring_split.validation, training=QUICK, log_folder=tmp_path / "curves")
    events = EventAccumulator(str(next((tmp_path / "curves").rglob("events*")).parent))
    events.Reload()
    assert {"loss", "val_ndcg@10"} <= set(events.Tags()["scalars"])


@pytest.mark.parametrize("name", ["mlflow", "wandb", "tensorboard"])
def test_a_logger_whose_package_is_absent_is_refused_with_its_name(
    name: Any, ring_split: Split, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda package, *rest: None if package == name else real(package, *rest)
    )
    with pytest.raises(ConfigError, match=f"logger='{name}' needs the package {name}: pip install {name}"):
        small().fit(ring_split.train, training=replace(QUICK, logger=name), log_folder=tmp_path / "curves")
    small().fit(ring_split.train, training=replace(QUICK, logger=name))  # nothing is to be logged


@pytest.mark.parametrize(("fails", "told"), [(False, "success"), (True, "failed")])
def test_loggers_are_told_how_it_ended(
    fails: bool, told: str, ring_split: Split, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[str] = []
    monkeypatch.setattr(TensorBoardLogger, "finalize", lambda self, status: heard.append(status))

    def on_epoch(_: dict[str, float]) -> None:
        if fails:
            raise InterruptedError

    with suppress(InterruptedError):
        small().fit(ring_split.train, training=QUICK, log_folder=tmp_path / "curves", on_epoch=on_epoch)
    assert heard == [told]


def test_patience_is_counted_in_epochs_and_asked_when_there_is_a_figure(
    ring_split: Split, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "evaluate", lambda *_, **__: defaultdict(float))  # the first figure is the best
    training = replace(QUICK, epochs=20, validate_every=2, patience=3)
    model = small().fit(ring_split.train, validation=ring_split.validation, training=training)
    assert model.log is not None
    assert model.log.best_epoch == 2
    assert len(model.log.epochs) == 6  # 4 is 2 epochs without a better one, 6 is 4
    assert [int(row["epoch"]) for row in model.log.epochs if "val_ndcg@10" in row] == [2, 4, 6]


def test_validation_reads_the_features_of_users(ring_split: Split) -> None:
    frame = pl.DataFrame({"user_id": [f"u{i}" for i in range(40)], "kind": [f"k{i % 5}" for i in range(40)]})
    training = replace(QUICK, epochs=4, learning_rate=0.05)
    users = UserTable.from_frame(frame, categorical=["kind"])
    model = small(transitions="none").fit(
        ring_split.train, validation=ring_split.validation, training=training, users=users
    )
    assert model.log is not None
    assert ring_split.validation is not None
    figure = model.log.epochs[model.log.best_epoch - 1]["val_ndcg@10"]
    assert recsys.evaluate(model, ring_split.validation, 10)["ndcg@10"] == pytest.approx(figure)


def test_text_lets_an_untouched_item_be_ranked(ring_split: Split, ring_catalog: Catalog, tiny_encoder: Path) -> None:
    model = small(encoder=str(tiny_encoder)).fit(ring_split.train, ring_catalog, training=QUICK)
    assert "new0" in model.items.ids
    ranked = model.recommend_rows(ring_split.test.histories.block(0, 1), 32)
    assert len(ranked.lists[0]) == 32


def test_text_alone_is_enough(ring_split: Split, ring_catalog: Catalog, tiny_encoder: Path) -> None:
    model = small(encoder=str(tiny_encoder), use_ids=False).fit(ring_split.train, ring_catalog, training=QUICK)
    assert "items.id.weight" not in weights(model)


def test_an_encoder_without_text_is_refused_with_the_remedy(ring_split: Split, tiny_encoder: Path) -> None:
    with pytest.raises(DataError, match="--catalog.*--encoder none"):
        small(encoder=str(tiny_encoder)).fit(ring_split.train, training=QUICK)


def test_a_log_without_a_next_item_is_refused(ring: Interactions) -> None:
    lone = Interactions(ring.users, ring.items, ring.histories.tail(1))
    with pytest.raises(DataError, match="no user has two events"):
        small().fit(lone, training=QUICK)


def test_a_loss_that_is_not_a_number_stops_with_advice(ring_split: Split, monkeypatch: pytest.MonkeyPatch) -> None:
    from recsys.training.losses import softmax as module

    monkeypatch.setattr(module, "softmax_loss", lambda queries, *_, **__: queries.sum() * float("nan"))
    model = small()
    with pytest.raises(RecsysError, match="lower the learning rate"):
        model.fit(ring_split.train, training=QUICK)
    with pytest.raises(NotFittedError):
        _ = model.towers


def test_asking_before_fitting_is_refused() -> None:
    with pytest.raises(NotFittedError, match=r"call fit\(train, catalog\) first"):
        small().retriever()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"dim": 0}, "dim must be at least 1, not 0"),
        ({"dim": 10, "heads": 4}, "dim 10 is not divisible by heads 4"),
        ({"dropout": 1.0}, "dropout is a probability"),
        ({"score": "euclid"}, "cosine, dot, not 'euclid'"),
        ({"temperature": 0.0}, "temperature must be above 0"),
        ({"use_ids": False}, "leaves nothing to distinguish items"),
    ],
)
def test_impossible_models_are_refused_at_once(options: dict[str, object], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        small(**options)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"epochs": 0}, "epochs must be at least 1, not 0"),
        ({"learning_rate": 0.0}, "learning_rate must be above 0, not 0.0"),
        ({"learning_rate": float("nan")}, "learning_rate must be above 0"),
        ({"weight_decay": -1.0}, "weight_decay must not be negative"),
        ({"warmup": 1.0}, "warmup is a share"),
        ({"precision": "fp8"}, "precision must be one of"),
        ({"monitor": "auc"}, "ndcg@10"),
        ({"device": "tpu0"}, "not known to torch"),
        ({"device": "meta"}, "not supported"),
    ],
)
def test_impossible_trainings_are_refused(options: dict[str, object], says: str, ring_split: Split) -> None:
    with pytest.raises(ConfigError, match=says):
        small().fit(ring_split.train, training=Training(**options))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"loss": "hinge"}, "loss must be one of auto, softmax, sampled"),
        ({"sampler": "hard"}, "sampler must be one of mixed"),
        ({"negatives": 0}, "negatives must be at least 1"),
        ({"label_smoothing": 1.0}, "label_smoothing is a share"),
        ({"calibration": 2.0}, "gBCE's t in"),
    ],
)
def test_impossible_objectives_are_refused(options: dict[str, object], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        Objective(**options)  # type: ignore[arg-type]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_refused(ring_split: Split) -> None:
    with pytest.raises(ConfigError, match="torch sees no GPU"):
        small().fit(ring_split.train, training=Training(device="cuda"))


def test_the_rate_rises_then_falls_along_a_cosine() -> None:
    rate = [warmup_cosine(100, 0.1)(step) for step in range(101)]
    assert rate[0] == pytest.approx(0.1)
    assert max(rate) == rate[9] == rate[10] == pytest.approx(1.0)
    assert rate[55] == pytest.approx(0.02 + 0.98 * 0.5)
    assert rate[100] == pytest.approx(0.02)
    assert rate[10:] == sorted(rate[10:], reverse=True)


@pytest.mark.parametrize("loss", ["softmax", "sampled"])
def test_bfloat16_autocast_trains_and_stays_close_to_float32(ring_split: Split, loss: str) -> None:
    losses = []
    for precision in ("fp32", "bf16"):
        training = Training(epochs=3, batch_tokens=64, precision=precision, device="cpu")  # type: ignore[arg-type]
        objective = Objective(loss=loss, negatives=8)  # type: ignore[arg-type]
        model = small().fit(ring_split.train, validation=ring_split.validation, training=training, objective=objective)
        assert model.log is not None
        losses.append(model.log.epochs[-1]["loss"])
    assert losses[1] == pytest.approx(losses[0], rel=0.02)


def test_every_batch_of_every_epoch_is_trained_on(ring_split: Split, monkeypatch: pytest.MonkeyPatch) -> None:
    from recsys.training.next_item_loss import NextItemLoss

    taken = [0]
    real = NextItemLoss.forward

    def count(self: NextItemLoss, batch: Any) -> torch.Tensor:
        taken[0] += len(batch.targets)
        return real(self, batch)

    monkeypatch.setattr(NextItemLoss, "forward", count)
    monkeypatch.setattr("recsys.training.trainer._FORECAST_STEPS", 10**9)
    small(max_length=2).fit(ring_split.train, training=Training(epochs=5, batch_tokens=8, device="cpu"))
    assert taken[0] == 5 * int((ring_split.train.histories.lengths - 1).clip(min=0).sum())


def test_an_interrupt_reaches_the_caller_as_one(ring_split: Split, monkeypatch: pytest.MonkeyPatch) -> None:
    from recsys.training.losses import softmax as module

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "softmax_loss", interrupted)
    with pytest.raises(KeyboardInterrupt):
        small().fit(ring_split.train, training=QUICK)


def test_fitting_leaves_the_callers_choice_of_determinism_alone(ring_split: Split) -> None:
    assert not torch.are_deterministic_algorithms_enabled()
    small().fit(ring_split.train, training=QUICK)
    assert not torch.are_deterministic_algorithms_enabled()


def test_a_validation_set_that_was_trained_on_is_refused(ring: Interactions, ring_split: Split) -> None:
    with pytest.raises(LeakageError, match="40 of 40"):
        small().fit(ring, validation=ring_split.validation, training=QUICK)
