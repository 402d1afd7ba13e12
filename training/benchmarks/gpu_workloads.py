"""What the checks of a GPU compute on: sizes, a synthetic log, a model with its batches, and vectors to search."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any


class NotThereError(Exception):
    """A part that the check needs is not installed here."""


class MismatchError(Exception):
    """Two ways to compute the same differ."""


@dataclass(frozen=True)
class Size:
    """How large the checks are."""

    device: str
    items: int
    users: int
    length: int
    dim: int
    blocks: int
    heads: int
    tokens: int
    steps: int
    vectors: int
    queries: int


GPU = Size("cuda", 50_000, 20_000, 200, 256, 4, 4, 65_536, 20, 500_000, 256)
CPU = Size("cpu", 300, 60, 16, 16, 1, 2, 512, 3, 25_000, 16)


def synthetic_log(size: Size) -> Any:
    """Users that walk along a ring of items with some leaps."""
    import numpy as np
    import polars as pl

    from recsys.core.id_map import IdMap
    from recsys.core.ragged import Ragged
    from recsys.data.interactions import Interactions

    rng = np.random.default_rng(0)
    lengths = rng.integers(size.length // 2, size.length + 2, size.users)
    steps = rng.integers(1, 4, lengths.sum())
    rows = ((np.cumsum(steps) + np.repeat(rng.integers(0, size.items, size.users), lengths)) % size.items).astype(np.int32)
    users, items = (IdMap(pl.Series(range(n)), what) for n, what in ((size.users, "user"), (size.items, "item")))
    return Interactions(users, items, Ragged.from_lengths(lengths, rows))


def training_parts(size: Size, *, loss: str = "softmax", dropout: float = 0.1, **options: Any) -> tuple[Any, Any, Any, Any]:
    """Inputs, options, loss and batches of a fresh model of ids."""
    import torch

    from recsys.config.augment import Augment
    from recsys.config.model import ModelConfig
    from recsys.config.training import Objective, Training
    from recsys.training.prepare import prepare
    from recsys.training.trainer import make_batches, make_loss

    shape = {"max_length": size.length, "dim": size.dim, "blocks": size.blocks, "heads": size.heads}
    model = ModelConfig(encoder=None, dropout=dropout, id_dropout=0.0, transitions="none", **shape)  # type: ignore[arg-type]
    training = Training(batch_tokens=size.tokens, device=size.device, **options)
    torch.manual_seed(0)
    inputs = prepare(model, synthetic_log(size), training=training)
    made = make_loss(inputs, training, Objective(loss=loss, negatives=512), size.device)  # type: ignore[arg-type]
    return inputs, training, made.to(size.device), make_batches(inputs, training, Augment())


def widest(batches: Any, size: Size) -> Any:
    from recsys.training.forecast import widest_batch

    return widest_batch(batches).to(size.device)


def timed_steps(loss: Any, batch: Any, training: Any, size: Size) -> tuple[float, list[float]]:
    """Seconds per step, the first two aside, and the losses of the first, middle and last step."""
    import torch

    from recsys.training.optimizer import make_optimizer

    optimizer, values, begun = make_optimizer(loss, training), [], 0.0
    torch.manual_seed(1)
    for step in range(size.steps + 2):
        if step == 2:
            wait(size)
            begun = time.perf_counter()
        value = loss(batch)
        value.backward()
        torch.nn.utils.clip_grad_norm_(loss.parameters(), training.max_grad_norm)
        optimizer.step()
        optimizer.zero_grad()
        values.append(value.detach())
    wait(size)
    seconds = (time.perf_counter() - begun) / size.steps
    return seconds, [float(values[place]) for place in (0, len(values) // 2, -1)]


def wait(size: Size) -> None:
    import torch

    if size.device == "cuda":
        torch.cuda.synchronize()


def model_flops(loss: Any, batch: Any) -> float:
    """Floating point operations of a forward and a backward pass that the model itself needs.

    6 per weight of a linear layer and position (2 forward, 4 backward), 6 B T² D per block for attention (12 for all
    pairs, half of which a causal mask leaves out), 6 N M D for the softmax of N positions over M items. Element-wise work,
    look-ups and the optimiser are left out, so that the utilisation is not flattered.
    """
    import torch

    counted: list[float] = []

    def count(module: Any, inputs: Any, _: Any) -> None:
        counted.append(6.0 * inputs[0].numel() * module.out_features)

    hooks = [one.register_forward_hook(count) for one in loss.modules() if isinstance(one, torch.nn.Linear)]
    with loss.restored(), torch.no_grad():
        loss(batch)
    for hook in hooks:
        hook.remove()
    windows, length = batch.inputs.shape
    dim, blocks = loss.net.users.dim, len(loss.net.users.blocks)
    attention = 6.0 * windows * length**2 * dim * blocks
    return sum(counted) + attention + 6.0 * len(batch.targets) * len(loss.candidate_items) * dim


def search_parts(size: Size) -> tuple[Any, Any, Any, Any]:
    """Clustered items, queries near some, rows to exclude per query, and a mask of nine in ten items."""
    import numpy as np

    from recsys.core.ragged import Ragged

    rng = np.random.default_rng(0)
    dim = max(32, size.dim // 2)
    centres = rng.standard_normal((256, dim)).astype(np.float32)
    vectors = centres[rng.integers(0, 256, size.vectors)] + 0.7 * rng.standard_normal((size.vectors, dim), dtype=np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    queries = vectors[rng.integers(0, size.vectors, size.queries)] + 0.02 * rng.standard_normal(
        (size.queries, dim), dtype=np.float32
    )
    exclude = Ragged.from_lists([np.sort(rng.choice(size.vectors, 50, replace=False)).tolist() for _ in queries])
    return vectors, queries.astype(np.float32), exclude, rng.random(size.vectors) < 0.9
