"""The running server as an attacker meets it: over HTTP, without the page's own script."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest
from PIL import Image

from florence_demo.errors import InputError
from florence_demo.serving.asking import Service
from florence_demo.serving.scratch import AGE
from florence_demo.ui import AppConfig, build_app
from florence_demo.ui.sessions import SESSIONS
from tests.fakes import FakeEngine, FakeEngines

ROOT = Path(__file__).resolve().parents[2]
META = {"meta": {"_type": "gradio.FileData"}}


class Server:
    """Speak to the app as a program of anybody's does."""

    def __init__(self, url: str, app=None) -> None:
        self.app = app
        self.http = httpx.Client(base_url=url, timeout=60)

    def call(self, name: str, data: list | bytes) -> tuple[str, object]:
        """Return the last event of a call and its data; what is refused at once is an event too."""
        body = data if isinstance(data, bytes) else json.dumps({"data": data}).encode()
        headers = {"content-type": "application/json"}
        sent = self.http.post(f"/gradio_api/call/{name}", content=body, headers=headers)
        if sent.status_code != 200:
            return f"refused {sent.status_code}", sent.json()
        answer = self.http.get(f"/gradio_api/call/{name}/{sent.json()['event_id']}").text
        *_, event, told = [line for line in answer.splitlines() if line]
        return event.removeprefix("event: "), json.loads(told.removeprefix("data: "))

    def upload(self, data: bytes, name: str = "picture.png") -> str:
        return self.http.post("/gradio_api/upload", files={"files": (name, data)}).json()[0]


def served(tmp_path, engine=None, **config):
    service = Service(
        AppConfig(checkpoints=tmp_path / "checkpoints", data=tmp_path / "data", **config),
        FakeEngines(engine),
    )
    app = build_app(service=service)
    _, url, _ = app.serve(prevent_thread_lock=True, quiet=True, server_name="127.0.0.1")
    return app, Server(url, app)


@pytest.fixture(scope="module")
def engine():
    return FakeEngine()


@pytest.fixture(scope="module")
def server(tmp_path_factory, engine):
    app, server = served(tmp_path_factory.mktemp("files"), engine)
    yield server
    app.close()


@pytest.fixture(scope="module")
def picture() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (400, 300), "teal").save(buffer, "PNG")
    return buffer.getvalue()


def question(picture: object, **changed) -> list:
    values = {"task": "od", "text": "", "region": {"box": None}, "model": "nano", "beams": 3,
              "tokens": 64, "sample": False, "temperature": 1.0, "seed": 0, "closely": False,
              **changed}  # fmt: skip
    return [picture, *values.values()]


def test_an_honest_question_is_answered(server, picture):
    path = server.upload(picture)
    for image in ({"path": path}, {"path": path, **META}):
        event, data = server.call("page_ask", question(image))
        assert event == "complete"
        assert data[0]["sentence"] == "3 objects: 2 × cat, car"


GONE = "This file is no longer here: upload it again."


@pytest.mark.parametrize("named", [META, {}, {"url": "/x.png"}], ids=["meta", "bare", "url"])
@pytest.mark.parametrize(
    "path", ["{secret}", "/none/there.png", "{cwd}/assets/examples/ducks.webp", "../../etc/passwd"]
)
def test_no_visitor_takes_a_picture_of_the_machine(server, tmp_path, path, named):
    secret = tmp_path / "secret.png"
    Image.new("RGB", (50, 50)).save(secret)
    given = {"path": path.format(secret=secret, cwd=ROOT), **named}
    event, data = server.call("page_ask", question(given))
    assert event == "error"
    assert data["error"]
    assert "secret" not in data["error"]
    assert "ducks" not in data["error"]
    if not named.get("meta"):
        assert data["error"] == GONE


@pytest.mark.parametrize("name", ["upload_checkpoint", "upload_training_data"])
def test_no_upload_takes_a_file_of_the_machine(server, name):
    for given in ({"path": "/etc/hostname"}, {"path": "/etc/hostname", **META}):
        event, data = server.call(name, [[given]])
        assert event == "error"
        assert "hostname" not in data["error"]


@pytest.mark.parametrize(
    "changed",
    [
        {"beams": "x"}, {"beams": None}, {"tokens": "many"}, {"tokens": [1]}, {"seed": "x"},
        {"seed": {}}, {"temperature": "hot"}, {"task": 7}, {"task": None}, {"task": ["od"]},
        {"text": {"a": 1}}, {"model": 5}, {"model": {}}, {"model": None}, {"model": "a/b/c"},
        {"region": {"box": [1, 2, 3, 10**400]}}, {"region": "x"}, {"region": 5},
        {"task": "region_to_ocr", "region": {"box": ["a"] * 4}},
        {"sample": "perhaps"}, {"beams": 10**400}, {"tokens": -1}, {"beams": 0},
    ],
    ids=lambda c: json.dumps(c)[:40],
)  # fmt: skip
def test_a_value_of_another_kind_is_a_sentence(server, picture, changed):
    event, data = server.call("page_ask", question({"path": server.upload(picture)}, **changed))
    if event == "complete":
        # gradio itself turned it into one of the right kind.
        return
    assert event == "error"
    assert data["error"].rstrip("…”").endswith((".", "there"))
    assert "our side" not in data["error"]


