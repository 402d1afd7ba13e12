"""Which part of an item its score comes from, by the graph of the item tower."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from recsys.core.ragged import Float32
from recsys.errors import UnsupportedError
from recsys.serving.fixed_norm import BIAS, FixedNorm, Norm
from recsys.serving.runtime.folder import array
from recsys.serving.runtime.graphs import Graph
from recsys.serving.runtime.parts import Parts

GRAPH: Final = "item_tower.onnx"
POPULARITY: Final = "popularity"
"""The one part of an item of a fast model."""
_FILES: Final = {"text": "item_texts.npy"} | {
    name: f"input_{name}.npy" for name in ("known", "ids", "images", "numbers", "scale", "tokens", "weights", "offsets")
}
"""Input of the graph → file."""


@dataclass(frozen=True, eq=False)
class Breakdown:
    """The item tower of an export, for one item at a time.

    Attributes
    ----------
    facts : dict
        ``parts``, names in the graph's order, and ``cold_scale``.
    graph : Graph
    norm : Norm
    inputs : dict of array
        What the graph reads of all items, by its names, and ``offsets`` of ``tokens``.
    """

    facts: dict[str, Any]
    graph: Graph
    norm: Norm
    inputs: dict[str, NDArray[Any]]

    @classmethod
    def of(cls, parts: Parts) -> Breakdown:
        """Read what an export has of it.

        Raises
        ------
        UnsupportedError
            It was made by an older recsys, which wrote no such thing.
        BundleError
            onnxruntime cannot run the graph.
        """
        model = parts.told["model"]
        facts = model.get("breakdown")
        if facts is None:
            raise UnsupportedError("this export was made by an older recsys, which kept no parts of items; export it again")
        gain, offset = array(parts.source, "input_norm.npy")
        norm = Norm(gain, offset, facts["eps"], model["ensemble_size"], facts["cosine"])
        inputs = {name: array(parts.source, file) for name, file in _FILES.items() if file in parts.source}
        return cls(facts, Graph(parts.source, GRAPH, parts.told["opset"], parts.threads), norm, inputs)

    def shares(self, user: Float32, row: int) -> dict[str, float]:
        """What each part of an item adds to its score for a user vector, float32 (D,), by name; ``bias`` is the last."""
        given = {name: one[row : row + 1] for name, one in self.inputs.items()}
        if "offsets" in self.inputs:
            begin, end = self.inputs["offsets"][row : row + 2]
            given["tokens"] = self.inputs["tokens"][begin:end].astype(np.int64)
            given["weights"] = self.inputs["weights"][begin:end]
            given["owners"] = np.zeros(end - begin, dtype=np.int64)
        parts = self.graph(given)[2][0]  # (P, D)
        factor = np.where(given["known"], 1.0, self.facts["cold_scale"]) * given.get("scale", 1.0)
        fixed = FixedNorm.at(self.norm, user, parts.sum(axis=0, keepdims=True), factor.astype(np.float32))
        shares = {name: float(fixed.share(part[None])[0]) for name, part in zip(self.facts["parts"], parts, strict=True)}
        return shares | {BIAS: float(fixed.bias.astype(np.float32)[0])}
