"""What a device is able to do."""

from __future__ import annotations

import platform
from pathlib import Path

import pytest

from recsys.core.device import has_bf16

CPUINFO = Path("/proc/cpuinfo")


@pytest.mark.skipif(
    platform.machine() != "x86_64" or not CPUINFO.exists(), reason="the kernel's list of what an x86 processor has"
)
def test_bfloat16_is_taken_where_the_processor_multiplies_it_and_not_where_it_is_emulated() -> None:
    assert not has_bf16("cpu") or "avx512_bf16" in CPUINFO.read_text(encoding="ascii").split()
