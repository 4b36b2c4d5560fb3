"""Measure what a person waits for beside the model: drawing, the embedded model, the start.

Knows the page's drawing and the embedded model. Does not know the big models.
"""

from __future__ import annotations

import importlib
import importlib.util
import io
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from florence_demo.benchmark.rows import Row, compare
from florence_demo.output.overlay import overlay
from florence_demo.pictures.decoder import open_own
from florence_demo.prediction import Detections, Prediction

ROOT = Path(__file__).resolve().parents[2]
SIZE = (1600, 1200)


def app_rows(pictures: int) -> Iterator[Row]:
    """Measure drawing, the embedded model's answers to some pictures, and the page's start."""
    yield _drawing()
    yield _embedded(pictures)
    yield from _start()


def _twenty_boxes() -> Prediction:
    """Return an answer of 20 boxes on a large picture."""
    random = np.random.default_rng(0)
    corner = random.uniform(0, 0.7, (20, 2)) * SIZE
    boxes = np.concatenate([corner, corner + random.uniform(50, 400, (20, 2))], axis=1)
    labels = tuple(f"thing {i % 7}" for i in range(20))
    found = Detections(boxes.astype(np.float32), labels)
    return Prediction("od", "", "", "", SIZE, found, {"<OD>": {}})


def _draw_usually(image: Image.Image, found: Detections) -> bytes:
    """Draw as the peers' notebooks do: matplotlib's default figure, saved as PNG."""
    from matplotlib import patches
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure()
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    axes.imshow(image)
    for (x1, y1, x2, y2), label in zip(found.xyxy, found.labels, strict=True):
        box = patches.Rectangle(
            (x1, y1), x2 - x1, y2 - y1, linewidth=1, edgecolor="r", facecolor="none"
        )
        axes.add_patch(box)
        axes.text(x1, y1, label, color="white", fontsize=8, bbox={"facecolor": "red", "alpha": 0.5})
    axes.axis("off")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def _drawing() -> Row:
    name = "an answer's drawing for the page, 20 boxes on 1600x1200"
    if importlib.util.find_spec("matplotlib") is None:
        return Row(name, None, 20.0, "not run here: matplotlib is not installed")
    found = _twenty_boxes()
    noise = np.random.default_rng(1).integers(0, 255, (SIZE[1], SIZE[0], 3), np.uint8)
    image = Image.fromarray(noise)

    def ours() -> tuple[str, str]:
        return overlay(found), json.dumps(found.to_json())

    _draw_usually(image, found.detections), ours()
    usual, own, _ = compare(lambda: _draw_usually(image, found.detections), ours, 5)
    return Row(name, usual / own, 20.0, f"{usual * 1000:.0f} ms -> {own * 1000:.2f} ms")


def _embedded(pictures: int) -> Row:
    """Answer object detection on pictures that the model has not seen, warm."""
    from florence_demo.errors import FlorenceDemoError

    name = "the embedded model, object detection, warm: 150 ms at most"
    try:
        from florence_demo.engine.engine import Engine
        from florence_demo.models.loading import load_model
        from florence_demo.tasks import TASKS

        engine = Engine(load_model("nano", device="cpu"))
    except FlorenceDemoError as exc:
        return Row(name, None, 1.0, f"not run here: {exc}")
    spent = []
    for path in sorted((ROOT / "assets" / "heldout").glob("*.webp"))[: pictures + 1]:
        image = open_own(path)
        start = time.perf_counter()
        engine.predict(image, TASKS["od"])
        spent.append(1000 * (time.perf_counter() - start))
    if len(spent) < 2:
        return Row(name, None, 1.0, "not run here: no held-out pictures")
    spent = sorted(spent[1:])
    half, most = statistics.median(spent), spent[int(0.95 * (len(spent) - 1))]
    note = f"p50 {half:.0f} ms, p95 {most:.0f} ms, {1000 / statistics.mean(spent):.1f} pictures/s"
    return Row(name, 150 / half, 1.0, note)


def _start() -> Iterator[Row]:
    """Start the page in a process of its own and ask it a question."""
    names = ("start to a page that answers: 5 s at most", "... to its first answer: 12 s at most")
    missing = [n for n in ("gradio", "gradio_client") if importlib.util.find_spec(n) is None]
    if missing or not (ROOT / "assets" / "nano").is_dir():
        why = "gradio is not installed" if missing else "no embedded model here"
        yield Row(names[0], None, 1.0, f"not run here: {why}")
        yield Row(names[1], None, 1.0, f"not run here: {why}")
        return
    client = importlib.import_module("gradio_client")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url = f"http://127.0.0.1:{port}/"
    start = time.perf_counter()
    app = subprocess.Popen(
        [sys.executable, "app.py", "--model", "nano", "--host", "127.0.0.1", "--port", str(port)],
        cwd=ROOT,
        env={**os.environ, "GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_OFFLINE": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        _wait_for(url, app)
        up = time.perf_counter() - start
        with tempfile.NamedTemporaryFile(suffix=".png") as file:
            Image.new("RGB", (320, 240), "teal").save(file, "PNG")
            file.flush()
            client.Client(url, verbose=False).predict(
                picture=client.handle_file(file.name), model="nano", api_name="/caption"
            )
        answered = time.perf_counter() - start
    finally:
        app.terminate()
        app.wait()
    yield Row(names[0], 5 / up, 1.0, f"{up:.1f} s")
    yield Row(names[1], 12 / answered, 1.0, f"{answered:.1f} s")


def _wait_for(url: str, app: subprocess.Popen[bytes], limit: float = 120.0) -> None:
    """Return once a page answers; raise when its process ends or time is up."""
    until = time.perf_counter() + limit
    while time.perf_counter() < until and app.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=10) as page:
                page.read()
            return
        except (urllib.error.URLError, OSError):
            time.sleep(0.05)
    raise RuntimeError(f"the page at {url} did not answer")
