"""Make a bundle smaller: measure what can be, and keep the smallest combination that ranks as well."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from recsys.bundle.contents import Bundle
from recsys.compression.measure import Judge, Measured
from recsys.compression.step import Step
from recsys.compression.steps import steps_for
from recsys.core.progress import log
from recsys.errors import ConfigError, UnsupportedError

_ORDER = {"members": 0, "history": 1, "item vectors in memory": 3}
"""What remains of the members is stored anew, and what remains of tables is rounded."""


@dataclass(frozen=True)
class Targets:
    """What a smaller bundle must hold.

    Attributes
    ----------
    loss : float
        Largest share of NDCG@10 that may be lost, in [0, 1): the upper end of the interval of the loss is held against it.
    size : int or None
        Largest bytes of its files.
    latency : float or None
        Largest p99 of a request of one user, in milliseconds.
    text_loss : float
        Largest share of what searches find, and on average of NDCG@10 among items that are all read as new ones, that may
        be lost, in [0, 1].

    Raises
    ------
    ConfigError
        A value cannot be.
    """

    loss: float = 0.01
    size: int | None = None
    latency: float | None = None
    text_loss: float = 0.05

    def __post_init__(self) -> None:
        if not 0 <= self.loss < 1:
            raise ConfigError(f"the loss that is allowed must be a share in [0, 1), such as 0.01, not {self.loss}")
        if not 0 <= self.text_loss <= 1:
            raise ConfigError(f"the loss of searches must be a share in [0, 1], such as 0.05, not {self.text_loss}")
        if self.size is not None and self.size < 1:
            raise ConfigError(f"the size must be above 0, not {self.size}")
        if self.latency is not None and not self.latency > 0:
            raise ConfigError(f"the latency must be above 0 milliseconds, not {self.latency}")

    def ranks_as_well(self, one: Measured) -> bool:
        """Whether the loss of a combination is allowed."""
        searches = one.search_overlap is None or 1 - one.search_overlap <= self.text_loss
        new = one.new_loss is None or one.new_loss <= self.text_loss
        return not one.steps or (searches and new and one.loss_interval[1] <= self.loss)

    def held_by(self, one: Measured) -> bool:
        """Whether a combination holds all targets."""
        small = self.size is None or one.bytes <= self.size
        fast = self.latency is None or one.p99 <= self.latency
        return small and fast and self.ranks_as_well(one)


@dataclass(frozen=True, eq=False)
class Compressed:
    """What was found.

    Attributes
    ----------
    bundle : Bundle
        The smaller one.
    chosen : Measured
    measured : list of Measured
        All combinations, the original first.
    targets : Targets
    users : int
        Held-out users who were asked for.
    """

    bundle: Bundle
    chosen: Measured
    measured: list[Measured]
    targets: Targets
    users: int

    def to_dict(self) -> dict[str, Any]:
        """For JSON: what a bundle keeps as its evidence."""
        return {
            "targets": asdict(self.targets),
            "users": self.users,
            "chosen": list(self.chosen.steps),
            "measured": [one.to_dict() for one in self.measured],
        }


def compress(
    bundle: Bundle, targets: Targets, size_of: Callable[[Bundle], int], *, users: int = 2000, distil: int = 0
) -> Compressed:
    """Measure each step alone, then the smallest steps that rank as well together, and keep the smallest that holds all.

    Where steps lose too much together, the one that loses most alone is replaced by the next milder of its part, or left
    out, until they do not.

    Parameters
    ----------
    bundle : Bundle
        With held-out users.
    targets : Targets
    size_of : callable
        The bytes that a bundle's files take.
    users : int
        Most held-out users to judge by.
    distil : int
        Epochs for which one member of an ensemble is trained further on what all say; 0: that is not tried.

    Raises
    ------
    ConfigError
        ``distil`` is below 0.
    UnsupportedError
        The bundle has no held-out users, nothing can be made smaller, or nothing holds the targets; the message tells the
        best that was reached.
    """
    if distil < 0:
        raise ConfigError(f"the epochs of a distillation must be 0 or more, not {distil}")
    if bundle.holdout is None:
        raise UnsupportedError("this bundle has no held-out users to judge by; fit with --split last or time")
    steps = steps_for(bundle, distil)
    if not steps:
        raise UnsupportedError("nothing of this bundle can be made smaller: it has no memory, no text encoder, no vectors")
    judge = Judge(bundle, users)
    base = judge.measure(bundle, (), size_of(bundle))
    alone = dict[Step, tuple[Bundle, Measured]]()
    for step in steps:
        try:
            alone[step] = _tried(judge, bundle, [step], size_of)
        except UnsupportedError as error:
            log(f"not tried: {error}")
    steps = list(alone)
    measured, chosen = [base, *(one for _, one in alone.values())], (bundle, base)
    for taken in _combinations(steps, {step: one for step, (_, one) in alone.items()}, targets):
        chosen = alone[taken[0]] if len(taken) == 1 else _tried(judge, bundle, taken, size_of)
        if len(taken) > 1:
            measured.append(chosen[1])
        if targets.ranks_as_well(chosen[1]):
            break
    else:
        chosen = bundle, base
    held = [one for one in measured if targets.held_by(one)]
    if not held:
        raise UnsupportedError(_unreached(targets, chosen[1]))
    best = min(held, key=lambda one: (one.bytes, one.memory, one.p99))
    if best is not chosen[1]:
        names = {_named(step): step for step in steps}
        chosen = _applied(bundle, [names[name] for name in best.steps]), best
    return Compressed(chosen[0], chosen[1], measured, targets, len(judge.holdout))


def _tried(judge: Judge, bundle: Bundle, steps: list[Step], size_of: Callable[[Bundle], int]) -> tuple[Bundle, Measured]:
    smaller = _applied(bundle, steps)
    found = judge.measure(smaller, tuple(_named(step) for step in steps), size_of(smaller))
    log(f"{' + '.join(found.steps)}: {found.bytes / 2**20:,.1f} MiB, loss {found.loss:+.2%}, p99 {found.p99:.1f} ms")
    return smaller, found


def _named(step: Step) -> str:
    return f"{step.part}: {step.name}"


def _applied(bundle: Bundle, steps: list[Step]) -> Bundle:
    for step in sorted(steps, key=lambda one: _ORDER.get(one.part, 2)):
        bundle = step.change(bundle)
    return bundle


def _combinations(steps: list[Step], alone: Mapping[Step, Measured], targets: Targets) -> list[list[Step]]:
    """Combinations from the smallest to the mildest, each with one step less, or a milder one, than the one before."""
    able = {
        part: sorted(
            (step for step in steps if step.part == part and targets.ranks_as_well(alone[step])),
            key=lambda step: (alone[step].bytes, alone[step].memory, alone[step].loss),
        )
        for part in dict.fromkeys(step.part for step in steps)
    }
    left, found = {part: some for part, some in able.items() if some}, list[list[Step]]()
    while left:
        taken = [some[0] for some in left.values()]
        found.append(taken)
        worst = max(taken, key=lambda step: (alone[step].loss_interval[1], alone[step].loss))
        milder = [step for step in left[worst.part][1:] if alone[step].loss < alone[worst].loss]
        left = left | {worst.part: milder}
        left = {part: some for part, some in left.items() if some}
    return found


def _unreached(targets: Targets, best: Measured) -> str:
    wanted = [f"a loss of at most {targets.loss:.1%}"]
    if targets.size is not None:
        wanted.append(f"{targets.size / 2**20:,.1f} MiB")
    if targets.latency is not None:
        wanted.append(f"{targets.latency:g} ms")
    return (
        f"nothing that was tried holds {' and '.join(wanted)}; the smallest that ranks as well has "
        f"{best.bytes / 2**20:,.1f} MiB and a p99 of {best.p99:.1f} ms"
    )
