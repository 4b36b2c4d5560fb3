"""Fetching a picture from the web, and every way a stranger could point it elsewhere.

A real server on this machine answers; a resolver and an ``allowed`` stand in for the internet.
"""

from __future__ import annotations

import io
import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import requests
from PIL import Image

from florence_demo.errors import InputError
from florence_demo.pictures.images import ImageLimits
from florence_demo.pictures.web import (
    FetchLimits,
    _Fetch,
    _PinnedAdapter,
    fetch_image,
    is_public,
    is_url,
)

Handler = BaseHTTPRequestHandler


def png() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (24, 16), (200, 30, 40)).save(buffer, "PNG")
    return buffer.getvalue()


def answer(handler: Handler, status: int = 200, body: bytes = b"", **headers: str) -> None:
    handler.send_response(status)
    for name, value in {"Content-Length": str(len(body)), **headers}.items():
        handler.send_header(name, value)
    handler.end_headers()
    handler.wfile.write(body)


def endless(handler: Handler) -> None:
    handler.send_response(200)
    handler.end_headers()
    while True:
        handler.wfile.write(bytes(65536))


def chunked(handler: Handler) -> None:
    handler.send_response(200)
    handler.send_header("Transfer-Encoding", "chunked")
    handler.end_headers()
    body = png()
    for piece in (body[:30], body[30:], b""):
        handler.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))


def cut_off(handler: Handler) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    handler.wfile.write(png()[:40])


class Server(ThreadingHTTPServer):
    """Answer from a table of pages; note which hosts were asked for."""

    daemon_threads = True

    def __init__(self, pages: dict[str, Callable[[Handler], None]]) -> None:
        self.pages, self.seen = pages, []  # type: ignore[var-annotated]
        self.done = threading.Event()

        class Pages(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            close_connection = True

            def do_GET(self) -> None:
                self.server.seen.append(dict(self.headers))  # type: ignore[attr-defined]
                self.close_connection = True
                with suppress(ConnectionError):  # the fetcher hangs up where it should
                    self.server.pages[self.path](self)  # type: ignore[attr-defined]

            def log_message(self, *args: Any) -> None:
                pass

        super().__init__(("127.0.0.1", 0), Pages)

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    def redirect(to: str) -> Callable[[Handler], None]:
        return lambda handler: answer(handler, 302, Location=to)

    def silent(handler: Handler) -> None:
        server.done.wait(30)

    def dripping(handler: Handler) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nX-Long: ")
        while not server.done.wait(0.01):
            handler.wfile.write(b"a")

    def silent_after_headers(handler: Handler) -> None:
        handler.send_response(200)
        handler.end_headers()
        handler.wfile.write(png()[:20])
        handler.wfile.flush()
        server.done.wait(30)

    server = Server(
        {
            "/a.png": lambda handler: answer(handler, body=png()),
            "/chunked": chunked,
            "/page": lambda handler: answer(handler, body=b"<!doctype html><p>hi"),
            "/missing": lambda handler: answer(handler, 404, b"no"),
            "/empty": lambda handler: answer(handler),
            "/large": lambda handler: answer(handler, **{"Content-Length": "50000001"}),
            "/endless": endless,
            "/cut": cut_off,
            "/silent": silent,
            "/dripping": dripping,
            "/silent-body": silent_after_headers,
            "/near": redirect("a.png"),
            "/far": redirect("http://elsewhere.example/a.png"),
            "/inside": redirect("http://inside.example/a.png"),
            "/metadata": redirect("http://169.254.169.254/latest"),
            "/file": redirect("file:///etc/passwd"),
            "/loop": redirect("/loop"),
            "/nonsense": redirect("http://[/\xff"),
            "/digits": lambda handler: answer(handler, **{"Content-Length": "9" * 5000}),
            "/secret": redirect("http://me:pass@pictures.example/a.png"),
        }
    )
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.done.set()
    server.shutdown()
    server.server_close()
    thread.join()


LOCAL = "127.0.0.1"
NAMES = {
    "pictures.example": [LOCAL],
    "elsewhere.example": [LOCAL],
    "inside.example": ["10.0.0.7"],
    "both.example": [LOCAL, "10.0.0.7"],
    "169.254.169.254": ["169.254.169.254"],
}


def resolve(host: str, port: Any, **options: Any) -> list[Any]:
    if host not in NAMES:
        raise socket.gaierror("no such host")
    return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (ip, 0)) for ip in NAMES[host]]


