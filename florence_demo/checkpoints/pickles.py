"""Turn a pickled checkpoint into safetensors, in a process of its own.

A ``pytorch_model.bin`` is a pickle, and a pickle is a program. ``weights_only=True`` lets torch
rebuild tensors and nothing more; because that filter has had holes, it runs here apart, with a
ceiling on memory, file size and time, without the accelerator and without this process's
environment; that bounds accidents, it is no sandbox. Knows tensors by name. Does not know what a
Florence-2 is.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from florence_demo.errors import CheckpointError, plain

if TYPE_CHECKING:
    import torch

SECONDS = 600
_HEADROOM = 1 << 30
_TABLES = ("state_dict", "model_state_dict")
"""Where a trainer's own file keeps the table of tensors."""
_FORBIDDEN, _NOT_TENSORS, _TOO_OLD, _TOO_LARGE, _DAMAGED = range(3, 8)
_REASONS = {
    _FORBIDDEN: "it holds more than tensors, and that part was not run",
    _NOT_TENSORS: "it is not a table of tensors",
    _TOO_OLD: "reading pickles needs torch 2.10 or newer",
    _TOO_LARGE: "it needs more memory than its size explains",
    _DAMAGED: "it is damaged or was not copied to its end",
}


def unpickled(files: Sequence[Path], private: Path) -> list[Path]:
    """Return safetensors copies of pickled weights, made by a process of its own.

    Args:
        files: The pickles; they are only read.
        private: An empty folder of the caller's, where the copies go.

    Raises:
        CheckpointError: If one is not a plain table of tensors, or it takes too much.
    """
    project = Path(__file__).resolve().parents[2]
    environment = {
        "PYTHONPATH": str(project),
        "PATH": os.environ.get("PATH", ""),
        "LD_LIBRARY_PATH": os.environ.get("LD_LIBRARY_PATH", ""),
        "CUDA_VISIBLE_DEVICES": "",
        "OMP_NUM_THREADS": "1",
    }
    copies = []
    for file in files:
        copy = private / f"{file.stem}.safetensors"
        command = [sys.executable, "-P", "-m", __name__, str(file.absolute()), str(copy)]
        try:
            done = subprocess.run(
                command, env=environment, cwd=private, capture_output=True, timeout=SECONDS
            )
        except subprocess.TimeoutExpired as exc:
            raise CheckpointError(
                f"{plain(file.name)} took more than {SECONDS // 60} minutes."
            ) from exc
        if done.returncode or not copy.is_file():
            reason = _REASONS.get(done.returncode, "the process that read it was stopped")
            raise CheckpointError(f"{plain(file.name)} cannot be opened: {reason}.")
        copies.append(copy)
    return copies


def main(arguments: Sequence[str]) -> int:
    """Write the tensors of one pickle as safetensors; the exit code says what went wrong."""
    import pickle

    import torch

    source, target = map(Path, arguments)
    if _version(torch.__version__) < (2, 10):
        return _TOO_OLD
    _confine(source.stat().st_size)
    try:
        tensors = _tensors(_load(source))
        _save(tensors, target)
    except pickle.UnpicklingError:
        return _FORBIDDEN
    except TypeError:
        return _NOT_TENSORS
    except MemoryError:
        return _TOO_LARGE
    except (OSError, EOFError, ValueError, RuntimeError) as exc:
        target.unlink(missing_ok=True)
        too_large = "alloc" in str(exc) or "Cannot allocate" in str(exc) or "too large" in str(exc)
        return _TOO_LARGE if too_large else _DAMAGED
    return 0


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split("+")[0].split(".")[:2])


def _confine(size: int) -> None:
    """Set the ceilings, above what the interpreter and torch have mapped by now."""
    if sys.platform == "win32":
        return  # has no resource limits; the operator's permission is the only guard there
    import resource

    mapped = 8 << 30
    statm = Path("/proc/self/statm")
    if statm.exists():
        mapped = int(statm.read_text().split()[0]) * resource.getpagesize()
    memory = mapped + 3 * size + _HEADROOM
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + _HEADROOM, size + _HEADROOM))
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _load(source: Path) -> Any:
    import torch

    with source.open("rb") as file:
        # The format of torch before 1.6 is no zip archive and cannot be mapped.
        mapped = file.read(4) == b"PK\x03\x04"
    return torch.load(source, map_location="cpu", weights_only=True, mmap=mapped)


def _tensors(loaded: Any) -> dict[str, torch.Tensor]:
    import torch

    if not isinstance(loaded, dict):
        raise TypeError("not a dict")
    inside: list[dict[str, Any]] = [
        loaded[name] for name in _TABLES if isinstance(loaded.get(name), dict)
    ]
    if len(inside) == 1:
        # A trainer's own file: the weights are one entry of it, and nothing else is looked at.
        loaded = inside[0]
    for name, value in loaded.items():
        if not isinstance(name, str) or not isinstance(value, torch.Tensor):
            raise TypeError(f"{name!r} is a {type(value).__name__}")
    tensors: dict[str, torch.Tensor] = loaded
    return tensors


def _save(tensors: dict[str, torch.Tensor], target: Path) -> None:
    """Write the tensors, those that are one tensor under several names once."""
    from safetensors.torch import save_file

    unique: dict[tuple[Any, ...], tuple[str, torch.Tensor]] = {}
    for name, tensor in tensors.items():
        tensor = tensor.detach()
        place = (tensor.data_ptr(), tensor.dtype, tensor.shape, tensor.stride())
        # A tied embedding is kept under the name of what it is tied to.
        if tensor.numel() and place in unique and ".shared." not in name:
            continue
        unique[place if tensor.numel() else (name,)] = (name, tensor)
    # Different views of one storage become tensors of their own.
    whole = {name: tensor.contiguous().clone() for name, tensor in unique.values()}
    save_file(whole, target, metadata={"format": "pt"})


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
