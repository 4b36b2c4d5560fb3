"""A job on a cluster: the same pictures, questions and rows, the work shared out by Ray Data.

Knows Ray, and imports it only when a job is given to it. Names are looked up here, files are opened
by the workers; they write each share's rows as a part, and here, where alone the job's file is
written, the parts are taken in. Does not know what a worker does with a share (``share``).
"""

from __future__ import annotations

import json
import logging
import os
import pickle
import signal
import socket
import threading
import warnings
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import Any

from florence_demo.batch.config import BatchConfig
from florence_demo.batch.done import Done
from florence_demo.batch.rows import RowFile
from florence_demo.batch.run import Model, Outcome, Progress, Watch, about, first_and_others, opened
from florence_demo.batch.share import Told, Work, Worker, shares
from florence_demo.batch.sources import Item, Part, all_items, items_of, parts_of
from florence_demo.batch.utilisation import Spent
from florence_demo.errors import InputError, plain

log = logging.getLogger(__name__)

_SHARE = 4
"""Batches of a share: what is done again when its worker is lost."""
_USUAL, _USUAL_ON_GPU = 16, 64
"""Pictures of a batch, where a worker is to find out how many suit it."""
_NAMES = 4096
"""Sources looked through by one task."""

_LISTENS = 10.0
"""Seconds in which a cluster's address must be heard of."""
_QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_BACKEND_LOG_LEVEL": "fatal"}
"""Nothing is told to others; what a worker meets is told in a row or in a sentence."""

NOT_THERE = "Ray is not installed: pip install -r requirements-cluster.txt"


@dataclass(frozen=True)
class Cluster:
    """Say which machines, and how much of them.

    Attributes:
        address: "auto" is the cluster that this machine belongs to, "local" one that begins and
            ends with the job, else HOST:PORT.
        gpus: GPUs a worker; None is one where there are any and the job may use them.
        cpus: Cores a worker; None is one, or its share of the machine beside a GPU.
        workers: How many; None is as many as there is room for.
    """

    address: str = "auto"
    gpus: float | None = None
    cpus: float | None = None
    workers: int | None = None

    def check(self) -> None:
        """Raise InputError where a value means nothing."""
        for name, value, least in (
            ("--gpus-per-worker", self.gpus, 0),
            ("--cpus-per-worker", self.cpus, 0.01),
            ("--concurrency", self.workers, 1),
        ):
            if value is not None and not least <= value <= 100_000:
                raise InputError(f"{name} must be a number of {least} or more.")


def run_on_ray(
    config: BatchConfig,
    cluster: Cluster,
    model: Callable[[BatchConfig], Model],
    watch: Watch | None = None,
) -> Outcome:
    """Answer on a cluster what is not answered yet, and return how far the job is.

    Args:
        config: The job; its folder is one that all machines share.
        cluster: Which machines.
        model: Finds the job's model on a machine; travels to the workers.
        watch: Who watches it.

    Raises:
        InputError: Nothing could start: as on one machine, or there is no Ray or no such cluster.
        CheckpointError: The model cannot be found.
    """
    config.asked()
    cluster.check()
    if config.out is None:
        raise InputError("On Ray the answers need a folder: name one with --out DIR.")
    first_and_others(config)
    watch = watch or Watch()
    # Known by its files; which device answers is for the workers to say.
    weights = model(replace(config, device="cpu")).weights
    with _connected(cluster) as there, opened(config, weights) as (file, told):
        room = _room(config, cluster, there)
        wanted = config.batch_size or told.get("batch_size")
        config = replace(config, out=config.out.absolute(), batch_size=wanted)
        threads = config.workers or max(2, min(8, int(room.cpus)))
        share = _SHARE * (wanted or (_USUAL_ON_GPU if room.gpus else _USUAL))
        work = Work(config, model, weights, str(Path.cwd()), threads, share)
        progress = Progress(config, file, watch, before=float(told.get("seconds", 0.0)))
        _Driver(work, progress, file).go(room)
        return progress.end()


