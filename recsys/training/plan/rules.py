"""The first plan: what counts alone decide."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from recsys.training.plan.cost import epoch_seconds
from recsys.training.plan.facts import LogFacts
from recsys.training.plan.options import Options

LENGTHS = (20, 50, 100, 200)
_TELLING_WORDS = 12
"""Texts of so many different words tell items apart on short histories."""
_FULL_SOFTMAX = 5_000
"""Up to so many items a full softmax costs next to nothing."""
_STEPS, _FEW_STEPS, _LEAST_STEPS = 125, 60, 1_000
"""Steps that an epoch should have, as more steps pay more than larger ones; that one of a small log should; and that a
training should have in all."""
_PAIR = 3 / 8
"""Share of the epochs that a log can use, which two members should have each."""


@dataclass(frozen=True)
class Decision:
    """One option, and why it has its value.

    Attributes
    ----------
    option : str
        Such as ``"model.dim"``.
    value : Any
        A plain value.
    because : str
        The number that decided.
    against : str
        The alternative.
    """

    option: str
    value: Any
    because: str
    against: str

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def first_decisions(facts: LogFacts, asked: Options) -> list[Decision]:
    """The options that counts decide, in the order of a recipe; epochs, width and members follow from the budget."""
    median = f"the median history has {facts.median_length} events"
    covers = next((one for one in LENGTHS if one >= facts.long_length), LENGTHS[-1])
    ids = not (facts.short and facts.words >= _TELLING_WORDS)
    full = facts.items <= _FULL_SOFTMAX
    tokens = _tokens(facts.positions)
    found = [
        Decision(
            "model.max_length", covers, f"99 % of the histories have at most {facts.long_length:,} events", "20 to 200"
        ),
        Decision("model.blocks", 1 if facts.short else 2, median, "2" if facts.short else "1"),
        _dropout(facts, median),
    ]
    if facts.dense:
        found.append(Decision("model.score", "dot", f"{facts.events:,} events of {facts.items:,} items", "cosine"))
    if facts.words and asked.model.encoder is not None:
        why = f"{median}, and texts have {facts.words} different words"
        found.append(Decision("model.use_ids", ids, why, "off" if ids else "on"))
    loss = "softmax" if full else "sampled"
    found.append(Decision("objective.loss", loss, f"{facts.items:,} items have events", "sampled" if full else "softmax"))
    if not full and facts.short:
        found.append(Decision("objective.sampler", "uniform", median, "mixed with logQ"))
        found.append(Decision("objective.log_q", False, median, "mixed with logQ"))
    if not full and not facts.short:
        found.append(Decision("objective.negatives", 1_024, median, "2,048"))
    rate = 1e-3 if facts.short else 2e-3
    found += [
        Decision(
            "training.batch_tokens", tokens, f"{facts.positions:,} positions in about {_STEPS} steps", "1,600 to 6,400"
        ),
        Decision("training.learning_rate", rate, median, "0.002" if facts.short else "0.001"),
    ]
    return found


def _dropout(facts: LogFacts, median: str) -> Decision:
    """The more events an item has, the less there is to regularise."""
    if facts.short:
        return Decision("model.dropout", 0.5, median, "0.2")
    if facts.dense:
        return Decision("model.dropout", 0.1, f"{facts.events:,} events of {facts.items:,} items", "0.2")
    return Decision("model.dropout", 0.2, median, "0.5")


def _tokens(positions: int) -> int:
    """Positions of a step, a round number."""
    wanted = positions / _STEPS
    if wanted < 1_600:
        wanted = min(1_600, positions / _FEW_STEPS)
    return min(6_400, max(256, round(wanted / 100) * 100))


def spent_on(facts: LogFacts, options: Options, undecided: frozenset[str], seconds: float, rate: float) -> list[Decision]:
    """Width, epochs and members within a budget.

    The widest towers that leave time for half the epochs that such a log can use; then as many epochs as there is time for,
    up to that number; then further members. On short histories a second member is worth more than further epochs, from
    three eighths of that number on.

    Parameters
    ----------
    facts : LogFacts
    options : Options
        With everything else decided.
    undecided : frozenset of str
    seconds : float
        For training alone.
    rate : float
        Operations a second.
    """
    steps = max(1, round(facts.positions / options.training.batch_tokens))
    most = max(16 if facts.short else 30, min(100, round(_LEAST_STEPS / steps)))
    widths = [width - width % options.model.heads for width in (256, 128, 64)]
    if "model.dim" not in undecided:
        widths = [options.model.dim]
    one = {width: epoch_seconds(facts, options.changed({"model.dim": width}), rate) for width in widths}
    width = next((width for width in widths if one[width] * most / 2 <= seconds), widths[-1])
    affordable = seconds / one[width]
    pair = facts.short and {"training.epochs", "model.ensemble_size"} <= undecided and affordable / 2 >= _PAIR * most
    if "training.epochs" in undecided:
        epochs = max(1, min(most, int(affordable / 2 if pair else affordable)))
    else:
        epochs = options.training.epochs
    members = max(1, min(3, int(affordable / epochs)))
    cost = f"an epoch takes about {_time(one[width])} of {_time(seconds)}"
    every = max(1, epochs // 6)
    return [
        Decision("model.dim", width, cost, ", ".join(str(other) for other in widths if other != width) or "none"),
        Decision("training.epochs", epochs, cost, f"up to {most}"),
        Decision("training.validate_every", every, f"{epochs} epochs", "1"),
        Decision("training.patience", 2 * every, f"two validations, {every} epochs apart", "0"),
        Decision(
            "model.ensemble_size", members, f"{epochs} epochs of one take about {_time(one[width] * epochs)}", "1 to 3"
        ),
    ]


def _time(seconds: float) -> str:
    return f"{seconds / 60:,.1f} min" if seconds >= 100 else f"{seconds:,.1f} s"
