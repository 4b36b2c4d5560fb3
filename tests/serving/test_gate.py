"""The door: which requests come in, and with which headers answers go out."""

from __future__ import annotations

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor

import pytest

from florence_demo.serving import bodies
from florence_demo.serving.bodies import BODY
from florence_demo.serving.counts import Counts
from florence_demo.serving.gate import Gate, Rules

JSON = {"content-type": "application/json"}
ASK = "/gradio_api/call/ask"
UPLOAD = "/gradio_api/upload"
FORM = {"content-type": "multipart/form-data; boundary=mark"}


def form(*parts: tuple[str, bytes]) -> bytes:
    """Return a form of parts, each with what stands behind "form-data"."""
    whole = b"".join(
        b"--mark\r\nContent-Disposition: form-data; " + head.encode() + b"\r\n\r\n" + body + b"\r\n"
        for head, body in parts
    )
    return whole + b"--mark--\r\n"


FILE = 'name="files"; filename="a.png"'


class App:
    """Take whatever comes, and remember it."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []

    async def __call__(self, scope, receive, send):
        body, more = b"", scope["method"] == "POST"
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        self.bodies.append(body)
        headers = [(b"x-frame-options", b"ALLOWALL"), (b"content-type", b"text/plain")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"fine"})


def run(work):
    """Run a coroutine in a thread of its own: a browser's tests leave a loop in this one."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, work).result(60)


def ask(gate, path="/", *, method="GET", headers=None, body=b"", client="9.9.9.9", pieces=None):
    """Return status, headers and body of one request."""
    given = {"host": "localhost:7860", **(headers or {})}
    scope = {
        "type": "http", "method": method, "path": path, "query_string": b"",
        "client": (client, 5), "server": ("10.0.0.7", 7860),
        "headers": [(n.encode("latin-1"), v.encode("latin-1")) for n, v in given.items()],
    }  # fmt: skip
    waiting = [body] if pieces is None else pieces
    sent: list[dict] = []

    async def receive():
        if not waiting:
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": waiting.pop(0), "more_body": bool(waiting)}

    async def send(message):
        sent.append(message)

    run(gate(scope, receive, send))
    start = sent[0]
    found = {n.decode(): v.decode() for n, v in start["headers"]}
    return start["status"], found, b"".join(m.get("body", b"") for m in sent[1:])


def gate(app=None, **rules) -> Gate:
    return Gate(app or App(), Rules(**rules))


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost:7860", 200),
        ("LOCALHOST", 200),
        ("localhost.", 200),
        ("127.0.0.1:9", 200),
        ("[::1]:7860", 200),
        ("10.0.0.7:7860", 200),
        ("demo.example.org", 200),
        ("a.b.example.net", 200),
        ("evil.example", 400),
        ("example.net", 400),
        ("evilexample.net", 400),
        ("demo.example.org.evil.example", 400),
        ("localhost.evil.example", 400),
        ("localhost@evil.example", 400),
        ("10.0.0.8", 400),
        ("0.0.0.0:7860", 400),
        ("", 400),
        ("[", 400),
        ("localhost, evil.example", 400),
    ],
)
def test_which_host_names_are_served(host, status):
    given = gate(hosts=("demo.example.org", "*.example.net"))
    got, _, body = ask(given, headers={"host": host})
    assert got == status
    assert status == 200 or "not served under the name" in json.loads(body)["detail"]


def test_a_host_name_in_a_refusal_is_short_and_plain():
    _, _, body = ask(gate(), headers={"host": "<script>" + "x" * 9000})
    assert len(body) < 600
    assert b"<" not in body


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("http://localhost:7860", 200),
        ("https://demo.example.org", 200),
        ("http://10.0.0.7:7860", 200),
        ("http://evil.example", 403),
        ("null", 403),
        ("", 403),
        ("file://", 403),
        ("http://localhost.evil.example", 403),
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS"])
def test_which_origins_may_ask(origin, status, method):
    given = gate(hosts=("demo.example.org",))
    path = "/gradio_api/info" if method == "GET" else ASK
    headers = {"origin": origin, **JSON}
    assert ask(given, path, method=method, headers=headers, body=b"{}")[0] == status