def fetch(server: Server, path: str, host: str = "pictures.example", **options: Any) -> Image.Image:
    """Fetch as if this machine's own address were a public one, and port 80 the server's."""
    server.pages["/far"] = lambda handler: answer(
        handler, 301, Location=f"http://elsewhere.example:{server.server_port}/a.png"
    )
    options = {"resolver": resolve, "allowed": lambda ip: ip == LOCAL or is_public(ip)} | options
    return fetch_image(f"http://{host}:{server.server_port}{path}", **options)


@pytest.mark.parametrize("path", ["/a.png", "/a.png#part", "/near", "/far", "/chunked"])
def test_a_public_picture_arrives(server: Server, path: str) -> None:
    assert fetch(server, path).getpixel((3, 3)) == (200, 30, 40)


def test_the_server_is_asked_by_its_name_and_told_nothing_else(
    server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "netrc").write_text("machine pictures.example login me password secret\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("all_proxy", "http://127.0.0.1:9")
    fetch(server, "/a.png")
    assert server.seen[0]["Host"] == f"pictures.example:{server.server_port}"
    assert "Authorization" not in server.seen[0]


def test_the_checked_address_is_the_one_connected_to(server: Server) -> None:
    """A name server that answers differently the second time changes nothing."""
    asked: list[str] = []

    def rebinding(host: str, port: Any, **options: Any) -> list[Any]:
        asked.append(host)
        return resolve("pictures.example" if len(asked) == 1 else "inside.example", port)

    fetch(server, "/a.png", resolver=rebinding)
    assert asked == ["pictures.example"]
    asked.clear()
    with pytest.raises(InputError, match="not a public address"):
        fetch(server, "/near", resolver=rebinding)  # each hop is looked up and checked


def test_the_next_address_is_tried_when_one_is_dead(server: Server) -> None:
    def two(host: str, port: Any, **options: Any) -> list[Any]:
        return [(0, 0, 0, "", (ip, 0)) for ip in ("127.0.0.2", LOCAL)]

    assert fetch(server, "/a.png", resolver=two, allowed=lambda ip: True).size == (24, 16)


def test_one_private_address_among_public_ones_is_enough_to_refuse(server: Server) -> None:
    with pytest.raises(InputError, match=r"both\.example is not a public address"):
        fetch(server, "/a.png", host="both.example")
    assert server.seen == []


ANSWERS = {
    "web page": ("/page", "web page"),
    "missing": ("/missing", "answered 404"),
    "empty": ("/empty", "empty"),
    "large": ("/large", "50 MB"),
    "cut off": ("/cut", "broke off|damaged"),
    "redirect inside": ("/inside", "inside.example is not a public address"),
    "redirect to metadata": ("/metadata", "not a public address"),
    "redirect to a file": ("/file", "http:// or https://"),
    "redirect with a password": ("/secret", "password"),
    "redirects for ever": ("/loop", "too often"),
    "redirect to nonsense": ("/nonsense", "could not be reached"),
    "length of 5,000 digits": ("/digits", "50 MB"),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_an_unusable_answer_gets_one_sentence(server: Server, name: str) -> None:
    path, sentence = ANSWERS[name]
    with pytest.raises(InputError, match=sentence) as caught:
        fetch(server, path)
    assert str(caught.value).endswith(".")


def test_an_endless_body_is_cut_at_the_limit(server: Server) -> None:
    limits = FetchLimits(image=ImageLimits(max_bytes=300_000))
    with pytest.raises(InputError, match=r"larger than 0\.3 MB"):
        fetch(server, "/endless", limits=limits)


def test_the_time_limit_holds_while_bytes_still_come(server: Server) -> None:
    ticks = iter(range(10_000))  # every look at the clock costs a second
    with pytest.raises(InputError, match="too long"):
        fetch(server, "/endless", clock=lambda: float(next(ticks)))


@pytest.mark.parametrize("path", ["/silent", "/silent-body"])
@pytest.mark.parametrize(
    "limits",
    [FetchLimits(read_timeout=0.05), FetchLimits(total_seconds=0.3)],
    ids=["silence", "altogether"],
)
def test_a_silent_server_is_left(server: Server, path: str, limits: FetchLimits) -> None:
    with pytest.raises(InputError, match="too long"):
        fetch(server, path, limits=limits)


def test_the_watch_ends_a_connection_that_no_timeout_would(server: Server) -> None:
    """A byte now and then keeps every timeout from running out."""
    limits = FetchLimits(total_seconds=0.2)
    with pytest.raises(InputError, match="too long"):
        fetch(server, "/dripping", limits=limits)


def test_a_fetch_takes_ten_seconds_at_most() -> None:
    assert FetchLimits().total_seconds == 10


def test_a_name_server_that_never_answers_is_left() -> None:
    """Whoever owns a name decides how long its look-up takes, and the resolver knows no limit."""
    over = threading.Event()

    def never(host: str, port: Any, **options: Any) -> list[Any]:
        over.wait(30)
        return []

    try:
        with pytest.raises(InputError, match="too long"):
            fetch_image(
                "http://slow.example/", resolver=never, limits=FetchLimits(total_seconds=0.1)
            )
    finally:
        over.set()


def test_connecting_gets_half_of_the_time_that_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """It waits twice, for the host and for its certificate, before the watch can end it."""
    given: list[tuple[float, float]] = []

    def send(self: requests.Session, request: Any, *, timeout: Any, **how: Any) -> None:
        given.append(timeout)
        raise requests.ConnectTimeout

    monkeypatch.setattr(requests.Session, "send", send)
    many = [(0, 0, 0, "", (f"8.8.8.{i}", 0)) for i in range(50)]
    with pytest.raises(InputError, match="could not be reached"):
        fetch_image(
            "https://many.example/",
            resolver=lambda *a, **k: many,
            limits=FetchLimits(total_seconds=8),
            clock=lambda: 0.0,
        )
    assert given == [(4.0, 8.0)] * 4


def test_a_connection_made_after_the_end_is_ended_at_once() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        late = _Fetch(FetchLimits(), resolve, is_public, lambda: 0.0)
        late._abort()
        late._note(ours)
        assert theirs.recv(1) == b""


def test_nobody_at_home_gets_one_sentence() -> None:
    with socket.socket() as free:
        free.bind((LOCAL, 0))
        port = free.getsockname()[1]
    with pytest.raises(InputError, match="could not be reached"):
        fetch_image(f"http://pictures.example:{port}/", resolver=resolve, allowed=lambda ip: True)


ADDRESSES = {
    "8.8.8.8": True,
    "93.184.216.34": True,
    "2606:4700:4700::1111": True,
    "::ffff:8.8.8.8": True,
    "64:ff9b::8.8.8.8": True,
    "0.0.0.0": False,
    "10.1.2.3": False,
    "100.64.0.1": False,
    "100.127.255.254": False,
    "127.0.0.1": False,
    "127.8.8.8": False,
    "168.63.129.16": False,
    "169.254.169.254": False,
    "172.16.0.1": False,
    "172.31.255.255": False,
    "192.0.0.1": False,
    "192.0.2.1": False,
    "192.168.1.1": False,
    "198.18.0.1": False,
    "203.0.113.9": False,
    "224.0.0.1": False,
    "240.0.0.1": False,
    "255.255.255.255": False,
    "::": False,
    "::1": False,
    "::127.0.0.1": False,
    "::ffff:127.0.0.1": False,
    "::ffff:10.0.0.1": False,
    "::ffff:0:10.0.0.1": False,
    "64:ff9b::10.0.0.1": False,
    "64:ff9b::169.254.169.254": False,
    "64:ff9b:1::1": False,
    "2002:0a00:0001::1": False,
    "2002:7f00:0001::": False,
    "2001:0:4136:e378:8000:63bf:3fff:fdd2": False,
    "2001:db8::1": False,
    "fc00::1": False,
    "fd00:ec2::254": False,
    "fe80::1": False,
    "fe80::1%eth0": False,
    "2606:4700:4700::1111%eth0": False,
    "fec0::1": False,
    "ff02::1": False,
    "no address": False,
    "": False,
}


@pytest.mark.parametrize(("address", "public"), ADDRESSES.items())
def test_only_the_public_internet_is_public(address: str, public: bool) -> None:
    assert is_public(address) is public


REFUSED_URLS = {
    "http://127.0.0.1/": "not a public",
    "http://127.1/": "not a public",
    "http://2130706433/": "not a public",
    "http://0x7f000001/": "not a public",
    "http://[::1]/": "not a public",
    "http://[::ffff:10.0.0.1]:8080/a.png": "not a public",
    "http://localhost:7860/": "not a public",
    "https://169.254.169.254/latest/meta-data": "not a public",
    "http://both.example/": "not a public",
    "http://inside.example/": "not a public",
    r"http://pictures.example\@127.0.0.1/": "password|not a complete|not a public|reached",
    "http://me@pictures.example/": "password",
    "http://me:secret@pictures.example/a.png": "password",
    "http://:@pictures.example/": "password",
    "ftp://pictures.example/a.png": "http://",
    "file:///etc/passwd": "http://",
    "gopher://pictures.example/": "http://",
    "pictures.example/a.png": "http://",
    "": "http://",
    "http://": "complete web address",
    "http:///a.png": "complete web address|reached",
    "http://[::1/": "complete web address",
    "http://pictures.example:99999/": "complete web address",
    "http://pictures.example:port/": "complete web address",
    "http://no\x00where.example/": "complete web address|reached",
    "http://" + "a" * 300 + ".example/": "complete web address|reached",
    "http://nowhere.example/": "nowhere.example could not be reached",
    "http://" + ".".join(["a" * 60] * 5) + "/": "complete web address",
    "http://pictures.example/" + "a" * 1_000_000: "too long",
}


def numbers_or_names(host: str, port: Any, **options: Any) -> list[Any]:
    """Read numeric hosts and localhost as every system does, names from the table: no network."""
    if host in NAMES:
        return resolve(host, port)
    if host == "localhost":
        return [(0, 0, 0, "", (ip, 0)) for ip in ("::1", LOCAL)]
    return socket.getaddrinfo(host, port, flags=socket.AI_NUMERICHOST, **options)


@pytest.mark.parametrize(
    ("url", "sentence"), REFUSED_URLS.items(), ids=lambda text: repr(text)[:50]
)
def test_addresses_that_are_never_asked(url: str, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence) as caught:
        fetch_image(url, resolver=numbers_or_names)
    assert str(caught.value).endswith(".")
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    ("text", "expected"),
    [("https://a.example/b", True), (" HTTP://a ", True), ("a.png", False), ("ftp://a", False)],
)
def test_is_url(text: str, expected: bool) -> None:
    assert is_url(text) is expected


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for pictures.example that no one but itself vouches for, with its key."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("the openssl command that makes the test's certificate is not installed")
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    command = [openssl, "req", "-x509", "-nodes", "-newkey", "ec", "-days", "2"]
    command += ["-pkeyopt", "ec_paramgen_curve:prime256v1", "-subj", "/CN=pictures.example"]
    command += ["-addext", "subjectAltName=DNS:pictures.example"]
    command += ["-keyout", str(path) + ".key", "-out", str(path)]
    subprocess.run(command, check=True, capture_output=True)
    return path


@pytest.fixture
def secure(server: Server, certificate: Path) -> Server:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, str(certificate) + ".key")
    server.socket = context.wrap_socket(server.socket, server_side=True)
    return server


