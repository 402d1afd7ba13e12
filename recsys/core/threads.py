"""How many threads compute: never more than the process may use, nor so many that busy waiting stops everybody."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from recsys.core import waiting
from recsys.core.control_groups import control_groups
from recsys.core.progress import log

_LOOK = 0.2
"""Seconds of the first look at what other processes do."""


def usable(root: Path = Path("/")) -> int:
    """Processors that this process may use: its affinity and the quotas of its control groups, at least 1.

    Parameters
    ----------
    root : Path
        Where ``proc`` and ``sys`` lie.
    """
    return max(1, min([len(_affinity()), *(int(quota) for quota in _quotas(root))]))


def _affinity() -> set[int]:
    if hasattr(os, "sched_getaffinity"):
        return set(os.sched_getaffinity(0))
    return set(range(os.cpu_count() or 1))


def _quotas(root: Path) -> Iterator[float]:
    """Processors that each control group around this process allows."""
    for group, _ in control_groups(root, "cpu"):
        yield from _quota(group)


def _quota(group: Path) -> Iterator[float]:
    try:
        if (file := group / "cpu.max").is_file():
            words = file.read_text(encoding="utf-8").split()
        else:
            words = [(group / f"cpu.cfs_{name}_us").read_text(encoding="utf-8").strip() for name in ("quota", "period")]
        quota, period = (float(word) for word in words)
    except (OSError, ValueError):  # none there, or "max": no limit
        return
    if quota > 0 and period > 0:
        yield quota / period


def keep_within(limit: int) -> None:
    """Lower the numbers of threads of PyTorch and of what else is loaded to ``limit``; none is raised.

    Parameters
    ----------
    limit : int
        From :func:`usable`.
    """
    import torch  # noqa: PLC0415

    if torch.get_num_threads() <= limit:
        return
    log(f"computing with {limit} instead of {torch.get_num_threads()} threads: this process may use no more")
    keep_libraries_within(limit)
    torch.set_num_threads(limit)


def keep_libraries_within(limit: int) -> None:
    """Lower the numbers of threads of what is loaded besides PyTorch, as :func:`keep_within`."""
    from threadpoolctl import ThreadpoolController  # noqa: PLC0415

    for library in ThreadpoolController().lib_controllers:
        if library.num_threads > limit:
            library.set_num_threads(limit)


class Others:
    """What other processes take of this process's processors, between one look and the next.

    Parameters
    ----------
    root : Path
        Where ``proc`` lies.
    """

    def __init__(self, root: Path = Path("/")) -> None:
        self._file = root / "proc/stat"
        self._before = self._now()

    def _now(self) -> tuple[float, float, float]:
        """Wall time, processor time that is spent on our processors by anybody, and by us; in seconds."""
        mine, busy = {f"cpu{number}" for number in _affinity()}, 0.0
        for line in self._file.read_text(encoding="utf-8").splitlines():
            words = line.split()
            if words and words[0] in mine:
                user, nice, system, _, _, *rest = (float(word) for word in words[1:9])
                busy += user + nice + system + sum(rest)
        return time.monotonic(), busy / os.sysconf("SC_CLK_TCK"), time.process_time()

    def look(self) -> float:
        """Processors that others kept busy since the last look."""
        then, self._before = self._before, self._now()
        wall, busy, own = (now - before for now, before in zip(self._before, then, strict=True))
        return max(0.0, busy - own) / wall if wall > 0 else 0.0


@contextmanager
def considerate() -> Iterator[Callable[[], None]]:
    """Within the block, a function to call now and then: it fits the number of PyTorch's threads to what is free.

    Where threads sleep while they wait, it does nothing: the operating system shares out the processors fairly, and the
    number of threads, on which the last bits of a result may depend, stays as it is.
    """
    import torch  # noqa: PLC0415

    before = torch.get_num_threads()
    if waiting.in_time or before == 1 or not Path("/proc/stat").is_file():
        yield lambda: None
        return
    others = Others()
    time.sleep(_LOOK)

    def fit() -> None:
        now, wanted = torch.get_num_threads(), max(1, min(before, round(len(_affinity()) - others.look())))
        if wanted < now:
            log(
                f"computing with {wanted} instead of {now} threads: other processes are busy here, and PyTorch's threads "
                f"do not sleep while they wait; import recsys before torch, or set {waiting.POLICY}=PASSIVE"
            )
        if wanted != now:
            torch.set_num_threads(wanted)

    try:
        yield fit
    finally:
        torch.set_num_threads(before)
