"""What a user tower reads beside the items: times, types of events, features of users, and which event is target_event."""

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from recsys.errors import ConfigError
from recsys.models.networks.context import Context, request_times
from recsys.models.networks.positions import TimeBuckets
from recsys.models.networks.user_tower import UserTower
from tests.models.test_user_tower import CODES, DIM, EVENTS, HEADS, LONGEST, RICH, make_input, make_tower

# time


@given(st.integers(-(2**50), 2**50))
def test_a_time_difference_falls_into_the_bucket_of_its_logarithm(difference: int) -> None:
    bucket = TimeBuckets()(torch.tensor([[difference]]), torch.tensor([[0]]))
    assert bucket.item() == min(math.floor(math.log(max(abs(difference), 1)) / 0.301), 127)


def test_a_bucket_begins_at_its_edge() -> None:
    differences = torch.arange(3000)
    expected = [math.floor(math.log(max(seconds, 1)) / 0.301) for seconds in range(3000)]
    assert TimeBuckets()(torch.tensor([[0]]), differences[None])[0, 0].tolist() == expected


def test_the_longest_difference_falls_into_the_last_bucket() -> None:
    assert TimeBuckets()(torch.tensor([[2**62]]), torch.tensor([[0]])).item() == 127


@pytest.mark.parametrize("time_bias", ["history", "request"])
def test_only_differences_of_time_are_read(time_bias: Any) -> None:
    tower, (items, side) = make_tower(time_bias=time_bias), make_input(rich=False)
    assert side.times is not None
    assert side.request is not None
    moved = replace(side, times=side.times + 12_345, request=side.request + 12_345)
    stretched = replace(side, times=side.times * 100, request=side.request * 100)
    assert torch.equal(tower(items, moved), tower(items, side))
    assert not torch.allclose(tower(items, stretched), tower(items, side))


def test_a_tower_that_does_not_know_the_request_does_not_read_its_clock() -> None:
    tower, (items, side) = make_tower(time_bias="history"), make_input(rich=False)
    assert torch.equal(tower(items, replace(side, request=None)), tower(items, side))


def test_a_request_counts_from_its_own_position_on() -> None:
    items, side = make_input(rich=False)
    assert side.request is not None
    later = replace(side, request=side.request + 10**8 * (torch.arange(6) == 3))
    for blocks, changed in ((1, [3]), (2, [3, 4, 5])):
        tower = make_tower(blocks=blocks, time_bias="request")
        same = torch.isclose(tower(items, later), tower(items, side)).all(-1)
        assert [i for i in range(6) if not same[:, i].any()] == changed
        assert same[:, [i for i in range(6) if i not in changed]].all()


@given(st.lists(st.tuples(st.lists(st.integers(0, 99), min_size=1, max_size=5), st.integers(100, 200)), min_size=1))
def test_a_request_is_the_next_event_and_at_the_end_the_clock(served: list[tuple[list[int], int]]) -> None:
    times = torch.tensor([(history + [-7] * 5)[:5] for history, _ in served])
    asked = request_times(times, torch.tensor([len(h) for h, _ in served]), torch.tensor([now for _, now in served]))
    for row, (history, now) in zip(asked.tolist(), served, strict=True):
        assert row[: len(history)] == [*history[1:], now]


# events and users


def test_the_type_of_each_event_is_added_to_its_item() -> None:
    tower, (items, side) = make_tower(event_types=EVENTS), make_input(rich=False)
    assert side.events is not None
    assert tower.side.events is not None
    typed = items + F.embedding(side.events, tower.side.events.weight)
    neutral = make_tower(event_types=EVENTS)
    assert neutral.side.events is not None
    neutral.side.events.weight.data.zero_()
    torch.testing.assert_close(tower(items, side), neutral(typed, side))


def test_features_of_a_user_are_added_at_every_position() -> None:
    tower, (items, side) = make_tower(user_features=CODES), make_input(rich=False)
    assert side.features is not None
    first, second = tower.side.features.parameters()
    known = first[side.features[:, 0]] + second[side.features[:, 1]]
    torch.testing.assert_close(tower(items, side), tower(items + known[:, None]))


