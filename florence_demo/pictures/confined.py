"""Answer one request after another about a stranger's file, in a process with ceilings.

Run as a program by ``worker``: loads one of the files beside it that knows a format
(``page_renderer``, ``frame_decoder``), limits what the process may take, then reads a request a
line and answers each with a line of JSON and, where there is one, a picture's RGB. Imports nothing
of this package, so that it is ready at once.
"""

from __future__ import annotations

import importlib.util
import json
import math
import os
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

from PIL import Image

Request = dict[str, Any]
Answer = tuple[dict[str, Any], Image.Image | None]

DAMAGED = {"wrong": "damaged"}
_ROW_BYTES = 1 << 20


def main(arguments: Sequence[str]) -> int:
    """Serve until the standard input ends.

    Args:
        arguments: The file that knows the format, and JSON: what its ``prepare`` takes, with
            "memory", the bytes that the process may take beside its libraries, and "written",
            those that it may write to files.
    """
    requests = sys.stdin.buffer
    # What a library prints must not come between the answers.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    values = json.loads(arguments[1])
    module = _load(Path(arguments[0]))
    allow = confine(int(values.pop("memory")), int(values.pop("written", 0)))
    answer: Callable[[Request], Answer] = module.prepare(**values)
    for line in requests:
        request = json.loads(line)
        allow(request.pop("seconds"))
        try:
            head, picture = answer(request)
        except Exception:  # a library raises whatever it met first
            head, picture = DAMAGED, None
        _write(answers, head, picture)
    return 0


def _load(file: Path) -> Any:
    spec = importlib.util.spec_from_file_location(file.stem, file)
    if spec is None or spec.loader is None:
        raise ValueError(f"{file} is no module")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _write(out: BinaryIO, head: dict[str, Any], picture: Image.Image | None) -> None:
    size = picture.size if picture else (0, 0)
    out.write(json.dumps({**head, "size": size}).encode() + b"\n")
    if picture:
        rows = max(1, _ROW_BYTES // picture.width)
        for top in range(0, picture.height, rows):
            box = (0, top, picture.width, min(top + rows, picture.height))
            out.write(picture.crop(box).tobytes())
    out.flush()


def confine(memory: int, written: int) -> Callable[[float], None]:
    """Set the ceilings of this process; return what allows the next request its seconds.

    Args:
        memory: Bytes of address space beside what is mapped now, the libraries among it.
        written: Bytes of the largest file that may be written.
    """
    try:
        import resource
    except ImportError:  # Windows has no resource limits; the time of ``worker`` remains
        return lambda seconds: None

    def limit(what: int, soft: int, hard: int) -> None:
        with suppress(ValueError, OSError):  # the operator's own limits may be narrower
            resource.setrlimit(what, (soft, hard))

    def allow(seconds: float) -> None:
        until = math.ceil(time.process_time() + seconds)
        limit(resource.RLIMIT_CPU, until, resource.RLIM_INFINITY)

    statm = Path("/proc/self/statm")
    if statm.exists():
        most = int(statm.read_text().split()[0]) * resource.getpagesize() + memory
        limit(resource.RLIMIT_AS, most, most)
    limit(resource.RLIMIT_CORE, 0, 0)
    limit(resource.RLIMIT_FSIZE, written, written)
    return allow


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