def test_a_forwarded_host_is_one_of_ours():
    headers = {"x-forwarded-host": "evil.example"}
    assert ask(gate(), headers=headers)[0] == 400
    assert ask(gate(hosts=("evil.example",)), headers=headers)[0] == 200
    assert ask(gate(forwarded=True), headers=headers)[0] == 200


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/monitoring"),
        ("GET", "/gradio_api/proxy=http://10.0.0.1/"),
        ("GET", "/gradio_api/file=http://10.0.0.1/a.png"),
        ("GET", "/gradio_api/file=HTTPS://example.org/a.png"),
        ("GET", "/gradio_api/deep_link"),
        ("GET", "/gradio_api/runs"),
        ("GET", "/gradio_api/vibe-code/"),
        ("GET", "/custom_component/1/server/component/index.js"),
        ("POST", "/gradio_api/component_server"),
        ("POST", "/gradio_api/process_recording"),
        ("POST", "/gradio_api/stream/1"),
        ("POST", "/gradio_api/vibe-edit"),
        ("POST", "/"),
        ("DELETE", "/"),
        ("PUT", "/gradio_api/upload"),
        ("TRACE", "/"),
    ],
)
def test_what_the_page_does_not_use_is_not_served(method, path):
    app = App()
    assert ask(gate(app), path, method=method, headers=JSON, body=b"{}")[0] == 404
    assert app.bodies == []


@pytest.mark.parametrize(
    "path",
    ["/", "/config", "/theme.css", "/assets/index-1.js", "/static/img/logo.svg", "/logout",
     "/gradio_api/info", "/gradio_api/queue/data", "/gradio_api/heartbeat/abc",
     "/gradio_api/file=/tmp/served/a b\n.png", "/gradio_api/call/ask/123",
     "/gradio_api/call/v2/ask/123", "/gradio_api/upload_progress", "/gradio_api/startup-events"],
)  # fmt: skip
def test_what_the_page_uses_is_served(path):
    for method in ("GET", "HEAD"):
        assert ask(gate(), path, method=method)[0] == 200


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "not valid JSON"),
        (b"[]", "not an object"),
        (b'{"data": [' + b"[" * 100 + b"]" * 100 + b"]}", "nested deeper"),
        (b'{"data": [' + b"1," * 2_000 + b"1]}", "more than 2,000 values"),
        (b'{"data": [NaN]}', "is no number"),
        (b'{"data": [1e999]}', "is no number"),
        (rb'{"data": ["\ud800"]}', "half of a character"),
        (b'{"data": [' + b"9" * 5000 + b"]}", "thousands of digits"),
        (b'{"data": "' + b"x" * (16 << 20) + b'"}', "upload the picture"),
        (b'{"data": [\xff]}', "not in UTF-8"),
    ],
    ids=["empty", "list", "deep", "many", "nan", "overflow", "surrogate", "digits", "large",
         "latin"],
)  # fmt: skip
@pytest.mark.parametrize("path", [ASK, "/gradio_api/queue/join", "/gradio_api/cancel"])
def test_a_body_is_bounded_before_anything_reads_it(path, body, words):
    app = App()
    status, _, answer = ask(gate(app), path, method="POST", headers=JSON, body=body)
    assert 400 <= status < 500
    assert words in json.loads(answer)["detail"]
    assert app.bodies == []


def test_a_body_without_a_length_is_read_no_further_than_it_may():
    class Endless(list):
        taken = 0

        def pop(self, _=0):
            self.taken += 1
            return b"x" * (1 << 20)

    pieces = Endless([b""])
    assert ask(gate(), ASK, method="POST", headers=JSON, pieces=pieces)[0] == 413
    assert pieces.taken <= (BODY.max_bytes >> 20) + 1


