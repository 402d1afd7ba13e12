"""Real, untrained encoders of a few layers in Hugging Face layout that know the words of the tiny catalogue."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    BertConfig,
    BertModel,
    ModernBertConfig,
    ModernBertModel,
    MPNetConfig,
    MPNetModel,
    PreTrainedTokenizerFast,
    T5Config,
    T5EncoderModel,
)

from tests.conftest import COLOURS, THINGS

WORDS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", *COLOURS, *THINGS, "a", "and", ".")


def save_tokenizer(folder: Path, *, mask: bool = False) -> None:
    """White space between words, [CLS] before and [SEP] after; ``mask``: the full stop is the mask."""
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token="[UNK]",
        pad_token="[PAD]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        model_max_length=32,
        **({"mask_token": "."} if mask else {}),
    ).save_pretrained(folder)


def make_encoder(folder: Path, kind: str = "bert", layers: int = 3, *, mask: bool = False) -> Path:
    """Save a tiny encoder; its weights are so large that layers matter."""
    folder.mkdir(parents=True, exist_ok=True)
    save_tokenizer(folder, mask=mask)
    sizes: dict[str, Any] = {
        "vocab_size": len(WORDS),
        "hidden_size": 16,
        "num_hidden_layers": layers,
        "num_attention_heads": 2,
        "intermediate_size": 32,
        "max_position_embeddings": 40,
        "initializer_range": 0.3,
        "pad_token_id": 0,
    }
    t5 = {"vocab_size": len(WORDS), "d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": layers, "num_heads": 2}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model: Any = {
            "bert": lambda: BertModel(BertConfig(**sizes)),
            "mpnet": lambda: MPNetModel(MPNetConfig(**sizes)),
            "modernbert": lambda: ModernBertModel(
                ModernBertConfig(
                    **sizes, global_attn_every_n_layers=2, local_attention=4, cls_token_id=2, sep_token_id=3,
                    bos_token_id=2, eos_token_id=3,
                )
            ),
            "t5": lambda: T5EncoderModel(T5Config(**t5, feed_forward_proj="relu")),
        }[kind]()  # fmt: skip
        model.save_pretrained(folder)
    return folder


def make_clip(folder: Path) -> Path:
    """Save a tiny CLIP: pictures and texts in one space of 8 dimensions."""
    from transformers import CLIPConfig, CLIPImageProcessorPil, CLIPModel, CLIPProcessor, CLIPTextConfig, CLIPVisionConfig

    folder.mkdir(parents=True, exist_ok=True)
    save_tokenizer(folder)
    sizes: dict[str, Any] = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    special = {"bos_token_id": 2, "eos_token_id": 3, "pad_token_id": 0}
    text = CLIPTextConfig(vocab_size=len(WORDS), max_position_embeddings=32, **sizes, **special)
    vision = CLIPVisionConfig(image_size=16, patch_size=8, **sizes)
    config = CLIPConfig(text_config=text.to_dict(), vision_config=vision.to_dict(), projection_dim=8)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        CLIPModel(config).save_pretrained(folder)
    pictures = CLIPImageProcessorPil(size={"shortest_edge": 16}, crop_size={"height": 16, "width": 16})
    CLIPProcessor(pictures, PreTrainedTokenizerFast.from_pretrained(folder)).save_pretrained(folder)
    return folder
