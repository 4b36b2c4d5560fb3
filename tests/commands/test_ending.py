"""How a server ends that is told to: a process of its own, with a question in work."""

from __future__ import annotations

import base64
import io
import json
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
from PIL import Image

from florence_demo.serving.health import ENDING
from tests.running import Running, started

# The app with an engine that works until a file is there, and takes one question at a time.
HELD = """
import os, subprocess, sys, time
from pathlib import Path
from florence_demo.__main__ import main
from florence_demo.engine.request import Stopped
from florence_demo.serving import answering, engines
from tests.fakes import FakeEngine
class Held(FakeEngine):
    def predict(self, image, task, text="", region=None, options=None, *, on_step=None):
        folder = Path(os.environ["HELD"])
        subprocess.Popen(["sleep", "60"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        (folder / "started").touch()
        while not (folder / "go").exists():
            mute = "mute" in os.environ["HELD"]
            goes_on = mute or on_step(lambda: type("T", (), {"text": ""})())
            if not goes_on and "deaf" not in os.environ["HELD"]:
                raise Stopped
            time.sleep(0.01)
        return super().predict(image, task, text, region, options)
engine = Held()
engines.EngineCache.get = lambda self, *_: engine
engines.EngineCache.loaded = lambda self: [engine]
answering.MAX_BATCH = 1
sys.exit(main(["serve", *sys.argv[1:]]))
"""
PNG = io.BytesIO()
Image.new("RGB", (40, 30), "teal").save(PNG, "PNG")
QUESTION = {"picture": base64.b64encode(PNG.getvalue()).decode()}


def until(holds) -> None:
    end = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < end
        threading.Event().wait(0.01)


def ask(app: Running):
    return app.http.post("/v1/caption", json=QUESTION)


def ask_the_page(app: Running) -> str:
    values = ["od", "", {"box": None}, "nano", 3, 64, False, 1.0, 0, False]
    path = app.http.post("/gradio_api/upload", files={"files": ("a.png", PNG.getvalue())}).json()[0]
    data = {"data": [{"path": path, "meta": {"_type": "gradio.FileData"}}, *values]}
    event = app.http.post("/gradio_api/call/page_ask", json=data).json()["event_id"]
    return app.http.get(f"/gradio_api/call/page_ask/{event}").text


def waiting(app: Running) -> int:
    lines = app.http.get("/metrics").text.splitlines()
    return int(
        float(next(x.split()[1] for x in lines if x.startswith("florence_questions_waiting ")))
    )


def left(folder: Path) -> list[Path]:
    return [p for p in folder.rglob("*") if p.is_file()]


@pytest.fixture
def pool():
    with ThreadPoolExecutor(4) as pool:
        yield pool


def test_what_runs_is_finished_and_what_waits_and_comes_is_refused(tmp_path, pool):
    held = tmp_path / "held"
    held.mkdir()
    with started(tmp_path / "files", code=HELD, HELD=str(held)) as app:
        runs = pool.submit(ask_the_page, app)
        until((held / "started").exists)
        waits = pool.submit(ask, app)
        until(lambda: waiting(app) == 1)
        (child,) = psutil.Process(app.process.pid).children()
        app.process.send_signal(signal.SIGTERM)
        refused = waits.result(30)
        comes = ask(app)
        for found in (refused, comes):
            assert (found.status_code, found.json()["detail"]) == (503, ENDING)
            assert found.headers["retry-after"]
        assert app.http.get("/healthz").status_code == app.http.get("/readyz").status_code == 503
        (held / "go").touch()
        assert "event: complete" in runs.result(30)
        app.process.communicate(timeout=30)
        assert app.process.returncode == 0
        assert left(tmp_path / "files") == []
        assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE


@pytest.mark.parametrize("twice", [False, True], ids=["once", "twice"])
def test_what_does_not_end_is_ended(tmp_path, pool, twice):
    held = tmp_path / "held"
    held.mkdir()
    with started(tmp_path / "files", code=HELD, HELD=str(held)) as app:
        runs = pool.submit(ask, app)
        until((held / "started").exists)
        app.process.send_signal(signal.SIGTERM)
        if twice:
            until(lambda: app.http.get("/healthz").status_code == 503)
            app.process.send_signal(signal.SIGINT)
            app.process.communicate(timeout=30)
            runs.exception(30)
        else:
            found = runs.result(30)
            assert (found.status_code, found.json()["detail"]) == (503, ENDING)
            app.process.communicate(timeout=30)
        assert app.process.returncode == 0
        assert left(tmp_path / "files") == []


def test_what_hangs_keeps_nobody(tmp_path, pool):
    held = tmp_path / "deaf"
    held.mkdir()
    with started(tmp_path / "files", "--log-format", "json", code=HELD, HELD=str(held)) as app:
        runs = pool.submit(ask, app)
        until((held / "started").exists)
        app.process.send_signal(signal.SIGTERM)
        out, _ = app.process.communicate(timeout=30)
        runs.exception(30)
        assert left(tmp_path / "files") == []
        rows = [json.loads(line) for line in [*app.lines, *out.splitlines()]]
        assert any("questions in work are finished" in row["message"] for row in rows)


def test_what_hangs_is_replaced_by_whoever_starts_it_again(tmp_path, pool):
    held = tmp_path / "mute"
    held.mkdir()
    flags = ("--hang", "1", "--end-ill", "--log-format", "json")
    with started(tmp_path / "files", *flags, code=HELD, HELD=str(held)) as app:
        asked = pool.submit(ask, app)
        out, _ = app.process.communicate(timeout=60)
        asked.exception(30)
        assert app.process.returncode == 1
        assert left(tmp_path / "files") == []
        rows = [json.loads(line) for line in [*app.lines, *out.splitlines()]]
        assert any("Only a new start helps" in row["message"] for row in rows)
