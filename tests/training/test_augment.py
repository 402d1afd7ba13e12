from argparse import ArgumentParser
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys.config.augment import Augment
from recsys.config.options import add_flags
from recsys.core.ragged import Ragged
from recsys.errors import ConfigError
from recsys.training.augment import augment
from tests.data.worlds import refused, small

some_windows = st.lists(st.lists(st.integers(0, 9), min_size=2, max_size=14), max_size=6)
probabilities = st.sampled_from([0.0, 0.3, 0.8, 1.0])
seeds = st.integers(0, 2**16)


def distinct_windows(count: int, length: int) -> Ragged:
    """Windows in which no item occurs twice: window i holds i · length, i · length + 1, ..."""
    return Ragged.from_lengths(np.full(count, length), np.arange(count * length, dtype=np.int32))


def varied(windows, seed=0, table=None, **options):
    inputs, targets, *_ = augment(windows, Augment(**options), np.random.default_rng(seed), table)
    return inputs.to_lists(), targets.to_lists()


def sequences(windows, seed=0, **options):
    """The changed windows, after checking that inputs and targets are the two views of one sequence."""
    inputs, targets = varied(windows, seed, **options)
    assert [one[1:] for one in inputs] == [one[:-1] for one in targets]
    return [own[:1] + following for own, following in zip(inputs, targets, strict=True)]


def is_subsequence(few, many):
    rest = iter(many)
    return all(one in rest for one in few)


def near(share, probability, trials):
    """Within five standard errors of a binomial share."""
    return abs(share - probability) < 5 * (probability * (1 - probability) / trials) ** 0.5


# what holds for every option


@small
@given(some_windows, seeds)
def test_with_everything_off_inputs_and_targets_are_the_window_and_nothing_is_drawn(lists, seed):
    generator = np.random.default_rng(seed)
    inputs, targets, *_ = augment(Ragged.from_lists(lists), Augment(), generator, None)
    assert inputs.to_lists() == [one[:-1] for one in lists]
    assert targets.to_lists() == [one[1:] for one in lists]
    assert generator.bit_generator.state == np.random.default_rng(seed).bit_generator.state


@small
@given(some_windows, probabilities, probabilities, probabilities, probabilities, seeds)
def test_targets_are_real_and_inputs_real_or_neighbours(lists, crop, delete, reorder, substitute, seed):
    table = (np.arange(10, dtype=np.int32)[:, None] + [10, 20]).astype(np.int32)
    table = np.concatenate([table, np.zeros((20, 2), dtype=np.int32)])
    options = {"crop": crop, "delete": delete, "reorder": reorder, "substitute": substitute, "neighbours": 2}
    inputs, targets = varied(Ragged.from_lists(lists), seed, table, **options)
    assert len(inputs) == len(targets) == len(lists)
    for window, read, following in zip(lists, inputs, targets, strict=True):
        assert 1 <= len(read) == len(following) < len(window)
        assert not Counter(following) - Counter(window)
        undone = [item % 10 for item in read]  # the neighbours of item i are i + 10 and i + 20
        assert not Counter(undone) - Counter(window)
        assert undone[1:] == following[:-1]


@small
@given(some_windows, probabilities, probabilities, probabilities, seeds)
def test_the_same_seed_gives_the_same_batch(lists, crop, delete, reorder, seed):
    windows = Ragged.from_lists(lists)
    options = {"crop": crop, "delete": delete, "reorder": reorder}
    assert varied(windows, seed, **options) == varied(windows, seed, **options)


def test_another_seed_gives_another_batch():
    windows = distinct_windows(20, 12)
    for option in ("crop", "delete", "reorder"):
        assert varied(windows, 0, **{option: 0.5}) != varied(windows, 1, **{option: 0.5})


def test_the_windows_passed_in_stay_as_they_are():
    windows = distinct_windows(20, 12)
    before = windows.to_lists()
    table = np.roll(np.arange(240, dtype=np.int32), 12)[:, None]
    varied(windows, table=table, crop=1.0, delete=0.5, reorder=1.0, substitute=1.0, neighbours=1)
    assert windows.to_lists() == before


@small
@given(some_windows, probabilities, probabilities, probabilities, seeds)
def test_events_are_the_positions_that_inputs_and_targets_come_from(lists, crop, delete, reorder, seed):
    windows, options = Ragged.from_lists(lists), Augment(crop=crop, delete=delete, reorder=reorder)
    inputs, targets, input_events, target_events = augment(windows, options, np.random.default_rng(seed))
    assert windows.rows[input_events].tolist() == inputs.rows.tolist()
    assert windows.rows[target_events].tolist() == targets.rows.tolist()


