"""The API over plain HTTP, behind its door: what comes in, what comes out, who may ask."""

from __future__ import annotations

import base64
import io
import json
import subprocess
import sys
import threading

import pytest
from fastapi.testclient import TestClient
from PIL import Image

from florence_demo.api.application import Beside
from florence_demo.api.verbs import verbs
from florence_demo.engine.request import Stopped
from florence_demo.errors import CheckpointError, InputError
from florence_demo.serving.asking import Service
from florence_demo.serving.config import AppConfig
from florence_demo.serving.fair_queue import FairQueue
from florence_demo.serving.gate import Gate, Rules
from tests.fakes import FakeEngine, FakeEngines


def encoded(kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (400, 300), "teal").save(buffer, kind)
    return buffer.getvalue()


PICTURE = base64.b64encode(encoded()).decode()
ASKED = json.dumps({"picture": PICTURE}).encode()
SCOPE = {
    "type": "http", "method": "POST", "path": "/v1/caption", "query_string": b"",
    "headers": [(b"host", b"localhost"), (b"content-type", b"application/json")],
    "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 80), "scheme": "http",
    "http_version": "1.1", "raw_path": b"/v1/caption", "root_path": "",
}  # fmt: skip


async def no_page(scope, receive, send):
    raise AssertionError(f"{scope['path']} is no address of the page's")


def client_of(engine=None, *, rules: Rules | None = None, service: Service | None = None, **config):
    service = service or Service(AppConfig(model="nano", **config), FakeEngines(engine))
    gate = Gate(Beside(no_page, service), rules or service.config.rules())
    return TestClient(gate, base_url="http://localhost")


@pytest.fixture(scope="module")
def client():
    return client_of()


FORMS = {
    "base64": PICTURE,
    "a data URL": f"data:image/png;base64,{PICTURE}",
    "base64 in lines": "\n".join(PICTURE[i : i + 76] for i in range(0, len(PICTURE), 76)),
}


@pytest.mark.parametrize("picture", FORMS.values(), ids=FORMS)
def test_a_picture_comes_as_text(client, picture):
    found = client.post("/v1/detect", json={"picture": picture})
    assert (found.status_code, found.json()["task"]) == (200, "od")
    assert found.json()["size"] == [400, 300]


def test_a_picture_comes_as_a_file(client):
    found = client.post(
        "/v1/ask",
        files={"picture": ("a.webp", encoded("WEBP"), "image/webp")},
        data={"task": "region_to_category", "region": "[10, 10, 90, 90]", "num_beams": "1"},
    )
    assert (found.status_code, found.json()["task"]) == (200, "region_to_category")


def test_a_picture_comes_from_an_address(monkeypatch):
    asked = []
    monkeypatch.setattr(
        "florence_demo.serving.asking.fetch_image",
        lambda url: asked.append(url) or Image.new("RGB", (40, 30)),
    )
    found = client_of().post("/v1/caption", json={"picture": "https://example.org/a.png"})
    assert (found.json()["size"], asked) == ([40, 30], ["https://example.org/a.png"])


def test_a_picture_is_kept_and_named(client):
    kept = client.post("/v1/keep", files={"picture": ("a.png", encoded(), "image/png")}).json()
    assert (kept["size"], kept["seconds"]) == ([400, 300], 3600)
    for verb in ("caption", "detect"):
        found = client.post(f"/v1/{verb}", json={"picture": kept["picture"]}).json()
        assert found["size"] == [400, 300]


@pytest.mark.parametrize("name", ["upload:" + "0" * 32, "upload:../../etc/passwd", "upload:"])
def test_a_name_that_nobody_gave_is_a_sentence(client, name):
    told = client.post("/v1/caption", json={"picture": name})
    assert (told.status_code, told.json()["code"]) == (400, "bad_input")
    assert "send it again" in told.json()["detail"]


def test_what_does_not_fit_on_the_disk_is_not_kept(monkeypatch):
    service = Service(AppConfig(model="nano"), FakeEngines())
    monkeypatch.setattr(service, "room", lambda: 1000)
    told = client_of(service=service).post("/v1/keep", json={"picture": PICTURE})
    assert (told.status_code, told.json()["code"]) == (507, "no_room")


