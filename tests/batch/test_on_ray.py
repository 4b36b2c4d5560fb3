"""A job on a cluster of two workers: the rows of one machine, whoever is killed meanwhile."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import zipfile
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from florence_demo.batch.config import BatchConfig
from florence_demo.batch.on_ray import Cluster, _Driver, _room, run_on_ray
from florence_demo.batch.parts import PARTS_FOLDER
from florence_demo.batch.rows import RowFile
from florence_demo.batch.run import Model, Progress, Watch, opened, run
from florence_demo.batch.share import Told, Work
from florence_demo.data.batches import ROWS_FILE, RUN_FILE, key_of, rows_in
from florence_demo.engine.feature_cache import fingerprint
from florence_demo.errors import InputError
from tests.batch.job import Answers, draw, job, model
from tests.document_makers import document
from tests.film_makers import film

PROJECT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Lent:
    """Find a model wherever it is called; what it is asked is noted in a folder, a line a picture.

    Attributes:
        notes: The folder.
        deadly: Fingerprint of a picture that ends its worker.
        once: Whether it does so once only.
    """

    notes: Path
    deadly: str = ""
    once: bool = True

    def __call__(self, config) -> Model:
        return Model("weights", lambda: _Noted(self))

    def asked(self) -> int:
        """How many questions were asked, as lines of all processes."""
        return sum(len(file.read_text().split()) for file in self.notes.glob("asked-*"))


class _Noted(Answers):
    def __init__(self, lent: Lent):
        super().__init__()
        self.lent = lent

    def predict_batch(self, requests, options=None):
        for request in requests:
            if fingerprint(request.image) == self.lent.deadly:
                ended = self.lent.notes / "ended"
                if not (self.lent.once and ended.exists()):
                    ended.touch()
                    os.kill(os.getpid(), signal.SIGKILL)
        with (self.lent.notes / f"asked-{os.getpid()}").open("a") as file:
            file.writelines(f"{fingerprint(request.image)}\n" for request in requests)
        return super().predict_batch(requests, options)


@pytest.fixture(scope="module")
def ray():
    """A cluster of two workers on this machine."""
    found = pytest.importorskip("ray", reason="not run: Ray is not installed (it is optional)")
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    found.init(
        address="local",
        num_cpus=2,
        include_dashboard=False,
        object_store_memory=100_000_000,
        log_to_driver=False,
    )
    yield found
    found.shutdown()


@pytest.fixture
def lent(tmp_path) -> Lent:
    (tmp_path / "notes").mkdir()
    return Lent(tmp_path / "notes")


def _rows(out: Path) -> list[dict]:
    return sorted(rows_in(out / ROWS_FILE), key=key_of)


def _alone(folder: Path | str, out: Path, **settings):
    # One picture at once: what a picture is asked beside is no part of this answer then.
    return job(folder, out, tasks=("od", "caption"), batch_size=1, **settings)


def _written_once(out: Path) -> bool:
    """Say whether the file has a line a row, and nothing is left beside it."""
    lines = (out / ROWS_FILE).read_bytes().count(b"\n")
    return lines == len(_rows(out)) and not (out / PARTS_FOLDER).exists()


def _deadly(picture: Path) -> str:
    from florence_demo.pictures.images import open_image

    return fingerprint(open_image(picture))


def test_the_rows_are_those_of_one_machine(tmp_path, ray, lent):
    draw(tmp_path / "in", 30)
    (tmp_path / "in" / "bad.png").write_bytes(b"no picture")
    (tmp_path / "in" / "strange \udcff.png").write_bytes(b"")
    draw(tmp_path / "more", 3)
    with zipfile.ZipFile(tmp_path / "more.zip", "w") as archive:
        for file in (tmp_path / "more").iterdir():
            archive.write(file, file.name)
    (tmp_path / "scan.pdf").write_bytes(document([b"0 g", b"1 0 0 rg 9 9 99 99 re f"], (90, 60)))
    (tmp_path / "film.mp4").write_bytes(film(20))
    names = ("in", "more.zip", "in/00000.png", "scan.pdf", "film.mp4")
    sources = tuple(str(tmp_path / name) for name in names)
    config = replace(_alone("", tmp_path / "out"), sources=sources)
    outcome = run_on_ray(config, Cluster(), lent)
    alone = run(replace(config, out=tmp_path / "alone"), model())
    assert _rows(tmp_path / "out") == _rows(tmp_path / "alone")
    assert _written_once(tmp_path / "out")
    assert (outcome.rows, outcome.failed) == (alone.rows, alone.failed) == (40, 2)
    told, of_one = (
        json.loads((tmp_path / name / RUN_FILE).read_text()) for name in ("out", "alone")
    )
    assert (told["state"], told["engine"]) == ("done", "ray")
    assert (told["settings"], told["counts"]) == (of_one["settings"], of_one["counts"])


def test_a_job_goes_on_elsewhere_and_back(tmp_path, ray, lent):
    draw(tmp_path / "in", 12)
    config = _alone(tmp_path / "in", tmp_path / "out", retry_failed=True)
    (tmp_path / "in" / "00003.png").write_bytes(b"no picture")
    heard: list[int] = []
    run(config, model(), Watch(lambda outcome, rows: heard.append(1), lambda: len(heard) == 5))
    assert len(_rows(tmp_path / "out")) == 5
    (tmp_path / "in" / "00000.png").rename(tmp_path / "in" / "moved.png")
    outcome = run_on_ray(config, Cluster(), lent)
    assert (outcome.rows, outcome.failed, outcome.skipped) == (13, 1, 3)
    assert lent.asked() == 2 * 7, "neither what was there nor what only moved"
    moved = {row["source"]: row for row in _rows(tmp_path / "out")}
    assert moved["moved.png"]["answers"] == moved["00000.png"]["answers"]
    draw(tmp_path / "in", 12)
    engine = Answers()
    outcome = run(config, model(engine))
    assert (outcome.rows, outcome.failed, sum(engine.batches)) == (13, 0, 2)
    assert run_on_ray(config, Cluster(), lent).skipped == 13


def test_a_killed_workers_pictures_are_done_again(tmp_path, ray, lent):
    draw(tmp_path / "in", 40)
    run(_alone(tmp_path / "in", tmp_path / "alone"), model())
    lent = replace(lent, deadly=_deadly(tmp_path / "in" / "00022.png"))
    outcome = run_on_ray(_alone(tmp_path / "in", tmp_path / "out"), Cluster(), lent)
    assert (lent.notes / "ended").exists()
    assert (outcome.failed, outcome.stopped) == (0, "")
    assert _rows(tmp_path / "out") == _rows(tmp_path / "alone")
    assert _written_once(tmp_path / "out")


def test_a_picture_that_ends_its_worker_each_time_is_a_row(tmp_path, ray, lent):
    draw(tmp_path / "in", 8)
    lent = replace(lent, deadly=_deadly(tmp_path / "in" / "00005.png"), once=False)
    outcome = run_on_ray(_alone(tmp_path / "in", tmp_path / "out"), Cluster(), lent)
    assert (outcome.rows, outcome.failed) == (8, 1)
    (row,) = [row for row in _rows(tmp_path / "out") if "error" in row]
    assert row["source"] == "00005.png"
    assert "worker ended" in row["error"]
    again = run(_alone(tmp_path / "in", tmp_path / "out"), model())
    assert again.skipped == 8, "not asked again by itself"


KILLED = """
import os, signal, sys
from pathlib import Path
from florence_demo.batch import parts
from florence_demo.batch.on_ray import Cluster, run_on_ray
from tests.batch.test_on_ray import Lent, _alone

