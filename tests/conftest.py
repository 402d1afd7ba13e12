"""Small worlds that the tests live in."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import settings

from recsys.data.catalog import Catalog
from recsys.data.interactions import Interactions
from recsys.data.split import Split, leave_last_out

settings.register_profile("same every time", derandomize=True, deadline=None, database=None)
settings.load_profile("same every time")

COLOURS = ("red", "green", "blue", "black", "white", "pink")
THINGS = ("car", "boat", "plane", "train", "bike")


@pytest.fixture(scope="session")
def tiny_encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real, untrained BERT of one layer in Hugging Face layout that knows the words of the tiny catalogue."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("encoder")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *COLOURS, *THINGS, "a", "."]
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="[UNK]", pad_token="[PAD]", cls_token="[CLS]", sep_token="[SEP]"
    ).save_pretrained(folder)
    config = BertConfig(
        vocab_size=len(words),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=64,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        BertModel(config).save_pretrained(folder)
    return folder


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads or leaves anything in the user's cache."""
    monkeypatch.setenv("RECSYS_CACHE", str(tmp_path / "cache"))


@pytest.fixture(autouse=True)
def own_logging() -> Iterator[None]:
    """A command run within a test sets up logging for its process; the next test finds it as it was."""
    logger = logging.getLogger("recsys")
    level, handlers, propagate = logger.level, list(logger.handlers), logger.propagate
    yield
    logger.setLevel(level)
    logger.handlers[:] = handlers
    logger.propagate = propagate


@pytest.fixture(autouse=True, scope="module")
def logging_of_a_file() -> Iterator[None]:
    """Fixtures that a file shares may run commands too; the next file finds logging as the first one did."""
    yield
    logger = logging.getLogger("recsys")
    logger.setLevel(logging.NOTSET)
    logger.handlers.clear()
    logger.propagate = True


def make_events(users: int = 40, length: int = 8) -> pl.DataFrame:
    """Everybody walks round a ring of 30 items, so that the next item follows from the last one."""
    generator = np.random.default_rng(0)
    starts = generator.integers(0, 30, users)
    steps = np.arange(length)
    items = (starts[:, None] + steps) % 30
    return pl.DataFrame(
        {
            "user_id": np.repeat([f"u{i}" for i in range(users)], length),
            "item_id": [f"i{i}" for i in items.ravel()],
            "timestamp": (steps + 100 * np.arange(users)[:, None]).ravel(),
        }
    )


def make_items(extra: int = 2) -> pl.DataFrame:
    """The 30 items of the ring, each with a text of its own, and some that nobody touched."""
    names = [f"a {colour} {thing}" for colour in COLOURS for thing in THINGS]
    return pl.DataFrame(
        {
            "item_id": [f"i{i}" for i in range(30)] + [f"new{i}" for i in range(extra)],
            "title": names + [f"a {COLOURS[i]} {THINGS[i]} ." for i in range(extra)],
        }
    )


@pytest.fixture(scope="session")
def ring() -> Interactions:
    return Interactions.from_frame(make_events())


@pytest.fixture(scope="session")
def ring_split(ring: Interactions) -> Split:
    return leave_last_out(ring)


@pytest.fixture(scope="session")
def ring_catalog() -> Catalog:
    return Catalog.from_frame(make_items(), text=["title"])