@dataclass
class _Driver:
    """Hold a job that runs on a cluster: what the workers do, and where it goes."""

    work: Work
    progress: Progress
    file: RowFile

    def go(self, room: _Room) -> None:
        """Take in part by part until all is done or somebody asks to stop."""
        progress = self.progress
        self._tell(Told())
        progress.tell("running")
        results = _results(self.work, Done.of(self.file), room)
        try:
            with closing(results):
                for result in results:
                    if not progress.about["model"]:
                        self._tell(result)
                    self._take(result)
                    if progress.watch.stop():
                        progress.stopped = "It was stopped."
                        break
            # Of a worker that was thought lost and was not, or that was stopped after its work.
            progress.add(self.work.parts.gather(self.file), 0)
        except InputError as exc:
            if not progress.about["model"]:
                raise
            progress.stopped = str(exc)

    def _tell(self, told: Told) -> None:
        """Say what is known of the workers."""
        size = told.batch_size or self.work.config.batch_size
        settings = about(self.work.config, self.work.weights, told.model, size)
        self.progress.about = {**settings, "engine": "ray"}

    def _take(self, told: Told) -> None:
        """Take a share's rows in.

        Raises:
            InputError: It could not be done, or its rows are not here.
        """
        if told.problem:
            raise InputError(told.problem)
        progress = self.progress
        progress.worked_on = (progress.worked_on or 0.0) + told.seconds
        progress.spent.add(Spent(told.worked, told.waited))
        if told.room is not None:
            progress.room.shrink(told.room)
        rows = self.work.parts.take(told.part, self.file) if told.part else []
        if told.part and not rows and not self.file.has(*told.first):
            raise InputError(
                f"The rows of a worker are not in {plain(self.file.folder)}: name a folder as --out"
                " that all machines share, under the same path."
            )
        progress.add(rows, told.skipped)


@dataclass(frozen=True)
class _Room:
    """Hold what a worker gets, and how many there are."""

    gpus: float
    cpus: float
    workers: int


