"""How a process returns memory: few pools of the C library, so that what is freed leaves them."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

POOLS = """
import ctypes, sys, tempfile, threading
if sys.argv[1] == "few":
    from recsys.core.memory import few_arenas
    few_arenas()
library = ctypes.CDLL(None)
library.malloc.restype = library.fopen.restype = ctypes.c_void_p
together = threading.Barrier(9)
def hold():
    together.wait()
    for _ in range(200):
        library.malloc(1000)
    together.wait()
threads = [threading.Thread(target=hold) for _ in range(8)]
for one in threads:
    one.start()
together.wait()
together.wait()
for one in threads:
    one.join()
with tempfile.NamedTemporaryFile() as file:
    stream = library.fopen(file.name.encode(), b"w")
    library.malloc_info(0, ctypes.c_void_p(stream))
    library.fclose(ctypes.c_void_p(stream))
    print(file.read().count(b"<heap nr="))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library has no such pools")
def test_threads_share_two_pools() -> None:
    environment = {name: value for name, value in os.environ.items() if name != "MALLOC_ARENA_MAX"}
    found = {
        how: int(
            subprocess.run([sys.executable, "-c", POOLS, how], env=environment, capture_output=True, check=True).stdout
        )
        for how in ("few", "many")
    }
    assert found["few"] <= 2 < found["many"]
