import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

from recsys.errors import ConfigError, DependencyError, EncoderError
from recsys.models.encoders import finetuned as text_tower
from recsys.models.encoders import frozen_layers
from recsys.models.encoders.finetuned import TextTower, truncation_length
from recsys.models.encoders.pretrained import TextEncoder
from recsys.models.encoders.whitening import Whitening
from recsys.models.networks.content import ItemContent
from recsys.models.networks.item_tower import ItemTower
from tests.conftest import COLOURS, THINGS
from tests.models.tiny_encoders import make_encoder

NAMES = [f"a {colour} {thing}" for colour in COLOURS for thing in THINGS]
TEXTS = pl.Series([*NAMES[:10], None, *NAMES[10:], "a red car and a blue boat and a pink bike", NAMES[0], None])
"""Two items without a text, one text that two items have, and one that is longer than the others."""
KNOWN = TEXTS.is_not_null().to_numpy()
ROWS = torch.from_numpy(np.flatnonzero(KNOWN))

Make = Callable[..., TextTower]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("encoders")
    return {kind: make_encoder(folder / kind, kind) for kind in ("bert", "mpnet", "modernbert", "t5")}


@pytest.fixture(autouse=True)
def exact(monkeypatch: pytest.MonkeyPatch) -> None:
    """All arithmetic in float32, so that one way of computing can be compared with another."""
    monkeypatch.setattr("recsys.core.device.has_bf16", lambda device: False)
    monkeypatch.setattr(text_tower, "has_bf16", lambda device: False)


@pytest.fixture
def stored_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """Outputs of frozen layers are kept in float32 too."""
    monkeypatch.setattr(frozen_layers, "STORED", torch.float32)


@pytest.fixture
def make(folders: dict[str, Path]) -> Make:
    def made(kind: str = "bert", texts: pl.Series = TEXTS, **options: Any) -> TextTower:
        folder = folders[kind]
        whitening = Whitening.fit(TextEncoder(folder).encode(NAMES), 8)
        torch.manual_seed(1)
        return TextTower(folder, texts, whitening, **({"mode": "full"} | options)).eval()

    return made


def whitening_of(tower: TextTower) -> Whitening:
    return Whitening(tower.mean.numpy(), tower.matrix.numpy())


def gradients(tower: TextTower, rows: torch.Tensor) -> dict[str, torch.Tensor]:
    """By parameter, of something that depends on every vector in its own way."""
    tower.zero_grad()
    weights = torch.linspace(-1, 1, len(rows) * tower.matrix.shape[1]).view(len(rows), -1)
    (tower(rows) * weights).sum().backward()
    return {name: p.grad.clone() for name, p in tower.named_parameters() if p.requires_grad and p.grad is not None}


def assert_same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    assert one.keys() == other.keys()
    for name, value in one.items():
        torch.testing.assert_close(value, other[name], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("mode", "layers"), [("full", 0), ("lora", 1), ("full", 2), ("lora", 3)])
def test_before_training_vectors_are_the_whitened_ones_of_the_encoder(
    make: Make, folders: dict[str, Path], mode: str, layers: int, stored_whole: None
) -> None:
    tower = make(mode=mode, layers=layers)
    expected = whitening_of(tower)(TextEncoder(folders["bert"]).encode(TEXTS.drop_nulls().to_list()))
    np.testing.assert_allclose(tower.all_vectors(), expected, atol=1e-5)
    np.testing.assert_allclose(tower(ROWS).detach(), expected, atol=1e-5)


@pytest.mark.parametrize("kind", ["bert", "mpnet", "modernbert"])
def test_layers_that_ran_once_stand_in_for_themselves(make: Make, kind: str, stored_whole: None) -> None:
    divided, whole = make(kind, layers=1), make(kind)
    torch.testing.assert_close(divided.all_vectors(), whole.all_vectors(), rtol=1e-4, atol=1e-5)
    found, expected = gradients(divided, ROWS), gradients(whole, ROWS)
    top = {name: grad for name, grad in expected.items() if ".2." in name}  # the third of three layers
    assert len(top) >= 4
    assert_same({name: grad for name, grad in found.items() if ".2." in name}, top)
    assert set(found) == set(top)  # nothing else is trained


def test_what_ran_once_is_kept_in_half_the_space_at_little_loss(make: Make) -> None:
    divided, whole = make(layers=1), make()
    assert divided._memory is not None
    assert divided._memory.values.dtype == torch.bfloat16
    assert divided._memory.values.shape == (len(divided.ids), 16)
    torch.testing.assert_close(divided.all_vectors(), whole.all_vectors(), rtol=0, atol=0.05)


