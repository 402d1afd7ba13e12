from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.config.augment import Augment
from recsys.core.id_map import IdMap
from recsys.core.ragged import Ragged
from recsys.data.interactions import Interactions
from recsys.training.windows import WindowBatches, cut_windows

lengths_of = st.lists(st.integers(0, 40), min_size=1, max_size=8)


@settings(max_examples=25, deadline=None)
@given(lengths_of, st.integers(1, 12), st.integers(0, 5))
def test_every_event_but_the_first_is_a_target_exactly_once(lengths: list[int], length: int, seed: int) -> None:
    owners, starts, sizes = cut_windows(np.array(lengths), length, np.random.default_rng(seed))
    met = [(int(o), int(s) + i + 1) for o, s, n in zip(owners, starts, sizes, strict=True) for i in range(n)]
    assert sorted(met) == [(o, t) for o, n in enumerate(lengths) for t in range(1, n)]
    assert all(1 <= n <= length for n in sizes)


def test_cuts_move_from_epoch_to_epoch() -> None:
    lengths = np.full(20, 35)
    first = [cut_windows(lengths, 10, np.random.default_rng(seed))[1].tolist() for seed in (0, 1)]
    assert first[0] != first[1]


def log_of(lists: Ragged, n_items: int = 100, **options: Any) -> Interactions:
    users = IdMap(pl.Series("user_id", range(len(lists))), "user")
    return Interactions(users, IdMap(pl.Series("item_id", range(n_items)), "item"), lists, **options)


def batches(histories: Ragged, seed: int = 0, tokens: int = 30, ordered: bool = True, **options: Any) -> WindowBatches:
    return WindowBatches(log_of(histories, ordered=ordered), length=10, tokens=tokens, seed=seed, **options)


def histories(users: int = 30) -> Ragged:
    generator = np.random.default_rng(1)
    return Ragged.from_lists([generator.integers(0, 100, n).tolist() for n in generator.integers(0, 40, users)])


def test_targets_are_the_successors_of_inputs() -> None:
    lists = Ragged.from_lists([[1, 2, 3], [4, 5], [6], []])
    (batch,) = batches(lists, tokens=1000).epoch(0)
    flat = batch.inputs.flatten()[batch.positions]
    assert dict(zip(flat.tolist(), batch.targets.tolist(), strict=True)) == {1: 2, 2: 3, 4: 5}


def test_batches_keep_to_their_budget_and_hold_next_to_no_padding() -> None:
    supply = batches(histories(400), tokens=200)
    every = list(supply.epoch(0))
    assert all(batch.inputs.numel() <= 200 for batch in every)
    real, padded = sum(len(b.targets) for b in every), sum(b.inputs.numel() for b in every)
    assert real > 0.95 * padded


def test_an_epoch_covers_all_targets() -> None:
    lists = histories()
    for epoch in range(2):
        supply = batches(lists).epoch(epoch)
        assert sum(len(batch.targets) for batch in supply) == int(np.maximum(lists.lengths - 1, 0).sum())


def test_the_same_seed_gives_the_same_batches_and_epochs_differ() -> None:
    one, two = batches(histories()), batches(histories())
    first = [batch.inputs for batch in one.epoch(0)]
    assert all(torch.equal(a, b.inputs) for a, b in zip(first, two.epoch(0), strict=True))
    assert not all(torch.equal(a, b.inputs) for a, b in zip(first, one.epoch(1), strict=False))


def test_histories_without_an_order_are_read_in_another_one_in_each_epoch() -> None:
    lists = Ragged.from_lists([list(range(8)), list(range(20, 28))])
    for ordered in (True, False):
        read = []
        for epoch in range(2):
            (batch,) = batches(lists, tokens=1000, ordered=ordered).epoch(epoch)
            whole = torch.cat([batch.inputs, batch.targets.reshape(2, -1)[:, -1:]], dim=1)
            assert sorted(whole.sort(dim=1).values.tolist()) == [list(range(8)), list(range(20, 28))]
            assert torch.equal(batch.inputs[:, 1:], batch.targets.reshape(2, -1)[:, :-1])
            read.append(sorted(whole.tolist(), key=max))
        assert (read[0] == read[1]) == ordered


def test_an_epoch_can_be_entered_at_any_batch() -> None:
    whole = list(batches(histories()).epoch(3))
    rest = list(batches(histories()).epoch(3, first=5))
    assert len(rest) == len(whole) - 5
    assert all(torch.equal(a.inputs, b.inputs) for a, b in zip(whole[5:], rest, strict=True))


def test_processes_share_every_batch_and_know_of_each_others_targets() -> None:
    whole = list(batches(histories()).epoch(0))
    shares = [list(batches(histories(), processes=2, process=i).epoch(0)) for i in range(2)]
    for one, two in zip(*shares, strict=True):
        both = torch.cat([one.targets, two.targets]).sort().values
        assert torch.equal(both, one.all_targets.sort().values)
        assert torch.equal(one.all_targets, two.all_targets)
        assert one.share() + two.share() == pytest.approx(2.0)
    assert sum(len(b.targets) for b in whole) == sum(len(b.targets) for share in shares for b in share)


def test_weights_times_and_types_stay_with_their_events_whatever_is_left_out() -> None:
    lengths = np.array([12, 7, 9])
    rows = np.arange(28, dtype=np.int32)
    side = {"times": rows.astype(np.int64) + 1000, "events": (rows % 3).astype(np.int8)}
    lists = Ragged.from_lengths(lengths, rows, **side)
    log = log_of(lists, weights=(rows / 2).astype(np.float32), event_names=("a", "b", "c"))
    supply = WindowBatches(
        log, length=20, tokens=100, seed=0, options=Augment(delete=0.3, crop=0.5, reorder=0.5), target_event=True
    )
    for epoch in range(5):
        for batch in supply.epoch(epoch):
            read = batch.inputs.flatten()[batch.positions]
            at = {name: getattr(batch.context, name).flatten()[batch.positions] for name in ("times", "request", "events")}
            assert torch.equal(at["times"], read + 1000)
            assert torch.equal(at["request"], batch.targets + 1000)
            assert torch.equal(at["events"], read % 3)
            assert torch.equal(batch.context.target_event.flatten()[batch.positions], batch.targets % 3)
            assert torch.equal(batch.weights, batch.targets / 2)


def test_making_batches_leaves_the_global_generators_alone() -> None:
    before = np.random.get_state()[1].copy(), torch.get_rng_state()  # noqa: NPY002
    list(batches(histories()).epoch(0))
    assert (before[0] == np.random.get_state()[1]).all()  # noqa: NPY002
    assert torch.equal(before[1], torch.get_rng_state())


def test_histories_without_a_next_item_give_no_batch() -> None:
    assert batches(Ragged.from_lists([[1], []])).steps == 0
