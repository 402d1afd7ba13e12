"""A text encoder without the words that no text needs: their rows of the table of words are removed, not zeroed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file, save_file

from recsys.core.ragged import Bool
from recsys.errors import UnsupportedError
from recsys.models.encoders.held import HeldEncoder
from recsys.models.encoders.pretrained import TextEncoder
from recsys.models.encoders.proof import same_vectors

_TOKENIZER = "tokenizer.json"
_TABLE = "embeddings.word_embeddings.weight"
_COMMON = 6000
"""The first entries of a vocabulary, which hold the commonest words, stay: searches need them too."""
_SAMPLE, _TOLERANCE = 32, 1e-3


def with_few_words(held: HeldEncoder, texts: list[str], device: str = "cpu") -> HeldEncoder:
    """The encoder with the entries of its vocabulary that its texts need, the commonest ones, and single characters.

    Texts give the same tokens and vectors, which is proven on a sample. Other words are read in more pieces than before,
    each of them known.

    Parameters
    ----------
    held : HeldEncoder
        Of the BERT family: entries are whole words or pieces of words.
    texts : list of str
        All texts of the catalogue.
    device : str

    Raises
    ------
    UnsupportedError
        The encoder is of another kind, or gives other vectors then.
    """
    with held.laid_out() as folder:
        sample = texts[:: max(1, len(texts) // _SAMPLE)][:_SAMPLE]
        expected = TextEncoder(folder, device).encode(sample)
        _prune(folder, texts)
        if not same_vectors(TextEncoder(folder, device).encode(sample), expected, _TOLERANCE).all():
            raise UnsupportedError("the text encoder gives other vectors without the words that no text needs")
        return HeldEncoder.of(folder)


def _prune(folder: Path, texts: list[str]) -> None:
    from tokenizers import Tokenizer  # noqa: PLC0415

    found = [file for file in folder.rglob(_TOKENIZER) if (file.parent / "model.safetensors").is_file()]
    if len(found) != 1:
        raise UnsupportedError(f"the text encoder has no {_TOKENIZER} beside its weights")
    place = found[0].parent
    told: dict[str, Any] = json.loads(found[0].read_text(encoding="utf-8"))
    model, tensors = told["model"], load_file(place / "model.safetensors")
    if model.get("type") not in ("WordPiece", "WordLevel") or _TABLE not in tensors:
        raise UnsupportedError(f"the vocabulary of the text encoder is of type {model.get('type')}, and stays whole")
    tokenizer = Tokenizer.from_file(str(found[0]))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    vocabulary: dict[str, int] = model["vocab"]
    kept = np.zeros(len(tensors[_TABLE]), dtype=np.bool_)
    kept[:_COMMON] = True
    for one in tokenizer.encode_batch(texts, add_special_tokens=True):
        kept[one.ids] = True
    prefix = model.get("continuing_subword_prefix") or "##"
    specials = {int(one["id"]) for one in told["added_tokens"]}
    kept[[number for token, number in vocabulary.items() if len(token.removeprefix(prefix)) == 1]] = True
    kept[sorted(specials | _numbers_in(told.get("post_processor")))] = True
    if kept.all():
        raise UnsupportedError("every word of the text encoder is needed")
    rows = (np.cumsum(kept) - 1).tolist()
    model["vocab"] = {token: rows[number] for token, number in vocabulary.items() if kept[number]}
    for one in told["added_tokens"]:
        one["id"] = rows[int(one["id"])]
    told["post_processor"] = _renumbered(told.get("post_processor"), rows)
    found[0].write_text(json.dumps(told, ensure_ascii=False), encoding="utf-8")
    tensors[_TABLE] = np.ascontiguousarray(tensors[_TABLE][kept])
    save_file(tensors, place / "model.safetensors", metadata={"format": "pt"})
    _tell_size(place, kept, rows)


def _numbers_in(processor: Any) -> set[int]:
    """The ids that a post-processor adds to every text."""
    found = set[int]()
    if isinstance(processor, dict):
        for name, value in processor.items():
            if name == "ids":
                found |= {int(one) for one in value}
            elif name in ("sep", "cls") and isinstance(value, list):
                found.add(int(value[1]))
            else:
                found |= _numbers_in(value)
    elif isinstance(processor, list):
        found = set().union(*map(_numbers_in, processor))
    return found


def _renumbered(processor: Any, rows: list[int]) -> Any:
    if isinstance(processor, dict):
        made = {}
        for name, value in processor.items():
            if name == "ids":
                made[name] = [rows[int(one)] for one in value]
            elif name in ("sep", "cls") and isinstance(value, list):
                made[name] = [value[0], rows[int(value[1])]]
            else:
                made[name] = _renumbered(value, rows)
        return made
    return [_renumbered(one, rows) for one in processor] if isinstance(processor, list) else processor


def _tell_size(place: Path, kept: Bool, rows: list[int]) -> None:
    """Bring what else tells of the vocabulary in line with it."""
    config = json.loads((place / "config.json").read_text(encoding="utf-8")) | {"vocab_size": int(kept.sum())}
    for name, value in config.items():
        if name.endswith("_token_id") and type(value) is int:
            config[name] = rows[value]
    (place / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    if (file := place / "tokenizer_config.json").is_file():
        told = json.loads(file.read_text(encoding="utf-8"))
        if isinstance(known := told.get("added_tokens_decoder"), dict):
            told["added_tokens_decoder"] = {str(rows[int(number)]): one for number, one in known.items()}
            file.write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")
    if (file := place / "vocab.txt").is_file():
        lines = file.read_text(encoding="utf-8").split("\n")
        words = [word for number, word in enumerate(lines[: len(kept)]) if kept[number]]
        file.write_text("\n".join(words) + "\n", encoding="utf-8")