def test_a_good_body_arrives_as_it_was_sent():
    app = App()
    body = json.dumps({"data": [{"url": "data:image/png;base64," + "A" * 100_000}]}).encode()
    pieces = [body[:10], body[10:]]
    assert ask(gate(app), ASK, method="POST", headers=JSON, pieces=pieces)[0] == 200
    assert app.bodies == [body]


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", ""])
def test_a_form_of_another_site_is_no_question(kind):
    headers = {"content-type": kind}
    assert ask(gate(), ASK, method="POST", headers=headers, body=b"{}")[0] == 415


@pytest.mark.parametrize("stated", [True, False], ids=["length", "pieces"])
def test_an_upload_is_bounded(stated):
    headers = {**FORM, "content-length": "300"} if stated else FORM
    given = gate(upload_bytes=250)
    pieces = [form((FILE, b"x" * 100))[:100], b"x" * 100, b"x" * 100]
    status, _, body = ask(given, UPLOAD, method="POST", headers=headers, pieces=pieces)
    assert status == 413
    assert "larger than" in json.loads(body)["detail"]


def test_an_upload_needs_room_on_the_disk():
    given = gate()
    given.room = lambda: 100
    sent = form((FILE, b"x" * 200))
    status, _, body = ask(given, UPLOAD, method="POST", headers=FORM, body=sent)
    assert (status, "no room" in json.loads(body)["detail"]) == (507, True)


@pytest.mark.parametrize("size", [1, 7, 64, 10_000], ids=lambda n: f"pieces of {n}")
def test_a_form_of_files_arrives_as_it_was_sent(size):
    app = App()
    sent = form((FILE, b"\r\n\r\n--mar" * 9), (FILE, b"Content-Disposition: form-data\r\n\r\n"))
    pieces = [sent[at : at + size] for at in range(0, len(sent), size)]
    assert ask(gate(app), UPLOAD, method="POST", headers=FORM, pieces=pieces)[0] == 200
    assert app.bodies == [sent]


@pytest.mark.parametrize(
    ("kind", "body", "status"),
    [
        ("multipart/form-data; boundary=mark; charset=punycode", form((FILE, b"x")), 415),
        ("multipart/form-data; charset=idna; boundary=mark", form((FILE, b"x")), 415),
        ("multipart/form-data; boundary=" + "x" * 5000, b"", 415),
        ("multipart/form-data", b"", 415),
        ("text/plain", b"", 415),
        (FORM["content-type"], form(('name="files"', b"x" * 99)), 400),
        (FORM["content-type"], form((FILE, b"x"), ('name="abc-abcdefgh"', b"x")), 400),
        (FORM["content-type"], form((f'{FILE}; x="{"y" * 9000}"', b"x")), 400),
        (FORM["content-type"], form(*[(FILE, b"")] * 1001), 400),
    ],
    ids=["codec", "codec first", "boundary", "no boundary", "no form", "field", "second field",
         "long header", "many"],
)  # fmt: skip
def test_what_is_no_file_is_not_parsed(kind, body, status):
    app = App()
    got, _, said = ask(gate(app), UPLOAD, method="POST", headers={"content-type": kind}, body=body)
    assert got == status
    assert json.loads(said)["detail"].endswith((".", "."))
    assert app.bodies == []


@pytest.mark.parametrize(
    "values",
    [
        {"data": ["x" * 200_000]},
        {"data": ["data:image/png;base64," + "A" * 200_000] * 2},
        {"data": ["data:" + "é" * 200_000]},
        {"x" * 200_000: 1},
    ],
    ids=["words", "two pictures", "no picture", "a name"],
)
def test_only_a_picture_is_long(values):
    status, _, said = ask(
        gate(),
        ASK,
        method="POST",
        headers=JSON,
        body=json.dumps(values, ensure_ascii=False).encode(),
    )
    assert (status, "more than 100,000 letters" in json.loads(said)["detail"]) == (400, True)


