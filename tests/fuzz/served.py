"""The page served over loopback with an engine that answers at once, and how it is spoken to."""

from __future__ import annotations

import base64
import os
import re
import socket
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from tests.fuzz import make_pictures
from tests.fuzz.guards import Guard
from tests.fuzz.http_client import Reply, multipart, send
from tests.fuzz.mutations import expanded

PICTURE, ZIP, UPLOADED = "@PICTURE@", "@ZIP@", "@UPLOADED@"
"""Stand in an input for the paths of what was uploaded: a picture, data, the input's own file."""

API = "/gradio_api"
_PIECE = 1 << 16
Step = dict[str, Any]


@dataclass(frozen=True)
class Event:
    """Hold what a button does: the number and name of its handler, and honest values for it."""

    number: int
    name: str
    data: list[Any]
    labels: list[str]


@dataclass
class Served:
    """Hold a page that is being served, and speak to it as a stranger does."""

    port: int
    guard: Guard
    events: list[Event]
    paths: dict[str, str] = field(default_factory=dict)

    def request(
        self, method: str, path: str, headers: Iterable[tuple[str, str]] = (),
        body: Iterable[bytes] = (), *, until: tuple[bytes, ...] = (),
    ) -> Reply:  # fmt: skip
        """Send a request; the host and the end of the connection are added where not given."""
        given = list(headers)
        names = {name.lower() for name, _ in given}
        more = {"Host": f"127.0.0.1:{self.port}", "Connection": "close"}
        given += [(name, value) for name, value in more.items() if name.lower() not in names]
        with self.guard.client():
            return send(self.port, method, path, given, body, until=until)

    def post(self, path: str, body: bytes, kind: str = "application/json") -> Reply:
        """Send a body as a browser does."""
        headers = [("Content-Type", kind), ("Content-Length", str(len(body)))]
        return self.request("POST", path, headers, _pieces(body))

    def listen(self, session: str, event: str) -> Reply:
        """Read a session's events up to the end of one; other questions may still be waiting."""
        ends = b'data: {"msg":"process_completed","event_id":"%s"' % event.encode()
        until = (ends, b'data: {"msg":"close_stream"', b'data: {"msg":"unexpected_error"')
        return self.request("GET", f"{API}/queue/data?session_hash={session}", until=until)

    def upload(self, name: str, data: bytes) -> Reply:
        """Send a file."""
        kind, body = multipart([(name, data)])
        reply = self.post(f"{API}/upload", body, kind)
        told = reply.json()
        if reply.status == 200 and isinstance(told, list) and told:
            self.paths[UPLOADED] = str(told[0])
        return reply

    def filled(self, text: str) -> str:
        """Return a text with the stand-ins for files and for long values written out."""
        for name, path in self.paths.items():
            text = text.replace(name, path)
        return expanded(text)

    def body_of(self, step: Step) -> bytes:
        """Return the bytes that a step sends: as text, or in base64."""
        if "base64" in step:
            return base64.b64decode(step["base64"])
        return self.filled(str(step.get("text", ""))).encode("utf-8", "surrogatepass")


def _pieces(body: bytes) -> Iterator[bytes]:
    for at in range(0, len(body), _PIECE):
        yield body[at : at + _PIECE]


@contextmanager
def served(folder: Path) -> Iterator[Served]:
    """Serve the page as a program would that belongs to a person at this machine."""
    os.environ |= {"GRADIO_TEMP_DIR": str(folder / "cache"), "GRADIO_ANALYTICS_ENABLED": "False"}
    socket.getaddrinfo = _no_names(socket.getaddrinfo)  # type: ignore[assignment]
    guard = Guard()

    from florence_demo.serving.asking import Service
    from florence_demo.training import runs
    from florence_demo.ui import AppConfig, build_app
    from tests.fakes import FakeEngines

    # A run is a process that takes the machine for minutes: this one is over at once.
    runs._launch = lambda *_: SimpleNamespace(pid=2**22 + 1, poll=lambda: 0)
    config = AppConfig(checkpoints=folder / "checkpoints", data=folder / "data")
    app = build_app(config, Service(config, FakeEngines()))
    _, url, _ = app.serve(prevent_thread_lock=True, quiet=True, server_name="127.0.0.1")
    port = int(re.sub(r"\D", "", url.rpartition(":")[2]))
    guard.ports.add(port)
    page = Served(port, guard, _events(app))
    try:
        picture = make_pictures.encoded(make_pictures.picture(), "PNG")
        page.upload("a.png", picture)
        page.paths[PICTURE] = page.paths.pop(UPLOADED)
        page.upload("a.zip", _data())
        page.paths[ZIP] = page.paths.pop(UPLOADED)
        yield page
    finally:
        app.close()


def _data() -> bytes:
    from tests.fuzz.door_data import honest
    from tests.fuzz.make_zips import of_files

    return of_files(honest()["jsonl"])


def _no_names(resolve: Any) -> Any:
    """Return a resolver without a network: a few names lead back here, all others nowhere."""

    def resolver(host: Any, *args: Any, **kwargs: Any) -> Any:
        name = os.fsdecode(host) if isinstance(host, bytes) else str(host)
        if re.fullmatch(r"[\d.]+|.*:.*|localhost|None", name):
            return resolve(host, *args, **kwargs)
        if name.endswith("rebind.test"):
            return resolve("127.0.0.1", *args, **kwargs)
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    return resolver


def _events(app: Any) -> list[Event]:
    found = []
    for number, fn in app.fns.items():
        if fn.fn is not None:
            data = [_honest(component) for component in fn.inputs]
            labels = [str(getattr(component, "label", None) or "") for component in fn.inputs]
            found.append(Event(number, fn.api_name or "", data, labels))
    return found


def file_at(path: str) -> dict[str, Any]:
    """A file as a browser names it."""
    return {
        "path": path,
        "meta": {"_type": "gradio.FileData"},
        "orig_name": path.rpartition("/")[2],
    }


def question(picture: Any, model: Any = "nano") -> Step:
    """The question that a program asks about a picture, with all its values."""
    data = [picture, "od", "", {"box": None}, model, 3, 64, False, 1.0, 0, False]
    return {"call": "page_ask", "data": data}


_ARGUMENTS = {
    "Picture": file_at(PICTURE),
    "Pictures": [file_at(PICTURE)],
    "Task": "od",
    "Tasks": ["od"],
    "What": "car",
    "Question": "What is it?",
    "Model": "nano",
}
"""What a verb of the API takes."""


def _honest(component: Any) -> Any:
    """Return a value that a component takes."""
    kind = type(component).__name__
    if kind == "SafeImage":
        return file_at(PICTURE)
    if kind == "SafeFiles":
        return [file_at(ZIP)]
    if kind == "Api":
        return _ARGUMENTS.get(str(component.label), component.value)
    if kind in ("State", "HTML", "Button", "DownloadButton", "Timer"):
        return None
    values = {"TaskMenu": "od", "Canvas": {"box": None}, "AnswerView": {}, "Cards": {},
              "Holding": {"least": 50, "off": [0], "merge": True, "of": 3}}  # fmt: skip
    if kind in values:
        return values[kind]
    value = getattr(component, "value", None)
    # An honest measurement of many questions takes its time.
    small = {"Most questions": 4, "Data": "forms"}
    return small.get(str(getattr(component, "label", "")), value)
