"""Free text as vectors in the space of the items' texts."""

from __future__ import annotations

from typing import Any

import numpy as np

from recsys.core.opened import Source
from recsys.core.ragged import Float32, Int64
from recsys.errors import DependencyError
from recsys.serving.runtime.graphs import Graph

GRAPH, TOKENIZER = "text_encoder.onnx", "tokenizer.json"
_BLOCK = 32


class Texts:
    """The text encoder of an export.

    Parameters
    ----------
    source : Source
    facts : dict
        ``max_tokens``, ``pad``, ``query_prompt`` and ``document_prompt``.
    opset, threads : int
        As for :class:`Graph`.

    Raises
    ------
    DependencyError
        The package tokenizers is missing.
    """

    def __init__(self, source: Source, facts: dict[str, Any], opset: int, threads: int) -> None:
        try:
            from tokenizers import Tokenizer  # noqa: PLC0415 - only searches need it
        except ImportError as error:
            raise DependencyError("search needs the package tokenizers: pip install 'recsys-runtime[search]'") from error
        self._facts, self._graph = facts, Graph(source, GRAPH, opset, threads)
        self._tokenizer = Tokenizer.from_str(source.read(TOKENIZER).decode())
        if facts["max_tokens"] is not None:
            self._tokenizer.enable_truncation(facts["max_tokens"])

    def tokens(self, texts: list[str]) -> tuple[Int64, Int64]:
        """Token ids and attention mask, int64 (n, T) each, padded on the right."""
        found = [one.ids for one in self._tokenizer.encode_batch(texts)]
        ids = np.full((len(found), max(map(len, found))), self._facts["pad"], dtype=np.int64)
        mask = np.arange(ids.shape[1]) < np.array([[len(one)] for one in found])
        ids[mask] = np.concatenate([np.array(one, dtype=np.int64) for one in found])
        return ids, mask.astype(np.int64)

    def vectors(self, texts: list[str], prompt: str = "query_prompt") -> tuple[Float32, Float32]:
        """Whitened vectors for the item tower, float32 (n, T), and unit vectors for search, float32 (n, E)."""
        order = sorted(range(len(texts)), key=lambda place: len(texts[place]))
        text, search = list[Float32](), list[Float32]()
        for start in range(0, len(order), _BLOCK):
            some = [(self._facts[prompt] + texts[place]).strip() for place in order[start : start + _BLOCK]]
            ids, mask = self.tokens(some)
            both = self._graph({"input_ids": ids, "attention_mask": mask})
            text.append(both[0])
            search.append(both[1])
        back = np.argsort(order)
        return np.concatenate(text)[back], np.concatenate(search)[back]