def test_unknown_features_add_nothing_and_never_learn() -> None:
    tower, (items, side) = make_tower(user_features=CODES).train(), make_input(rich=False)
    optimizer = torch.optim.AdamW(tower.parameters(), lr=0.1, weight_decay=0.1)
    assert side.features is not None
    assert (side.features == 0).any()
    for _ in range(3):
        optimizer.zero_grad()
        tower(items, side)[..., 0].sum().backward()
        optimizer.step()
    for table in tower.side.features.parameters():
        assert not table[0].any()
        assert table[1:].all()
    unknown = replace(side, features=torch.zeros_like(side.features))
    tower.eval()
    assert torch.equal(tower(items, unknown), tower(items))


def test_event_heads_start_as_the_identity() -> None:
    torch.manual_seed(0)
    tower = UserTower(DIM, 2, HEADS, LONGEST, 0.1, event_types=EVENTS, event_heads=True).eval()
    items, side = make_input()
    assert torch.equal(tower(items, side), tower(items, replace(side, target_event=None)))


def test_a_wanted_event_turns_the_vector_by_its_gain_and_offset() -> None:
    tower, (items, side) = make_tower(**RICH), make_input()
    assert tower.event_heads is not None
    plain = tower(items, replace(side, target_event=None))
    for target_event in range(EVENTS):
        expected = plain * (1 + tower.event_heads.gain[target_event]) + tower.event_heads.offset[target_event]
        torch.testing.assert_close(tower(items, replace(side, target_event=torch.full((4,), target_event))), expected)


def test_each_position_may_want_another_event() -> None:
    tower, (items, side), lengths = make_tower(**RICH), make_input(), torch.tensor([6, 1, 3, 5])
    assert side.events is not None
    target_event = side.events.roll(1, dims=1)
    asked = replace(side, target_event=target_event)
    plain = tower(items, replace(side, target_event=None))
    torch.testing.assert_close(tower(items, asked), tower.for_event(plain, target_event))
    torch.testing.assert_close(tower.last(items, lengths, asked), tower(items, asked)[torch.arange(4), lengths - 1])


# the side, and what is refused


def test_rows_and_device_of_a_side_leave_absent_inputs_absent() -> None:
    _, side = make_input(rich=False)
    assert side.times is not None
    for chosen in (torch.tensor([3, 1]), torch.tensor([False, True, True, False])):
        some = side.rows(chosen)
        assert some.times is not None
        assert torch.equal(some.times, side.times[chosen])
        assert some.target_event is None
    away = side.to("meta")
    assert {part.device.type for part in (away.times, away.request, away.events, away.features) if part is not None} == {
        "meta"
    }
    assert away.target_event is None


@pytest.mark.parametrize(
    ("options", "missing"),
    [
        ({"time_bias": "history"}, "times"),
        ({"time_bias": "request"}, "times"),
        ({"time_bias": "request"}, "request"),
        ({"event_types": EVENTS}, "events"),
    ],
)
def test_an_input_that_an_option_reads_must_be_there(options: dict[str, Any], missing: str) -> None:
    tower, (items, side) = make_tower(**options), make_input(rich=False)
    for given_side in (replace(side, **{missing: None}), replace(side, **{missing: torch.zeros(4, 1, dtype=torch.int64)})):
        with pytest.raises(ConfigError, match=f"Context.{missing}"):
            tower(items, given_side)
        with pytest.raises(ConfigError, match=f"Context.{missing}"):
            tower.last(items, torch.tensor([6, 1, 3, 5]), given_side)


def test_features_of_another_number_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"Context.features has shape \(4, 1\) where \(4, 2\) is needed"):
        make_tower(user_features=CODES)(make_input()[0], Context(features=torch.zeros(4, 1, dtype=torch.int64)))


def test_an_event_is_wanted_in_vain_of_a_tower_without_heads() -> None:
    with pytest.raises(ConfigError, match="event_heads=True"):
        make_tower()(*make_input())


def test_a_block_with_a_bias_by_time_needs_buckets() -> None:
    with pytest.raises(ConfigError, match="time buckets, which are missing"):
        make_tower(time_bias="history").blocks[0](make_input()[0])
