"""What a model takes of the machine's memory, and how to give it back.

Knows tensors, the C library's heap and the accelerator's allocator. Does not know checkpoints.
"""

from __future__ import annotations

import ctypes
import gc
import shutil
import sys
from collections import Counter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn


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


def machine_memory() -> dict[str, tuple[int, int]]:
    """Return the bytes in use and in all of main memory and of each GPU, by anybody's doing.

    torch, which takes seconds to import, is asked only where there is a driver for a GPU.
    """
    import psutil

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
    a program that answers again and again; ``release_memory`` gives back what is free. Does
    nothing where there is no glibc.

    Args:
        keep: False sets what glibc arrives at by itself in such a program.
    """
    mallopt = _c_library("mallopt")
    if mallopt is None:
        return
    most_maps, smallest_map, trimmed_above = -4, -3, -1  # of malloc.h
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
