"""What this machine can do: its name, its formats, its speed limits.

Knows processors and versions. Does not know models; imports torch only when asked to measure.
"""

from __future__ import annotations

import ctypes
import gc
import importlib.metadata
import os
import platform
import resource
import shutil
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

if TYPE_CHECKING:
    from torch import nn


NAMED = ("torch", "transformers", "gradio", "numpy", "Pillow")

SPINS = "5000"
"""GOMP_SPINCOUNT: how long a thread spins for its next piece of work before it sleeps.

Left alone, 60 times longer, two threads on a busy machine wait for each other (a decoding step of
20 ms takes 135 to 830 ms); those that sleep at once double the time of nano's small pieces."""


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


def on_zero_gpu() -> bool:
    """Return whether each call runs in a process of its own on a GPU that Hugging Face lends."""
    return bool(os.environ.get("SPACES_ZERO_GPU"))


_OFFLINE = {
    "FLORENCE_OFFLINE": "1",
    "HF_HUB_OFFLINE": "1",
    "HF_DATASETS_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "GRADIO_ANALYTICS_ENABLED": "False",
}


def go_offline() -> None:
    """Make no connection out from now on, nor let processes that we start make one.

    The libraries read their variables when they are imported, so this comes before.
    """
    os.environ.update(_OFFLINE)


def is_offline() -> bool:
    """Return whether no connection out is to be made."""
    return os.environ.get("FLORENCE_OFFLINE") == "1"


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


def process_memory() -> tuple[int, int]:
    """Return the bytes of main memory that this process uses, and the most it ever used."""
    factor = 1 if sys.platform == "darwin" else 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * factor
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return peak, peak
    return pages * os.sysconf("SC_PAGESIZE"), peak


def model_memory(model: nn.Module) -> dict[str, dict[str, int]]:
    """Return the bytes of a model's parameters and buffers by type, tied tensors once.

    Returns:
        {"parameters": {"float32": 925_000_000}, "buffers": {"float32": 409_600}}.
    """
    sizes: dict[str, dict[str, int]] = {}
    for kind, tensors in (("parameters", model.parameters()), ("buffers", model.buffers())):
        count: Counter[str] = Counter()
        for tensor in tensors:  # both iterators leave tied tensors out
            count[str(tensor.dtype).removeprefix("torch.")] += tensor.nbytes
        sizes[kind] = dict(count)
    return sizes


def device_memory(device: Any) -> dict[str, int]:
    """Return the bytes of an accelerator that are allocated, reserved and were at most allocated.

    Args:
        device: A torch device or its name; of the CPU, an empty dict is returned.
    """
    import torch

    if torch.device(device).type != "cuda":
        return {}
    return {
        "allocated": torch.cuda.memory_allocated(device),
        "reserved": torch.cuda.memory_reserved(device),
        "peak": torch.cuda.max_memory_allocated(device),
    }


def free_memory(device: Any) -> int:
    """Return the bytes that are free where a model runs: of a GPU, or else of main memory.

    What torch holds of a GPU and does not use is free for what comes.

    Args:
        device: A torch device or its name.
    """
    import torch

    if torch.device(device).type != "cuda":
        return int(psutil.virtual_memory().available)
    free, _ = torch.cuda.mem_get_info(device)
    held = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return free + held


def machine_memory() -> dict[str, tuple[int, int]]:
    """Return the bytes in use and in all of main memory and of each GPU, by anybody's doing.

    torch, which takes seconds to import, is asked only where there is a driver for a GPU.
    """
    main = psutil.virtual_memory()
    found = {"main memory": (main.total - main.available, main.total)}
    if shutil.which("nvidia-smi"):
        import torch

        for i in range(torch.cuda.device_count()):
            free, total = torch.cuda.mem_get_info(i)
            found[f"cuda:{i}"] = (total - free, total)
    return found


def in_bytes(count: float) -> str:
    """Return a size as people write it: "11 MB", "1.6 GB"."""
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"


def keep_heap(keep: bool = True) -> None:
    """Let the C library keep freed blocks for the next request, or return to its usual way.

    Left alone, glibc asks the system for every large block and gives it back: a base-size tower
    then writes 278,000 fresh pages for each picture, and takes 2.6 s instead of 2.1 s. Meant for
    a program that answers again and again; ``release_memory`` gives back what is free. All threads
    share one heap: each with its own, sixteen pictures of 39 megapixels at once took 2.7 GB, now
    0.9. Does nothing where there is no glibc.

    Args:
        keep: False sets what glibc arrives at by itself in such a program.
    """
    mallopt = _c_library("mallopt")
    if mallopt is None:
        return
    most_maps, smallest_map, trimmed_above, most_heaps = -4, -3, -1, -8  # of malloc.h
    mallopt(most_heaps, 1)
    mallopt(smallest_map, 32 << 20)
    mallopt(most_maps, 0 if keep else 65_536)
    mallopt(trimmed_above, 2**31 - 1 if keep else 64 << 20)
    if not keep:
        _trim()


def _c_library(name: str) -> Any:
    """Return a function of the C library, or None where it has none of that name."""
    return getattr(ctypes.CDLL(None), name, None) if sys.platform.startswith("linux") else None


def _trim() -> None:
    trim = _c_library("malloc_trim")
    if trim is not None:
        trim(0)


def release_memory() -> None:
    """Give back to the system what a dropped model held."""
    gc.collect()
    # glibc keeps freed blocks in its heap for the next request unless it is told to trim.
    _trim()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.empty_cache()
