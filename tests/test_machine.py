"""The heap of a program that answers again and again."""

from __future__ import annotations

import platform
import resource
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch

from florence_demo import machine

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


@pytest.mark.parametrize(
    ("device", "expected"),
    [("cuda:0", 7), ("cuda", 7), ("cpu", 500)],
)
def test_memory_is_free_where_nobody_uses_it(monkeypatch, device, expected):
    told = {"mem_get_info": (4, 80), "memory_reserved": 9, "memory_allocated": 6}
    for name, value in told.items():
        monkeypatch.setattr(torch.cuda, name, lambda asked, value=value: value)
    monkeypatch.setattr(machine.psutil, "virtual_memory", lambda: SimpleNamespace(available=500))
    assert machine.free_memory(device) == expected
