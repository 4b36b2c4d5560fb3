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


def release_memory() -> None:
    """Give back to the system what a dropped model held."""
    gc.collect()
    if sys.platform.startswith("linux"):
        # glibc keeps freed blocks in its heap for the next request unless it is told to trim.
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.empty_cache()