def test_a_text_that_is_almost_base64_is_looked_at_once():
    # In a process of its own: a pattern that tries again and again keeps the interpreter for hours.
    code = (
        "from florence_demo.api.pictures import _BASE64;"
        " assert not _BASE64.fullmatch('A' * 64 + ' ' * 1_000_000 + '!')"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_a_picture_of_many_tasks_is_fetched_once(monkeypatch):
    asked = []

    def fetch(url):
        asked.append(url)
        if url.endswith("gone"):
            raise InputError("It is gone.")
        return Image.new("RGB", (40, 30))

    monkeypatch.setattr("florence_demo.serving.asking.fetch_image", fetch)
    pictures = ["https://example.org/a.png", "https://example.org/gone"]
    rows = client_of().post("/v1/ask_many", json={"pictures": pictures, "tasks": ["od", "ocr"]})
    assert ["answer" in row for row in rows.json()] == [True, True, False, False]
    assert asked == pictures


def test_what_one_program_keeps_is_bounded(monkeypatch):
    here = Service(AppConfig(model="nano"), FakeEngines())
    image = Image.new("RGB", (32, 32))
    others = here.uploads.keep(image, 1 << 30, "9.9.9.9")
    (file,) = here.scratch.private.rglob("*.png")
    monkeypatch.setattr("florence_demo.serving.uploads.OF_ONE", 2 * file.stat().st_size)
    own = [here.uploads.keep(image, 1 << 30, "1.1.1.1") for _ in range(5)]
    assert here.uploads.find(others).size == here.uploads.find(own[-1]).size == (32, 32)
    with pytest.raises(InputError, match="no longer here"):
        here.uploads.find(own[0])
    assert len(list(here.scratch.private.rglob("*.png"))) == 3, "the files are gone with them"


def test_the_answer_is_the_command_lines_object(client):
    engine = FakeEngine()
    from florence_demo.tasks import TASKS

    expected = engine.predict(Image.new("RGB", (400, 300), "teal"), TASKS["od"]).to_json()
    assert client.post("/v1/detect", json={"picture": PICTURE}).json() == expected


def test_several_are_asked_at_once(client):
    asked = {"pictures": [PICTURE, "nothing"], "tasks": ["od", "caption"]}
    rows = client.post("/v1/ask_many", json=asked).json()
    assert [(row["picture"], row["task"], "answer" in row) for row in rows] == [
        (0, "od", True), (0, "caption", True), (1, "od", False), (1, "caption", False),
    ]  # fmt: skip
    assert rows[2]["error"]["code"] == "bad_input"


class Growing(FakeEngine):
    """Tell of an answer on its way."""

    def predict(self, image, task, text="", region=None, options=None, *, on_step=None):
        found = super().predict(image, task, text, region, options)
        self.told = threading.Event()
        while on_step(lambda: found) and not self.told.wait(0.01):
            pass
        return found


def events(response) -> list[tuple[str, object]]:
    found = []
    for block in response.text.split("\n\n"):
        if block.startswith("event: "):
            name, data = block.split("\n", 1)
            found.append((name[7:], json.loads(data.removeprefix("data: "))))
    return found


def test_an_answer_is_streamed(monkeypatch):
    monkeypatch.setattr("florence_demo.serving.answering.TICK", 0.0)
    engine = Growing()
    client = client_of(engine)
    headers = {"accept": "text/event-stream"}
    with client.stream("POST", "/v1/caption", json={"picture": PICTURE}, headers=headers) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        lines = answer.iter_lines()
        assert "event: text" in lines
        engine.told.set()
        names = [line for line in lines if line.startswith("event:")]
    assert names[-1] == "event: answer"


def test_what_fails_in_a_stream_is_an_event():
    headers = {"accept": "text/event-stream"}
    told = client_of().post("/v1/query", json={"picture": PICTURE, "question": ""}, headers=headers)
    assert [name for name, _ in events(told)] == ["error"]
    assert events(told)[0][1]["code"] == "bad_input"


REFUSED = {
    "no picture": ("detect", {}, 400, "bad_input", "`picture` is missing"),
    "an empty picture": ("detect", {"picture": " "}, 400, "bad_input", "There is no picture"),
    "a path": ("detect", {"picture": "/etc/passwd"}, 400, "bad_input", "none of what is taken"),
    "no picture in it": ("detect", {"picture": "AAAA" * 99}, 400, "bad_input", "not a picture"),
    "no such task": ("ask", {"picture": PICTURE, "task": "x"}, 400, "bad_input", "no task"),
    "no such model": ("detect", {"picture": PICTURE, "model": "x"}, 422, "no_model", "no model"),
    "a value of its own": ("detect", {"picture": PICTURE, "a": 1}, 400, "bad_input", "no `a`"),
    "no number": (
        "ask", {"picture": PICTURE, "task": "od", "num_beams": "x"}, 400, "bad_input", "num_beams",
    ),
    "too many": (
        "ask_many", {"pictures": [PICTURE] * 17, "tasks": ["od"]}, 400, "bad_input", "too many",
    ),
    "no such verb": ("dance", {}, 404, "no_such_address", "/docs"),
    "a private address": (
        "detect", {"picture": "http://127.0.0.1/a.png"}, 400, "bad_input", "",
    ),
}  # fmt: skip


@pytest.mark.parametrize(
    ("verb", "given", "status", "code", "words"), REFUSED.values(), ids=REFUSED
)
def test_a_refusal_is_a_sentence_a_word_and_a_status(client, verb, given, status, code, words):
    told = client.post(f"/v1/{verb}", json=given)
    assert (told.status_code, told.json()["code"]) == (status, code)
    assert words in told.json()["detail"]


BODIES = {
    "no JSON": (b"{", "application/json", 400),
    "a list": (b"[]", "application/json", 400),
    "text": (b"a", "text/plain", 415),
    "a form without a boundary": (b"a", "multipart/form-data", 415),
    "a form that is none": (b"a", "multipart/form-data; boundary=x", 400),
    "deep": (b'{"a":' * 99 + b"1" + b"}" * 99, "application/json", 400),
    "two long texts and more": (
        json.dumps({"pictures": ["A" * 200_000] * 17}).encode(), "application/json", 400,
    ),
}  # fmt: skip


@pytest.mark.parametrize(("body", "kind", "status"), BODIES.values(), ids=BODIES)
def test_a_body_is_checked_at_the_door(client, body, kind, status):
    told = client.post("/v1/ask_many", content=body, headers={"content-type": kind})
    assert told.status_code == status
    assert told.json()["detail"]


def test_a_file_in_another_field_is_refused(client):
    told = client.post("/v1/detect", files={"image": ("a.png", encoded(), "image/png")})
    assert "`picture`" in told.json()["detail"]
    assert told.status_code == 400


def test_who_leaves_within_a_form_is_no_fault(caplog):
    import anyio

    service = Service(AppConfig(model="nano"), FakeEngines())
    pieces = iter([{"type": "http.request", "body": b"--mark\r\n", "more_body": True}])
    told = []

    async def receive():
        return next(pieces, {"type": "http.disconnect"})

    async def send(message):
        told.append(message)

    headers = [(b"host", b"localhost"), (b"content-type", b"multipart/form-data; boundary=mark")]
    anyio.run(Gate(Beside(no_page, service), Rules()), {**SCOPE, "headers": headers}, receive, send)
    assert told[0]["status"] == 400
    assert not caplog.records


FIELDS = {
    "a deep one": ("/v1/ask", {"task": "region_to_ocr", "region": "[" * 90_000}),
    "no number": ("/v1/ask", {"task": "region_to_ocr", "region": "[NaN, 1, 2, 3]"}),
    "tasks that are none": ("/v1/ask_many", {"tasks": "5", "pictures": "5"}),
}


@pytest.mark.parametrize(("path", "fields"), FIELDS.values(), ids=FIELDS)
def test_what_a_form_says_is_checked(client, path, fields):
    name = "pictures" if "many" in path else "picture"
    told = client.post(path, data=fields, files={name: ("a.png", encoded(), "image/png")})
    assert (told.status_code, told.json()["code"]) == (400, "bad_input")


FAULTS = {
    "ours": (RuntimeError("secret"), 500, "fault"),
    "a model that cannot be loaded": (CheckpointError("It is gone."), 422, "no_model"),
    "a full disk": (OSError(28, "No space left"), 507, "no_room"),
}


@pytest.mark.parametrize(("error", "status", "code"), FAULTS.values(), ids=FAULTS)
def test_a_fault_has_its_status_and_tells_nothing(error, status, code):
    told = client_of(FakeEngine(error=error)).post("/v1/detect", json={"picture": PICTURE})
    assert (told.status_code, told.json()["code"]) == (status, code)
    assert "secret" not in told.text


def test_too_many_wait_and_when_to_come_again():
    service = Service(AppConfig(model="nano"), FakeEngines())
    service.answers.queue = queue = FairQueue(1, most=0)
    client = client_of(service=service)
    told = client.post("/v1/detect", json={"picture": PICTURE})
    assert (told.status_code, told.json()["code"]) == (503, "busy")
    assert int(told.headers["retry-after"]) >= 1
    assert (queue.waiting(), queue.working()) == (0, 0)


def test_a_place_in_the_line_is_told_and_given_back(monkeypatch):
    monkeypatch.setattr("florence_demo.serving.answering.TICK", 0.01)
    service = Service(AppConfig(model="nano"), FakeEngines())
    service.answers.queue = queue = FairQueue(1)
    headers = {"accept": "text/event-stream"}
    asked = {"picture": PICTURE}
    first = queue.enter("somebody")
    with client_of(service=service).stream(
        "POST", "/v1/detect", json=asked, headers=headers
    ) as told:
        lines = told.iter_lines()
        assert next(line for line in lines if line.startswith("data:")).startswith('data: "Busy: ')
        first.__exit__()
        assert [line for line in lines if line.startswith("event:")] == ["event: answer"]
    assert (queue.waiting(), queue.working()) == (0, 0)


def test_who_does_not_read_gives_up_the_place(monkeypatch):
    import anyio

    monkeypatch.setattr("florence_demo.api.routes.PATIENCE", 0.01)
    engine = Endless()
    service = Service(AppConfig(model="nano"), FakeEngines(engine))
    sent = iter([{"type": "http.request", "body": ASKED, "more_body": False}])

    async def receive():
        found = next(sent, None)
        if found is None:
            await anyio.sleep_forever()  # it does not leave either
        return found

    async def send(message):
        if message["type"] == "http.response.body":
            await anyio.sleep_forever()

    headers = [*SCOPE["headers"], (b"accept", b"text/event-stream")]
    anyio.run(Gate(Beside(no_page, service), Rules()), {**SCOPE, "headers": headers}, receive, send)
    assert engine.stopped.wait(30)
    assert service.answers.queue.working() == 0


class Endless(FakeEngine):
    def __init__(self):
        super().__init__()
        self.stopped = threading.Event()

    def predict(self, image, task, text="", region=None, options=None, *, on_step=None):
        while on_step(lambda: super(Endless, self).predict(image, task)):
            pass
        self.stopped.set()
        raise Stopped


def test_who_leaves_ends_the_work(monkeypatch):
    import anyio

    engine = Endless()
    service = Service(AppConfig(model="nano"), FakeEngines(engine))
    gate = Gate(Beside(no_page, service), Rules())
    sent = iter([{"type": "http.request", "body": ASKED, "more_body": False}])

    async def receive():
        return next(sent, {"type": "http.disconnect"})

    async def send(message):
        pass

    anyio.run(gate, dict(SCOPE), receive, send)
    assert engine.stopped.wait(30)
    assert service.answers.queue.working() == 0


RIGHT = {
    "bearer": {"Authorization": "Bearer right"},
    "its own header": {"X-API-Key": "right"},
    "the second key": {"X-API-Key": "too"},
}
WRONG = {
    "none": {},
    "another": {"X-API-Key": "wrong"},
    "an empty one": {"X-API-Key": ""},
    "basic": {"Authorization": "Basic " + base64.b64encode(b"right:right").decode()},
    "no words": {"Authorization": "Bearer"},
}


@pytest.mark.parametrize("headers", RIGHT.values(), ids=RIGHT)
def test_a_key_opens(headers):
    client = client_of(api_keys=("right", "too"))
    assert client.post("/v1/detect", json={"picture": PICTURE}, headers=headers).status_code == 200


@pytest.mark.parametrize("headers", WRONG.values(), ids=WRONG)
@pytest.mark.parametrize(("method", "path"), [("POST", "/v1/detect"), ("GET", "/v1/models")])
def test_without_a_key_nothing_opens(headers, method, path):
    client = client_of(api_keys=("right", "too"))
    told = client.request(method, path, json={"picture": PICTURE}, headers=headers)
    assert (told.status_code, told.json()["code"]) == (401, "no_key")
    assert client.get("/docs").status_code == 200


def test_who_logs_in_to_the_page_logs_in_here():
    client = client_of(rules=Rules(login="me:word"))
    asked = {"json": {"picture": PICTURE}}
    assert client.post("/v1/detect", **asked).status_code == 401
    assert client.post("/v1/detect", **asked, auth=("me", "wrong")).status_code == 401
    assert client.post("/v1/detect", **asked, auth=("me", "word")).status_code == 200


GUESSES = {
    "keys": ({"keys": ("right",)}, {"X-API-Key": "wrong"}, {"X-API-Key": "right"}),
    "logins": (
        {"login": "me:word"},
        {"Authorization": "Basic bWU6Z3Vlc3M="},
        {"Authorization": "Basic bWU6d29yZA=="},
    ),
}


@pytest.mark.parametrize(("rules", "wrong", "right"), GUESSES.values(), ids=GUESSES)
def test_keys_and_logins_cannot_be_guessed_at_will(rules, wrong, right):
    client = client_of(rules=Rules(guesses_a_minute=3, **rules))

    def status(headers, path="/v1/models"):
        return client.get(path, headers=headers).status_code

    assert [status(wrong), status(right), status({}), status(wrong)] == [401, 200, 401, 401]
    assert [status(wrong), status(wrong)] == [401, 429]
    assert (status(right), status(right, "/metrics")) == (429, 429), "nor learned to be right"
    assert status({}, "/healthz") == 200


def test_a_token_of_the_hub_is_no_guess_of_a_login():
    client = client_of(rules=Rules(login="me:word", guesses_a_minute=1))
    sent = {"headers": {"Authorization": "Bearer hf_abc"}}
    assert [client.get("/v1/models", **sent).status_code for _ in range(3)] == [401] * 3
    assert client.get("/v1/models", auth=("me", "word")).status_code == 200


LIMITS = {
    "a visitor": ({"questions_a_minute": 2}, {}),
    "a key": ({"key_questions_a_minute": 2, "api_keys": ("right",)}, {"X-API-Key": "right"}),
}


@pytest.mark.parametrize(("config", "headers"), LIMITS.values(), ids=LIMITS)
def test_questions_a_minute_are_bounded(config, headers):
    client = client_of(**config)
    asked = [
        client.post("/v1/detect", json={"picture": PICTURE}, headers=headers) for _ in range(3)
    ]
    assert [each.status_code for each in asked] == [200, 200, 429]
    assert asked[2].json()["code"] == "too_often"
    assert asked[2].headers["retry-after"]


def test_each_question_of_many_counts():
    client = client_of(questions_a_minute=5)
    asked = {"pictures": [PICTURE, PICTURE], "tasks": ["od", "ocr"]}
    assert client.post("/v1/ask_many", json=asked).status_code == 200
    refused = client.post("/v1/ask_many", json=asked)  # the fifth, and three more
    assert (refused.status_code, refused.json()["code"]) == (429, "too_often")
    assert "Only 5 questions" in refused.json()["detail"]
    assert refused.headers["retry-after"]
    client = client_of(questions_a_minute=3)
    streamed = client.post("/v1/ask_many", json=asked, headers={"accept": "text/event-stream"})
    assert '"too_often"' in streamed.text
    # What was too much is not held against the next one, only the request itself.
    statuses = [client.post("/v1/detect", json={"picture": PICTURE}).status_code for _ in range(3)]
    assert statuses == [200, 200, 429]


def test_giving_up_a_model_is_the_operators_on_a_public_server():
    public = client_of(public=True)
    told = public.post("/v1/unload", json={"model": "nano"})
    assert (told.status_code, told.json()["code"]) == (403, "not_allowed")
    keyed = client_of(public=True, api_keys=("right",))
    headers = {"X-API-Key": "right"}
    assert keyed.post("/v1/unload", json={"model": "nano"}, headers=headers).status_code == 200


def test_the_documentation_names_every_verb(client):
    told = client.get("/v1/openapi.json").json()
    assert set(told["paths"]) == {f"/v1/{name}" for name in verbs()}
    asked = told["paths"]["/v1/detect"]["post"]
    fields = asked["requestBody"]["content"]["application/json"]["schema"]["properties"]
    assert set(fields) == {"picture", "names", "model", "tiles"}
    assert all(field["description"] for field in fields.values())
    form = asked["requestBody"]["content"]["multipart/form-data"]["schema"]
    assert form["properties"]["picture"]["format"] == "binary"
    answer = told["components"]["schemas"]["Answer"]["properties"]
    assert answer.keys() >= {"text", "detections", "parsed", "raw", "size"}


def test_the_documentation_page_needs_no_other_site(client):
    page = client.get("/docs").text
    assert "https://" not in page.replace("https://localhost", "")
    script = page.split('<script src="', 1)[1].split('"', 1)[0]
    assert client.get(script).status_code == 200
