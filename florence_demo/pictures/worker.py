"""A process apart that keeps a stranger's file open and answers one request after another.

For files of many pictures: a document's pages, a video's frames. The process is ``confined`` run
as a program, with ceilings on memory, time and output and without this process's environment; it
ends with the worker. That bounds accidents and crashes, it is no sandbox. Knows the pipe and its
clock. Does not know formats, nor what is asked.
"""

from __future__ import annotations

import json
import logging
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from PIL import Image

from florence_demo.errors import InputError, plain
from florence_demo.pictures import confined
from florence_demo.pictures.decoder import MAX_SIDE
from florence_demo.pictures.process import TooSlow, Unavailable, apart_environment

logger = logging.getLogger(__name__)

_LONGEST_HEAD = 20_000
_MAX_PIECE = 1 << 22


@dataclass(frozen=True)
class Ceilings:
    """Hold what the process may take.

    Attributes:
        pixels: Most pixels of one picture that it gives.
        memory: Bytes beside its libraries.
        written: Bytes of the largest file that it may write.
    """

    pixels: int
    memory: int
    written: int = 0


class Worker:
    """Hold the process; as a context it ends with its block.

    Attributes:
        waited: Seconds spent waiting for answers so far.
    """

    def __init__(self, program: str, ceilings: Ceilings, **values: Any) -> None:
        """Start the process.

        Args:
            program: Name of the module beside this one that knows the format.
            ceilings: What it may take.
            values: What the module's ``prepare`` takes.

        Raises:
            Unavailable: It could not be started.
        """
        told = {**values, "memory": ceilings.memory, "written": ceilings.written}
        # The module is not imported here: its library stays out of the app's own process.
        module = Path(confined.__file__).with_name(f"{program}.py")
        command = [sys.executable, "-P", confined.__file__, str(module), json.dumps(told)]
        self.waited = 0.0
        self._pixels = ceilings.pixels
        self._slow = False
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=apart_environment(),
            )
        except OSError as exc:
            raise Unavailable from exc

    def __enter__(self) -> Worker:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the process, whatever it is doing."""
        self._process.kill()
        for pipe in (self._process.stdin, self._process.stdout):
            with suppress(OSError):
                if pipe:
                    pipe.close()
        self._process.wait()

    def ask(self, seconds: float, **request: Any) -> tuple[dict[str, Any], Image.Image | None]:
        """Return the answer to a request, and its picture where there is one.

        Args:
            seconds: What it may take, of the processor and by the clock.
            request: Whatever the program understands.

        Raises:
            TooSlow: It took longer; the process is ended.
            ValueError: The process ended, or answered what is no answer.
        """
        into, out = self._process.stdin, self._process.stdout
        assert into is not None
        assert out is not None
        began = time.monotonic()
        clock = threading.Timer(seconds, self._give_up)
        clock.daemon = True
        clock.start()
        try:
            into.write(json.dumps({**request, "seconds": seconds}).encode() + b"\n")
            into.flush()
            return self._read(out)
        except (OSError, ValueError) as exc:
            raise self._reason() from exc
        finally:
            clock.cancel()
            self.waited += time.monotonic() - began

    def _give_up(self) -> None:
        self._slow = True
        self._process.kill()

    def _reason(self) -> Exception:
        """Return why there was no answer."""
        self._process.kill()
        code = self._process.wait()
        if self._slow or code == -getattr(signal, "SIGXCPU", 0):  # Windows has none
            return TooSlow()
        logger.warning("The process that reads a file ended with %d", code)
        return ValueError("damaged")

    def _read(self, out: IO[bytes]) -> tuple[dict[str, Any], Image.Image | None]:
        line = out.readline(_LONGEST_HEAD)
        if not line.endswith(b"\n"):
            raise ValueError("no answer")
        head: dict[str, Any] = json.loads(line)
        width, height = (int(side) for side in head["size"])
        if width * height > self._pixels or max(width, height) > MAX_SIDE:
            raise ValueError("a picture that is larger than was asked for")
        if not width * height:
            return head, None
        picture = Image.new("RGB", (width, height))
        rows = max(1, _MAX_PIECE // (3 * width))
        for top in range(0, height, rows):
            high = min(rows, height - top)
            data = out.read(3 * width * high)
            picture.paste(Image.frombytes("RGB", (width, high), data), (0, top))
        return head, picture


def name_of(path: Path) -> str:
    """Return a file's name as it may stand in a sentence; where it lies is nobody's business."""
    return plain(path.name or path, 60)


def checked_file(path: Path, most_bytes: int) -> Path:
    """Return the whole path of a file that is there, is no pipe and has not too many bytes.

    Raises:
        InputError: It is not.
    """
    try:
        path = path.expanduser().absolute()
        if not path.is_file():  # a pipe or a device would never end
            what = "is a folder, not a file" if path.is_dir() else "does not exist"
            raise InputError(f"{name_of(path)} {what}: check the path.")
        size = path.stat().st_size
        with path.open("rb"):
            pass
    # RuntimeError: "~" and a name nobody has; ValueError: a zero byte or half a character
    except (OSError, RuntimeError, ValueError) as exc:
        raise InputError(f"{name_of(path)} cannot be read: check the path and its rights.") from exc
    if not size:
        raise InputError(f"{name_of(path)} is empty: choose another file.")
    if size > most_bytes:
        megabytes = most_bytes / 1_000_000
        raise InputError(
            f"{name_of(path)} is larger than {megabytes:,g} MB: cut it into smaller files."
        )
    return path
