"""The text encoder of a bundle as an ONNX file, with its tokenizer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from recsys.compression import onnx_files
from recsys.compression.graphs import TextGraph
from recsys.data.catalog import Catalog
from recsys.errors import UnsupportedError
from recsys.models.encoders.load import load_encoder
from recsys.models.towers import TwoTowerModel
from recsys.serving.runtime.texts import GRAPH, TOKENIZER

_REMEDY = "export without it (--no-text): the export then recommends, and does not search"
_UNLIMITED = 10**6


def write_encoder(towers: TwoTowerModel, catalog: Catalog, target: Path) -> tuple[dict[str, Any], float]:
    """Write the encoder with pooling, normalisation and whitening, and its tokenizer.

    Returns
    -------
    dict
        What the runtime must know to read texts.
    float
        How far the graph is from the encoder in float32.

    Raises
    ------
    UnsupportedError
        It cannot be exported, or the bundle was saved without it.
    """
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding  # noqa: PLC0415

    if towers.held_encoder is None or towers.whitening is None:
        raise UnsupportedError(f"this bundle was saved without its text encoder; {_REMEDY}")
    with towers.held_encoder.laid_out() as folder:
        model = load_encoder(folder)
    if isinstance(model[0], StaticEmbedding):
        raise UnsupportedError(f"a text encoder of vectors of words is not exported; {_REMEDY}")
    tokenizer: Any = getattr(model, "tokenizer", None)
    if getattr(tokenizer, "backend_tokenizer", None) is None:
        raise UnsupportedError(f"the tokenizer of the text encoder has no tokenizer.json; {_REMEDY}")
    prompts = {f"{task}_prompt": model.prompts[task] or "" for task in ("query", "document")}
    if any(model.preprocess(["a"], prompt=one).get("prompt_length") is not None for one in prompts.values() if one):
        raise UnsupportedError(f"the pooling of the text encoder leaves its prompt out; {_REMEDY}")
    limit = model.max_seq_length
    limit = None if limit is None or limit >= _UNLIMITED else int(limit)
    graph = TextGraph(model, towers.whitening).eval().requires_grad_(False)
    sizes = {name: {0: "texts", 1: "tokens"} for name in graph.inputs} | {name: {0: "texts"} for name in ("text", "search")}
    known = catalog.texts.drop_nulls().unique(maintain_order=True)
    some = known.gather(known.str.len_chars().arg_sort()).gather_every(max(1, len(known) // 8)).to_list()
    examples = [_tokens(tokenizer, [prompts["document_prompt"] + one for one in texts], limit) for texts in _groups(some)]
    try:
        difference = onnx_files.write(graph, target / GRAPH, ["text", "search"], examples, sizes, "the text encoder")
    except UnsupportedError as error:
        raise UnsupportedError(f"{error}; {_REMEDY}") from error
    backend = type(tokenizer.backend_tokenizer).from_str(tokenizer.backend_tokenizer.to_str())
    backend.no_truncation()
    backend.no_padding()
    (target / TOKENIZER).write_text(backend.to_str(), encoding="utf-8")
    return prompts | {"max_tokens": limit, "pad": int(tokenizer.pad_token_id or 0)}, difference


def _groups(texts: list[str]) -> list[list[str]]:
    """A few texts together, and the longest and the shortest alone."""
    return [texts[-3:], texts[-1:], texts[:1], texts]


def _tokens(tokenizer: Any, texts: list[str], limit: int | None) -> tuple[Tensor, Tensor]:
    found = tokenizer(texts, padding=True, truncation=limit is not None, max_length=limit, return_tensors="pt")
    return found["input_ids"].to(torch.int64), found["attention_mask"].to(torch.int64)
