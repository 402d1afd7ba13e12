"""A step's parts: shares of a batch, what is put back, the optimiser's groups, the L1 step, the moving ema_decay."""

from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from recsys.config.augment import Augment
from recsys.config.model import ModelConfig
from recsys.config.training import LossName, Objective, Training
from recsys.core.id_map import IdMap
from recsys.core.ragged import Ragged
from recsys.data.catalog import Catalog
from recsys.data.interactions import Interactions
from recsys.data.split import Split
from recsys.training.ema import MovingAverage
from recsys.training.next_item_loss import NextItemLoss
from recsys.training.optimizer import make_optimizer, shrink
from recsys.training.prepare import prepare
from recsys.training.trainer import make_batches, make_loss
from recsys.training.windows import Batch
from recsys.two_tower import TwoTower

CPU = Training(batch_tokens=64, device="cpu", precision="fp32")
LOSSES: list[LossName] = ["softmax", "sampled", "bce", "gbce", "bpr", "mse"]


def weighted(log: Interactions, lowest: int = 0) -> Interactions:
    return replace(log, weights=np.random.default_rng(5).integers(lowest, 6, len(log)).astype(np.float32))


def step(
    log: Interactions, objective: Objective, training: Training = CPU, catalog: Catalog | None = None, **options: Any
) -> tuple[NextItemLoss, list[Batch]]:
    """A loss without anything random, and the first epoch's batches of process 0."""
    own = {"encoder": None, "dim": 16, "max_length": 8, "dropout": 0.0, "id_dropout": 0.0}
    inputs = prepare(ModelConfig(**(own | options)), log, catalog, training=training)  # type: ignore[arg-type]
    batches = make_batches(inputs, training, Augment())
    return make_loss(inputs, training, objective, "cpu"), list(batches.epoch(0))


def gradients(loss: NextItemLoss, batch: Batch) -> tuple[float, dict[str, Tensor]]:
    """Loss and gradients of one batch, with negatives drawn as if it were the first."""
    loss.draws.manual_seed(0)
    loss.zero_grad()
    value = loss(batch)
    value.backward()
    return float(value.detach()), {name: p.grad for name, p in loss.weights().items() if p.grad is not None}


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("with_weights", [False, True])
def test_shares_of_a_batch_average_to_the_whole(name: LossName, with_weights: bool, ring_split: Split) -> None:
    objective = Objective(loss=name, sampler="in-batch", weighted=with_weights, mask_history=name != "mse")
    log = weighted(ring_split.train)
    loss, (whole, *_) = step(log, objective)
    value, slopes = gradients(loss, whole)
    found: list[tuple[float, dict[str, Tensor]]] = []
    for process in range(3):
        inputs = prepare(ModelConfig(encoder=None, dim=16, max_length=8), log, training=CPU)
        batches = make_batches(inputs, replace(CPU, devices=3), Augment(), process=process)
        found.append(gradients(loss, next(batches.epoch(0))))
    assert np.mean([one for one, _ in found]) == pytest.approx(value, rel=1e-5)
    for parameter, slope in slopes.items():
        torch.testing.assert_close(sum(one[parameter] for _, one in found) / 3, slope, rtol=1e-4, atol=1e-6)


def test_shares_average_to_the_whole_also_where_some_have_nothing_to_compare_with() -> None:
    """The first window holds every candidate, so that BPR has a negative for the second one alone."""
    users, items = (IdMap(pl.Series(range(n)), kind) for n, kind in ((2, "user"), (3, "item")))
    log = Interactions(users, items, Ragged.from_lists([[0, 1, 2, 0, 1, 2], [0, 1]]))
    objective = Objective(loss="bpr", sampler="in-batch", mask_history=True)
    loss, (whole,) = step(log, objective)
    inputs = prepare(ModelConfig(encoder=None, dim=16, max_length=8), log, training=CPU)
    shares = [
        next(make_batches(inputs, replace(CPU, devices=2), Augment(), process=process).epoch(0)) for process in (0, 1)
    ]
    values = [gradients(loss, share)[0] for share in shares]
    assert values[0] == 0.0
    assert np.mean(values) == pytest.approx(gradients(loss, whole)[0], rel=1e-5)


