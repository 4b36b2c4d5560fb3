"""Nothing of a visitor's stands in the log, whichever way he asks and whatever goes wrong."""

from __future__ import annotations

import base64
import io
import json
import logging
import re

import httpx
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from florence_demo.errors import InputError
from florence_demo.serving.asking import Service
from florence_demo.serving.logs import adopt_server
from florence_demo.ui import AppConfig, build_app
from tests.fakes import FakeEngine, FakeEngines
from tests.logged import caught

MARKER = "zebra-of-the-visitor"
ADDRESS = "203.0.113.77"
META = {"meta": {"_type": "gradio.FileData"}}
KEY = "a-key-of-the-visitor"


class Quoting(FakeEngine):
    """Fail with everything that was asked in the error's words."""

    kind: type[Exception] | None = None

    def predict(self, image, task, text="", region=None, options=None, *, on_step=None):
        if self.kind is not None:
            raise self.kind(f"{text} {image.info} {MARKER}")
        return super().predict(image, task, text, region, options)


def picture() -> bytes:
    buffer, info = io.BytesIO(), PngInfo()
    info.add_text("Comment", MARKER)
    Image.new("RGB", (400, 300), "teal").save(buffer, "PNG", pnginfo=info)
    return buffer.getvalue()


class Visitor:
    """Ask every way there is, with the marker wherever a visitor can put it."""

    def __init__(self, url: str) -> None:
        headers = {"x-forwarded-for": ADDRESS, "x-api-key": KEY, "user-agent": MARKER}
        self.http = httpx.Client(base_url=url, timeout=60, headers=headers)

    def page(self, data: bytes) -> str:
        question = {"task": "docvqa", "text": MARKER, "region": {"box": None}, "model": "nano",
                    "beams": 3, "tokens": 64, "sample": False, "temperature": 1.0, "seed": 0,
                    "closely": False}  # fmt: skip
        return self._event("page_ask", [self._uploaded(data), *question.values()])

    def compare(self, data: bytes) -> str:
        return self._event("compare", [self._uploaded(data), "docvqa", MARKER])

    def wrong(self, data: bytes) -> str:
        return self._event(f"page_ask{MARKER}", [MARKER])

    def program(self, data: bytes) -> str:
        asked = {"picture": base64.b64encode(data).decode(), "question": MARKER, "page": True}
        return self.http.post(f"/v1/query?q={MARKER}", json=asked).text

    def form(self, data: bytes) -> str:
        files = {"picture": (f"{MARKER}.png", data, "image/png")}
        return self.http.post("/v1/ask", files=files, data={"task": "docvqa", "text": MARKER}).text

    def file(self, data: bytes) -> str:
        return self.http.get(f"/gradio_api/file=/tmp/{MARKER}.png?{MARKER}").text

    def _uploaded(self, data: bytes) -> dict:
        sent = self.http.post("/gradio_api/upload", files={"files": (f"{MARKER}.png", data)})
        return {"path": sent.json()[0], **META}

    def _event(self, name: str, data: list) -> str:
        sent = self.http.post(f"/gradio_api/call/{name}", json={"data": data})
        if sent.status_code != 200:
            return sent.text
        event = sent.json()["event_id"]
        return self.http.get(f"/gradio_api/call/{name}/{event}").text


WAYS = ("page", "compare", "wrong", "program", "form", "file")


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    folder, engine = tmp_path_factory.mktemp("files"), Quoting()
    config = AppConfig(checkpoints=folder / "checkpoints", data=folder / "data", forwarded=True)
    app = build_app(service=Service(config, FakeEngines(engine)))
    _, url, _ = app.serve(prevent_thread_lock=True, quiet=True, server_name="127.0.0.1")
    yield Visitor(url), engine
    app.close()


@pytest.mark.parametrize("form", ["text", "json"])
@pytest.mark.parametrize("kind", [None, RuntimeError, OSError, InputError], ids=str)
@pytest.mark.parametrize("data", [picture(), MARKER.encode()], ids=["a picture", "none"])
def test_no_word_of_a_visitor_is_logged(served, capfd, form, kind, data):
    visitor, visitor_engine = served
    visitor_engine.kind = kind
    told = {}
    with caught(form, "debug") as stream:
        adopt_server()
        for way in WAYS:
            told[way] = getattr(visitor, way)(data)
        logging.getLogger("florence_demo").info("the end")
    out, err = capfd.readouterr()
    written = stream.getvalue() + out + err
    assert "the end" in written
    for secret in (MARKER, ADDRESS, KEY):
        assert secret not in written
    if data != MARKER.encode():
        assert written.count("question: docvqa, nano: ") >= 3
        if kind in (RuntimeError, OSError):
            assert written.count("unexpected error") >= 3
            assert f"builtins.{kind.__name__}" in written
            for way in ("page", "program", "form"):
                (name,) = re.findall(r"on our side \((r[0-9a-f]{14})\): it is in", told[way])[:1]
                assert name in written, "whoever is told it finds it"


def test_the_answers_headers_name_the_request(served):
    visitor, engine = served
    engine.kind = RuntimeError
    asked = {"picture": base64.b64encode(picture()).decode(), "question": MARKER, "page": True}
    found = visitor.http.post("/v1/query", json=asked)
    assert f"({found.headers['x-request-id']})" in json.loads(found.text)["detail"]