@pytest.mark.parametrize(
    "image",
    [[], {}, 7, "x", {"path": 7}, {"path": None}, {"path": ""}, {"url": "file:///etc/passwd"},
     {"url": "http://127.0.0.1/a.png"}, {"path": "http://127.0.0.1/a.png", **META},
     {"path": "http://127.0.0.1/a.png"}, {"url": "data:image/png;base64,AAAA"},
     {"url": "data:,"}, [{"path": "a"}] * 3],
    ids=lambda i: json.dumps(i)[:40],
)  # fmt: skip
def test_a_picture_that_is_none_is_a_sentence(server, image):
    event, data = server.call("page_ask", question(image))
    assert event == "error"
    assert data["error"].endswith(".")
    assert "our side" not in data["error"]


@pytest.mark.parametrize(
    "value", [{"path": "http://127.0.0.1/a", **META}, [{"path": "https://example.org", **META}]]
)
def test_gradio_fetches_no_address_of_its_own(server, picture, value):
    # Any component's value may call itself a file; gradio would fetch it, whatever its size.
    event, data = server.call("page_ask", question({"path": server.upload(picture)}, text=value))
    assert event == "error"
    assert "an address is taken for a picture only" in data["error"]


@pytest.mark.parametrize(
    "data", [[], [1], [None] * 40, "x", {"a": 1}], ids=["none", "one", "many", "text", "object"]
)
def test_another_number_of_values_is_a_sentence(server, data):
    event, told = server.call("page_ask", json.dumps({"data": data}).encode())
    assert event == "error" or event.startswith("refused 4")
    assert told.get("error") or told.get("detail")


@pytest.mark.parametrize(
    "name", ["page_ask", "page_ask_all", "page_ask_fetch", "evaluate", "start_training"]
)
@pytest.mark.parametrize("route", ["run", "api"])
def test_nothing_skips_the_queue(server, engine, name, route):
    before = len(engine.asked)
    sent = server.http.post(f"/gradio_api/{route}/{name}", json={"data": []})
    assert sent.status_code == 404
    assert len(engine.asked) == before


@pytest.mark.parametrize("route", ["run", "api", "call", "call/v2"])
def test_a_name_that_is_none_is_a_sentence(server, route):
    sent = server.http.post(f"/gradio_api/{route}/dance", json={"data": []})
    assert sent.status_code in (400, 404)
    assert sent.json()["detail"]


def _private(server) -> list[tuple[int, str]]:
    found = []
    for fn in server.http.get("/config").json()["dependencies"]:
        if any("pick" in str(target) for target in fn["targets"]):
            found.append((fn["id"], str(fn["targets"])))
    return found


@pytest.mark.parametrize("event_data", [None, {}, {"index": "x"}, {"index": 10**9}, {"index": []}])
def test_an_event_without_its_data_is_a_sentence(server, event_data):
    handlers = _private(server)
    assert handlers
    for number, _ in handlers:
        body = {"data": [None], "fn_index": number, "session_hash": "abc", "event_data": event_data}
        sent = server.http.post("/gradio_api/queue/join", json=body)
        if sent.status_code != 200:
            continue  # gradio's own answer to a wrong number of values
        with server.http.stream("GET", "/gradio_api/queue/data?session_hash=abc") as stream:
            for line in stream.iter_lines():
                if "process_completed" in line:
                    output = json.loads(line.removeprefix("data: "))["output"]
                    assert "our side" not in json.dumps(output)
                    break


def test_a_session_keeps_nothing_of_what_was_sent(server, picture):
    given = question({"path": server.upload(picture)}, text="x" * 90_000)
    ask = next(
        fn["id"]
        for fn in server.http.get("/config").json()["dependencies"]
        if fn["api_name"] == "page_ask"
    )
    body = {"data": given, "fn_index": ask, "session_hash": "long"}
    assert server.http.post("/gradio_api/queue/join", json=body).status_code == 200
    with server.http.stream("GET", "/gradio_api/queue/data?session_hash=long") as stream:
        assert any("process_completed" in line for line in stream.iter_lines())
    holder = server.app.app.state_holder
    kept = holder.session_data["long"]
    assert list(kept.config_values.items()) == []
    assert holder.capacity == SESSIONS


def called(server, picture) -> None:
    """Ask as a program does, and wait for the answer."""
    given = {"data": question({"path": server.upload(picture)})}
    event = server.http.post("/gradio_api/call/page_ask", json=given).json()["event_id"]
    with server.http.stream("GET", f"/gradio_api/call/page_ask/{event}") as stream:
        assert any(line == "event: complete" for line in stream.iter_lines())


