"""A process that answers requests about a file: what it gives back, and what ends it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from florence_demo.pictures import confined
from florence_demo.pictures.process import TooSlow, Unavailable
from florence_demo.pictures.worker import Ceilings, Worker

PROGRAM = """
import os, signal, sys, time
from PIL import Image

def prepare(**values):
    def answer(request):
        what = request["do"]
        if what == "tell":
            return {"request": request, "values": values}, None
        if what == "draw":
            return {}, Image.new("RGB", tuple(request["sides"]), tuple(request["colour"]))
        if what == "print":
            print("hello"); sys.stdout.flush(); os.write(1, b"hello")
            return {"done": True}, None
        if what == "fail":
            raise RuntimeError("secret")
        if what == "sleep":
            time.sleep(600)
        if what == "work":
            while True:
                pass
        if what == "take":
            return {"bytes": len(bytearray(request["bytes"]))}, None
        if what == "write":
            with open(request["path"], "wb") as file:
                file.write(bytes(request["bytes"]))
            return {"written": True}, None
        if what == "end":
            os._exit(7)
        if what == "abort":
            os.abort()
        if what == "environment":
            return {"names": sorted(os.environ)}, None
    return answer
"""

CEILINGS = Ceilings(pixels=10_000, memory=256 << 20, written=1000)


@pytest.fixture
def worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    folder = Path(confined.__file__)
    (tmp_path / "program.py").write_text(PROGRAM, encoding="utf-8")
    (tmp_path / "confined.py").write_bytes(folder.read_bytes())
    monkeypatch.setattr(confined, "__file__", str(tmp_path / "confined.py"))
    monkeypatch.setenv("HF_TOKEN", "secret")
    with Worker("program", CEILINGS, path="a b", pixels=5) as started:
        yield started


def test_requests_are_answered_one_after_another(worker: Worker) -> None:
    for number in (1, 2, 3):
        head, picture = worker.ask(20, do="tell", number=number)
        assert head["request"] == {"do": "tell", "number": number}
        assert head["values"] == {"path": "a b", "pixels": 5}
        assert picture is None
    assert worker.waited > 0


@pytest.mark.parametrize("sides", [(1, 1), (3, 2), (100, 100), (10_000, 1)], ids=str)
def test_pictures_come_back(worker: Worker, sides: tuple[int, int]) -> None:
    _, picture = worker.ask(20, do="draw", sides=sides, colour=(1, 2, 3))
    assert picture is not None
    assert picture.size == sides
    assert picture.getextrema() == ((1, 1), (2, 2), (3, 3))


def test_what_a_library_prints_is_no_answer(worker: Worker) -> None:
    assert worker.ask(20, do="print")[0]["done"] is True


def test_what_a_library_raises_is_damage_and_no_end(worker: Worker) -> None:
    assert worker.ask(20, do="fail")[0]["wrong"] == "damaged"
    assert worker.ask(20, do="tell")[0]["values"]


@pytest.mark.parametrize(
    ("request_", "error"),
    [
        ({"do": "sleep"}, TooSlow),
        ({"do": "work"}, TooSlow),
        ({"do": "end"}, ValueError),
        ({"do": "abort"}, ValueError),
        ({"do": "draw", "sides": (101, 100), "colour": (1, 2, 3)}, ValueError),
    ],
    ids=lambda value: str(value)[:30],
)
def test_whatever_the_process_does_is_understood(
    worker: Worker, request_: dict[str, object], error: type[Exception]
) -> None:
    worker.ask(20, do="tell")
    with pytest.raises(error):
        worker.ask(0.3 if error is TooSlow else 20, **request_)
    with pytest.raises((ValueError, TooSlow)):
        worker.ask(20, do="tell")


@pytest.mark.skipif(os.name == "nt", reason="Windows has no resource limits")
def test_memory_and_files_have_ceilings(worker: Worker, tmp_path: Path) -> None:
    assert worker.ask(20, do="take", bytes=100 << 20)[0]["bytes"] == 100 << 20
    assert worker.ask(20, do="take", bytes=300 << 20)[0]["wrong"] == "damaged"
    target = tmp_path / "written"
    assert worker.ask(20, do="write", path=str(target), bytes=900)[0]["written"]
    assert worker.ask(20, do="write", path=str(target), bytes=9000)[0].get("wrong")
    assert target.stat().st_size <= 1000


def test_the_process_knows_no_secret(worker: Worker) -> None:
    assert "HF_TOKEN" not in worker.ask(20, do="environment")[0]["names"]


def test_the_process_ends_with_the_block(worker: Worker) -> None:
    process = worker._process
    worker.ask(20, do="tell")
    worker.close()
    assert process.returncode is not None


def test_a_machine_without_room_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*args: object, **options: object) -> None:
        raise OSError(12, "Cannot allocate memory")

    monkeypatch.setattr(subprocess, "Popen", none)
    with pytest.raises(Unavailable):
        Worker("program", CEILINGS)