def test_inputs_and_targets_keep_the_dtypes_of_row_lists():
    table = np.zeros((240, 3), dtype=np.int32)
    for one in augment(
        distinct_windows(20, 12),
        Augment(crop=1.0, delete=0.2, reorder=1.0, substitute=0.5, neighbours=3),
        np.random.default_rng(0),
        table,
    )[:2]:
        assert one.rows.dtype == np.int32
        assert one.offsets.dtype == np.int64


def test_no_windows_give_no_windows():
    table = np.zeros((1, 1), dtype=np.int32)
    options = {"crop": 1.0, "delete": 0.5, "reorder": 1.0, "substitute": 1.0, "neighbours": 1}
    assert varied(Ragged.empty(0), table=table, **options) == ([], [])


# crop


@small
@given(st.integers(1, 5), st.integers(2, 12), probabilities, seeds)
def test_crop_leaves_at_least_two_events_in_a_row(count, length, crop, seed):
    windows = distinct_windows(count, length)
    for window, left in zip(windows.to_lists(), sequences(windows, seed, crop=crop), strict=True):
        assert len(left) >= 2
        assert left == window[left[0] - window[0] :][: len(left)]


def test_crop_shortens_as_many_windows_as_it_says_and_all_lengths_and_places_alike():
    left = sequences(distinct_windows(20_000, 5), crop=0.3)
    cropped = [(len(one), one[0] % 5) for one in left if len(one) < 5]
    assert near(len(cropped) / 20_000, 0.3, 20_000)
    lengths = Counter(length for length, _ in cropped)
    assert set(lengths) == {2, 3, 4}
    assert all(near(count / len(cropped), 1 / 3, len(cropped)) for count in lengths.values())
    pairs = Counter(place for length, place in cropped if length == 2)
    assert set(pairs) == {0, 1, 2, 3}
    assert all(near(count / lengths[2], 1 / 4, lengths[2]) for count in pairs.values())


def test_a_window_of_two_events_cannot_be_cropped():
    assert sequences(distinct_windows(5, 2), crop=1.0) == distinct_windows(5, 2).to_lists()


# delete


@small
@given(some_windows, probabilities, seeds)
def test_delete_keeps_the_order_and_at_least_two_events(lists, delete, seed):
    for window, left in zip(lists, sequences(Ragged.from_lists(lists), seed, delete=delete), strict=True):
        assert len(left) >= 2
        assert is_subsequence(left, window)


def test_delete_leaves_out_as_many_events_as_it_says_wherever_they_stand():
    left = np.concatenate(sequences(distinct_windows(2_000, 30), delete=0.2))
    kept = np.bincount(left % 30, minlength=30) / 2_000
    assert near(kept.mean(), 0.8, 60_000)
    assert all(near(share, 0.8, 2_000) for share in kept)


def test_deleting_everything_leaves_two_random_events():
    left = sequences(distinct_windows(6_000, 3), delete=1.0)
    pairs = Counter(tuple(item % 3 for item in one) for one in left)
    assert set(pairs) == {(0, 1), (0, 2), (1, 2)}
    assert all(near(count / 6_000, 1 / 3, 6_000) for count in pairs.values())


# reorder


@small
@given(st.integers(1, 5), st.integers(2, 20), probabilities, seeds)
def test_reorder_shuffles_at_most_a_third_in_a_row_and_loses_nothing(count, length, reorder, seed):
    windows = distinct_windows(count, length)
    for window, left in zip(windows.to_lists(), sequences(windows, seed, reorder=reorder), strict=True):
        assert sorted(left) == window
        moved = [i for i, (one, other) in enumerate(zip(window, left, strict=True)) if one != other]
        assert not moved or moved[-1] - moved[0] + 1 <= length // 3


def test_reorder_shuffles_as_many_windows_as_it_says():
    """A third of six events is two, which a shuffle swaps half of the time; the five pairs are chosen alike."""
    windows = distinct_windows(20_000, 6)
    left = sequences(windows, reorder=0.4)
    swapped = [[i for i, item in enumerate(one) if item % 6 != i] for one in left]
    assert near(sum(map(bool, swapped)) / 20_000, 0.2, 20_000)
    places = Counter(one[0] for one in swapped if one)
    assert set(places) == {0, 1, 2, 3, 4}
    assert all(near(count / places.total(), 1 / 5, places.total()) for count in places.values())


def test_a_window_of_fewer_than_six_events_is_not_reordered():
    assert sequences(distinct_windows(50, 5), reorder=1.0) == distinct_windows(50, 5).to_lists()


# substitute


