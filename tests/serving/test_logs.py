"""What stands in the log, and what never does."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import threading
from contextlib import suppress

import pytest
from PIL import Image

from florence_demo.engine.request import USUAL
from florence_demo.errors import InputError
from florence_demo.serving.asking import Service
from florence_demo.serving.config import AppConfig
from florence_demo.serving.gate import Gate, Rules
from florence_demo.serving.logs import (
    FIELDS,
    REQUEST,
    JsonLines,
    Lines,
    adopt_server,
    configure,
    new_request,
    our_fault,
)
from tests.fakes import FakeEngine, FakeEngines

MARKER = "zebra-of-the-visitor"
PICTURE = Image.new("RGB", (40, 30), "teal")


@pytest.fixture
def logged():
    """Return a function that logs from now on and returns where to."""
    root, ours = logging.getLogger(), logging.getLogger("florence_demo")
    engine = logging.getLogger("florence_demo.engine.engine")
    before = root.handlers[:], root.level, ours.level, engine.level, threading.excepthook

    def begin(form: str = "json", level: str = "info") -> io.StringIO:
        stream = io.StringIO()
        configure(form, level, stream)
        return stream

    yield begin
    root.handlers[:] = before[0]
    for logger, level in zip((root, ours, engine), before[1:4], strict=True):
        logger.setLevel(level)
    threading.excepthook = before[4]
    logging.captureWarnings(False)
    REQUEST.set("")


def rows(stream: io.StringIO) -> list[dict]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def asked(service: Service, error: type[Exception] | None = None) -> None:
    model = service.check_model("nano")
    with suppress(error or ()):  # type: ignore[arg-type]
        for _ in service.ask(PICTURE, "od", "", None, model, USUAL):
            pass


def made(error: Exception | None = None) -> Service:
    return Service(AppConfig(model="nano"), FakeEngines(FakeEngine(error=error)))


def test_a_question_is_one_line_of_json(logged):
    stream = logged()
    name = new_request()
    asked(made())
    (row,) = rows(stream)
    assert row["message"].startswith("question: od, nano: answered, ")
    assert {n: row[n] for n in ("level", "task", "model", "status", "tokens", "request_id")} == {
        "level": "info", "task": "od", "model": "nano", "status": "answered", "tokens": 0,
        "request_id": name,
    }  # fmt: skip
    assert row["logger"] == "florence_demo.serving.watching"
    assert row["time"].endswith("Z")
    assert row["seconds"] >= 0
    assert row["queue_seconds"] >= 0


def test_a_question_is_one_line_for_people(logged):
    stream = logged("text")
    name = new_request("abc-1")
    asked(made(InputError(MARKER)), InputError)
    (line,) = stream.getvalue().splitlines()
    assert f"INFO florence_demo.serving.watching [{name}]: question: od, nano: refused" in line
    assert MARKER not in line


@pytest.mark.parametrize("form", ["json", "text"])
def test_an_errors_words_are_not_logged_but_its_type_and_place(logged, form):
    stream = logged(form)
    try:
        try:
            raise KeyError(MARKER)
        except KeyError as exc:
            raise RuntimeError(f"no {MARKER}") from exc
    except RuntimeError:
        logging.getLogger("florence_demo.x").exception("broken")
    text = stream.getvalue()
    assert MARKER not in text
    assert text.index("builtins.KeyError") < text.index("builtins.RuntimeError")
    assert "test_logs.py:" in text
    assert "in test_an_errors_words_are_not_logged_but_its_type_and_place" in text


def test_an_errors_system_words_are_logged(logged):
    stream = logged()
    try:
        (lambda: open(f"/none/{MARKER}"))()  # noqa: PTH123, SIM115
    except OSError:
        logging.getLogger("florence_demo.x").exception("broken")
    (row,) = rows(stream)
    assert row["exception"][-1] == "builtins.FileNotFoundError: No such file or directory"
    assert MARKER not in json.dumps(row)


def test_several_errors_at_once_are_told_each(logged):
    stream = logged()
    try:
        raise ExceptionGroup(MARKER, [ValueError(MARKER), TypeError(MARKER)])
    except ExceptionGroup:
        logging.getLogger("florence_demo.x").exception("broken")
    assert MARKER not in stream.getvalue()
    assert "builtins.TypeError" in stream.getvalue()


def test_what_others_log_ends_with_its_first_line(logged):
    stream = logged(level="debug")
    logging.getLogger("asyncio").error("Task failed\nfuture: RuntimeError('%s')", MARKER)
    logging.getLogger("PIL.x").debug("chunk %s", MARKER)
    logging.getLogger("urllib3.x").info("GET /%s", MARKER)
    (row,) = rows(stream)
    assert row["message"] == "Task failed"


def test_a_thread_that_fails_is_told_without_its_words(logged, capsys):
    stream = logged()

    def work() -> None:
        raise RuntimeError(MARKER)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(10)
    (row,) = rows(stream)
    assert row["message"] == "a thread failed"
    assert MARKER not in stream.getvalue() + capsys.readouterr().err


def test_the_servers_own_lines_come_the_same_way_and_requests_have_none(logged):
    stream = logged(level="debug")
    access, errors = logging.getLogger("uvicorn.access"), logging.getLogger("uvicorn.error")
    access.addHandler(logging.StreamHandler(stream))
    adopt_server()
    access.info('%s - "GET %s" %d', "192.0.2.7:1", f"/?q={MARKER}", 200)
    errors.error("Exception in ASGI application\n")
    (row,) = rows(stream)
    assert row["message"] == "Exception in ASGI application"


def test_what_a_question_does_in_a_thread_has_its_name(logged):
    class Telling(FakeEngine):
        def predict(self, *args, **kwargs):
            logging.getLogger("florence_demo.x").info("in work")
            return super().predict(*args, **kwargs)

    stream = logged()
    name = new_request()
    asked(Service(AppConfig(model="nano"), FakeEngines(Telling())))
    assert [row["request_id"] for row in rows(stream)] == [name, name]


def test_a_fault_is_told_with_the_name_to_look_for():
    name = new_request()
    assert our_fault("Ask again.") == (
        f"Something went wrong on our side ({name}): it is in the log. Ask again."
    )


@pytest.mark.parametrize(
    ("forwarded", "sent", "taken"),
    [
        (True, "a-proxys-Name-7", True),
        (False, "a-proxys-Name-7", False),
        (True, "two words", False),
        (True, "a" * 65, False),
        (True, "", False),
    ],
)
def test_a_proxys_name_for_a_request_is_taken_where_one_stands_before(forwarded, sent, taken):
    seen: list[str] = []

    async def app(scope, receive, send):
        seen.append(REQUEST.get())
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    told: list[dict] = []

    async def send(message):
        told.append(message)

    scope = {
        "type": "http", "method": "GET", "path": "/", "client": ("127.0.0.1", 1),
        "headers": [(b"host", b"localhost"), (b"x-request-id", sent.encode())],
    }  # fmt: skip
    asyncio.run(Gate(app, Rules(forwarded=forwarded))(scope, None, send))
    named = dict(told[0]["headers"])[b"x-request-id"].decode()
    assert seen == [named]
    assert (named == sent) == taken
    assert taken or (named[0] == "r" and named.isalnum() and len(named) == 15)


def test_values_beside_a_message_stand_in_the_json_alone():
    record = logging.makeLogRecord({"name": "florence_demo.x", "msg": "m", FIELDS: {"task": "od"}})
    assert json.loads(JsonLines().format(record))["task"] == "od"
    assert "od" not in Lines().format(record)