def test_a_certificate_that_nobody_vouches_for_is_refused(secure: Server) -> None:
    url = f"https://pictures.example:{secure.server_port}/a.png"
    with pytest.raises(InputError, match="certificate of pictures"):
        fetch_image(url, resolver=resolve, allowed=lambda ip: True)


@pytest.mark.parametrize("host", ["pictures.example", "other.example", LOCAL])
def test_the_certificate_is_verified_against_the_name(
    secure: Server, certificate: Path, host: str
) -> None:
    with requests.Session() as session:
        session.trust_env = False
        session.mount("https://", _PinnedAdapter(host, LOCAL, lambda connected: None))
        url = f"https://{host}:{secure.server_port}/a.png"
        if host == "pictures.example":
            assert session.get(url, verify=str(certificate), timeout=5).status_code == 200
        else:
            with pytest.raises(requests.exceptions.SSLError):
                session.get(url, verify=str(certificate), timeout=5)


def test_no_address_that_a_visitor_gives_is_logged(caplog):
    caplog.set_level("DEBUG", logger="florence_demo")
    entry = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("10.0.0.1", 80))
    with pytest.raises(InputError, match="zebra"):
        fetch_image("http://zebra.example.org/zebra.png", resolver=lambda *_, **__: [entry])
    assert caplog.messages == ["Refused to fetch a picture: its address is not public"]
