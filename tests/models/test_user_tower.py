import math
from dataclasses import replace
from itertools import product
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from recsys.errors import ConfigError
from recsys.models.networks.attention import DropBranch, GatedBlock
from recsys.models.networks.causal_filter import CausalFilter
from recsys.models.networks.context import Context
from recsys.models.networks.positions import AttentionBias, Rotary
from recsys.models.networks.user_tower import UserTower

DIM, HEADS, LONGEST, EVENTS, CODES = 8, 2, 7, 3, (4, 3)
PLAIN: dict[str, Any] = {}
RICH: dict[str, Any] = {"event_types": EVENTS, "event_heads": True, "user_features": CODES}
OPTIONS = [
    {"positions": positions, "time_bias": time_bias, **extras}
    for positions, time_bias, extras in product(
        ("learned", "rotary", "relative", "none"), ("none", "history", "request"), (PLAIN, RICH)
    )
] + [{"filter_length": 3}, {"filter_length": 9, "positions": "relative", **RICH}]
every_option = pytest.mark.parametrize("options", OPTIONS, ids=lambda o: "-".join(str(value) for value in o.values()))


def make_tower(blocks: int = 2, **options: Any) -> UserTower:
    """A tower in which every new parameter matters: none is left as small as it starts."""
    torch.manual_seed(0)
    tower = UserTower(DIM, blocks, HEADS, LONGEST, 0.1, **options).eval()
    with torch.no_grad():
        for name, weight in tower.named_parameters():
            if "bias.by_" in name or name.startswith(("side.", "event_heads.", "filter.")):
                weight.normal_()
        for table in tower.side.features.parameters():
            table[0] = 0.0
    return tower


def make_input(batch: int = 4, length: int = 6, *, rich: bool = True) -> tuple[Tensor, Context]:
    generator = torch.Generator().manual_seed(1)

    def codes(high: int, *shape: int) -> Tensor:
        return torch.randint(0, high, shape, generator=generator)

    times = codes(10**6, batch, length + 1).cumsum(1)
    side = Context(
        times=times[:, :-1],
        request=times[:, 1:],
        events=codes(EVENTS, batch, length),
        features=torch.stack([codes(high, batch) for high in CODES], dim=1),
        target_event=codes(EVENTS, batch) if rich else None,
    )
    return torch.randn(batch, length, DIM, generator=generator), side


def input_for(options: dict[str, Any], batch: int = 4, length: int = 6) -> tuple[Tensor, Context]:
    return make_input(batch, length, rich="event_heads" in options)


# what holds whatever the options


@every_option
def test_the_last_position_alone_is_what_all_positions_give_there(options: dict[str, Any]) -> None:
    tower, (items, side), lengths = make_tower(**options), input_for(options), torch.tensor([6, 1, 3, 5])
    everywhere = tower(items, side)[torch.arange(4), lengths - 1]
    torch.testing.assert_close(tower.last(items, lengths, side), everywhere)


@every_option
def test_padding_never_matters(options: dict[str, Any]) -> None:
    tower, (items, side) = make_tower(**options), input_for(options, length=3)
    more, other = input_for(options)
    longer, filled = torch.cat([items, 100 * more[:, 3:]], 1), {}
    for name in ("times", "request", "events"):
        filled[name] = torch.cat([getattr(side, name), getattr(other, name)[:, 3:].flip(1)], 1)
    padded = replace(side, **filled)
    torch.testing.assert_close(tower(longer, padded)[:, :3], tower(items, side))
    lengths = torch.tensor([3, 1, 2, 3])
    torch.testing.assert_close(tower.last(longer, lengths, padded), tower.last(items, lengths, side))


@every_option
def test_a_later_event_changes_nothing_earlier(options: dict[str, Any]) -> None:
    tower, (items, side) = make_tower(**options), input_for(options)
    changed, late = items.clone(), torch.arange(6) >= 3
    changed[:, 3:] += 1.0
    assert side.times is not None
    assert side.request is not None
    assert side.events is not None
    later = replace(
        side,
        times=side.times + 10**7 * late,
        request=side.request + 10**8 * late,
        events=(side.events + late) % EVENTS,
    )
    before, after = tower(items, side), tower(changed, later)
    torch.testing.assert_close(before[:, :3], after[:, :3])
    assert not torch.isclose(before[:, 3:], after[:, 3:]).all(-1).any()


@every_option
def test_a_history_is_encoded_as_if_alone(options: dict[str, Any]) -> None:
    tower, (items, side) = make_tower(**options), input_for(options)
    chosen = torch.tensor([2])
    torch.testing.assert_close(tower(items[chosen], side.rows(chosen)), tower(items, side)[chosen])


@every_option
def test_gradients_reach_every_parameter(options: dict[str, Any]) -> None:
    tower, (items, side) = make_tower(**options).train(), input_for(options, batch=16)
    tower(items, side).square().mul(torch.arange(DIM)).sum().backward()
    for name, weight in tower.named_parameters():
        assert weight.grad is not None, name
        assert weight.grad.abs().sum() > 0, name


