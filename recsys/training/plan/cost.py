"""What an epoch costs, from the options alone: the same on every machine, so that a plan is."""

from __future__ import annotations

from recsys.training.plan.facts import LogFacts
from recsys.training.plan.options import Options

CPU_RATE, GPU_RATE = 40e9, 10e12
"""Floating-point operations in a second: of one thread on common servers as measured with these networks; of a GPU, low."""
_BLOCK, _ATTENTION, _LOSS, _ITEM = 24, 4, 2, 2
"""Multiplications and additions of a forward pass by ``dim`` and so on; the backward pass costs twice as much again."""
_TEXT_DIM, _WORDS = 256, 24
_OVERHEAD, _USUAL_TOKENS, _UPDATE = 3e-2, 1_600, 2e-9
"""Seconds of a step of usual size beside its products (less of a smaller one), and for each number of the tables of ids
that AdamW changes."""


def epoch_seconds(facts: LogFacts, options: Options, rate: float = CPU_RATE) -> float:
    """Seconds of an epoch at a rate in operations per second, validation left out."""
    model, objective, tokens = options.model, options.objective, options.training.batch_tokens
    width, members = model.dim, model.ensemble_size
    tokens = min(tokens, max(1, facts.positions))
    steps = facts.positions / tokens
    length = min(model.max_length, max(1, facts.long_length))
    sampled = objective.loss_for(facts.candidates) != "softmax"
    scored = min(facts.items, objective.negatives) if sampled else facts.items
    encoded = min(facts.items, scored + tokens)
    content = width + (_TEXT_DIM + _WORDS if facts.words else 0)
    position = model.blocks * (_BLOCK * width**2 + _ATTENTION * length * width) + _LOSS * scored * width
    step = encoded * content * width * _ITEM / 2
    tables = facts.candidates * width if model.use_ids else 0
    work = 3 * (facts.positions * position + steps * step) / rate
    return members * (work + steps * (_OVERHEAD * min(1.0, tokens / _USUAL_TOKENS) + _UPDATE * tables * CPU_RATE / rate))
