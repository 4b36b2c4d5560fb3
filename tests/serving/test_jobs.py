"""Jobs of the page: they go on by themselves, are found again, paused, resumed and let go."""

from __future__ import annotations

import threading
import zipfile
from pathlib import Path

import pytest
from PIL import Image

from florence_demo.batch.config import BatchConfig, Which
from florence_demo.batch.exporting import FORMATS
from florence_demo.data.batches import open_picture
from florence_demo.errors import DatasetError, InputError
from florence_demo.models.catalogue import MODELS
from florence_demo.pictures import frames
from florence_demo.serving import jobs as jobs_module
from florence_demo.serving.asking import Service
from florence_demo.serving.config import AppConfig
from florence_demo.serving.jobs import Job, JobLimits, Jobs, take_files
from tests.fakes import FakeEngine, FakeEngines
from tests.film_makers import film


class HeldEngine(FakeEngine):
    """Answer one part at a time, each when it is let."""

    def __init__(self):
        super().__init__()
        self.let, self.waits = threading.Semaphore(0), threading.Semaphore(0)

    def predict_batch(self, requests, options=None, *, on_step=None):
        self.waits.release()
        assert self.let.acquire(timeout=20)
        return super().predict_batch(requests, options)


@pytest.fixture
def files(tmp_path) -> list[Path]:
    folder = tmp_path / "uploads"
    folder.mkdir()
    for i in range(6):
        Image.new("RGB", (64, 48), (40 * i, 0, 0)).save(folder / f"p{i}.png")
    return sorted(folder.iterdir())


def jobs(engine=None, **config) -> Jobs:
    return Jobs(Service(AppConfig(**config), FakeEngines(engine)))


def od(source: Path, out: Path, tasks=("od",), limit=None) -> BatchConfig:
    return BatchConfig((str(source),), tasks, "", out, Which(True, limit=limit), batch_size=2)


def start(given: Jobs, files, visitor="a", config=od) -> Job:
    return given.start(files, config, MODELS["nano"], visitor)


def ended(job: Job) -> Job:
    for thread in threading.enumerate():
        if thread.name == "batch job":
            thread.join(20)
    assert not job.live
    return job


def test_a_job_is_answered_and_found_again(files):
    here = jobs()
    job = ended(start(here, files))
    assert (job.state, job.outcome.rows, job.total) == ("done", 6, 6)
    assert here.get(job.name) is job
    assert [card["name"] for card in job.cards] == [f"p{i}.png" for i in range(6)]
    card = job.cards[0]
    assert card["answers"][0]["things"] == [["cat", None], ["car", None], ["cat", None]]
    assert Path(card["picture"]["path"]).is_relative_to(here.service.scratch.served)
    assert open_picture(job.rows[3]).getpixel((0, 0)) == (120, 0, 0)


def test_a_bad_file_is_a_card_that_says_so(files, tmp_path):
    files[2].write_bytes(b"no picture")
    job = ended(start(jobs(), files))
    assert job.outcome.failed == 1
    assert [bool(card["error"]) for card in job.cards] == [i == 2 for i in range(6)]


@pytest.mark.parametrize("name", [name for name in FORMATS if name not in ("pdf", "film")])
def test_answers_are_handed_out_in_every_format(files, name):
    here = jobs()
    job = ended(start(here, files, config=lambda s, o: od(s, o, ("od", "caption"))))
    packed = here.packed(job, name)
    assert packed.is_relative_to(here.service.scratch.served)
    if name in ("csv", "parquet", "webdataset"):
        assert packed.suffix == {"webdataset": ".tar"}.get(name, f".{name}")
        data = packed.read_bytes()
    else:
        with zipfile.ZipFile(packed) as archive:
            assert archive.testzip() is None
            assert archive.namelist()
            data = b"".join(archive.read(member) for member in archive.namelist())
    # Paths of this machine are nobody's business.
    assert str(job.folder).encode() not in data


