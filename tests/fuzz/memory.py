"""What a process takes of the machine's memory: now, and at most since a moment."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import sys
from pathlib import Path

import psutil

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def resident() -> int:
    """Bytes of memory that this process takes now."""
    return int(psutil.Process().memory_info().rss)


def peak() -> int:
    """Bytes that it took at most, since ``forget_peak`` where the system can forget."""
    if _STATUS.exists():
        # Not ru_maxrss: a child begins with the peak of the process that started it.
        lines = _STATUS.read_text(encoding="ascii", errors="replace").splitlines()
        return int(next(line.split()[1] for line in lines if line.startswith("VmHWM"))) << 10
    if sys.platform == "win32":
        return int(psutil.Process().memory_info().peak_wset)
    import resource

    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most << 10


def forget_peak() -> None:
    """Begin a new peak at what is taken now (Linux; elsewhere the peak is the process's own)."""
    with contextlib.suppress(OSError):
        _CLEAR.write_text("5")


def give_back() -> None:
    """Give the system back what is free, so that the next input pays only for itself."""
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