def test_substitute_replaces_as_many_inputs_as_it_says_by_the_nearest_alike_and_no_target():
    windows = distinct_windows(1_000, 11)
    n = 11_000
    table = ((np.arange(n)[:, None] + [n // 4, n // 2, 3 * n // 4]) % n).astype(np.int32)
    inputs, targets, *_ = augment(windows, Augment(substitute=0.3, neighbours=2), np.random.default_rng(0), table)
    assert targets.to_lists() == [one[1:] for one in windows.to_lists()]
    plain = windows.head(windows.lengths - 1).rows
    steps = Counter(((inputs.rows - plain) % n).tolist())
    assert set(steps) == {0, n // 4, n // 2}  # the third neighbour is beyond the two asked for
    assert near(steps[0] / 10_000, 0.7, 10_000)
    assert near(steps[n // 4] / 10_000, 0.15, 10_000)


def test_a_neighbour_that_the_window_holds_is_never_put_in():
    """Item i's neighbour is i + 1, which comes next: putting it in would show the target before it is predicted."""
    windows = distinct_windows(10, 5)
    following = ((np.arange(50, dtype=np.int32) + 1) % 50)[:, None]
    inputs, _ = varied(windows, table=following, substitute=1.0, neighbours=1)
    assert inputs == [one[:-1] for one in windows.to_lists()]


def test_an_item_of_another_window_may_be_put_in():
    across = ((np.arange(50, dtype=np.int32) + 5) % 50)[:, None]
    inputs, _ = varied(distinct_windows(10, 5), table=across, substitute=1.0, neighbours=1)
    assert inputs == [[(item + 5) % 50 for item in one[:-1]] for one in distinct_windows(10, 5).to_lists()]


@small
@given(some_windows.map(lambda lists: [list(range(len(one))) for one in lists]), st.sampled_from([0.3, 0.9]), seeds)
def test_ahead_predicts_a_later_event_of_the_same_window_and_leaves_the_inputs(lists, ahead, seed):
    inputs, targets = varied(Ragged.from_lists(lists), seed, ahead=ahead)
    assert inputs == [one[:-1] for one in lists]
    assert all(
        read < predicted < len(one)
        for one, own, later in zip(lists, inputs, targets, strict=True)
        for read, predicted in zip(own, later, strict=True)
    )


def test_ahead_skips_so_many_events_as_often_as_it_says():
    windows = distinct_windows(20_000, 8)
    _, targets = varied(windows, ahead=0.4)
    skipped = Counter(one[0] % 8 - 1 for one in targets)
    beyond = 0.4**7  # where the window ends before, the next event is predicted
    for steps, wanted in ((0, 0.6 + beyond), (1, 0.4 * 0.6), (3, 0.4**3 * 0.6)):
        assert near(skipped[steps] / 20_000, wanted, 20_000)


def test_ahead_selects_the_event_that_it_predicts():
    windows = Ragged.from_lists([[5, 6, 7, 8, 9]])
    found = augment(windows, Augment(ahead=0.8), np.random.default_rng(0))
    assert found.targets.rows.tolist() == windows.rows[found.target_events].tolist()
    assert found.input_events.tolist() == [0, 1, 2, 3]


def test_an_item_without_a_text_is_its_own_neighbour_and_stays():
    table = np.array([[0], [3], [2], [1]], dtype=np.int32)
    inputs, _ = varied(Ragged.from_lists([[0, 1, 2]]), table=table, substitute=1.0, neighbours=1)
    assert inputs == [[0, 3]]


# refusals and options


@pytest.mark.parametrize("name", ["crop", "delete", "reorder", "substitute"])
@pytest.mark.parametrize("value", [-0.1, 1.5, float("nan")])
def test_a_probability_outside_0_to_1_is_refused_by_name(name, value):
    with refused(name, value, error=ConfigError):
        Augment(**{name: value})


def test_other_misuse_is_refused():
    windows = distinct_windows(2, 3)
    with refused("neighbours", 0, error=ConfigError):
        Augment(neighbours=0)
    with refused("substitute", "neighbours", error=ConfigError):
        varied(windows, substitute=0.1)
    with refused("neighbours=10", 4, error=ConfigError):
        varied(windows, table=np.zeros((6, 4), dtype=np.int32), substitute=0.1)
    with refused("window 1", 2):
        varied(Ragged.from_lists([[1, 2], [3]]))


def test_every_option_has_a_flag_with_a_help_text():
    parser = ArgumentParser()
    add_flags(parser, Augment, "augmentation")
    assert vars(parser.parse_args(["--crop", "0.5", "--neighbours", "3"])) == {"crop": 0.5, "neighbours": 3}
    texts = {action.dest: action.help for action in parser._actions if action.dest != "help"}
    assert set(texts) == {"crop", "delete", "reorder", "substitute", "neighbours", "ahead"}
    assert all(not text.startswith(" (default") for text in texts.values())