def test_what_cannot_be_handed_out_is_told(files):
    here = jobs()
    job = ended(start(here, files))
    with pytest.raises(InputError, match="written as"):
        here.packed(job, "docx")
    with pytest.raises(DatasetError, match="captions"):
        here.packed(job, "txt")
    job.cards.clear()
    with pytest.raises(InputError, match="no answers yet"):
        here.packed(job, "csv")


def test_it_pauses_after_the_part_in_work_and_goes_on(files):
    engine = HeldEngine()
    here = jobs(engine)
    job = start(here, files)
    assert engine.waits.acquire(timeout=20)
    here.pause(job)
    engine.let.release()
    ended(job)
    assert (job.state, len(job.cards)) == ("paused", 2)
    engine.let.release(9)
    here.resume(job)
    ended(job)
    assert (job.state, len(job.cards), job.outcome.rows) == ("done", 6, 6)


def test_a_cancelled_job_leaves_nothing(files):
    engine = HeldEngine()
    here = jobs(engine)
    job = start(here, files)
    assert engine.waits.acquire(timeout=20)
    here.cancel(job)
    engine.let.release(9)
    ended(job)
    assert not job.folder.exists()
    with pytest.raises(InputError, match="no longer here"):
        here.get(job.name)


def test_one_visitor_has_one_job_at_a_time_and_others_wait_their_turn(files):
    engine = HeldEngine()
    here = jobs(engine)
    first, second = start(here, files, "a"), start(here, files, "b")
    assert engine.waits.acquire(timeout=20)
    assert engine.waits.acquire(timeout=20)
    third, fourth = start(here, files, "c"), start(here, files, "d")
    assert (third.state, fourth.state) == ("waiting", "waiting")
    assert (here.ahead_of(third), here.ahead_of(fourth)) == (0, 1)
    with pytest.raises(InputError, match="job of yours"):
        start(here, files, "a")
    here.pause(third)
    assert third.state == "paused"
    engine.let.release(99)
    for job in (first, second, fourth):
        assert ended(job).state == "done"
    assert third.state == "paused"


def test_what_goes_wrong_is_told_and_can_be_tried_again(files, monkeypatch):
    here = jobs()
    engines = here.service.engines

    def no_model(*_):
        raise InputError("There is no such model.")

    with monkeypatch.context() as patched:
        patched.setattr(engines, "get", no_model)
        job = ended(start(here, files))
    assert (job.state, job.problem) == ("failed", "There is no such model.")
    here.resume(job)
    assert (ended(job).state, job.problem) == ("done", "")


def test_a_job_that_nobody_looks_at_goes_with_its_files(files, monkeypatch):
    here = jobs()
    job = ended(start(here, files))
    monkeypatch.setattr("florence_demo.serving.jobs.KEPT_FOR", -1)
    other = ended(start(here, files, "b"))
    assert here.find(job.name) is None
    assert not job.folder.exists()
    assert other.folder.exists()


@pytest.mark.parametrize("name", [None, 7, "", "x", ["x"]], ids=str)
def test_no_other_name_finds_a_job(name, files):
    here = jobs()
    ended(start(here, files))
    assert here.find(name) is None


@pytest.mark.parametrize(
    ("tasks", "problem"),
    [((), "Nothing is asked"), (("region_to_ocr",), "region"), (("vqa",), "needs words")],
    ids=["nothing", "a region", "no words"],
)
def test_what_cannot_be_asked_starts_nothing(files, tasks, problem):
    here = jobs()
    with pytest.raises(InputError, match=problem):
        start(here, files, config=lambda source, out: od(source, out, tasks))
    assert list(here.service.scratch.private.iterdir()) == []


def zipped(path: Path, **members: bytes) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name.replace("__", "/"), data)
    return path


def test_zips_and_files_of_one_name_are_taken_side_by_side(files, tmp_path):
    data = files[0].read_bytes()
    archive = zipped(tmp_path / "p0.zip", **{"sub__p0.png": data, "notes.txt": b"x", "b.PNG": data})
    (tmp_path / "again").mkdir()
    again = tmp_path / "again" / "p0.png"
    again.write_bytes(data)
    take_files([archive, files[0], again], tmp_path / "in", JobLimits(10, 1 << 20))
    taken = sorted(str(p.relative_to(tmp_path / "in")) for p in (tmp_path / "in").rglob("*.*"))
    assert taken == ["p0-2.png", "p0.png", "p0/b.PNG", "p0/sub/p0.png"]