@every_option
def test_bfloat16_autocast_gives_nearly_the_same(options: dict[str, Any]) -> None:
    tower, (items, side), lengths = make_tower(**options), input_for(options), torch.tensor([6, 1, 3, 5])
    with torch.autocast("cpu", torch.bfloat16):
        rough, rough_last = tower(items, side), tower.last(items, lengths, side)
    torch.testing.assert_close(rough.float(), tower(items, side), rtol=0.1, atol=0.1)
    torch.testing.assert_close(rough_last.float(), tower.last(items, lengths, side), rtol=0.1, atol=0.1)


# a tower without options is what it has always been


def test_a_plain_tower_keeps_the_names_of_its_weights() -> None:
    block = [
        "attention_norm.weight",
        "qkv.weight",
        "attention_out.weight",
        "attention_gate.weight",
        "attention_gate.bias",
        "feed_norm.weight",
        "feed.into.weight",
        "feed.out.weight",
        "feed_gate.weight",
        "feed_gate.bias",
    ]
    names = ["position", *(f"blocks.{i}.{name}" for i in range(2) for name in block), "norm.weight"]
    assert list(UserTower(DIM, 2, HEADS, LONGEST, 0.1).state_dict()) == names


def test_a_plain_tower_starts_from_the_same_weights_as_ever() -> None:
    torch.manual_seed(0)
    weights = UserTower(DIM, 2, HEADS, LONGEST, 0.1).state_dict()
    recorded = {
        "position": 0.96031,
        "blocks.0.qkv.weight": 36.77061,
        "blocks.0.attention_out.weight": 9.79657,
        "blocks.1.feed.into.weight": 69.53553,
        "blocks.1.feed.out.weight": 22.83181,
        "blocks.1.feed_gate.weight": 16.40813,
        "blocks.1.feed_gate.bias": 1.05627,
    }
    for name, total in recorded.items():
        assert float(weights[name].abs().sum()) == pytest.approx(total, rel=1e-5), name


def test_a_plain_tower_reads_none_of_the_side() -> None:
    tower, (items, side) = make_tower(), make_input(rich=False)
    assert torch.equal(tower(items, side), tower(items))


# positions


def test_rotary_turns_each_pair_as_a_complex_number() -> None:
    x, at = torch.randn(2, 3, 4, 6), torch.tensor([[0, 1, 4, 6]])
    turned = Rotary(6, LONGEST)(x, at)
    pairs = torch.complex(x[..., :3], x[..., 3:])
    for place, pair in product(range(4), range(3)):
        angle = int(at[0, place]) * 10_000 ** (-2 * pair / 6)
        expected = pairs[:, :, place, pair] * complex(math.cos(angle), math.sin(angle))
        torch.testing.assert_close(turned[:, :, place, pair], expected.real)
        torch.testing.assert_close(turned[:, :, place, pair + 3], expected.imag)


