"""Fine-tuning runs under one folder: start one as its own process, find it again, stop it, go on.

Knows processes and a run's files. Does not know how a run goes (``fine_tune``) or who looks at it:
a page that is loaded again, or another visitor's, finds the same run.
"""

from __future__ import annotations

import logging
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Protocol

import psutil

from florence_demo.checkpoints.inspection import has_model
from florence_demo.data.reading import as_source
from florence_demo.errors import DatasetError, FlorenceDemoError, InputError
from florence_demo.files import write_json
from florence_demo.training.config import CONFIG_FILE, TrainConfig, read_settings
from florence_demo.training.status import (
    LIVE,
    OTHER,
    STATUS_FILE,
    STOP_FILE,
    RunFiles,
    Status,
    ask_to_stop,
    read_status,
)

log = logging.getLogger(__name__)

OUTPUT_FILE = "output.txt"
DATA_FOLDER = "data"
"""Where an upload lies that a run learns from: it must be there as long as the run is."""
UNKILLABLE = ("training", "evaluating")
"""States in which a run has something to save: it is asked to stop, and not ended."""
_LONGEST_NAME = 60
_PROJECT = Path(__file__).resolve().parents[2]


class Process(Protocol):
    """What is needed of a started process."""

    pid: int

    def poll(self) -> int | None:
        """Return how it ended, None while it runs; an ended one is then forgotten by the system."""


Launch = Callable[[Sequence[str], Path], Process]
"""Starts a command, its output in a file."""


@dataclass(frozen=True, eq=False)
class Run:
    """Hold one run as its files tell it.

    Attributes:
        folder: Where it is.
        status: How far it is.
    """

    folder: Path
    status: Status

    @property
    def name(self) -> str:
        """Its folder's name."""
        return self.folder.name

    @property
    def live(self) -> bool:
        """Whether its process runs."""
        return self.status.state in LIVE

    @property
    def stopping(self) -> bool:
        """Whether somebody asked it to stop and it has not yet."""
        return self.live and (self.folder / STOP_FILE).exists()

    @property
    def trained(self) -> bool:
        """Whether its folder holds a model that can be opened."""
        try:
            return not self.live and has_model({p.name for p in self.folder.iterdir()})
        except OSError:
            return False

    @property
    def resumable(self) -> bool:
        """Whether it ended early and can go on."""
        ended_early = self.status.state in ("stopped", "failed")
        return ended_early and (self.folder / CONFIG_FILE).is_file()

    @property
    def tasks(self) -> frozenset[str]:
        """Names of the tasks that it learned, as its settings and its numbers tell them."""
        numbers = (*self.status.before, *self.status.after)
        measured = {key.partition("/")[0] for key in numbers if not key.startswith(OTHER)}
        with suppress(InputError):
            measured.update(self.config().tasks)
        return frozenset(measured)

    def config(self) -> TrainConfig:
        """Return its settings.

        Raises:
            InputError: They are not those of this version.
        """
        try:
            return read_settings(self.folder)
        except DatasetError as exc:
            raise InputError(str(exc)) from exc


