"""What a run will cost is told before it, without touching it; a good learning rate likewise."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import pytest
import torch
from torch import Tensor

from recsys.config.augment import Augment
from recsys.config.training import Objective, Training
from recsys.data.catalog import Catalog
from recsys.data.interactions import Interactions
from recsys.data.split import Split
from recsys.errors import ConfigError, RecsysError
from recsys.training import forecast
from recsys.training import trainer as fit
from recsys.training.forecast import free_memory, kept_memory, widest_batch
from recsys.training.lr_finder import find_rate
from recsys.training.next_item_loss import NextItemLoss
from recsys.training.prepare import prepare
from recsys.training.trainer import make_batches, make_fabric, make_loss
from recsys.training.windows import WindowBatches
from recsys.two_tower import TwoTower

CPU = Training(batch_tokens=64, device="cpu")


def ready(
    log: Interactions, training: Training = CPU, objective: Objective | None = None, **options: Any
) -> tuple[L.Fabric, NextItemLoss, WindowBatches]:
    model = TwoTower(**({"encoder": None, "dim": 16, "max_length": 8} | options))  # type: ignore[arg-type]
    inputs = prepare(model.config, log, training=training)
    batches = make_batches(inputs, training, Augment())
    return make_fabric(training, "cpu"), make_loss(inputs, training, objective or Objective(), "cpu"), batches


def saved_bytes(loss: NextItemLoss, run: Callable[[], Tensor]) -> int:
    """Bytes of distinct tensors that the backward pass will read, weights and buffers aside."""
    own = {t.untyped_storage().data_ptr() for t in (*loss.parameters(), *loss.buffers())}
    kept: dict[int, Tensor] = {}

    def note(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        run().backward()
    return sum(t.untyped_storage().nbytes() for place, t in kept.items() if place not in own)


@pytest.mark.parametrize("objective", [Objective(), Objective(loss="sampled", negatives=20), Objective(loss="gbce")])
@pytest.mark.parametrize("options", [{}, {"positions": "relative"}, {"dropout": 0.0, "blocks": 1, "dim": 32}])
def test_memory_told_from_small_batches_is_that_of_the_largest(objective: Objective, options: dict[str, Any]) -> None:
    generator = np.random.default_rng(0)
    log = walks(generator.integers(3, 60, 200), items=100)
    _, loss, batches = ready(log, replace(CPU, batch_tokens=1000), objective, max_length=40, **options)
    with loss.restored():
        told = kept_memory(loss, widest_batch(batches))
        needed = [saved_bytes(loss, lambda: loss(batch)) for batch in batches.epoch(0)]  # noqa: B023
    assert told == pytest.approx(max(needed), rel=0.25)


def test_the_weights_that_a_batch_reads_are_no_memory_of_its_own(ring_split: Split) -> None:
    _, loss, batches = ready(ring_split.train, replace(CPU, batch_tokens=5), dim=128, dropout=0.0)
    batch = widest_batch(batches)
    told = kept_memory(loss, batch)
    assert told == pytest.approx(saved_bytes(loss, lambda: loss(batch)), rel=0.05)
    assert told < 4 * sum(p.numel() for p in loss.parameters())


def walks(lengths: np.ndarray[Any, Any], items: int) -> Interactions:
    """Random histories of given lengths."""
    import polars as pl

    users = np.repeat(np.arange(len(lengths)), lengths)
    rows = np.random.default_rng(1).integers(0, items, len(users))
    return Interactions.from_frame(pl.DataFrame({"user_id": users, "item_id": rows, "timestamp": np.arange(len(users))}))


def test_the_largest_batch_is_never_run(ring_split: Split, monkeypatch: pytest.MonkeyPatch) -> None:
    _, loss, batches = ready(ring_split.train)
    seen: list[int] = []
    real = NextItemLoss.forward
    monkeypatch.setattr(NextItemLoss, "forward", lambda self, batch: (seen.append(len(batch.inputs)), real(self, batch))[1])
    largest = widest_batch(batches)
    kept_memory(loss, largest)
    assert max(seen) <= max(2, len(largest.inputs) // 4)


def test_what_training_holds_besides_is_counted_by_copies_of_the_weights(ring_split: Split) -> None:
    fabric, loss, batches = ready(ring_split.train)
    weights = 4 * sum(p.numel() for p in loss.parameters() if p.requires_grad)
    three, five = (forecast.forecast(fabric, loss, batches, copies=copies).memory for copies in (3, 5))
    assert five - three == 2 * weights
    copies = fit.copies_of_weights
    assert [copies(CPU, judged=False), copies(replace(CPU, ema_decay=0.9), judged=True)] == [3, 5]
    assert copies(replace(CPU, devices=4, strategy="fsdp"), judged=True) == 2 + 4 / 4


def test_too_little_memory_is_refused_before_training_with_advice(
    ring_split: Split, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[int] = []
    monkeypatch.setattr("recsys.training.loop.Run._train_on", lambda *_: steps.append(1))
    monkeypatch.setattr(forecast, "free_memory", lambda device: 10_000)
    model = TwoTower(encoder=None, dim=16, max_length=8)
    says = r"would need about .* GiB, but only .* is free; lower batch_tokens \(now 64\), dim"
    with pytest.raises(ConfigError, match=says):
        model.fit(ring_split.train, training=CPU)
    assert not steps


@pytest.mark.parametrize(
    ("limit", "used", "cached", "free"),
    [("max", 0, 0, 8000 * 1024), ("5000000", 1000000, 0, 4000000), ("5000000", 4500000, 4000000, 4500000)],
)
def test_free_memory_is_the_lesser_of_machine_and_container(
    limit: str, used: int, cached: int, free: int, tmp_path: Path
) -> None:
    files = {
        "/proc/self/cgroup": "0::/\n",
        "/proc/meminfo": "MemTotal: 9000 kB\nMemAvailable: 8000 kB\nHugePages_Total:       0\n",
        "/sys/fs/cgroup/memory.max": f"{limit}\n",
        "/sys/fs/cgroup/memory.current": f"{used}\n",
        "/sys/fs/cgroup/memory.stat": f"anon 17\ninactive_file {cached}\n",
    }
    for name, text in files.items():
        file = tmp_path / name.removeprefix("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    assert free_memory(torch.device("cpu"), tmp_path) == free


def state(loss: NextItemLoss) -> dict[str, Tensor]:
    random = {"torch": torch.get_rng_state(), "draws": loss.draws.get_state()}
    return random | {name: value.clone() for name, value in loss.state_dict().items()}


def test_looking_ahead_leaves_weights_text_vectors_and_random_states_alone(
    ring_split: Split, ring_catalog: Catalog, tiny_encoder: Path
) -> None:
    model = TwoTower(encoder=str(tiny_encoder), encoder_mode="full", texts_per_step=4, dim=16, max_length=8)
    inputs = prepare(model.config, ring_split.train, ring_catalog, training=CPU)
    batches = make_batches(inputs, CPU, Augment())
    loss = make_loss(inputs, CPU, Objective(loss="sampled", negatives=4), "cpu")
    fabric, before = make_fabric(CPU, "cpu"), state(loss)
    forecast.forecast(fabric, loss, batches, copies=4)
    find_rate(fabric, loss, batches, CPU, steps=30)
    after = state(loss)
    assert [name for name in before if not torch.equal(before[name], after[name])] == []
    assert all(p.grad is None for p in loss.parameters())


def test_training_after_a_forecast_is_bit_by_bit_training_without_one(
    ring_split: Split, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    real = forecast.forecast

    def spy(*arguments: Any, **options: Any) -> Any:
        asked.append(1)
        return real(*arguments, **options)

    monkeypatch.setattr(fit, "forecast", spy)
    found = []
    for steps in (0, 10**9):
        monkeypatch.setattr(fit, "_FORECAST_STEPS", steps)
        model = TwoTower(encoder=None, dim=16, max_length=8, dropout=0.2)
        training, objective = replace(CPU, epochs=2), Objective(loss="sampled", negatives=4)
        found.append(model.fit(ring_split.train, training=training, objective=objective).towers.net.state_dict())
    assert asked == [1]
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])


def test_steps_and_parameters_are_counted_and_time_is_per_epoch(ring_split: Split) -> None:
    fabric, loss, batches = ready(ring_split.train)
    told = forecast.forecast(fabric, loss, batches, copies=3)
    assert told.steps == len(list(batches.epoch(0)))
    assert told.parameters == sum(p.numel() for p in loss.net.parameters() if p.requires_grad)
    assert told.seconds > 0
    assert f"({told.steps} steps)" in str(told)


# Learning rates


def test_the_suggested_rate_is_one_at_which_training_does_learn(ring_split: Split) -> None:
    sweep = find_rate(*ready(ring_split.train), CPU)
    assert 1e-3 < sweep.suggestion < 0.3
    assert sweep.suggestion in sweep.rates
    training = replace(CPU, learning_rate=sweep.suggestion, epochs=4)
    log = TwoTower(encoder=None, dim=16, max_length=8).fit(ring_split.train, training=training).log
    assert log is not None
    assert log.epochs[-1]["loss"] < 0.7 * log.epochs[0]["loss"]


def test_rates_rise_evenly_on_a_log_scale_until_the_loss_diverges(ring_split: Split) -> None:
    sweep = find_rate(*ready(ring_split.train, score="dot"), CPU, lowest=1e-3, highest=100.0, steps=80)
    assert np.allclose(np.diff(np.log(sweep.rates)), np.log(1e5) / 79)
    assert sweep.rates[0] == 1e-3
    assert len(sweep.rates) < 80
    assert sweep.losses[-1] > 1.5 * min(sweep.losses)


def test_a_sweep_is_the_same_every_time(ring_split: Split) -> None:
    ahead = ready(ring_split.train, objective=Objective(loss="sampled", negatives=4))
    with torch.random.fork_rng():
        assert find_rate(*ahead, CPU, steps=30) == find_rate(*ahead, CPU, steps=30)


@pytest.mark.parametrize("noise", [0.0, 0.005])
def test_a_loss_that_never_falls_is_told(noise: float, ring_split: Split, monkeypatch: pytest.MonkeyPatch) -> None:
    real, generator = NextItemLoss.forward, torch.Generator().manual_seed(0)

    def flat(self: NextItemLoss, batch: Any) -> Tensor:
        return real(self, batch) * 0.0 + 3.0 + noise * torch.randn((), generator=generator)

    monkeypatch.setattr(NextItemLoss, "forward", flat)
    with pytest.raises(RecsysError, match="the loss does not fall at any learning rate: it starts at"):
        find_rate(*ready(ring_split.train), CPU)
