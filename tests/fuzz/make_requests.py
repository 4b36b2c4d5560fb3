"""Requests as such: bodies, headers, addresses and uploads that are hostile whatever is asked."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Callable
from typing import Any

from tests.fuzz import make_pictures
from tests.fuzz.mutations import NAMES
from tests.fuzz.oracle import SECRET
from tests.fuzz.served import API, PICTURE, UPLOADED, Step, file_at, question

Maker = Callable[[], bytes]

HOSTS = (
    "evil.example", "evil.example:80", "a.rebind.test", "127.0.0.1.evil.example",
    "evil.example@127.0.0.1", "localhost.evil.example", "", "x" * 9000, "127.0.0.1:1:1", "[::1",
    "0", "127.1", "2130706433", "127.0.0.1, evil.example", "evil.example\\@localhost",
    "\u2126.evil.example", "EVIL.EXAMPLE", "[::ffff:7f00:1]",
)  # fmt: skip
ORIGINS = (
    "http://evil.example", "null", "https://evil.example", "http://127.0.0.1.evil.example",
    "http://localhost.evil.example", "file://", "http://evil.example:7860", "http://a.rebind.test",
    "chrome-extension://x", "x" * 9000,
)  # fmt: skip
KINDS = (
    "application/json", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data",
    "multipart/form-data; boundary=", "application/json; charset=utf-16",
    "application/json; charset=utf-7", "application/xml", "", "x", "application/cbor",
    "multipart/form-data; boundary=" + "x" * 9000, "application/json, text/html", "text/html",
    "application/octet-stream",
)  # fmt: skip
_GOOD = json.dumps({**question(file_at(PICTURE)), "session_hash": "b", "fn_index": 0})
_TEXTS = (
    "", "{", "null", "[]", "1", '"x"', "{}", '{"data": null}', '{"data": {}}', '{"data": "x"}',
    '{"data": [NaN, Infinity]}', '{"data": ["\\ud800"]}', "\ufeff" + _GOOD, _GOOD + _GOOD,
    "[" * 5000 + "]" * 5000, "\0", "\ud800", '{"data": [' + "9" * 5000 + "]}", '{"data": [1e999]}',
    '{"data": [], "data": []}', "<a/>", "data=1", '{"data": [], "session_hash": ["x"]}',
    '{"data": [], "session_hash": "\\ud800"}', '{"data": [], "fn_index": 1e9}',
    '{"data": [], "fn_index": -1, "session_hash": "a"}',
    '{"data": [], "fn_index": 99999, "session_hash": "a"}',
    '{"data": [], "session_hash": "../../x", "fn_index": 0}',
    '{"data": [], "session_hash": "", "fn_index": 0}',
    '{"data": [[]], "batched": true, "session_hash": "a", "fn_index": 0}',
    '{"data": [], "trigger_id": "x"}', '{"data": [], "event_id": {"a": 1}}',
    '{"data": [], "oauth_token": "x"}', '{"data": [], "simple_format": 3}',
    '{"data": [], "component_id": 1, "session_hash": "a", "fn_name": "__class__"}',
    '{"data": [], "component_id": 99999, "session_hash": "a", "fn_name": "preprocess"}',
    '{"data": {}, "component_id": 1, "session_hash": "a", "fn_name": ""}',
    '{"session_hash": "a", "event_id": "x", "fn_index": 0}', '{"nope": 1}',
    '{"image": {"path": "' + SECRET + '"}, "task": "od"}',
    '{"data": [], "session_hash": "' + "x" * 500_000 + '", "fn_index": 0}',
)  # fmt: skip
_REPEATED: dict[str, tuple[str, str, int, str]] = {
    "60 MB of lists in lists": ('{"data": ', "[" * 100, 600_000, ""),
    "60 MB of empty lists": ('{"data": [', "[],", 20_000_000, "0]}"),
    "60 MB of objects": ('{"data": [', '{"a":{}},', 6_600_000, "0]}"),
    "60 MB of zeros": ('{"data": [', "0,", 30_000_000, "0]}"),
    "60 MB of one string": ('{"data": ["', "x" * 100, 600_000, '"]}'),
    "60 MB of one number": ('{"data": [', "9" * 100, 600_000, "]}"),
    "60 MB of spaces": ("", " " * 100, 600_000, _GOOD),
    "60 MB of keys": ("{", '"a":0,', 10_000_000, '"data": []}'),
    "4 MB of empty lists": ('{"data": [', "[],", 1_300_000, "0]}"),
    "900 kB of empty lists": ('{"data": [', "[],", 300_000, "0]}"),
    "deep lists": ('{"data": ', "[", 100_000, ""),
    "deep and whole": ('{"data": ' + "[" * 900, "", 0, "]" * 900 + "}"),
    "deep objects": ('{"data": [', '{"a":', 5_000, "0" + "}" * 5_000 + "]}"),
}
"""A beginning, what is said many times, how often, and an end."""
_PIECES = (
    "5\r\n{}   \r\n0\r\n\r\n", "zz\r\n{}\r\n0\r\n\r\n", "-1\r\n",
    "2;x=" + "y" * 9000 + "\r\n{}\r\n0\r\n\r\n",
)  # fmt: skip
_HEADERS = {
    "X-Forwarded-Host": "evil.example", "X-Forwarded-Proto": "javascript",
    "X-Forwarded-For": "127.0.0.1" * 500, "Forwarded": "host=evil.example",
    "Cookie": "access-token=" + "x" * 9000, "Range": "bytes=0-,5-" + "9" * 400,
    "Referer": "http://evil.example", "Accept-Encoding": "gzip;q=nan, br" * 900,
    "If-None-Match": "*", "Upgrade": "websocket", "Expect": "x", "User-Agent": "\x7f",
    "x-gradio-server": "http://evil.example", "x-gradio-user": "app", "X-Big": "x" * 100_000,
    "Accept-Language": "x" * 9000, "x-ip-token": "\u00e9", "Authorization": "Basic !!!",
    "x-hf-authorization": "Bearer x", "Content-Disposition": "x", "Sec-Fetch-Site": "cross-site",
    "X-HTTP-Method-Override": "DELETE", "x-forwarded-prefix": "//evil.example",
}  # fmt: skip
_PLACES = (
    *(
        f"{API}/{path}"
        for path in ("call/ask", "queue/join", "run/ask", "call/v2/ask", "component_server",
                     "cancel", "reset", "stream/x")
    ),
    "/v1/ask", "/v1/ask_many", "/mcp",
)  # fmt: skip
_JSON = ["Content-Type", "application/json"]


def packed(*steps: Step) -> bytes:
    """An input of some steps."""
    return json.dumps({"steps": list(steps)}).encode()


def raw(path: str, *, kind: str = "application/json", method: str = "POST", **more: Any) -> Step:
    """A request of one's own."""
    return {"method": method, "path": path, "headers": [["Content-Type", kind]], **more}