@pytest.mark.parametrize("name", LOSSES)
def test_a_process_without_a_window_adds_nothing_but_has_every_gradient(name: LossName, ring_split: Split) -> None:
    loss, (batch, *_) = step(weighted(ring_split.train), Objective(loss=name))
    nothing = torch.empty(0, dtype=torch.int64)
    empty = replace(
        batch, inputs=nothing.reshape(0, 1), targets=nothing, positions=nothing, weights=torch.empty(0), processes=2
    )
    value, slopes = gradients(loss, empty)
    assert value == 0.0
    assert slopes.keys() == loss.weights().keys()
    assert not any(slope.any() for slope in slopes.values())
    drawn = loss.draws.get_state()
    gradients(loss, batch)
    assert torch.equal(drawn, loss.draws.get_state())  # it drew what the others drew


@pytest.mark.parametrize("name", LOSSES)
def test_a_batch_in_which_nothing_weighs_anything_is_worth_nothing(name: LossName, ring_split: Split) -> None:
    log = replace(ring_split.train, weights=np.zeros(len(ring_split.train), dtype=np.float32))
    loss, (batch, *_) = step(log, Objective(loss=name, weighted=True))
    value, slopes = gradients(loss, batch)
    assert value == 0.0
    assert not any(slope.any() for slope in slopes.values())


def test_a_share_without_any_text_still_has_a_gradient_for_the_encoder(
    ring_split: Split, ring_catalog: Catalog, tiny_encoder: Path
) -> None:
    options: dict[str, Any] = {"encoder": str(tiny_encoder), "encoder_mode": "full", "texts_per_step": 4}
    loss, (batch, *_) = step(ring_split.train, Objective(loss="bpr"), catalog=ring_catalog, **options)
    tower = loss.net.items.encoder
    assert tower is not None
    tower.place.fill_(-1)  # no item of the share has a text
    _, slopes = gradients(loss, replace(batch, processes=2))
    encoder = {name for name in loss.weights() if ".encoder." in name}
    assert encoder
    assert encoder <= slopes.keys()


def test_what_happens_within_restored_leaves_no_trace(ring_split: Split) -> None:
    loss, (batch, *_) = step(ring_split.train, Objective(loss="sampled", negatives=4), dropout=0.5)
    before = {name: value.clone() for name, value in loss.state_dict().items()}
    random, draws = torch.get_rng_state(), loss.draws.get_state()
    with suppress(InterruptedError), loss.restored():
        loss(batch).backward()
        make_optimizer(loss, CPU).step()
        assert not torch.equal(before["net.items.id.weight"], loss.state_dict()["net.items.id.weight"])
        raise InterruptedError
    assert all(torch.equal(before[name], value) for name, value in loss.state_dict().items())
    assert torch.equal(random, torch.get_rng_state())
    assert torch.equal(draws, loss.draws.get_state())
    assert all(p.grad is None for p in loss.parameters())


# The optimiser


def groups_of(loss: NextItemLoss, training: Training) -> dict[str, dict[str, Any]]:
    """The optimiser's group of each trained parameter."""
    names = {id(p): name for name, p in loss.weights().items()}
    return {names[id(p)]: group for group in make_optimizer(loss, training).param_groups for p in group["params"]}


def test_matrices_are_decayed_and_nothing_else(ring_split: Split) -> None:
    training = replace(CPU, weight_decay=0.3)
    loss, _ = step(ring_split.train, Objective(), positions="relative", time_bias="history")
    of = groups_of(loss, training)
    assert of.keys() == loss.weights().keys()
    decayed = {name for name, group in of.items() if group["weight_decay"] == 0.3}
    assert {group["weight_decay"] for group in of.values()} == {0.0, 0.3}
    assert {"net.items.id.weight", "net.users.blocks.0.qkv.weight"} <= decayed
    undecayed = {name.rpartition(".")[2] if "bias." in name else name for name in of.keys() - decayed}
    assert {"by_distance", "by_time", "net.log_scale", "net.items.norm.weight"} <= undecayed
    assert all(loss.weights()[name].dim() == 2 for name in decayed)


def test_positions_are_not_decayed(ring_split: Split) -> None:
    loss, _ = step(ring_split.train, Objective())
    assert groups_of(loss, CPU)["net.users.position"]["weight_decay"] == 0.0


