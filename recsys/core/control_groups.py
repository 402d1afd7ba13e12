"""The control groups around this process (versions 1 and 2), which bound what it may take."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path


def control_groups(root: Path, controller: str) -> Iterator[tuple[Path, int]]:
    """Folder and version, 1 or 2, of each group that bounds a resource, the innermost first; none where they do not tell.

    Parameters
    ----------
    root : Path
        Where ``proc`` and ``sys`` lie.
    controller : str
        Such as ``"cpu"`` or ``"memory"``.
    """
    try:
        lines = (root / "proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        top = root / "sys/fs/cgroup" / (controller if controllers else "")
        group = top / path.strip("/")
        for folder in (group, *group.parents):
            yield folder, 1 if controllers else 2
            if folder == top:
                break
