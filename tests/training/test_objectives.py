"""Each objective learns the ring, and its options change the loss as their formulas say."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import recsys
from recsys.config.augment import Augment
from recsys.config.training import LossName, Objective, SamplerName, Training
from recsys.core.id_map import IdMap
from recsys.core.ragged import Ragged
from recsys.data.interactions import Interactions
from recsys.data.split import Split
from recsys.errors import DataError
from recsys.training.next_item_loss import NextItemLoss
from recsys.training.prepare import prepare
from recsys.training.trainer import make_batches, make_loss, train
from recsys.training.windows import Batch
from recsys.two_tower import TwoTower
from tests.training.test_next_item_loss import weighted

LEARNING = Training(epochs=15, batch_tokens=64, learning_rate=1e-2, patience=0, device="cpu")
SAMPLERS: list[SamplerName] = ["mixed", "uniform", "in-batch", "popularity"]


def small(**options: Any) -> TwoTower:
    return TwoTower(**({"encoder": None, "dim": 16, "max_length": 8, "dropout": 0.0} | options))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "objective",
    [
        Objective(loss="softmax"),
        *(Objective(loss="sampled", sampler=sampler, negatives=8) for sampler in SAMPLERS),
        Objective(loss="bce", negatives=8),
        Objective(loss="gbce", negatives=8),
        Objective(loss="bpr", negatives=8),
        Objective(loss="softmax", mask_history=True, label_smoothing=0.1),
        Objective(loss="sampled", negatives=8, mask_history=True, label_smoothing=0.1),
    ],
    ids=lambda objective: f"{objective.loss}-{objective.sampler}" + "-masked" * objective.mask_history,
)
def test_each_objective_learns_what_follows_what(objective: Objective, ring_split: Split) -> None:
    model = small().fit(ring_split.train, training=LEARNING, objective=objective)
    assert recsys.evaluate(model, ring_split.test, 1)["recall@1"] > 0.8


def test_ratings_are_learned_and_predicted() -> None:
    """Whether a rating is high depends on whether the item's number is even as the one before it is."""
    generator = np.random.default_rng(0)
    lists = Ragged.from_lists(generator.integers(0, 10, (60, 9)).tolist())
    rows = lists.rows.reshape(60, 9)
    liked = np.where(rows % 2 == np.roll(rows, 1, axis=1) % 2, 5.0, 1.0).astype(np.float32)
    users, items = (IdMap(pl.Series(range(n)), kind) for n, kind in ((60, "user"), (10, "item")))
    log = Interactions(users, items, lists, weights=liked.ravel())
    inputs = prepare(small().config, log, training=LEARNING)
    batches = make_batches(inputs, LEARNING, Augment())
    train(inputs, None, LEARNING, objective=Objective(loss="mse"))
    predicted, told = [], []
    with torch.inference_mode():
        towers = inputs.towers
        table = towers.net.for_score(towers.net.items())
        for batch in batches.epoch(0):
            hidden = towers.net.users(F.embedding(batch.inputs, towers.net.items()), batch.context)
            queries = towers.net.for_score(hidden.flatten(0, 1)[batch.positions])
            predicted.append((queries * table[batch.targets]).sum(1))
            assert batch.weights is not None
            told.append(batch.weights)
    assert np.corrcoef(torch.cat(predicted).numpy(), torch.cat(told).numpy())[0, 1] > 0.8


# Formulas, on one batch of an untrained network


def one_batch(log: Interactions, objective: Objective, **options: Any) -> tuple[NextItemLoss, Batch]:
    training = Training(batch_tokens=64, device="cpu", precision="fp32")
    inputs = prepare(small(**options).config, log, training=training)
    batches = make_batches(inputs, training, Augment())
    loss = make_loss(inputs, training, objective, "cpu")
    return loss.eval(), next(batches.epoch(0))


