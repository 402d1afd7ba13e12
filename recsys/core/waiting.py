"""How OpenMP's threads wait, so that two jobs on one machine do not spin against each other.

They compute for PyTorch and FAISS, and wait for their next piece of work in a busy loop unless told otherwise. Where other
work wants the same processors, each of them then waits for threads that wait for it: two trainings at once take many times
as long as one after the other. ``OMP_WAIT_POLICY=PASSIVE`` makes them sleep. OpenMP reads it once, when it is loaded, so
``import recsys`` sets it unless it is set already; where PyTorch was imported before, see :mod:`recsys.core.threads`.
"""

from __future__ import annotations

import os
import sys

POLICY = "OMP_WAIT_POLICY"

in_time = False
"""Whether OpenMP's threads sleep while they wait, or do otherwise by somebody's choice."""


def wait_passively() -> None:
    """Have OpenMP's threads sleep while they wait, unless the environment says something else."""
    global in_time  # noqa: PLW0603 - a fact of this process
    in_time = "torch" not in sys.modules or POLICY in os.environ or "GOMP_SPINCOUNT" in os.environ
    os.environ.setdefault(POLICY, "PASSIVE")