def test_of_a_programs_call_no_session_stays(server, picture):
    before = dict(server.app.app.state_holder.session_data)
    called(server, picture)
    assert dict(server.app.app.state_holder.session_data) == before


def test_gradio_keeps_no_statistics_of_events(server, picture):
    called(server, picture)
    called(server, picture)
    queue = server.app._queue
    assert len(queue.event_analytics) == 1
    assert queue.cached_event_analytics_summary == {"functions": {}}


def test_another_sites_page_is_kept_out(server):
    for headers in ({"host": "evil.example"}, {"origin": "http://evil.example"}):
        for method, path in (("GET", "/config"), ("POST", "/gradio_api/call/page_ask")):
            got = server.http.request(method, path, headers=headers, json={"data": []})
            assert got.status_code in (400, 403)
            assert "access-control-allow-origin" not in got.headers
    preflight = {"origin": "http://evil.example", "access-control-request-method": "POST"}
    got = server.http.options("/gradio_api/call/page_ask", headers=preflight)
    assert "access-control-allow-origin" not in got.headers


@pytest.mark.parametrize(
    ("fails_with", "status"),
    [(None, 200), (InputError("Choose another."), 400), (RuntimeError("broken"), 500)],
    ids=["answered", "refused", "a bug"],
)
def test_what_is_refused_beside_the_queue_is_no_fault_of_ours(
    tmp_path, monkeypatch, fails_with, status
):
    def about(*_):
        if fails_with:
            raise fails_with
        return ""

    app, server = served(tmp_path)
    monkeypatch.setattr("florence_demo.ui.pickers._about", about)
    try:
        name = next(
            fn["api_name"]
            for fn in server.http.get("/config").json()["dependencies"]
            if fn["queue"] is False and fn["backend_fn"]
        )
        got = server.http.post(f"/gradio_api/run/{name}", json={"data": ["forms"]})
        assert got.status_code == status
        if fails_with:
            assert got.json()["error"].endswith(".")
            assert "broken" not in got.text
    finally:
        app.close()


def test_a_stranger_has_a_share_of_the_queue(tmp_path, picture):
    app, server = served(tmp_path, SlowFirst(), public=True)
    try:
        path = server.upload(picture)
        body = {"data": question({"path": path})}
        codes = [
            server.http.post("/gradio_api/call/page_ask", json=body).status_code for _ in range(20)
        ]
        assert codes.count(200) == 12
        assert set(codes) == {200, 429}
    finally:
        SlowFirst.go_on()
        app.close()


class SlowFirst(FakeEngine):
    """Answer nothing until the test says so."""

    held = True

    @classmethod
    def go_on(cls) -> None:
        cls.held = False

    def predict(self, *args, on_step=None, **kwargs):
        while self.held and (on_step is None or on_step(lambda: type("T", (), {"text": ""})())):
            pass
        return super().predict(*args, **kwargs)


def test_nothing_that_a_visit_left_outlives_it(tmp_path, picture, monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "served"))
    app, server = served(tmp_path)
    try:
        image = {"path": server.upload(picture)}
        assert server.call("page_ask", question(image))[0] == "complete"
        assert server.call("page_ask_all", [image, "nano", 3, 64])[0] == "complete"
        event, data = server.call("evaluate", ["forms", None, "", "nano", [], 4, 1, 16])
        assert event == "complete", data
        server.call("upload_checkpoint", [[{"path": server.upload(b"{}", "config.json"), **META}]])
        server.http.get("/gradio_api/deep_link?session_hash=abc")
        scratch = app.service.scratch
        files = [p for part in (scratch.served, scratch.private) for p in part.rglob("*")]
        assert sum(p.is_file() for p in files) > 4
        assert scratch.sweep(time.time() + 2 * AGE) > 4
        left = [p for part in (scratch.served, scratch.private) for p in part.rglob("*")]
        assert left == []
    finally:
        app.close()


def test_a_killed_app_leaves_nothing(tmp_path, picture):
    folder = tmp_path / "temporary"
    folder.mkdir()
    process = subprocess.Popen(
        [sys.executable, "app.py", "--checkpoints", str(tmp_path / "checkpoints")],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        env={**os.environ, "GRADIO_TEMP_DIR": str(folder), "PYTHONUNBUFFERED": "1"},
    )  # fmt: skip
    try:
        assert process.stdout is not None
        lines = iter(process.stdout.readline, "")
        shown = []
        for line in lines:
            shown.append(line)
            if "Running on local URL" in line:
                break
        assert any("Whoever reaches this page may" in line for line in shown), shown
        server = Server(shown[-1].rpartition(" ")[2].strip())
        path = Path(server.upload(picture))
        assert path.is_file()
        assert path.is_relative_to(folder)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)
        assert [p for p in folder.rglob("*") if p.is_file()] == []
    finally:
        process.kill()
        process.communicate()


def test_what_is_refused_is_counted(server):
    assert server.http.get("/nowhere").status_code == 404
    assert 'florence_refused_total{code="no_such_address"}' in server.http.get("/metrics").text
