"""What this machine can do: its name, its formats, its speed limits.

Knows processors and versions. Does not know models; imports torch only when asked to measure.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import time
from collections.abc import Callable
from pathlib import Path

NAMED = ("torch", "transformers", "gradio", "numpy", "Pillow")


def processor_name() -> str:
    """Return the processor's name as the system tells it, with the cores we may use."""
    name = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        lines = [x for x in info.read_text(encoding="utf-8").splitlines() if "model name" in x]
        name = lines[0].split(":", 1)[1].strip() if lines else name
    return f"{name}, {usable_cores()} cores"


def usable_cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def versions() -> dict[str, str]:
    """Return the versions of what decides about speed; what is not installed is left out."""
    found = {"python": platform.python_version()}
    for name in NAMED:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def fast_bf16() -> bool:
    """Return whether the processor multiplies bf16 itself (AVX512-BF16 or AMX).

    Elsewhere bf16 is emulated and slower than fp32.
    """
    import torch

    # Present since torch 2.4, and private: where they are missing we stay with fp32.
    checks = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(bool(getattr(torch.cpu, name, bool)()) for name in checks)


def matmul_gflops(dtype: str = "float32", size: int = 1024) -> float:
    """Return how many 10^9 operations a second a matrix product reaches on the processor."""
    import torch

    a = torch.randn(size, size).to(getattr(torch, dtype))
    return 2 * size**3 / _best(lambda: a @ a) / 1e9


def memory_gigabytes() -> float:
    """Return how many 10^9 bytes a second the processor reads from memory."""
    import torch

    values = torch.ones(50_000_000)
    return values.nbytes / _best(lambda: values.sum()) / 1e9


def peak_bytes() -> int | None:
    """Return the most memory this process has held, or None where the system does not tell."""
    status = Path("/proc/self/status")
    if not status.is_file():
        return None
    lines = status.read_text(encoding="utf-8").splitlines()
    return next(1024 * int(x.split()[1]) for x in lines if x.startswith("VmHWM"))


def _best(work: Callable[[], object], times: int = 5) -> float:
    """Return the shortest of some runs in seconds."""
    seconds = []
    for _ in range(times):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return min(seconds)