take, left = parts.Parts.take, 2

def taken(self, name, file, **how):
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return take(self, name, file, **how)

parts.Parts.take = taken
config = _alone(sys.argv[1], Path(sys.argv[2]))
run_on_ray(config, Cluster(sys.argv[3]), Lent(Path(sys.argv[4])))
"""


def test_a_killed_driver_loses_nothing_that_a_worker_wrote(tmp_path, ray, lent):
    draw(tmp_path / "in", 40)
    out = tmp_path / "out"
    address = ray.get_runtime_context().gcs_address
    given = [str(tmp_path / "in"), str(out), address, str(lent.notes)]
    done = subprocess.run([sys.executable, "-c", KILLED, *given], cwd=PROJECT, check=False)
    assert done.returncode == -signal.SIGKILL
    assert len(_rows(out)) == 4, "the first share's rows"
    assert list((out / PARTS_FOLDER).glob("*/*.jsonl")), "and the second is a part"
    engine = Answers()
    outcome = run(_alone(tmp_path / "in", out), model(engine))
    assert outcome.rows == 40
    assert outcome.answered <= 32, "it was taken in, by the engine of one machine too"
    run(_alone(tmp_path / "in", tmp_path / "alone"), model())
    assert _rows(out) == _rows(tmp_path / "alone")
    assert _written_once(out)


def test_asked_to_stop_it_keeps_what_is_done_and_goes_on_later(tmp_path, ray, lent):
    draw(tmp_path / "in", 40)
    out = tmp_path / "out"
    outcome = run_on_ray(_alone(tmp_path / "in", out), Cluster(), lent, Watch(stop=lambda: True))
    assert outcome.stopped
    assert 4 <= outcome.rows < 40
    assert json.loads((out / RUN_FILE).read_text())["state"] == "stopped"
    assert _written_once(out)
    later = run_on_ray(_alone(tmp_path / "in", out), Cluster(), lent)
    assert (later.rows, later.skipped, later.stopped) == (40, outcome.rows, "")


def test_so_many_and_no_more(tmp_path, ray, lent):
    draw(tmp_path / "in", 12)
    config = _alone(tmp_path / "in", tmp_path / "out")
    outcome = run_on_ray(replace(config, which=replace(config.which, limit=5)), Cluster(), lent)
    assert [row["source"] for row in _rows(tmp_path / "out")] == [f"{i:05}.png" for i in range(5)]
    assert outcome.rows == 5


def _gone(config) -> Model:
    if config.device == "cpu":
        return model()
    raise InputError("There is no such model.")


def test_a_model_that_workers_cannot_open_is_a_sentence(tmp_path, ray):
    draw(tmp_path / "in", 2)
    with pytest.raises(InputError, match="worker cannot open the model: There is no such model"):
        run_on_ray(_alone(tmp_path / "in", tmp_path / "out"), Cluster(), _gone)


@pytest.mark.parametrize(
    ("cluster", "said"),
    [
        (Cluster(workers=0), "--concurrency"),
        (Cluster(cpus=0), "--cpus-per-worker"),
        (Cluster(gpus=-1), "--gpus-per-worker"),
        (Cluster(gpus=4), "No machine of the cluster has the 1 cores and 4 GPUs"),
    ],
)
def test_what_no_cluster_has_is_a_sentence(tmp_path, ray, lent, cluster, said):
    draw(tmp_path / "in", 1)
    with pytest.raises(InputError, match=said):
        run_on_ray(_alone(tmp_path / "in", tmp_path / "out"), cluster, lent)


@pytest.mark.parametrize("address", ["127.0.0.1:1", "nonsense", "nowhere:99999"])
def test_a_cluster_that_is_not_there_is_a_sentence(tmp_path, ray, lent, monkeypatch, address):
    draw(tmp_path / "in", 1)
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    with pytest.raises(InputError, match=f"No cluster answers at {address}: .*--ray-address local"):
        run_on_ray(_alone(tmp_path / "in", tmp_path / "out"), Cluster(address), lent)
    assert not (tmp_path / "out").exists()


def test_without_ray_it_is_told_how_to_get_it(tmp_path, lent, monkeypatch):
    draw(tmp_path / "in", 1)
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(InputError, match=r"^Ray is not installed: pip install -r .*cluster.txt"):
        run_on_ray(_alone(tmp_path / "in", tmp_path / "out"), Cluster(), lent)


def test_rows_that_do_not_arrive_are_told(tmp_path, lent):
    file = RowFile(tmp_path / "out")
    file.begin()
    config = _alone(tmp_path / "in", tmp_path / "out")
    driver = _Driver(
        Work(config, lent, "weights", ".", 1, 4), Progress(config, file, Watch()), file
    )
    with pytest.raises(InputError, match="all machines share"):
        driver._take(Told("elsewhere", ("1.png\0000\0None", "content")))
    with pytest.raises(InputError, match=r"^No room\.$"):
        driver._take(Told(problem="No room."))
    file.end()


def test_the_time_of_all_workers_is_put_together(tmp_path, lent):
    draw(tmp_path / "in", 1)
    config = _alone(tmp_path / "in", tmp_path / "out")
    with opened(config, "weights") as (file, _):
        progress = Progress(config, file, Watch())
        driver = _Driver(Work(config, lent, "weights", ".", 1, 4), progress, file)
        for told in (
            Told(seconds=10.0, worked=9.0, waited=0.5),
            Told(seconds=30.0, worked=15.0, waited=9.5, room=8),
            Told(room=16),
        ):
            driver._take(told)
        outcome = progress.outcome()
    assert (outcome.utilisation, outcome.waiting, outcome.room) == (0.6, 0.25, 8)


MACHINES = [{"CPU": 16.0, "GPU": 2.0}, {"CPU": 8.0, "GPU": 1.0}, {"CPU": 4.0}]


@pytest.mark.parametrize(
    ("device", "cluster", "room"),
    [
        ("auto", Cluster(), (1, 8, 3)),
        ("auto", Cluster(gpus=0.5), (0.5, 4, 6)),
        ("auto", Cluster(cpus=2, workers=2), (1, 2, 2)),
        ("cpu", Cluster(), (0, 1, 28)),
        ("cpu", Cluster(cpus=4), (0, 4, 7)),
    ],
    ids=str,
)
def test_what_a_worker_gets_of_the_machines(device, cluster, room):
    found = _room(BatchConfig((), device=device), cluster, MACHINES)
    assert (found.gpus, found.cpus, found.workers) == room