@given(st.integers(0, 20), st.integers(0, 20), st.integers(0, 43))
def test_rotary_scores_depend_on_the_distance_alone(first: int, second: int, shift: int) -> None:
    rotary, pair = Rotary(8, 64), torch.linspace(-1, 1, 16).view(1, 1, 2, 8)

    def score(*at: int) -> Tensor:
        turned: Tensor = rotary(pair, torch.tensor([at]))[0, 0]
        return turned[0] @ turned[1]

    torch.testing.assert_close(score(first, second), score(first + shift, second + shift), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("positions", ["learned", "rotary", "relative"])
def test_the_order_of_the_past_is_read(positions: Any) -> None:
    tower, (items, _) = make_tower(positions=positions), make_input()
    swapped = items[:, [1, 0, 2, 3, 4, 5]]
    assert not torch.isclose(tower(items)[:, -1], tower(swapped)[:, -1]).all(-1).any()


def test_one_block_without_positions_reads_the_past_as_a_set() -> None:
    tower, (items, _) = make_tower(blocks=1, positions="none"), make_input()
    torch.testing.assert_close(tower(items)[:, -1], tower(items[:, [4, 2, 0, 1, 3, 5]])[:, -1])


def test_attention_adds_the_bias_of_distance_and_time_to_each_score() -> None:
    torch.manual_seed(0)
    bias = AttentionBias(HEADS, LONGEST, distance=True, time=True)
    by_distance, by_time = (table.data.normal_() for table in bias.parameters())
    block, x = GatedBlock(DIM, HEADS, 16, 0.0, bias=bias).eval(), torch.randn(2, 5, DIM)
    buckets = torch.randint(0, 128, (2, 5, 5))
    q, k, v = (block.attention_norm(x) @ block.qkv.weight.T).split(DIM, dim=-1)
    mixed = torch.zeros(2, 5, DIM)
    for row, head, i in product(range(2), range(HEADS), range(5)):
        part = slice(4 * head, 4 * head + 4)
        scores = [
            q[row, i, part] @ k[row, j, part] / 2 + by_distance[head, i - j] + by_time[head, buckets[row, i, j]]
            for j in range(i + 1)
        ]
        mixed[row, i, part] = torch.softmax(torch.stack(scores), 0) @ v[row, : i + 1, part]
    mid = x + torch.sigmoid(block.attention_gate(x)) * block.attention_out(mixed)
    fed = torch.sigmoid(block.feed_gate(mid)) * block.feed(block.feed_norm(mid))
    torch.testing.assert_close(block(x, buckets), mid + fed)


# dropout


def test_depth_dropout_rises_to_the_last_block() -> None:
    tower = make_tower(blocks=4, stochastic_depth=0.4)
    rates = [block.drop_branch.rate for block in tower.blocks]  # type: ignore[union-attr]
    assert rates == pytest.approx([0.1, 0.2, 0.3, 0.4])


def test_a_branch_is_left_out_of_whole_sequences_and_scaled_where_it_stays() -> None:
    torch.manual_seed(0)
    branch = torch.ones(4000, 3, 2)
    out = DropBranch(0.25).train()(branch)
    assert (out == out[:, :1, :1]).all()
    kept = out[:, 0, 0] > 0
    assert 0.72 < kept.float().mean() < 0.78
    torch.testing.assert_close(out[kept], branch[kept] / 0.75)


def test_both_branches_of_a_block_are_dropped_by_themselves() -> None:
    torch.manual_seed(0)
    block = GatedBlock(DIM, HEADS, 16, 0.0, drop_branch=0.5).train()
    x = torch.randn(1, 3, DIM).expand(400, 3, DIM)
    outcomes = torch.unique(block(x).detach().round(decimals=4), dim=0)
    assert len(outcomes) == 4  # neither, either, both
    assert torch.isclose(outcomes, x[:1], atol=1e-4).all((1, 2)).sum() == 1


@pytest.mark.parametrize("rate", ["stochastic_depth", "attention_dropout"])
def test_a_dropout_acts_in_training_alone(rate: str) -> None:
    items, lengths = make_input()[0], torch.tensor([6, 1, 3, 5])
    torch.manual_seed(0)
    tower = UserTower(DIM, 2, HEADS, LONGEST, 0.0, **{rate: 0.5})  # type: ignore[arg-type]
    assert not torch.equal(tower(items), tower(items))
    assert not torch.equal(tower.last(items, lengths), tower.last(items, lengths))
    tower.eval()
    assert torch.equal(tower(items), tower(items))
    torch.manual_seed(0)
    assert torch.equal(tower(items), UserTower(DIM, 2, HEADS, LONGEST, 0.0).eval()(items))


# what is refused


@pytest.mark.parametrize("positions", ["learned", "rotary", "relative", "none"])
def test_a_history_longer_than_the_tower_reads_is_refused(positions: Any) -> None:
    with pytest.raises(ConfigError, match="8 items for a tower that reads 7"):
        make_tower(positions=positions)(torch.zeros(1, 8, DIM))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"positions": "sinus"}, "positions is 'sinus'"),
        ({"time_bias": "target"}, "time_bias 'target'"),
        ({"event_types": -1}, "event_types is -1"),
        ({"event_heads": True}, "set event_types"),
        ({"user_features": (3, 0)}, "at least one code"),
        ({"stochastic_depth": 1.0}, "stochastic_depth 1.0"),
        ({"attention_dropout": -0.1}, "attention_dropout -0.1"),
    ],
)
def test_a_value_that_is_not_allowed_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make_tower(**options)


def test_rotary_needs_an_even_width_per_head() -> None:
    with pytest.raises(ConfigError, match="3 components per head is odd"):
        UserTower(6, 1, 2, LONGEST, 0.0, positions="rotary")


# the filter


def test_a_filter_sums_what_lies_behind_each_position() -> None:
    made = CausalFilter(3, LONGEST)
    with torch.no_grad():
        made.weight.copy_(torch.tensor([2.0, -1.0, 0.5]))
    x = torch.randn(2, 5, DIM)
    naive = torch.stack([sum(w * x[:, t - k] for k, w in enumerate((2.0, -1.0, 0.5)) if k <= t) for t in range(5)], 1)  # type: ignore[misc]
    torch.testing.assert_close(made(x), naive)


def test_a_filter_starts_as_the_identity_bit_by_bit_and_learns() -> None:
    torch.manual_seed(0)
    plain = UserTower(DIM, 2, HEADS, LONGEST, 0.0)
    filtered = UserTower(DIM, 2, HEADS, LONGEST, 0.0, filter_length=16)
    missing = filtered.load_state_dict(plain.state_dict(), strict=False).missing_keys
    assert missing == ["filter.weight"]
    items = torch.randn(3, 6, DIM)
    out = filtered(items)
    assert torch.equal(out, plain(items))
    out.square().mean().backward()
    assert filtered.filter is not None
    assert filtered.filter.weight.grad is not None
    assert bool(filtered.filter.weight.grad[:6].abs().min() > 0)
