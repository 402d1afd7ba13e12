"""Every new event is a target once a pass, with old ones in the asked proportion, the newer ones first."""

from __future__ import annotations

import numpy as np

from recsys.core.ragged import Ragged
from recsys.data.interactions import Interactions
from recsys.training.update.batches import UpdateBatches, ages


def _batches(log: Interactions, new: np.ndarray[tuple[int], np.dtype[np.bool_]], replay: float) -> UpdateBatches:
    return UpdateBatches(log, length=4, tokens=16, seed=0, new=new, replay=replay, recency=0.1)


def test_new_events_once_and_old_ones_in_proportion(ring: Interactions) -> None:
    new = np.zeros(len(ring), dtype=np.bool_)
    new[ring.histories.offsets[11:31] - 1] = True  # the last event of each of the users 10 to 29
    for replay in (0.0, 1.0, 3.0):
        batches = _batches(ring, new, replay)
        for epoch in range(2):
            targets = [(batch.targets, batch.replayed) for batch in batches.epoch(epoch)]
            fresh = np.concatenate([one[~old].numpy() for one, old in targets])
            replayed = sum(int(old.sum()) for _, old in targets)
            assert sorted(fresh) == sorted(ring.histories.rows[new])
            assert replay * 20 <= replayed < replay * 20 + 4 if replay else replayed == 0
    assert not np.array_equal(batches.wanted(0), batches.wanted(1)), "each pass draws anew"


def test_newer_events_are_drawn_more_often(ring: Interactions) -> None:
    new = np.zeros(len(ring), dtype=np.bool_)
    new[-1] = True
    batches = _batches(ring, new, replay=40.0)
    drawn = np.mean([batches.wanted(epoch) & ~new for epoch in range(40)], axis=0)
    order = np.argsort(ring.timestamps)
    assert drawn[order[-100:]].mean() > 2 * drawn[order[:100]].mean() > 0


def test_ages() -> None:
    lists = Ragged.from_lengths(np.array([2, 2]), np.arange(4, dtype=np.int32), np.array([0, 30, 10, 30]))
    assert ages(lists, ordered=True).tolist() == [0.75, 0.0, 0.5, 0.0]
    assert ages(lists.without_events(), ordered=True).tolist() == [0.5, 0.0, 0.5, 0.0]
    assert not ages(lists, ordered=False).any()
