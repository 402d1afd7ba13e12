"""A smaller text encoder: weights in fewer bits, fewer words, fewer layers, or no layers at all."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file
from safetensors.torch import load_file

from recsys.bundle.contents import Bundle
from recsys.compression.shallow import layers_of, with_first_layers, with_word_vectors
from recsys.compression.step import Step
from recsys.compression.words import with_few_words
from recsys.core.progress import log
from recsys.errors import UnsupportedError
from recsys.models.encoders.coded import code_weights, compute_in_float32
from recsys.models.encoders.held import HeldEncoder

_PART = "text encoder"
_LARGEST_HALF = 65_504.0


def encoder_steps(bundle: Bundle) -> Iterator[Step]:
    """The steps that a bundle's text encoder allows; none where it has no encoder."""
    held = bundle.towers.held_encoder
    if held is None:
        return
    yield _step("weights in float16", held, to_half)
    yield _step("weights in 8 bits", held, code_weights)
    texts = bundle.catalog.texts.drop_nulls().unique(maintain_order=True).to_list()
    try:
        few = with_few_words(held, texts, bundle.towers.device)
    except UnsupportedError as error:
        log(f"not tried: {error}")
        few, how = held, "8 bits"
    else:
        how = "8 bits, without words that no text needs"
        yield _step("float16, without words that no text needs", few, to_half)
        yield _step(how, few, code_weights)
    with few.laid_out() as folder:
        layers = layers_of(folder)
    for kept in sorted({-(-2 * layers // 3), layers // 2} - {0, layers}, reverse=True):
        yield _step(f"{how}, {kept} of {layers} layers", few, with_first_layers(kept, texts), code_weights)
    if layers:
        yield _step(f"{how}, vectors of words and no layers", few, with_word_vectors(texts), code_weights)


def changed(held: HeldEncoder, *changes: Callable[[Path], None]) -> HeldEncoder:
    """An encoder whose files were changed one way after the other; the one that is given stays as it is."""
    with held.laid_out() as folder:
        for change in changes:
            change(folder)
        return HeldEncoder.of(folder)


def _step(name: str, held: HeldEncoder, *changes: Callable[[Path], None]) -> Step:
    @cache
    def made() -> HeldEncoder:
        smaller = changed(held, *changes)
        smaller.proven = True  # by searches and new items: its vectors are meant to differ
        return smaller

    def change(bundle: Bundle) -> Bundle:
        return replace(bundle, corpus=replace(bundle.corpus, towers=replace(bundle.towers, held_encoder=made())))

    return Step(_PART, name, change)


def to_half(folder: Path) -> None:
    """Round an encoder's weights to float16; it computes in float32 as before.

    Raises
    ------
    UnsupportedError
        A number is beyond float16.
    """
    for file in folder.rglob("*.safetensors"):
        tensors = {}
        for name, tensor in load_file(file).items():
            one = tensor.float().numpy() if tensor.is_floating_point() else tensor.numpy()
            if one.dtype == np.float32:
                if np.abs(one).max(initial=0.0) > _LARGEST_HALF:
                    raise UnsupportedError(f"the text encoder's {name} has numbers beyond float16; leave this step out")
                one = one.astype(np.float16)
            tensors[name] = one
        save_file(tensors, file, metadata={"format": "pt"})
        compute_in_float32(file.with_name("config.json"))