def test_what_one_visitor_holds_is_bounded(monkeypatch):
    monkeypatch.setattr(bodies, "HELD_OF_ONE", 1000)
    monkeypatch.setattr(bodies, "HELD", 1500)
    waiting = [("1.1.1.1", 990)]
    given = Gate(App(), Rules(), in_work=lambda: waiting)
    body = json.dumps({"data": ["x" * 900]}).encode()

    def status(client, body=b"{}"):
        return ask(given, ASK, method="POST", headers=JSON, body=body, client=client)[0]

    assert status("2.2.2.2", body) == 200
    assert status("2.2.2.2", body * 2) == 503
    waiting.append(("1.1.1.1", 20))
    assert status("1.1.1.1") == 503
    waiting.append(("3.3.3.3", 900))
    assert status("2.2.2.2") == 503
    del waiting[:]
    assert status("1.1.1.1") == 200
    assert not given._held._of


def test_a_question_arrives_in_time(monkeypatch):
    monkeypatch.setattr(bodies, "SECONDS", 0.01)
    sent = []

    async def receive():
        await asyncio.Event().wait()

    async def send(message):
        sent.append(message)

    headers = [(b"host", b"localhost"), (b"content-type", b"application/json")]
    scope = {"type": "http", "method": "POST", "path": ASK, "client": ("9.9.9.9", 5)}
    scope["headers"] = headers
    run(gate()(scope, receive, send))
    assert sent[0]["status"] == 408


def test_a_form_arrives_in_time(monkeypatch):
    monkeypatch.setattr(bodies, "FORM_SECONDS", 0.01)
    sent = []

    async def receive():
        await asyncio.Event().wait()

    async def send(message):
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": "/v1/keep", "client": ("9.9.9.9", 5)}
    scope["headers"] = [(b"host", b"localhost"), (b"content-type", FORM["content-type"].encode())]
    run(gate()(scope, receive, send))
    assert sent[0]["status"] == 408


def test_a_form_counts_as_what_is_held(monkeypatch):
    monkeypatch.setattr(bodies, "HELD_OF_ONE", 1000)
    given = gate()
    pieces = [form((FILE, b"x" * 600)), b"x" * 600]
    asked = {"method": "POST", "headers": FORM}
    assert ask(given, "/v1/keep", **asked, body=pieces[0])[0] == 200
    assert ask(given, "/v1/keep", **asked, pieces=pieces)[0] == 503
    assert not given._held._of


def test_what_arrives_counts_as_asked():
    given = gate(in_work=1)
    told = []

    async def work():
        arrives = asyncio.Event()

        async def slow():
            await arrives.wait()
            return {"type": "http.request", "body": b"{}"}

        async def send(message):
            told.append(message.get("status"))

        headers = [(b"host", b"localhost"), (b"content-type", b"application/json")]
        scope = {"type": "http", "method": "POST", "path": "/v1/ask", "headers": headers}
        scope["client"] = ("9.9.9.9", 5)
        first = asyncio.create_task(given(dict(scope), slow, send))
        await asyncio.sleep(0)
        await given(dict(scope), slow, send)
        arrives.set()
        await first

    run(work())
    assert [status for status in told if status] == [429, 200]


@pytest.mark.parametrize("path", ["/", "/config", "/gradio_api/info", "/gradio_api/openapi.json"])
def test_what_is_put_together_anew_has_a_rate(path):
    given = gate(pages_a_minute=2)
    assert [ask(given, path)[0] for _ in range(3)] == [200, 200, 429]
    assert ask(given, "/assets/a.js")[0] == 200


@pytest.mark.parametrize(
    "host", ["evil@127.0.0.1", "127.0.0.1/evil", "localhost?evil", "localhost:evil", "localhost#"]
)
def test_a_host_is_a_name_and_a_port(host):
    assert ask(gate(), headers={"host": host})[0] == 400


