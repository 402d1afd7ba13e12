import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.data.row_lists import RowLists
from recsys.training.batches import WindowBatches, cut_windows

lengths_of = st.lists(st.integers(0, 40), min_size=1, max_size=8)


@settings(max_examples=60, deadline=None)
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


def batches(histories: RowLists, seed: int = 0, tokens: int = 30) -> WindowBatches:
    return WindowBatches(histories, length=10, tokens=tokens, seed=seed)


def histories(users: int = 30) -> RowLists:
    generator = np.random.default_rng(1)
    return RowLists.from_lists([generator.integers(0, 100, n).tolist() for n in generator.integers(0, 40, users)])


def test_targets_are_the_successors_of_inputs() -> None:
    lists = RowLists.from_lists([[1, 2, 3], [4, 5], [6], []])
    (batch,) = list(batches(lists, tokens=1000))
    flat = batch.inputs.flatten()[batch.positions]
    assert dict(zip(flat.tolist(), batch.targets.tolist(), strict=True)) == {1: 2, 2: 3, 4: 5}


def test_batches_keep_to_their_budget_and_hold_next_to_no_padding() -> None:
    supply = batches(histories(400), tokens=200)
    every = list(supply)
    assert all(batch.inputs.numel() <= 200 for batch in every)
    real, padded = sum(len(b.targets) for b in every), sum(b.inputs.numel() for b in every)
    assert real > 0.95 * padded


def test_an_epoch_covers_all_targets() -> None:
    lists = histories()
    for _ in range(2):
        supply = batches(lists)
        assert sum(len(batch.targets) for batch in supply) == int(np.maximum(lists.lengths - 1, 0).sum())


def test_the_same_seed_gives_the_same_batches_and_epochs_differ() -> None:
    one, two = batches(histories()), batches(histories())
    first = [batch.inputs for batch in one]
    assert all(torch.equal(a, b.inputs) for a, b in zip(first, two, strict=True))
    assert not all(torch.equal(a, b.inputs) for a, b in zip(first, one, strict=False))


def test_making_batches_leaves_the_global_generators_alone() -> None:
    before = np.random.get_state()[1].copy(), torch.get_rng_state()  # noqa: NPY002
    list(batches(histories()))
    assert (before[0] == np.random.get_state()[1]).all()  # noqa: NPY002
    assert torch.equal(before[1], torch.get_rng_state())


def test_histories_without_a_next_item_give_no_batch() -> None:
    assert batches(RowLists.from_lists([[1], []])).steps == 0
