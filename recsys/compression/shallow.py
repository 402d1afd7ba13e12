"""Text encoders with fewer layers, or none: what the whole one gives is fitted by what is left of it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import scipy.linalg
import scipy.sparse as sp

from recsys.core.ragged import Float32
from recsys.errors import ConfigError, EncoderError, UnsupportedError
from recsys.models.encoders.frozen_layers import divide
from recsys.models.encoders.load import load_encoder
from recsys.models.encoders.pretrained import TextEncoder
from recsys.models.encoders.proof import same_vectors

_SAMPLE, _WORDS = 1000, 3
"""Texts that vectors are fitted by, each once more as a few of its words, as searches are."""
_RIDGE, _PRIOR, _FREQUENT = 1e-2, 1e-2, 1e-3
_TOLERANCE, _BATCH, _MOST_WORDS = 0.1, 16, 50_000


def layers_of(folder: Path) -> int:
    """How many layers an encoder has; 0 where it has none that could be left out."""
    try:
        return len(divide(_backbone(load_encoder(folder)), 0)[0])
    except (EncoderError, AttributeError):
        return 0


def _backbone(model: Any) -> Any:
    return model[0].auto_model


def with_first_layers(kept: int, texts: list[str]) -> Callable[[Path], None]:
    """Keep the first layers of an encoder, and a linear map (ridge) from what they give to what all gave.

    Parameters
    ----------
    kept : int
        Layers, fewer than there are.
    texts : list of str
        Of the catalogue; a sample of them is read.

    Returns
    -------
    callable
        Changes the encoder in a folder; raises UnsupportedError where it is of a kind that cannot be cut.
    """
    from sentence_transformers.sentence_transformer.modules import Dense  # noqa: PLC0415
    from torch import from_numpy, nn  # noqa: PLC0415

    def change(folder: Path) -> None:
        sample = _sample(texts)
        expected = TextEncoder(folder).encode_cached(pl.Series(sample))
        model = load_encoder(folder)
        try:
            del divide(_backbone(model), 0)[0][kept:]
            _backbone(model).config.num_hidden_layers = kept
            model.save(str(folder / "short"), create_model_card=False)
            found = TextEncoder(folder / "short").encode(sample)
        except (EncoderError, ConfigError, AttributeError, ValueError) as error:
            raise UnsupportedError(f"the text encoder cannot do with {kept} layers: {error}") from error
        matrix, offset = _ridge(found, expected)
        dense = Dense(len(matrix), matrix.shape[1], activation_function=nn.Identity())
        dense.linear.weight.data, dense.linear.bias.data = from_numpy(matrix.T.copy()), from_numpy(offset)
        model.append(dense)
        _replaced(folder, model)
        few = slice(0, _BATCH)
        if not same_vectors(TextEncoder(folder).encode(sample[few]), found[few] @ matrix + offset, _TOLERANCE).all():
            raise UnsupportedError(f"the text encoder gives other vectors once it is saved with {kept} layers")

    return change


def with_word_vectors(texts: list[str]) -> Callable[[Path], None]:
    """Replace an encoder by the mean of vectors of its tokens, fitted to what it gives of texts.

    Where texts say nothing of a token, it has what the encoder gives of it alone, less of it where it is frequent (SIF,
    Arora et al., ICLR 2017), mapped linearly, as in model2vec; where they do, ridge regression from there moves it. Saved
    as the module ``StaticEmbedding`` of sentence-transformers.

    Parameters
    ----------
    texts : list of str
        Of the catalogue; a sample of them is read.

    Returns
    -------
    callable
        Changes the encoder in a folder; raises UnsupportedError where its tokenizer has no table of words, or a large one.
    """
    from sentence_transformers import SentenceTransformer  # noqa: PLC0415
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding  # noqa: PLC0415

    def change(folder: Path) -> None:
        encoder = TextEncoder(folder)
        backend = getattr(getattr(load_encoder(folder), "tokenizer", None), "backend_tokenizer", None)
        if backend is None:
            raise UnsupportedError("the tokenizer of the text encoder has no tokenizer.json to take word vectors by")
        tokenizer = type(backend).from_str(backend.to_str())
        if (size := tokenizer.get_vocab_size()) > _MOST_WORDS:
            raise UnsupportedError(f"the text encoder has {size:,} words, and a vector for each would be larger than it is")
        tokenizer.no_padding()
        tokenizer.no_truncation()
        sample = _sample(texts)
        expected, bags = encoder.encode_cached(pl.Series(sample)), _bags(tokenizer, sample)
        words = [tokenizer.decode([number]) or " " for number in range(tokenizer.get_vocab_size())]
        share = np.bincount(bags.indices, weights=bags.data, minlength=bags.shape[1]) / len(sample)
        alone = encoder.encode([word.removeprefix("##") for word in words]) * (_FREQUENT / (_FREQUENT + share))[:, None]
        matrix, offset = _ridge((bags @ alone).astype(np.float32), expected)
        prior = alone @ matrix + offset  # means of tokens take the offset in whole
        gram = (bags @ bags.T).toarray() + _PRIOR * np.eye(len(sample))
        moved = bags.T @ scipy.linalg.solve(gram, expected - bags @ prior, assume_a="pos")
        table = np.ascontiguousarray(prior + moved, dtype=np.float32)
        _replaced(folder, SentenceTransformer(modules=[StaticEmbedding(tokenizer, embedding_weights=table)], device="cpu"))

    return change


def _sample(texts: list[str]) -> list[str]:
    some = texts[:: max(1, -(-len(texts) // _SAMPLE))]
    parted = (one.split() for one in some)
    few = (" ".join(words[place % max(1, len(words) - _WORDS + 1) :][:_WORDS]) for place, words in enumerate(parted))
    return list(dict.fromkeys([*some, *(one for one in few if one)]))


def _bags(tokenizer: Any, texts: list[str]) -> sp.csr_matrix:
    """float64 (n, V): the share of each token in each text."""
    tokens = [one.ids for one in tokenizer.encode_batch(texts, add_special_tokens=False)]
    lengths = np.array([len(one) for one in tokens])
    columns = np.concatenate([np.asarray(one, dtype=np.int64) for one in tokens])
    rows = np.repeat(np.arange(len(texts)), lengths)
    shape = (len(texts), tokenizer.get_vocab_size())
    return sp.csr_matrix((1 / np.repeat(np.maximum(lengths, 1), lengths), (rows, columns)), shape=shape)


def _ridge(found: Float32, expected: Float32) -> tuple[Float32, Float32]:
    """The linear map between vectors, float32 (E, E'), and its offset, (E',)."""
    centre, wanted = found.mean(axis=0, dtype=np.float64), expected.mean(axis=0, dtype=np.float64)
    apart = found - centre
    gram = apart.T @ apart
    gram += _RIDGE * np.trace(gram) / len(gram) * np.eye(len(gram)) + 1e-12 * np.eye(len(gram))
    matrix = scipy.linalg.solve(gram, apart.T @ (expected - wanted), assume_a="pos")
    return matrix.astype(np.float32), (wanted - centre @ matrix).astype(np.float32)


def _replaced(folder: Path, model: Any) -> None:
    """Save a model in the place of what is in its folder."""
    for one in folder.iterdir():
        shutil.rmtree(one) if one.is_dir() else one.unlink()
    model.save(str(folder), create_model_card=False)
