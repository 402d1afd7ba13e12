import numpy as np
import polars as pl
import pytest
import torch

from recsys.core.id_map import IdMap
from recsys.core.ragged import Ragged
from recsys.errors import ConfigError, DataError, UnsupportedError
from recsys.models.networks.content import ItemContent
from recsys.models.networks.item_tower import ItemTower
from recsys.models.networks.two_tower import TwoTowerNetwork
from recsys.models.networks.user_tower import GatedBlock, UserTower
from recsys.models.towers import TwoTowerModel, encode_histories


def make_net(n_items: int = 12, *, text: bool = True, cosine: bool = True, max_length: int = 6) -> TwoTowerNetwork:
    torch.manual_seed(0)
    has_id = torch.ones(n_items, dtype=torch.bool)
    has_id[-1] = False
    items = ItemTower(n_items, 8, ItemContent(torch.randn(n_items, 5) if text else None), has_id, id_dropout=0.5)
    return TwoTowerNetwork(items, UserTower(8, 2, 2, max_length, 0.1), cosine=cosine).eval()


def test_a_position_sees_only_its_past() -> None:
    tower = make_net().users
    items = torch.randn(1, 5, 8)
    changed = items.clone()
    changed[0, 3:] += 1.0
    before, after = tower(items), tower(changed)
    torch.testing.assert_close(before[0, :3], after[0, :3])
    assert not torch.allclose(before[0, 3], after[0, 3])


def test_padding_on_the_right_changes_nothing() -> None:
    net = make_net()
    table = net.items()
    alone = net.user_vectors(table, torch.tensor([[1, 2]]), torch.tensor([2]))
    padded = net.user_vectors(table, torch.tensor([[1, 2, 9, 9]]), torch.tensor([2]))
    torch.testing.assert_close(alone, padded)


def test_the_last_position_alone_is_what_all_positions_give_there() -> None:
    tower, items, lengths = make_net().users, torch.randn(4, 6, 8), torch.tensor([6, 1, 3, 5])
    everywhere = tower(items)[torch.arange(4), lengths - 1]
    torch.testing.assert_close(tower.last(items, lengths), everywhere)


def test_the_gated_block_is_the_published_formula() -> None:
    torch.manual_seed(0)
    block, x = GatedBlock(4, 1, 8, 0.0).eval(), torch.randn(1, 3, 4)
    normed = block.attention_norm(x)[0]
    q, k, v = (normed @ block.qkv.weight.T).split(4, dim=1)
    rows = []
    for t in range(3):
        weights = torch.softmax(k[: t + 1] @ q[t] / 4**0.5, dim=0)
        rows.append(weights @ v[: t + 1])
    mid = x[0] + torch.sigmoid(block.attention_gate(x[0])) * (torch.stack(rows) @ block.attention_out.weight.T)
    gate, value = (block.feed_norm(mid) @ block.feed.into.weight.T).split(8, dim=1)
    fed = (gate * torch.sigmoid(gate) * value) @ block.feed.out.weight.T
    torch.testing.assert_close(block(x)[0], mid + torch.sigmoid(block.feed_gate(mid)) * fed)


def test_only_the_last_items_of_a_long_history_are_read() -> None:
    net = make_net(max_length=3)
    table = net.items()
    both = encode_histories(net, table, Ragged.from_lists([[1, 2, 3, 4, 5], [3, 4, 5]]))
    torch.testing.assert_close(both[0], both[1])


def test_histories_of_many_lengths_are_encoded_as_if_alone() -> None:
    net = make_net()
    table, histories = net.items(), [[1], [2, 3, 4, 5, 6], [7, 8], [9, 1, 2], [3]]
    together = encode_histories(net, table, Ragged.from_lists(histories))
    for vector, history in zip(together, histories, strict=True):
        torch.testing.assert_close(vector, encode_histories(net, table, Ragged.from_lists([history]))[0])


def test_an_empty_history_is_refused_with_its_number() -> None:
    net = make_net()
    with pytest.raises(DataError, match="1 of 2 histories are empty.*number 2"):
        encode_histories(net, net.items(), Ragged.from_lists([[1], []]))


def test_cosine_vectors_have_unit_length() -> None:
    net = make_net()
    torch.testing.assert_close(net.for_score(net.items()).norm(dim=1), torch.ones(12))


def test_a_warm_item_is_served_from_its_text_alone() -> None:
    tower = make_net().items
    torch.testing.assert_close(tower()[-1], tower.from_text(tower.text[-1:])[0])
    assert not torch.allclose(tower()[0], tower.from_text(tower.text[:1])[0])


def test_training_drops_ids_of_about_the_asked_share() -> None:
    content = ItemContent(torch.zeros(4000, 5))
    tower = ItemTower(4000, 8, content, torch.ones(4000, dtype=torch.bool), id_dropout=0.3).train()
    torch.manual_seed(0)
    dropped = (tower() == tower.norm.bias).all(1).float().mean()  # without id and text nothing but the bias is left
    assert 0.25 < float(dropped) < 0.35


def test_without_text_no_id_is_ever_dropped() -> None:
    tower = ItemTower(10, 8, ItemContent(), torch.ones(10, dtype=torch.bool), id_dropout=0.9)
    torch.testing.assert_close(tower.train()(), tower.eval()())


def test_some_rows_give_the_same_vectors_as_all() -> None:
    tower = make_net().items
    rows = torch.tensor([3, 11, 0])
    torch.testing.assert_close(tower(rows), tower()[rows])


def test_a_tower_of_nothing_is_refused() -> None:
    with pytest.raises(ConfigError, match="ids, text or other content"):
        ItemTower(3, 4, ItemContent(), torch.ones(3, dtype=torch.bool), use_id=False)


def test_heads_must_divide_the_width() -> None:
    with pytest.raises(ConfigError, match="dim 10 is not divisible by heads 4"):
        UserTower(10, 1, 4, 5, 0.0)


def test_a_tower_of_ids_cannot_read_text() -> None:
    net = make_net(text=False)
    names = IdMap(pl.Series(range(12)), "item")
    towers = TwoTowerModel(net, IdMap(pl.Series(["u"]), "user"), names, None, None)
    with pytest.raises(UnsupportedError, match="without a text encoder"):
        towers.query_vectors(["anything"])


def test_the_temperature_never_scales_beyond_a_hundred() -> None:
    net = make_net()
    net.log_scale.data.fill_(20.0)
    assert net.scale().item() == pytest.approx(100.0)


def test_dot_scores_are_not_normalised() -> None:
    net = make_net(cosine=False)
    assert not np.allclose(net.for_score(net.items()).norm(dim=1).detach(), 1.0)