def bodies() -> dict[str, list[Step]]:
    """Bodies that are no JSON, no body, or far too much of one."""

    def everywhere(*headers: list[str], **more: Any) -> list[Step]:
        return [{"path": path, "headers": list(headers), **more} for path in _PLACES]

    zipped = base64.b64encode(gzip.compress(_GOOD.encode())).decode()
    found = {f"the body {i}": everywhere(_JSON, text=text) for i, text in enumerate(_TEXTS)}
    for i, kind in enumerate(KINDS):
        found[f"the kind {i}"] = everywhere(["Content-Type", kind], text=_GOOD)
    for coding in ("gzip", "br", "deflate, gzip", "identity", "x"):
        found[f"a body in {coding}"] = everywhere(
            _JSON, ["Content-Encoding", coding], base64=zipped
        )
    for i, text in enumerate(_PIECES):
        found[f"the pieces {i}"] = everywhere(_JSON, ["Transfer-Encoding", "chunked"], text=text)
    for length in ("-1", "x", "0", "1e3", "9" * 50, "2, 2"):
        found[f"the length {length:.9}"] = everywhere(_JSON, ["Content-Length", length], text="{}")
    for name, repeat in _REPEATED.items():
        for path in (_PLACES[0], _PLACES[1], _PLACES[5]):
            found[f"{name} to {path}"] = [raw(path, repeat=repeat)]
    return found