@pytest.mark.parametrize(
    "origin", ["http://localhost:3000", "http://127.0.0.1:7860", "http://evil@localhost:7860"]
)
def test_another_program_of_this_machine_is_another_site(origin):
    assert ask(gate(), "/gradio_api/info", headers={"origin": origin})[0] == 403


def test_one_visitors_share_of_the_queue_is_bounded():
    waiting = [("1.1.1.1", 10)] * 3 + [("2.2.2.2", 10)]
    given = Gate(App(), Rules(in_work=3), in_work=lambda: waiting)

    def status(client):
        return ask(given, ASK, method="POST", headers=JSON, body=b"{}", client=client)[0]

    assert status("1.1.1.1") == 429
    assert status("2.2.2.2") == 200
    waiting.pop(0)
    assert status("1.1.1.1") == 200


def test_logins_cannot_be_guessed_at_will():
    given = gate(guesses_a_minute=2)
    headers = {"content-type": "application/x-www-form-urlencoded"}
    asked = {"method": "POST", "headers": headers, "body": b"username=a&password=b"}
    assert [ask(given, "/login", **asked)[0] for _ in range(3)] == [200, 200, 429]


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("2001:db8:1:2::1", "2001:db8:1:2:ffff::7", True),
        ("2001:db8:1:2::1", "2001:db8:1:3::1", False),
        ("::ffff:1.2.3.4", "1.2.3.4", True),
        ("1.2.3.4", "1.2.3.5", False),
        ("no address", "no address", True),
    ],
)
def test_a_customers_network_is_one_visitor(one, other, same):
    given = gate(questions_a_minute=1)
    asked = {"method": "POST", "headers": JSON, "body": b"{}"}
    found = [ask(given, ASK, **asked, client=client)[0] for client in (one, other)]
    assert found == [200, 429 if same else 200]


def test_a_visitor_behind_our_proxy_is_who_the_proxy_says():
    given = Gate(App(), Rules(in_work=1, forwarded=True), in_work=lambda: [("3.3.3.3", 10)])
    for value, status in [("3.3.3.3", 429), ("1.2.3.4, 3.3.3.3", 429), ("3.3.3.3, 5.5.5.5", 200)]:
        headers = {**JSON, "x-forwarded-for": value}
        assert ask(given, ASK, method="POST", headers=headers, body=b"{}")[0] == status


@pytest.mark.parametrize(
    ("rule", "path"),
    [("questions_a_minute", ASK), ("uploads_a_minute", "/gradio_api/upload")],
)
def test_a_visitor_may_ask_so_often_in_a_minute(rule, path):
    given = gate(**{rule: 2})
    sent = (
        {"headers": FORM, "body": form((FILE, b"x"))}
        if path == UPLOAD
        else {"headers": JSON, "body": b"{}"}
    )
    statuses = [ask(given, path, method="POST", **sent)[0] for _ in range(3)]
    assert statuses == [200, 200, 429]
    other = ask(given, path, method="POST", client="8.8.8.8", **sent)
    assert other[0] == 200


def test_counts_begin_anew_and_stay_few():
    now = [0.0]
    counts = Counts(lambda: now[0], most=3)
    assert [counts.add("a"), counts.add("a")] == [1, 2]
    now[0] = 61
    assert counts.add("a") == 1
    for name in "bcdefg":
        counts.add(name)
    assert len(counts._seen) == 3


def test_connections_of_one_visitor_are_bounded_and_given_back():
    given = gate(connections=1)
    inner = []

    async def nested(scope, receive, send):
        if not inner:
            inner.append(None)
            inner[0] = await asyncio.to_thread(ask, given, "/")
        await App()(scope, receive, send)

    given.app = nested
    assert ask(given, "/")[0] == 200
    assert inner[0][0] == 429
    assert given._open == {}