def _room(config: BatchConfig, cluster: Cluster, machines: Sequence[dict[str, float]]) -> _Room:
    """Return what the workers get of some machines.

    Raises:
        InputError: None of the machines has so much.
    """
    have = sum(machine.get("GPU", 0) for machine in machines)
    gpus = cluster.gpus
    if gpus is None:
        gpus = 1 if have and config.device != "cpu" else 0
    if cluster.cpus is not None:
        cpus = cluster.cpus
    else:
        shares = [m.get("CPU", 0) * gpus / m["GPU"] for m in machines if gpus and m.get("GPU")]
        cpus = max(1.0, min(shares, default=1.0) // 1)
    most = sum(
        int(min(m.get("CPU", 0) / cpus, m.get("GPU", 0) / gpus if gpus else 1e9)) for m in machines
    )
    if not most:
        raise InputError(
            f"No machine of the cluster has the {cpus:g} cores and {gpus:g} GPUs of a worker: start"
            " one, or ask for less with --cpus-per-worker and --gpus-per-worker."
        )
    return _Room(gpus, cpus, cluster.workers or most)


@contextmanager
def _connected(cluster: Cluster) -> Iterator[list[dict[str, float]]]:
    """Hold the connection to a cluster, and give what each of its machines has.

    Raises:
        InputError: There is no Ray, or no such cluster.
    """
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    try:
        import ray
    except ImportError:
        raise InputError(f"{NOT_THERE}.") from None
    ours = not ray.is_initialized()
    if ours:
        _connect(ray, cluster.address)
    try:
        with warnings.catch_warnings():
            # A small job that leaves workers idle is no fault.
            warnings.filterwarnings("ignore", module=r"ray\.")
            yield [node["Resources"] for node in ray.nodes() if node["Alive"]]
    finally:
        if ours:
            ray.shutdown()


def _connect(ray: Any, address: str) -> None:
    quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
    main = threading.current_thread() is threading.main_thread()
    heard = signal.getsignal(signal.SIGTERM)
    if address == "auto":
        address = os.environ.get("RAY_ADDRESS") or address
    try:
        if address == "local":
            ray.init(address=address, include_dashboard=False, **quiet)
        else:
            _check_answers(address)
            ray.init(address=address, **quiet)
    except (RuntimeError, ValueError, OverflowError, OSError) as exc:
        log.info("No connection to %s", address, exc_info=True)
        where = "runs here" if address == "auto" else f"answers at {plain(address)}"
        raise InputError(
            f"No cluster {where}: start one with `ray start --head` or `ray up`, name its"
            " HOST:PORT, or give --ray-address local."
        ) from exc
    finally:
        if main:  # Ray ends the program on SIGTERM; the job is asked to stop by it
            signal.signal(signal.SIGTERM, heard)


def _check_answers(address: str) -> None:
    """Look whether anybody listens at an address; Ray itself tries for minutes.

    Raises:
        ValueError, OverflowError: It is no HOST:PORT.
        OSError: Nobody does.
    """
    host, _, port = address.rpartition(":")
    if address != "auto":
        socket.create_connection((host.strip("[]"), int(port)), _LISTENS).close()


def _results(work: Work, done: Done, room: _Room) -> Generator[Told, None, None]:
    """Yield what the workers tell of each share, in whatever order they come."""
    import ray
    import ray.data

    context = ray.data.DataContext.get_current().copy()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    # A block is a share: it is handed out as it comes, neither joined with others nor cut.
    context.target_max_block_size = 1
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    groups, there = list(_groups(work.config)), ray.put(done)
    with ray.data.DataContext.current(context):
        # Whoever looks names up needs hardly a core, and none may be left by the workers.
        data = ray.data.read_datasource(
            _source(work, groups),
            override_num_blocks=1,
            num_cpus=0,
            concurrency=min(room.workers, len(groups)),
        ).map_batches(
            _OnRay,
            batch_size=None,
            batch_format="pyarrow",
            compute=ray.data.ActorPoolStrategy(size=room.workers),
            fn_constructor_args=(work, there),
            num_cpus=room.cpus,
            num_gpus=room.gpus,
        )
        for table in data.iter_batches(batch_size=None, batch_format="pyarrow"):
            for told in table["told"].to_pylist():
                yield _told(json.loads(told))


def _told(values: dict[str, Any]) -> Told:
    return Told(**{**values, "first": tuple(values["first"])})


class _OnRay:
    """Do shares as an actor of Ray's."""

    def __init__(self, work: Work, done: Any):
        import ray

        self._worker = Worker(work, ray.get(done))

    def __call__(self, table: Any) -> dict[str, list[str]]:
        told = (self._worker.do(pickle.loads(share)) for share in table["share"].to_pylist())
        return {"told": [json.dumps(asdict(each)) for each in told]}


def _source(work: Work, groups: Sequence[Sequence[Part | Item]]) -> Any:
    """Return a job's pictures as Ray Data reads them: a row a share."""
    from ray.data.block import BlockMetadata
    from ray.data.datasource import Datasource, ReadTask

    class Shares(Datasource):  # type: ignore[misc, unused-ignore]
        """Give a task a group of sources."""

        def estimate_inmemory_data_size(self) -> None:
            """Return nothing: nobody knows before it is read."""

        def get_read_tasks(self, parallelism: int, *args: Any, **how: Any) -> list[Any]:
            """Return the tasks, as many as there are groups."""
            unknown = BlockMetadata(None, None, None, None)
            return [ReadTask(partial(_read, group, work), unknown) for group in groups]

    return Shares()


def _groups(config: BatchConfig) -> Iterator[list[Part | Item]]:
    """Yield what a job's sources hold, in groups that are looked through at once.

    Where only so many pictures are wanted they are counted here, one after the other.
    """
    if config.which.limit is not None:
        named = (replace(item, given=None) for item in all_items(config))
        while some := list(islice(named, _NAMES)):
            yield [*some]
        return
    group: list[Part | Item] = []
    for part in parts_of(config):
        if part.kind in ("picture", "web", "missing"):
            group.append(part)
        else:
            yield [part]
        if len(group) == _NAMES:
            yield group
            group = []
    if group:
        yield group


def _read(group: Sequence[Part | Item], work: Work) -> Iterator[Any]:
    """Yield the shares of a group, each as a table of one row."""
    import pyarrow as pa

    with suppress(OSError):
        os.chdir(work.folder)
    items = chain.from_iterable(
        (each,) if isinstance(each, Item) else items_of(each, work.config.which) for each in group
    )
    for share in shares(items, work.share):
        yield pa.table({"share": pa.array([pickle.dumps(share)], pa.large_binary())})