def headers() -> dict[str, list[Step]]:
    """Names of other hosts and pages, and headers that something believes."""
    places = (
        ("GET", "/", ""), ("GET", "/config", ""), ("GET", f"{API}/info", ""),
        ("POST", f"{API}/call/page_ask", _GOOD), ("GET", f"{API}/file={PICTURE}", ""),
        ("POST", f"{API}/queue/join", "{}"), ("OPTIONS", f"{API}/call/page_ask", ""),
        ("GET", "/nowhere", ""),
    )  # fmt: skip

    def everywhere(name: str, value: str) -> list[Step]:
        asked = [name, value], ["Access-Control-Request-Method", "POST"]
        return [
            {"method": method, "path": path, "headers": [_JSON, *asked], "text": text}
            for method, path, text in places
        ]

    return {
        **{f"the host {i}": everywhere("Host", host) for i, host in enumerate(HOSTS)},
        **{f"the origin {i}": everywhere("Origin", origin) for i, origin in enumerate(ORIGINS)},
        **{f"the header {name}": everywhere(name, value) for name, value in _HEADERS.items()},
    }


_FILES = (
    SECRET, "/etc/passwd", "../../etc/passwd", "..%2f..%2fetc%2fpasswd", "%2e%2e/%2e%2e/etc/passwd",
    f"{PICTURE}/../../secret", "http://127.0.0.1:1/a", "https://evil.example/a", "", "/", "~",
    "assets/screenshot.webp", "/proc/self/environ", "//etc/passwd", "a%00b", "%ff", "x" * 9000,
    "file:///etc/passwd", f"{PICTURE}%00", "C:\\a", "\\\\evil\\a", ".", f"{PICTURE}/x",
)  # fmt: skip
_FOLDERS = (
    "static", "assets", "svelte", "custom_component/x/server/x", "file",
    "gradio_api/custom_component/1/client/component",
)  # fmt: skip
_WAYS_OUT = (
    "../../etc/passwd", "..%2f..%2f..%2fetc/passwd", "%2fetc%2fpasswd", "a%00", "",
    "....//....//etc/passwd", "..\\..\\a",
)  # fmt: skip
_ROUTES = (
    "proxy=http://127.0.0.1:1/", "proxy=https://evil.example/", "proxy=file:///etc/passwd",
    "proxy=", "queue/data", "queue/data?session_hash=nobody",
    "queue/data?session_hash=" + "x" * 9000, "queue/status", "call/ask/nobody", "call/ask/%00",
    "call//x", "heartbeat/nobody", "heartbeat/%00", "stream/a/b/1/playlist.m3u8",
    "stream/a/b/x/playlist-file", "stream/a/b/1/x.ts", "upload_progress?upload_id=x",
    "upload_progress", "deep_link?session_hash=nobody", "deep_link", "info?page=x", "openapi.json",
    "token", "app_id", "user", "login_check", "dev/reload", "runs", "run-history/records",
    "profiling/traces", "vibe-code/", "mcp/sse", "mcp/", "startup-events", "run/predict", "api/ask",
    "process_recording", "call/x", "call/v2/x", "run/x", "run/../x", "call/ask%00",
)  # fmt: skip
_PAGES = (
    "?deep_link=../../x", "config?deep_link=../../x", "config?deep_link=%00", "monitoring",
    "monitoring/x", "monitoring/summary", "theme.css", "docs", "redoc", "openapi.json",
    "robots.txt", "manifest.json", "pwa_icon/../x", "pwa_icon/9999999", "nowhere", "%2e%2e/x",
    "/evil.example", "x" * 60_000, "?" + "a=1&" * 20_000, "\x7f", "\u00fc", "%", "a b",
    "?view=x&__theme=" + "x" * 3000, "logout", "login",
)  # fmt: skip
_METHODS = (
    "HEAD", "OPTIONS", "PUT", "DELETE", "PATCH", "TRACE", "CONNECT", "X", "get", "G" * 9000, "",
)  # fmt: skip