def test_every_answer_says_what_a_browser_may_do_with_it():
    for path in ("/", "/nothing-here"):
        _, headers, _ = ask(gate(), path)
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"
        policy = headers["content-security-policy"]
        assert "default-src 'self'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "http:" not in policy
        assert "*" not in policy


def test_a_space_may_be_shown_by_the_hub():
    _, headers, _ = ask(gate(frames=("https://huggingface.co",)))
    assert "frame-ancestors https://huggingface.co" in headers["content-security-policy"]
    assert "x-frame-options" not in headers or headers["x-frame-options"] != "DENY"


@pytest.mark.parametrize(
    ("error", "path", "status"),
    [
        (TypeError("no such argument"), ASK, 400),
        (KeyError("ask"), ASK, 400),
        (RuntimeError("broken"), ASK, 500),
        (KeyError("over"), "/gradio_api/cancel", 200),
        (RuntimeError("broken"), "/gradio_api/cancel", 500),
    ],
)
@pytest.mark.parametrize("told", [True, False], ids=["after its own answer", "at once"])
def test_what_fails_behind_is_a_sentence(error, path, status, told):
    async def broken(scope, receive, send):
        if told:  # as starlette does before it raises
            headers = [(b"content-type", b"text/plain; charset=utf-8")]
            await send({"type": "http.response.start", "status": 500, "headers": headers})
            await send({"type": "http.response.body", "body": b"Internal Server Error"})
        raise error

    got, headers, body = ask(gate(broken), path, method="POST", headers=JSON, body=b"{}")
    assert got == status
    assert json.loads(body)["detail"].endswith(".")
    assert headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    ("wanted", "status"),
    [
        ("bytes=0-499", 200),
        ("bytes=500-", 200),
        ("bytes=-500", 200),
        ("bytes=0-,5-9", 416),
        (f"bytes=0-{'9' * 400}", 416),
        ("bytes=1-2-3", 416),
        ("bytes=", 416),
        ("lines=1-2", 416),
    ],
)
def test_a_file_is_asked_for_whole_or_one_part_of_it(wanted, status):
    assert ask(gate(), "/gradio_api/file=/tmp/a.png", headers={"range": wanted})[0] == status


def test_a_websocket_is_closed():
    sent = []

    async def send(message):
        sent.append(message)

    run(gate()({"type": "websocket"}, None, send))
    assert sent == [{"type": "websocket.close", "code": 1008}]


@pytest.mark.parametrize(("name", "reached"), [(b"null", 0), (b'"abc"', 1)], ids=["none", "one"])
@pytest.mark.parametrize("path", ["/gradio_api/cancel", "/gradio_api/reset"])
def test_a_question_without_a_name_is_ended_without_a_word(path, name, reached):
    app = App()
    body = b'{"session_hash": "x", "fn_index": 3, "event_id": %s}' % name
    assert ask(gate(app), path, method="POST", headers=JSON, body=body)[0] == 200
    assert len(app.bodies) == reached


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("POST", ASK, 503), ("POST", "/v1/caption", 503), ("POST", UPLOAD, 503), ("GET", "/", 200),
     ("GET", "/gradio_api/queue/data", 200), ("POST", "/gradio_api/cancel", 200)],
)  # fmt: skip
def test_a_server_that_ends_takes_nothing_and_still_answers(method, path, status):
    door = Gate(App(), Rules(), closed=lambda: "This server is ending.")
    told, headers, body = ask(door, path, method=method, headers=JSON, body=b"{}")
    assert told == status
    if status == 503:
        assert json.loads(body)["detail"] == "This server is ending."
        assert headers["retry-after"]


def test_a_path_stands_in_no_log(caplog):
    class Failing:
        async def __call__(self, scope, receive, send):
            raise RuntimeError("broken")

    caplog.set_level("INFO")
    status, *_ = ask(gate(Failing()), "/gradio_api/file=/tmp/zebra.png")
    assert status == 500
    assert "zebra" not in "".join(record.getMessage() for record in caplog.records)
    assert "/gradio_api/file failed" in caplog.messages