class Runs:
    """Start, find, stop and resume the runs under one folder, one at a time."""

    def __init__(self, root: Path, launch: Launch | None = None):
        """Take the folder.

        Args:
            root: Where runs lie, each in a folder of its own; it need not exist yet.
            launch: How a process is started; a test hands in another way.
        """
        self.root = root.absolute()
        self._launch = launch or _launch
        self._lock = threading.Lock()
        self._children: list[Process] = []

    def all(self) -> list[Run]:
        """Return every run, the newest last."""
        # Asked for their end, children leave the system's table and count as dead everywhere.
        self._children = [c for c in self._children if c.poll() is None]
        try:
            folders = [p for p in self.root.iterdir() if p.is_dir() and not p.is_symlink()]
        except OSError:
            return []
        runs = [run for run in map(read_run, folders) if run]
        return sorted(runs, key=lambda run: run.status.updated)

    def current(self) -> Run | None:
        """Return the run that lives, or else the newest."""
        runs = self.all()
        return next((run for run in runs if run.live), runs[-1] if runs else None)

    def free_name(self, stem: str) -> str:
        """Return a name for a new run that no folder has yet."""
        stem = clean_name(stem)
        taken = {p.name for p in self.root.iterdir()} if self.root.is_dir() else set()
        numbered = (f"{stem}-{n}" for n in range(2, len(taken) + 3))
        return next(name for name in (stem, *numbered) if name not in taken)

    def start(self, config: TrainConfig, name: str, upload: Path | None = None) -> Run:
        """Start a run in a new folder.

        Args:
            config: Its settings; ``out`` is the new folder, whatever it says.
            name: The folder's name; what cannot be in a folder's name is replaced.
            upload: Folder with the data, copied into the run's own, so that it stays as long.

        Raises:
            InputError: Another run lives, or the name is taken.
            DatasetError: The settings contradict each other.
        """
        config.check()
        with self._lock:
            self._refuse_second()
            folder = self._new_folder(name)
            config = replace(config, out=folder)
            try:
                if upload is not None:
                    shutil.copytree(upload, folder / DATA_FOLDER)
                    moved = as_source(config.data).moved(folder / DATA_FOLDER)
                    config = replace(config, data=moved)
                return self._begin(config)
            except OSError as exc:
                shutil.rmtree(folder, ignore_errors=True)
                # Copying a folder collects its errors under no name of their own.
                why = exc.strerror or "its data could not be copied: free some disk space"
                raise InputError(f"The run could not be started ({why}).") from exc

    def resume(self) -> Run:
        """Go on with the newest run from its last checkpoint.

        Raises:
            InputError: A run lives, or there is none to go on with.
        """
        with self._lock:
            self._refuse_second()
            run = self.current()
            if run is None or not run.resumable:
                raise InputError("There is no run that ended early: start one first.")
            try:
                return self._begin(replace(run.config(), resume=True))
            except OSError as exc:
                raise InputError(f"The run could not be resumed ({exc.strerror}).") from exc

    def stop(self) -> Run:
        """Stop the run that lives; one that has learned keeps a checkpoint first.

        Raises:
            InputError: No run lives.
        """
        run = self.current()
        if run is None or not run.live:
            raise InputError("No run is going on, so there is nothing to stop.")
        if run.status.state in UNKILLABLE or not _end(run.status.pid):
            ask_to_stop(run.folder)
            return run
        kept = "The last checkpoint is kept." if run.status.checkpoint else "Nothing was learned."
        stopped = replace(run.status, state="stopped", message=f"Stopped early. {kept}")
        write_json(run.folder / STATUS_FILE, asdict(stopped))
        return Run(run.folder, stopped)

    def _refuse_second(self) -> None:
        run = self.current()
        if run is not None and run.live:
            raise InputError(
                f"One run at a time: “{run.name}” is still going on. Wait for its end, or stop it."
            )

    def _new_folder(self, name: str) -> Path:
        folder = self.root / clean_name(name)
        try:
            folder.mkdir(parents=True)
        except FileExistsError as exc:
            raise InputError(
                f"There is a folder “{folder.name}” already: choose another name."
            ) from exc
        except OSError as exc:
            raise InputError(
                f"No folder can be made in {self.root.name}/ ({exc.strerror})."
            ) from exc
        return folder

    def _begin(self, config: TrainConfig) -> Run:
        # Before the process is there: it may hear a stop from its first moment on.
        files = RunFiles(config.out, resume=config.resume)
        if not config.resume:
            write_json(config.out / CONFIG_FILE, config.to_json())
        process = self._launch(command(config), config.out / OUTPUT_FILE)
        self._children.append(process)
        # Told for it: it needs seconds to wake up, and must be found meanwhile.
        files.tell(pid=process.pid, message="Waking up")
        log.info("training run %s is process %d", config.out.name, process.pid)
        return Run(config.out, files.status)


def command(config: TrainConfig) -> list[str]:
    """Return the command line that trains with the settings in a run's folder.

    They travel as a file: data is named there by values, which nobody has to take apart again.
    """
    arguments = [f"--settings={config.out}", *(["--resume"] if config.resume else [])]
    return [sys.executable, "-m", "florence_demo", "train", *arguments]


def clean_name(name: str) -> str:
    """Return a name that is one plain folder's on every system."""
    kept = re.sub(r"[^A-Za-z0-9._-]+", "-", name.strip())
    return kept.strip("-._")[:_LONGEST_NAME].rstrip("-._") or "run"


def read_run(folder: Path) -> Run | None:
    """Return the run that a folder is, None where it is none."""
    try:
        status = read_status(folder)
    except (OSError, ValueError, TypeError, KeyError, FlorenceDemoError):
        return None  # of another version, or no run's at all
    return Run(folder, status) if status else None


def _launch(arguments: Sequence[str], output: Path) -> Process:
    """Start a process in a session of its own: it outlives the page, and nothing in it ends it."""
    path = os.pathsep.join(filter(None, (str(_PROJECT), os.environ.get("PYTHONPATH"))))
    with output.open("ab") as out:
        process = subprocess.Popen(
            arguments,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env={**os.environ, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1"},
        )
    with suppress(psutil.Error, OSError):
        # The page must go on answering on a machine that trains on its own cores.
        psutil.Process(process.pid).nice(5)
    return process


def _end(pid: int) -> bool:
    """End a run's process and say so; another's, or our own, is left alone."""
    try:
        process = psutil.Process(pid)
        if pid == os.getpid() or "florence_demo" not in process.cmdline():
            return False
        process.terminate()
        try:
            process.wait(10)
        except psutil.TimeoutExpired:
            process.kill()
            process.wait(10)
    except psutil.NoSuchProcess:
        return True
    except psutil.Error:
        return False
    return True
