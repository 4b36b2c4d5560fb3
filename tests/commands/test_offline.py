"""A server without a connection out: it starts and answers where there is no network at all."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys

import pytest

from florence_demo.errors import InputError
from florence_demo.machine import is_offline
from florence_demo.pictures.web import fetch_image
from florence_demo.serving.asking import Service
from florence_demo.serving.config import AppConfig, openness
from tests.fakes import FakeEngines
from tests.running import ROOT

# Writes down whom the process speaks to; loaded by every Python that is started.
WITNESS = """
import os, socket
def noting(name):
    usual = getattr(socket.socket, name)
    def method(self, address, *rest):
        host = address[0] if isinstance(address, tuple) else ""
        if host not in ("", "127.0.0.1", "::1", "localhost"):
            note(host)
        return usual(self, address, *rest)
    setattr(socket.socket, name, method)
def note(host):
    with open(os.environ["WITNESS"], "a") as file:
        file.write(f"{host}\\n")
for name in ("connect", "connect_ex"):
    noting(name)
looked_up = socket.getaddrinfo
def getaddrinfo(host, *rest, **named):
    if host not in (None, "", "0.0.0.0", "127.0.0.1", "::1", "localhost", socket.gethostname()):
        note(host)
    return looked_up(host, *rest, **named)
socket.getaddrinfo = getaddrinfo
"""

# Runs within a network that has nothing but itself.
INSIDE = """
import base64, fcntl, io, json, socket, struct, sys
from pathlib import Path
from PIL import Image
from tests.running import started
with socket.socket() as any_socket:  # the loopback is down in a new network
    fcntl.ioctl(any_socket, 0x8914, struct.pack("16sh", b"lo", 0x1 | 0x40))
assert len(socket.if_nameindex()) == 1
buffer = io.BytesIO()
Image.open("assets/examples/ducks.webp").save(buffer, "PNG")
with started(Path(sys.argv[1]), "--offline") as app:
    app.until_ready()
    assert app.http.get("/").status_code == 200
    picture = base64.b64encode(buffer.getvalue()).decode()
    found = app.http.post("/v1/caption", json={"picture": picture})
    web = app.http.post("/v1/caption", json={"picture": "https://example.org/a.png"})
    other = app.http.post("/v1/caption", json={"picture": picture, "model": "base-ft"})
    print(json.dumps([found.json(), web.json(), other.json()]))
"""


def _namespaces() -> str:
    """Return why no network of one's own can be made here, "" where it can."""
    if shutil.which("unshare") is None:
        return "there is no unshare here"
    tried = subprocess.run(["unshare", "-rn", "true"], capture_output=True, check=False)
    return "" if tried.returncode == 0 else f"unshare -rn: {tried.stderr.decode().strip()}"


@pytest.mark.skipif(bool(_namespaces()), reason=_namespaces())
def test_the_app_answers_where_there_is_no_network_and_speaks_to_nobody(tmp_path):
    hooks, witness = tmp_path / "hooks", tmp_path / "witness"
    hooks.mkdir()
    (hooks / "sitecustomize.py").write_text(WITNESS)
    environment = {
        **{n: v for n, v in os.environ.items() if not n.startswith(("HF_", "GRADIO_"))},
        "HF_HOME": str(tmp_path / "hub"), "WITNESS": str(witness),
        "PYTHONPATH": os.pathsep.join([str(hooks), str(ROOT)]),
    }  # fmt: skip
    done = subprocess.run(
        ["unshare", "-rn", sys.executable, "-c", INSIDE, str(tmp_path / "files")],
        capture_output=True, text=True, cwd=ROOT, env=environment, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found, web, other = json.loads(done.stdout.splitlines()[-1])
    assert "duck" in found["text"]
    assert "no connection out" in web["detail"]
    assert "is not on this machine" in other["detail"]
    assert (witness.read_text() if witness.exists() else "") == ""


@pytest.fixture
def offline(monkeypatch):
    for name in ("FLORENCE_OFFLINE", "HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE",
                 "HF_HUB_DISABLE_TELEMETRY", "GRADIO_ANALYTICS_ENABLED"):  # fmt: skip
        monkeypatch.setenv(name, "0")
    return Service(AppConfig(model="nano", offline=True), FakeEngines())


def test_a_picture_of_the_web_is_refused_in_a_sentence(offline):
    assert is_offline()
    told = "This server has no connection out: save the picture and upload the file instead."
    with pytest.raises(InputError, match=told):
        offline.fetch("https://example.org/a.png")
    with pytest.raises(InputError, match=told):
        fetch_image("https://example.org/a.png", resolver=lambda *_, **__: pytest.fail("asked"))


def test_processes_that_are_started_make_none_either(offline):
    assert os.environ["HF_HUB_OFFLINE"] == os.environ["HF_DATASETS_OFFLINE"] == "1"
    code = "from florence_demo.machine import is_offline; print(is_offline())"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout.strip() == "True"


def test_the_start_says_so(offline):
    told = list(openness(offline.config, None, False))
    assert "that is on this machine" in told[0]
    assert told[1:] == ["No connection out is made."]