def addresses() -> dict[str, list[Step]]:
    """Addresses that lead to files, to other machines, or nowhere."""
    paths = [
        *(f"{API}/file={name}" for name in _FILES),
        *(f"/{folder}/{name}" for folder in _FOLDERS for name in _WAYS_OUT),
        *(f"{API}/{route}" for route in _ROUTES),
        *(f"/{page}" for page in _PAGES),
        "*",
        "http://evil.example/",
    ]
    found = {
        f"the address {i} {path:.40}": [raw(path, method="GET"), raw(path, text="{}")]
        for i, path in enumerate(paths)
    }
    places = ("/", f"{API}/call/page_ask", f"{API}/upload", f"{API}/file={PICTURE}", "/config")
    for method in _METHODS:
        found[f"the method {method:.9}"] = [{"method": method, "path": path} for path in places]
    return found


_HEAD = '--a\r\nContent-Disposition: form-data; name="files"; filename="a.png"\r\n\r\n'
_END = "x\r\n--a--\r\n"
_PARTS = {
    "nothing": "", "no end": f"{_HEAD}x", "no files": "--a--\r\n", "other parts": "--b\r\nx",
    "no name": f"--a\r\nContent-Disposition: form-data\r\n\r\n{_END}",
    "a field": _HEAD.replace('; filename="a.png"', "") + _END,
    "two names": _HEAD.replace('"a.png"', '"a.png"; filename="b.png"') + _END,
    "an encoded name": _HEAD.replace('filename="a.png"', "filename*=UTF-8''%2e%2e%2fa") + _END,
    "1,500 files": f"{_HEAD}x\r\n" * 1500 + "--a--\r\n", "no blank line": _HEAD[:-2] + _END,
    "a header of 1 MB": "--a\r\nX: " + "x" * 1_000_000 + f"\r\n\r\n{_END}",
    "an empty file": f"{_HEAD}\r\n--a--\r\n",
    "a file of no name": _HEAD.replace("a.png", "") + _END,
    "a charset": f"{_HEAD[:-2]}Content-Type: text/plain; charset=x\r\n\r\n{_END}",
    "base64": f"{_HEAD[:-2]}Content-Transfer-Encoding: base64\r\n\r\n!!{_END}",
}  # fmt: skip
_PICTURES = ("EPS", "SVG", "PNG with", "JPEG with", "HEIC", "a film", "GIF of 65", "AVIF c")
_TOO_LARGE = ("MB", "20,000 scans", "300,000 scans")
_DATA = ("a set", "a part", "jsonl: the name", "jsonl: a link", "a row about", "jsonl: twice")
_TAKERS = ("upload_training_data", "upload_evaluation_data", "upload_checkpoint")


def uploads() -> dict[str, Maker]:
    """Files with odd names, hostile pictures and zips, and bodies that hardly hold a file."""
    from tests.fuzz.door_data import corpus as data
    from tests.fuzz.hostile_pictures import corpus as pictures

    def sent(name: str, file: Callable[[], bytes], *then: Step) -> Maker:
        return lambda: packed({"upload": name, "base64": base64.b64encode(file()).decode()}, *then)

    tiny = make_pictures.encoded(make_pictures.picture(), "PNG")
    asked = question(file_at(UPLOADED))
    taken: list[Step] = [{"call": taker, "data": [[file_at(UPLOADED)]]} for taker in _TAKERS]
    found = {f"a picture called {i}": sent(n, lambda: tiny, asked) for i, n in enumerate(NAMES)}
    for name, make in pictures().items():
        if name.startswith(_PICTURES) and not name.endswith(_TOO_LARGE):
            found[f"asked about {name}"] = sent("a.png", make, asked)
    for name, make in data().items():
        if name.startswith(_DATA):
            found[f"sent {name}"] = sent("a.zip", make, *taken)
    kind = "multipart/form-data; boundary=a"
    for name, text in _PARTS.items():
        steps = [
            raw(f"{API}/{path}", kind=kind, text=text)
            for path in ("upload", "component_server", "process_recording", "upload?upload_id=a")
        ]
        found[f"parts: {name}"] = lambda steps=steps: packed(*steps)
    large = raw(f"{API}/upload", kind=kind, repeat=(_HEAD, "x" * 100, 600_000, f"\r\n{_END[3:]}"))
    found["a file of 60 MB"] = lambda: packed(large)
    return found