@torch.no_grad()
def scores_of(loss: NextItemLoss, batch: Batch) -> tuple[Tensor, list[set[int]]]:
    """Score of every item at each position, float64 (N, n_items), and each position's window as a set."""
    net = loss.net
    table = net.items()
    scores, windows = [], []
    for position in batch.positions.tolist():
        window, place = divmod(position, batch.inputs.shape[1])
        real = int((batch.positions // batch.inputs.shape[1] == window).sum())
        hidden = net.users(table[batch.inputs[window : window + 1, : place + 1]], None)[0, -1]
        scores.append(net.for_score(hidden[None])[0] * net.scale() @ net.for_score(table).T)
        windows.append(set(batch.inputs[window, :real].tolist()))
    return torch.stack(scores).double(), windows


def wandering(ring_split: Split) -> Interactions:
    """The ring's log, with histories that return to earlier items, and ratings from 1 to 5."""
    log = weighted(ring_split.train, lowest=1)
    lists = log.histories
    rows = np.random.default_rng(2).integers(0, 8, len(lists.rows)).astype(np.int32)
    return replace(log, histories=replace(lists, rows=rows))


def mean(losses: list[float], batch: Batch, weighing: bool) -> float:
    """Over positions, by their weights if these count."""
    assert batch.weights is not None
    return float(np.average(losses, weights=batch.weights.numpy() if weighing else None))


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("weighing", [False, True])
@pytest.mark.parametrize(
    "options",
    [
        {"loss": "softmax"},
        {"loss": "softmax", "label_smoothing": 0.2},
        {"loss": "sampled"},
        {"loss": "sampled", "label_smoothing": 0.2},
        {"loss": "sampled", "log_q": False},
        {"loss": "sampled", "sampler": "uniform"},
        {"loss": "sampled", "sampler": "uniform", "log_q": False},
        {"loss": "sampled", "sampler": "popularity"},
    ],
    ids=str,
)
def test_the_softmax_is_over_what_is_not_masked_smoothed_and_weighted(
    options: dict[str, Any], weighing: bool, masked: bool, ring_split: Split
) -> None:
    log = wandering(ring_split)
    objective = Objective(negatives=3, mask_history=masked, weighted=weighing, **options)
    loss, batch = one_batch(log, objective)
    if loss.sampler is None:
        candidates, log_q = (met := np.flatnonzero(log.item_counts).tolist()), [0.0] * len(met)
    else:
        found = loss.sampler.draw(batch.all_targets, torch.Generator().manual_seed(0))
        candidates = found.rows.tolist()
        log_q = [q if objective.log_q or q == math.inf else 0.0 for q in found.log_q.tolist()]
    scores, windows = scores_of(loss, batch)
    smoothing, losses = objective.label_smoothing, []
    for row, target, window in zip(scores, batch.targets.tolist(), windows, strict=True):
        logits = {
            j: float(row[j]) - (0.0 if j == target else q)
            for j, q in zip(candidates, log_q, strict=True)
            if j == target or (q < math.inf and not (masked and j in window))
        }
        log_mass = math.log(sum(math.exp(s) for s in logits.values()))
        label = {j: (1 - smoothing) * (j == target) + smoothing / len(logits) for j in logits}
        losses.append(sum(label[j] * (log_mass - logits[j]) for j in logits))
    assert float(loss(batch).detach()) == pytest.approx(mean(losses, batch, weighing), rel=1e-4)


@pytest.mark.parametrize("asked", [False, True], ids=["left alone", "cold_negatives"])
@pytest.mark.parametrize("name", ["softmax", "sampled", "bce", "gbce", "bpr"])
def test_items_never_met_in_training_are_negatives_only_if_asked_for(
    name: LossName, asked: bool, ring_split: Split
) -> None:
    log = replace(ring_split.train, items=ring_split.train.items.extended(pl.Series(["aaa", "zzz"])))
    model = small(use_ids=True)
    training = Training(batch_tokens=64, device="cpu", precision="fp32")
    inputs = prepare(model.config, log, training=training)
    batch = next(make_batches(inputs, training, Augment()).epoch(0))
    objective = Objective(loss=name, sampler="uniform", negatives=len(log.items), cold_negatives=asked)
    loss = make_loss(inputs, training, objective, "cpu")
    vectors: list[Tensor] = []

    def watch(_module: object, _inputs: object, made: Tensor) -> None:
        made.retain_grad()
        vectors.append(made)

    loss.net.items.register_forward_hook(watch)
    loss(batch).backward()
    (table,) = vectors
    assert len(table) == len(log.items) - (0 if asked else 2)
    assert table.grad is not None
    assert bool(table.grad.any(1).all())


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("weighing", [False, True])
@pytest.mark.parametrize("sampler", ["mixed", "uniform"])
@pytest.mark.parametrize("name", ["bce", "gbce", "bpr"])
def test_pairwise_losses_are_over_the_negatives_that_are_not_masked(
    name: LossName, sampler: SamplerName, weighing: bool, masked: bool, ring_split: Split
) -> None:
    log = wandering(ring_split)
    objective = Objective(loss=name, sampler=sampler, negatives=6, mask_history=masked, weighted=weighing, calibration=0.6)
    loss, batch = one_batch(log, objective)
    assert loss.sampler is not None
    found = loss.sampler.draw(batch.all_targets, torch.Generator().manual_seed(0))
    candidates = found.rows[found.log_q < math.inf].tolist()
    scores, windows = scores_of(loss, batch)
    drawn = 6 if sampler == "uniform" else len(candidates) - 1
    rate = drawn / (np.count_nonzero(log.item_counts) - 1)
    beta = 1.0 - 0.6 * (1.0 - rate) if name == "gbce" else 1.0
    losses = []
    for row, target, window in zip(scores, batch.targets.tolist(), windows, strict=True):
        negatives = row[[j for j in candidates if j != target and not (masked and j in window)]]
        if name == "bpr":
            losses.append(float(-F.logsigmoid(row[target] - negatives).mean()))
        else:
            offset = math.log(beta / drawn)
            summed = -beta * F.logsigmoid(row[target] + offset) - F.logsigmoid(-negatives - offset).sum()
            losses.append(float(summed * (drawn + 1) / (len(negatives) + 1)))
    assert float(loss(batch).detach()) == pytest.approx(mean(losses, batch, weighing), rel=1e-4)


@pytest.mark.parametrize("weighing", [False, True])
def test_ratings_are_a_line_over_the_score_in_squared_error(weighing: bool, ring_split: Split) -> None:
    loss, batch = one_batch(wandering(ring_split), Objective(loss="mse", weighted=weighing))
    assert loss.rating is not None
    assert batch.weights is not None
    loss.rating.data = torch.tensor([2.0, 3.0])
    scores, _ = scores_of(loss, batch)
    wrong = [float(2.0 * scores[i, t] + 3.0 - batch.weights[i]) ** 2 for i, t in enumerate(batch.targets.tolist())]
    assert float(loss(batch).detach()) == pytest.approx(mean(wrong, batch, weighing), rel=1e-4)


def test_bpr_counts_a_position_without_negatives_as_nothing(ring_split: Split) -> None:
    log = wandering(ring_split)
    log = replace(log, histories=replace(log.histories, rows=(np.arange(len(log)) % 2).astype(np.int32)))
    objective = Objective(loss="bpr", sampler="in-batch", mask_history=True)  # both items are in every longer window
    loss, batch = one_batch(log, objective)
    assert float(loss(batch).detach()) == 0.0


@pytest.mark.parametrize(
    ("objective", "says"),
    [
        (Objective(loss="mse"), r"loss='mse' needs a weight for each interaction.*--weight"),
        (Objective(weighted=True), r"weighted=True needs a weight for each interaction.*--weight"),
    ],
)
def test_weights_that_are_missing_are_asked_for(objective: Objective, says: str, ring_split: Split) -> None:
    with pytest.raises(DataError, match=says):
        small().fit(ring_split.train, objective=objective, training=LEARNING)


def test_negative_weights_are_refused_as_weights_but_taken_as_ratings(ring_split: Split) -> None:
    log = replace(ring_split.train, weights=np.full(len(ring_split.train), -1.0, dtype=np.float32))
    with pytest.raises(DataError, match="weights must be 0 or more"):
        small().fit(log, objective=Objective(weighted=True), training=LEARNING)
    small().fit(log, objective=Objective(loss="mse"), training=replace(LEARNING, epochs=1))
