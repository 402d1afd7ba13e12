"""Tables that grow: older ones never change, and two that grow from one table do not meet."""

from __future__ import annotations

import pickle
import random

import torch

from recsys.core.growing import GrowingTensor


def test_random_forks_hold_what_copies_hold() -> None:
    rng = random.Random(0)  # noqa: S311 - a test
    first = torch.arange(6.0).reshape(3, 2)
    states = [(GrowingTensor.of(first), first.clone())]
    for step in range(400):
        grown, copy = rng.choice(states)
        more = torch.full((rng.randrange(4), 2), float(step))
        if rng.random() < 0.1:
            where = torch.tensor([rng.randrange(len(copy))])
            copy = copy.clone()
            copy[where] = -1.0
            states.append((grown.replaced(where, torch.full((1, 2), -1.0)), copy))
        else:
            states.append((grown.appended(more), torch.cat([copy, more])))
    for grown, copy in states:
        assert torch.equal(grown.rows, copy)
        assert len(grown) == len(copy)


def test_a_longer_table_shares_the_memory_of_the_shorter() -> None:
    grown = GrowingTensor.of(torch.zeros(3)).appended(torch.ones(1))
    assert grown.appended(torch.ones(1)).rows.data_ptr() == grown.rows.data_ptr()


def test_spare_room_is_not_pickled() -> None:
    grown = GrowingTensor.of(torch.zeros(3)).appended(torch.ones(1))
    back = pickle.loads(pickle.dumps(grown))
    assert torch.equal(back.rows, grown.rows)
    assert back.room.buffer.shape == (4,)
    assert torch.equal(back.appended(torch.ones(2)).rows, torch.tensor([0.0, 0.0, 0.0, 1.0, 1.0, 1.0]))