def test_a_trained_encoder_has_a_rate_of_its_own(ring_split: Split, ring_catalog: Catalog, tiny_encoder: Path) -> None:
    training = replace(CPU, learning_rate=0.5, encoder_learning_rate=0.01)
    options: dict[str, Any] = {"encoder": str(tiny_encoder), "encoder_mode": "full"}
    loss, _ = step(ring_split.train, Objective(), catalog=ring_catalog, **options)
    peaks = {name: group["peak"] for name, group in groups_of(loss, training).items()}
    assert {peak for name, peak in peaks.items() if ".encoder." in name} == {0.01}
    assert {peak for name, peak in peaks.items() if ".encoder." not in name} == {0.5}


def test_a_step_of_adamw_is_loshchilovs(ring_split: Split) -> None:
    training = replace(CPU, learning_rate=0.1, weight_decay=0.3)
    loss, (batch, *_) = step(ring_split.train, Objective())
    before = {name: p.detach().clone() for name, p in loss.weights().items()}
    _, slopes = gradients(loss, batch)
    decays = {name: group["weight_decay"] for name, group in groups_of(loss, training).items()}
    make_optimizer(loss, training).step()
    for name, p in loss.weights().items():
        # After one step both corrected moments are the gradient and its square.
        expected = before[name] * (1 - 0.1 * decays[name]) - 0.1 * slopes[name] / (slopes[name].abs() + 1e-8)
        torch.testing.assert_close(p.detach(), expected, rtol=1e-4, atol=1e-5)


@settings(max_examples=20)
@given(st.lists(st.floats(-2, 2, width=32), min_size=1, max_size=6), st.floats(0, 1), st.floats(0, 1), st.booleans())
def test_the_l1_step_moves_matrices_towards_zero_and_no_further(
    values: list[float], rate: float, l1: float, matrices: bool
) -> None:
    p = nn.Parameter(torch.tensor([values]))
    optimizer = torch.optim.SGD([{"params": [p], "lr": rate, "matrices": matrices}])
    shrink(optimizer, l1)
    by_hand = [np.sign(v) * max(abs(v) - rate * l1, 0.0) for v in values] if matrices else values
    assert p.detach()[0].numpy() == pytest.approx(by_hand, abs=1e-6)


def test_an_l1_penalty_leaves_zeros_where_training_without_one_leaves_none(ring_split: Split) -> None:
    zeros = []
    for l1 in (0.0, 0.8):
        training = replace(CPU, epochs=2, learning_rate=0.02, l1=l1)
        net = TwoTower(encoder=None, dim=16, max_length=8).fit(ring_split.train, training=training).towers.net
        zeros.append(float((net.users.blocks[0].qkv.weight == 0).float().mean()))  # type: ignore[union-attr, operator]
    assert zeros[0] == 0.0
    assert zeros[1] > 0.01


# The moving ema_decay


def test_the_average_is_the_one_computed_by_hand() -> None:
    net = nn.Linear(1, 1, bias=False)
    net.weight.data.fill_(1.0)
    ema_decay = MovingAverage(dict(net.named_parameters()), 0.5)
    for number, weight in enumerate((2.0, -1.0, 4.0), start=1):
        net.weight.data.fill_(weight)
        ema_decay.update(number)
    # Decays (1 + n) / (10 + n), at most 0.5: 2/11, 3/12, 4/13.
    first = 2 / 11 * 1.0 + 9 / 11 * 2.0
    second = 3 / 12 * first + 9 / 12 * -1.0
    assert float(ema_decay.values["weight"]) == pytest.approx(4 / 13 * second + 9 / 13 * 4.0)
    for _ in range(2):
        ema_decay.update(1000)
    assert float(ema_decay.values["weight"]) == pytest.approx(4.0 + 0.25 * 4 / 13 * (second - 4.0))


def test_within_the_block_the_network_is_the_average_and_after_it_itself() -> None:
    net = nn.Linear(2, 2)
    ema_decay = MovingAverage(dict(net.named_parameters()), 0.9)
    begun = net.weight.detach().clone()
    net.weight.data.add_(1.0)
    with suppress(InterruptedError), ema_decay.in_place():
        assert torch.equal(net.weight, begun)
        raise InterruptedError
    assert torch.equal(net.weight, begun + 1.0)
    ema_decay.keep()
    assert torch.equal(net.weight, begun)