def test_an_encoder_whose_layers_hang_together_is_refused_with_a_remedy(make: Make) -> None:
    with pytest.raises(EncoderError, match="trainable_layers=0, all of them, or encoder_mode='frozen'"):
        make("t5", layers=1)
    assert len(make("t5").all_vectors()) == KNOWN.sum()


@pytest.mark.parametrize("mode", ["full", "lora"])
def test_chunks_and_checkpoints_leave_gradients_as_they_are(make: Make, mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    chunked, plain = make(mode=mode, chunk_tokens=24), make(mode=mode)
    for one, other in zip(chunked.parameters(), plain.parameters(), strict=True):
        if "lora" in mode:  # adapters begin with no effect, and so with half their gradient
            torch.nn.init.normal_(one.data, std=0.2)
        other.data.copy_(one.data)
    runs = []
    real = TextTower._vectors
    monkeypatch.setattr(TextTower, "_vectors", lambda self, places: runs.append(len(places)) or real(self, places))
    found = gradients(chunked, ROWS)
    assert len(runs) >= 2 * 8  # at least 8 chunks, each run again in the backward pass
    assert max(runs) <= 24 // 5
    monkeypatch.setattr(text_tower, "checkpoint", lambda function, places, **_: function(places))
    assert_same(found, gradients(plain, ROWS))


def test_dropout_falls_alike_when_a_chunk_is_run_again(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    tower = make(chunk_tokens=24).train()
    torch.manual_seed(3)
    found = gradients(tower, ROWS)
    monkeypatch.setattr(text_tower, "checkpoint", lambda function, places, **_: function(places))
    torch.manual_seed(3)
    assert_same(found, gradients(tower, ROWS))
    torch.manual_seed(4)
    other = gradients(tower, ROWS)
    assert any(not torch.allclose(found[name], other[name], atol=1e-4) for name in found)


def test_each_distinct_text_is_read_once(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    tower, read = make(), []
    real = TextTower._encode
    monkeypatch.setattr(TextTower, "_encode", lambda self, places: read.append(len(places)) or real(self, places))
    first, last = int(ROWS[0]), int(ROWS[-1])
    assert TEXTS[first] == TEXTS[last]
    vectors = tower(torch.tensor([last, 3, first, 3]))
    assert sum(read) == 2
    torch.testing.assert_close(vectors[0], vectors[2])
    torch.testing.assert_close(vectors[1], vectors[3])


def test_no_rows_give_no_vectors(make: Make) -> None:
    assert make()(torch.empty(0, dtype=torch.int64)).shape == (0, 8)


def test_vectors_come_in_the_order_asked_for(make: Make) -> None:
    tower = make(chunk_tokens=30)
    whole = torch.full((len(TEXTS), 8), torch.nan)
    whole[tower.rows] = tower.all_vectors()
    order = ROWS[torch.randperm(len(ROWS))]
    torch.testing.assert_close(tower(order).detach(), whole[order], rtol=1e-4, atol=1e-5)


def trained_names(tower: TextTower) -> list[str]:
    return [name for name, p in tower.named_parameters() if p.requires_grad]


def test_only_adapters_of_the_trained_layers_train_under_lora(make: Make) -> None:
    names = trained_names(make(mode="lora", layers=2))
    assert names
    assert all("lora_" in name and (".1." in name or ".2." in name) for name in names)
    assert not any("pooler" in name for name in trained_names(make(mode="lora")))


def test_all_but_the_pooler_trains_in_full_without_a_choice_of_layers(make: Make) -> None:
    names = trained_names(make())
    assert any("word_embeddings" in name for name in names)
    assert not any("pooler" in name for name in names)
    assert len(names) == len([name for name, _ in make().named_parameters() if "pooler" not in name])


def test_every_trained_weight_gets_a_gradient(make: Make) -> None:
    for options in ({"mode": "lora"}, {"mode": "full"}, {"layers": 1}, {"mode": "lora", "layers": 2}):
        tower = make(**options)
        assert list(gradients(tower, ROWS)) == trained_names(tower)


def shaken(tower: TextTower) -> TextTower:
    """As if it had been trained."""
    torch.manual_seed(2)
    for p in tower.parameters():
        if p.requires_grad:
            p.data += 0.1 * torch.randn_like(p)
    return tower


@pytest.mark.parametrize("options", [{"mode": "lora"}, {"mode": "lora", "layers": 1}, {"mode": "full", "layers": 2}, {}])
@pytest.mark.parametrize("kind", ["bert", "mpnet"])
def test_what_is_saved_is_the_encoder_as_it_was_trained(
    make: Make, kind: str, options: dict[str, Any], tmp_path: Path, stored_whole: None
) -> None:
    from sentence_transformers import SentenceTransformer

    tower = make(kind, **options)
    before = tower.all_vectors()
    after = shaken(tower).all_vectors()
    assert not torch.allclose(before, after, atol=1e-2)
    tower.save(tmp_path / "tuned")
    texts = TEXTS.drop_nulls().to_list()
    np.testing.assert_allclose(whitening_of(tower)(TextEncoder(tmp_path / "tuned").encode(texts)), after, atol=2e-4)
    assert SentenceTransformer(str(tmp_path / "tuned")).encode(texts).shape == (len(texts), 16)
    assert json.loads((tmp_path / "tuned" / "config.json").read_text())["num_hidden_layers"] == 3
    assert not list((tmp_path / "tuned").glob("adapter*"))


def test_saving_leaves_the_tower_as_it_was(make: Make, tmp_path: Path) -> None:
    tower = shaken(make(mode="lora", layers=1))
    before, names = tower.all_vectors(), trained_names(tower)
    tower.save(tmp_path / "tuned")
    assert torch.equal(tower.all_vectors(), before)
    assert trained_names(tower) == names


def test_at_most_live_texts_are_read_per_step(make: Make) -> None:
    tower = make(live=5)
    for rows in (None, ROWS, ROWS[:7]):
        chosen = tower.choose(rows)
        assert len(set(chosen.tolist())) == len(chosen) == 5
    assert {row for _ in range(100) for row in tower.choose(None).tolist()} == set(ROWS.tolist())
    assert tower.choose(ROWS[:3]).tolist() == [0, 1, 2]


def test_items_without_a_text_are_never_chosen(make: Make) -> None:
    without = np.flatnonzero(~KNOWN).tolist()
    assert make().choose(None).tolist() == ROWS.tolist()
    assert make().choose(torch.tensor([without[0], 4, without[1], 5])).tolist() == [1, 3]
    assert make().choose(torch.tensor(without)).tolist() == []


def test_the_few_texts_that_are_longer_than_the_others_are_cut(make: Make) -> None:
    long = " and ".join(NAMES[:6])
    texts = pl.Series([f"{name} {colour}" for name in NAMES for colour in COLOURS[:5]] + [long])  # one of 151
    tower, short = make(texts=texts), make(texts=pl.Series([" ".join(long.split()[:6]), *NAMES]))
    assert tower.longest == 8  # six tokens, in steps of eight
    assert tower.starts.diff().max() == 8
    torch.testing.assert_close(tower(torch.tensor([150])), short(torch.tensor([0])))


def test_the_length_at_which_texts_are_cut_is_that_of_99_in_100() -> None:
    lengths = np.array([10] * 99 + [500])
    assert truncation_length(lengths, 256) == 16
    assert truncation_length(np.array([10] * 98 + [300, 500]), 256) == 256
    assert truncation_length(np.array([8]), 256) == 8
    assert truncation_length(np.array([], dtype=np.int64), 256) == 256


def test_a_prompt_of_the_encoder_is_read_before_each_text(make: Make, folders: dict[str, Path], tmp_path: Path) -> None:
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(folders["bert"]), prompts={"item": "a black plane and "}, default_prompt_name="item")
    model.save(str(tmp_path / "prompted"), create_model_card=False)
    encoder = TextEncoder(tmp_path / "prompted")
    whitening = Whitening.fit(encoder.encode(NAMES), 8)
    tower = TextTower(tmp_path / "prompted", TEXTS, whitening, mode="full").eval()
    expected = whitening(encoder.encode(TEXTS.drop_nulls().to_list()))
    np.testing.assert_allclose(tower.all_vectors(), expected, atol=1e-5)
    assert not np.allclose(encoder.encode(NAMES), TextEncoder(folders["bert"]).encode(NAMES), atol=1e-3)


def test_an_encoder_that_reads_texts_in_a_way_of_its_own_is_refused(make: Make, folders: dict[str, Path]) -> None:
    def lower_only(self: TextTower, texts: list[str], most: int) -> pl.Series:
        return real(self, [text.replace("red", "pink") for text in texts], most)

    real = TextTower._tokens
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TextTower, "_tokens", lower_only)
        with pytest.raises(EncoderError, match="does more than read tokens"):
            make(texts=pl.Series(NAMES[:5]))


def test_weights_are_float32_whatever_the_file_holds(make: Make, folders: dict[str, Path], tmp_path: Path) -> None:
    from transformers import AutoModel

    from tests.models.tiny_encoders import save_tokenizer

    AutoModel.from_pretrained(folders["bert"]).bfloat16().save_pretrained(tmp_path / "half")
    save_tokenizer(tmp_path / "half")
    whitening = Whitening.fit(TextEncoder(folders["bert"]).encode(NAMES), 8)
    tower = TextTower(tmp_path / "half", TEXTS, whitening, mode="full")
    assert {p.dtype for p in tower.parameters()} == {torch.float32}


def test_an_encoder_that_is_not_there_or_not_whole_is_named(tmp_path: Path) -> None:
    whitening = Whitening(np.zeros(4, dtype=np.float32), np.eye(4, dtype=np.float32))
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(EncoderError, match=str(tmp_path)):
        TextTower(tmp_path, TEXTS, whitening, mode="full")


def test_more_layers_than_there_are_cannot_be_trained(make: Make) -> None:
    with pytest.raises(ConfigError, match="trainable_layers is 4, but the encoder has 3 layers; 0 means all"):
        make(layers=4)


def test_an_encoder_without_layers_cannot_be_divided() -> None:
    with pytest.raises(EncoderError, match="Linear has no stack of layers to divide; use trainable_layers=0"):
        frozen_layers.divide(torch.nn.Linear(2, 2), 1)


def test_an_encoder_that_is_no_transformer_is_refused(tmp_path: Path) -> None:
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding
    from tokenizers import Tokenizer, models

    words = Tokenizer(models.WordLevel({"a": 0, "red": 1}, unk_token="a"))
    SentenceTransformer(modules=[StaticEmbedding(words, embedding_dim=4)]).save(str(tmp_path / "static"))
    whitening = Whitening(np.zeros(4, dtype=np.float32), np.eye(4, dtype=np.float32))
    with pytest.raises(EncoderError, match="is not a transformer; use it with encoder_mode='frozen'"):
        TextTower(tmp_path / "static", TEXTS, whitening, mode="full")


def test_lora_without_peft_says_what_to_install(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(DependencyError, match="pip install peft"):
        make(mode="lora")


def test_nothing_holds_on_to_a_tower_that_is_let_go(make: Make) -> None:
    import gc
    import weakref

    gc.collect()
    tower = weakref.ref(make(mode="lora", layers=1))
    assert tower() is None  # at once: it is in no cycle


# The encoder within the item tower.


def make_items(tower: TextTower) -> ItemTower:
    text = torch.zeros(len(TEXTS), 8)
    text[tower.rows] = tower.all_vectors()
    torch.manual_seed(0)
    return ItemTower(
        len(TEXTS), 6, ItemContent(text=text), torch.ones(len(TEXTS), dtype=torch.bool), id_dropout=0.0, encoder=tower
    )


@pytest.mark.parametrize("rows", [None, torch.tensor([0, 4, 10, 30, 12])])
def test_live_texts_carry_gradients_and_the_others_keep_their_last_vector(make: Make, rows: torch.Tensor | None) -> None:
    items = make_items(make(live=3)).train()
    for module in items.encoder.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    shaken(items.encoder)  # so that a text that is read again is told from one that is not
    before = items.text.clone()
    vectors = items(rows)
    changed = torch.nonzero((items.text != before).any(1)).flatten()
    assert len(changed) == 3
    text = before.clone()
    text[changed] = items.encoder(changed).detach()
    torch.testing.assert_close(items.text, text, rtol=1e-4, atol=1e-5)
    assert not items.text.requires_grad
    expected = items.norm(items.id.weight + text @ items.project.weight.T)
    torch.testing.assert_close(vectors, expected if rows is None else expected[rows], rtol=1e-4, atol=1e-5)
    vectors.square().sum().backward()
    assert all(p.grad is not None for p in items.encoder.parameters() if p.requires_grad)


def test_refreshing_reads_every_text_and_inference_none(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    items = make_items(make(live=3)).eval()
    shaken(items.encoder)
    items.refresh()
    torch.testing.assert_close(items.text[items.encoder.rows], items.encoder.all_vectors())
    assert (items.text[~torch.from_numpy(KNOWN)] == 0).all()
    monkeypatch.setattr(TextTower, "_encode", None)
    assert items().shape == (len(TEXTS), 6)


def test_a_batch_without_texts_is_no_trouble(make: Make) -> None:
    items = make_items(make()).train()
    without = torch.from_numpy(np.flatnonzero(~KNOWN))
    items(without).sum().backward()
