"""The heap of a program that answers again and again."""

from __future__ import annotations

import platform
import resource
import subprocess
import sys

import pytest

PAGE = resource.getpagesize()
LARGE_BLOCKS = """
import resource, sys
from florence_demo.machine import keep_heap, release_memory
keep_heap()
keep_heap(sys.argv[1] == "kept")
bytearray(100_000_000)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(4):
    bytearray(100_000_000)
fresh = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
release_memory()
with open("/proc/self/statm") as file:
    held = int(file.read().split()[1])
print(fresh, held)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has these settings")
@pytest.mark.parametrize(("way", "fresh"), [("kept", False), ("usual", True)])
def test_a_large_block_is_given_again_rather_than_fetched_anew(way: str, fresh: bool) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LARGE_BLOCKS, way], capture_output=True, text=True, check=True
    )
    faults, held = map(int, done.stdout.split())
    # Four blocks in the largest pages there are, 2 MB each, would be 190.
    assert (faults > 100) is fresh
    assert held * PAGE < 100_000_000, "what is free goes back when it is released"