def test_a_folder_that_was_packed_as_a_whole_has_its_name_once(files, tmp_path):
    data = files[0].read_bytes()
    own = {"__MACOSX/holiday/._p1.png": b"x"}  # as macOS packs it
    pictures = {"holiday/a/p0.png": data, "holiday/p1.png": data}
    whole = tmp_path / "holiday.zip"
    with zipfile.ZipFile(whole, "w") as archive:
        for name, written in (own | pictures).items():
            archive.writestr(name, written)
    mixed = zipped(tmp_path / "mixed.zip", **{"mixed__p0.png": data, "p0.png": data})
    take_files([whole, mixed], tmp_path / "in", JobLimits(10, 1 << 20))
    taken = sorted(str(p.relative_to(tmp_path / "in")) for p in (tmp_path / "in").rglob("*.png"))
    assert taken == ["holiday/a/p0.png", "holiday/p1.png", "mixed/mixed/p0.png", "mixed/p0.png"]


def test_files_that_hold_no_picture_are_named(files, tmp_path):
    notes = tmp_path / "notes.txt"
    notes.write_text("hello")
    empty = zipped(tmp_path / "words.zip", **{"a.txt": b"x"})
    passed = take_files([notes, files[0], empty], tmp_path / "in", JobLimits(10, 1 << 20))
    assert passed == ("notes.txt", "words.zip")


@pytest.mark.parametrize(
    ("limits", "names", "problem"),
    [
        (JobLimits(10, 300), ("p.png", "q.png", "r.png"), "too large"),
        (JobLimits(10, 300), ("bomb.zip",), "too large"),
        (JobLimits(10, 1 << 20), ("notes.txt",), "no picture"),
        (JobLimits(10, 1 << 20), ("broken.zip",), "no zip"),
        (JobLimits(10, 1 << 20), ("out.zip",), "lead out"),
    ],
    ids=["files", "a bomb", "no pictures", "no zip", "leads out"],
)
def test_what_is_not_taken_is_told(tmp_path, files, limits, names, problem):
    data = files[0].read_bytes()
    for name in ("p.png", "q.png", "r.png"):
        (tmp_path / name).write_bytes(data.ljust(150, b"\0"))
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / "broken.zip").write_bytes(b"PK")
    zipped(tmp_path / "bomb.zip", **{"a.png": b"\0" * 9_999})
    zipped(tmp_path / "out.zip", **{"..__a.png": data})
    with pytest.raises(InputError, match=problem):
        take_files([tmp_path / name for name in names], tmp_path / "in", limits)


def test_frames_of_a_film_are_opened_once(tmp_path, monkeypatch):
    (tmp_path / "film.mp4").write_bytes(film(60))
    opened = []
    before = frames.open_frames
    monkeypatch.setattr(
        frames,
        "open_frames",
        lambda path, *how, **more: (opened.append(path), before(path, *how, **more))[1],
    )
    here = jobs()
    job = ended(start(here, [tmp_path / "film.mp4"]))
    assert [card["name"] for card in job.cards][:2] == ["film.mp4, 0.0 s", "film.mp4, 1.0 s"]
    assert all(card["picture"] for card in job.cards)
    assert len(opened) == 1


def test_two_starts_at_the_same_moment_begin_one_job(files, monkeypatch):
    here = jobs(HeldEngine())
    others = []
    take = jobs_module.take_files

    def meanwhile(*given):
        # The second button press comes while the first one's files are taken.
        monkeypatch.setattr(jobs_module, "take_files", take)
        others.append(start(here, files))
        take(*given)

    monkeypatch.setattr(jobs_module, "take_files", meanwhile)
    with pytest.raises(InputError, match="job of yours"):
        start(here, files)
    assert len(list(here.service.scratch.private.iterdir())) == 1
    here.service.engines.engine.let.release(9)
    assert ended(others[0]).state == "done"
