"""A vocabulary loses rows that no text needs, and texts keep their tokens and vectors."""

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

from recsys.compression import words
from recsys.compression.words import with_few_words
from recsys.errors import UnsupportedError
from recsys.models.encoders.held import HeldEncoder
from recsys.models.encoders.pretrained import TextEncoder
from tests.models.tiny_encoders import make_encoder

PIECES = ("[PAD]", "long", "[UNK]", "[CLS]", "[SEP]", "car", "##s", "boat", "red", "c", "a", "r", "##a", "##r", "b", "##o")


def word_pieces(folder: Path) -> Path:
    """A BERT of one layer whose tokenizer cuts words into pieces."""
    numbers = {piece: number for number, piece in enumerate(PIECES)}
    tokenizer = Tokenizer(models.WordPiece(numbers, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    special = [(one, numbers[one]) for one in ("[CLS]", "[SEP]")]
    tokenizer.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=special)
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="[UNK]", pad_token="[PAD]", cls_token="[CLS]", sep_token="[SEP]"
    ).save_pretrained(folder)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    BertModel(BertConfig(vocab_size=len(PIECES), max_position_embeddings=16, **sizes)).save_pretrained(folder)
    return folder


def test_rows_are_removed_and_texts_keep_their_vectors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(words, "_COMMON", 0)
    folder = word_pieces(tmp_path / "encoder")
    texts = ["red cars", "cars", "red"]
    few = with_few_words(HeldEncoder.of(folder), texts)
    with few.laid_out() as made:
        table = load_file(made / "model.safetensors")["embeddings.word_embeddings.weight"]
        assert len(table) == len(PIECES) - 2  # long and boat
        assert np.allclose(TextEncoder(made).encode(texts), TextEncoder(folder).encode(texts), atol=1e-5)
        tokenizer = Tokenizer.from_file(str(made / "tokenizer.json"))
        assert tokenizer.encode("red cars").tokens == ["[CLS]", "red", "car", "##s", "[SEP]"]
        assert tokenizer.encode("bo").tokens == ["[CLS]", "b", "##o", "[SEP]"]
        assert max(tokenizer.get_vocab().values()) == len(table) - 1


def test_another_kind_of_vocabulary_stays_whole(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match="has no|of type"):
        with_few_words(HeldEncoder.of(make_encoder(tmp_path / "t5", "t5", layers=1)), ["red", "car"])
    with pytest.raises(UnsupportedError, match="every word"):
        with_few_words(HeldEncoder.of(make_encoder(tmp_path / "bert", layers=1)), ["red", "car"])
