"""Where a model goes and in which number format, and which model suits the machine."""

from __future__ import annotations

import ctypes
import os
import sys
from typing import TYPE_CHECKING

from florence_demo import machine
from florence_demo.errors import CheckpointError

if TYPE_CHECKING:
    import torch


BF16_FROM = 100_000_000
"""Parameters from which a CPU with bf16 uses it; smaller models answer in a blink, and exactly."""


def short_dtype(dtype: torch.dtype) -> str:
    """Return "fp32", "bf16" or "fp16"."""
    return {"float32": "fp32", "bfloat16": "bf16", "float16": "fp16"}.get(
        str(dtype).removeprefix("torch."), str(dtype).removeprefix("torch.")
    )


def usual_model(device: str = "auto") -> tuple[str, str]:
    """Return the name of the model that suits the machine, and why.

    Args:
        device: Where it is to run, as for ``choose_device``.
    """
    if "SPACE_ID" in os.environ:
        return "base-ft", "visitors of a Space bring photographs"
    if has_cuda(device):
        return "base-ft", "this machine has a GPU"
    return "nano", "it answers at once, without a download and without a GPU"


def has_cuda(device: str = "auto") -> bool:
    """Say whether a model would run on an NVIDIA GPU."""
    if device != "auto" and not device.startswith("cuda"):
        return False
    try:
        ctypes.CDLL("nvcuda.dll" if os.name == "nt" else "libcuda.so.1")
    except OSError:
        # Without a driver torch need not be asked: its import takes longer than the page's start.
        return False
    import torch

    return torch.cuda.is_available()


def is_lost(error: BaseException) -> bool:
    """Say whether an error was a GPU's that this process can use no more.

    After an illegal access or a failed assertion of a kernel each further call fails; after others,
    such as one for too much memory, the GPU goes on. So it is tried.
    """
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return False
    if isinstance(error, torch.OutOfMemoryError):
        return False
    try:
        torch.ones(1, device="cuda").cpu()
    except torch.OutOfMemoryError:
        return False
    except RuntimeError:
        return True
    return False


def choose_device(wanted: str = "auto") -> torch.device:
    """Return the device to run on: "auto" takes a GPU where there is one.

    Raises:
        CheckpointError: The wanted device is not on this machine.
    """
    import torch

    if wanted != "auto":
        try:
            device = torch.device(wanted)
            torch.empty(1, device=device)
        except (RuntimeError, AssertionError) as exc:
            raise CheckpointError(
                f"The device “{wanted}” cannot be used on this machine: try “auto” or “cpu”."
            ) from exc
        return device
    if torch.cuda.is_available():
        return torch.device("cuda:0")
    if torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")


def choose_dtype(wanted: str, device: torch.device, parameters: int = 0) -> torch.dtype:
    """Return the number format: "auto" is bf16 or fp16 on a GPU, and fp32 on a CPU as a rule.

    Args:
        wanted: "auto", "fp32", "bf16", "fp16", or "int8", for which the model is opened in fp32.
        device: Where the model will run.
        parameters: Its size: "auto" takes bf16 for a large one on a CPU that multiplies bf16.

    Raises:
        CheckpointError: The name is none of these, or int8 is wanted on a GPU.
    """
    import torch

    named = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
    if wanted in named:
        return named[wanted]
    if wanted == "int8":
        if device.type == "cpu":
            return torch.float32
        raise CheckpointError("int8 is for processors: leave out --dtype, or add --device cpu.")
    if wanted != "auto":
        raise CheckpointError(
            f"“{wanted}” is no number format: choose auto, fp32, bf16, fp16 or int8."
        )
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    if device.type == "cpu" and parameters >= BF16_FROM and machine.fast_bf16():
        return torch.bfloat16
    return torch.float16 if device.type == "mps" else torch.float32
