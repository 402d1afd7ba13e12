"""Count how faults were met, and judge single ones."""

from __future__ import annotations

import argparse
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from recsys.errors import RecsysError


@dataclass
class Tally:
    """Outcomes by kind of fault, and what fell."""

    what: str
    outcomes: Counter[tuple[str, str]] = field(default_factory=Counter)
    fallen: list[str] = field(default_factory=list)
    begun: float = field(default_factory=time.monotonic)

    def add(self, kind: str, outcome: str, case: str = "") -> None:
        """One fault; an outcome in capitals is one that must not be."""
        name = outcome.partition(":")[0]
        self.outcomes[kind, name] += 1
        if name.isupper():
            self.fallen.append(f"{kind}: {outcome} [{case}]")

    @property
    def rounds(self) -> int:
        return sum(self.outcomes.values())

    def closing(self) -> str:
        """One line for each kind, what fell, and the counts."""
        kinds = dict.fromkeys(kind for kind, _ in self.outcomes)
        lines = [
            f"  {kind}: " + ", ".join(f"{count} {name}" for (one, name), count in self.outcomes.items() if one == kind)
            for kind in kinds
        ]
        lines += [f"  FELL {one}" for one in self.fallen[:40]]
        lines.append(f"{self.what}: {self.rounds} tried, {len(self.fallen)} fell, {time.monotonic() - self.begun:.0f} s")
        return "\n".join(lines)


def judged(call: Callable[[], Any], same: Callable[[Any], bool] = lambda _: True) -> str:
    """How a call ended: refused by us, with the same result, or, in capitals, in a way that must not be."""
    try:
        found = call()
    except RecsysError:
        return "refused"
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:
        return f"TRACEBACK: {type(error).__name__}: {str(error)[:150]}"
    return "same" if same(found) else "OTHER RESULTS"


def by_hand(run: Callable[[Path, int, int], Tally], rounds: int) -> None:
    """The command line of a script: ``--rounds`` and ``--seed``."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=rounds)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        tally = run(Path(folder), given.rounds, given.seed)
    print(tally.closing())
    raise SystemExit(bool(tally.fallen))
