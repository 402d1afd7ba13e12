"""A script that trains is told once where progress goes; who set up logging is not."""

from __future__ import annotations

import subprocess
import sys

import pytest

SCRIPT = """
import logging, sys
{setup}
from recsys.core import progress
progress.say_where()
progress.say_where()
progress.log("epoch 1")
"""


@pytest.mark.parametrize(
    ("setup", "seen"),
    [
        ("", "progress goes to the logger 'recsys'"),
        ("logging.basicConfig(level=logging.INFO, format='%(message)s')", "epoch 1"),
        ("logging.getLogger('recsys').addHandler(logging.NullHandler()); logging.getLogger('recsys').setLevel(20)", ""),
    ],
)
def test_progress_is_shown_or_where_it_goes_is_said_once(setup: str, seen: str) -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT.format(setup=setup)], capture_output=True, text=True, check=True)
    lines = done.stderr.splitlines()
    assert len(lines) == bool(seen)
    assert all(line.startswith(seen) for line in lines)
