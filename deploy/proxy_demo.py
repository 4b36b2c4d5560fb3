"""Three processes of the app behind nginx: who must stay, who need not, what a death costs.

``python deploy/proxy_demo.py`` starts them and nginx with ``deploy/nginx.conf`` on free ports, asks
them, ends one and kills one while they answer, and ends what it started. Prints what it saw; the
exit status is 0 where all of it was as it should be. Needs nginx.
"""

from __future__ import annotations

import base64
import contextlib
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import requests

PROJECT = Path(__file__).resolve().parent.parent
PICTURE = PROJECT / "assets" / "examples" / "ducks.webp"
PREFIX = "/florence"
_TASKS = "/gradio_api/call/tasks"
_START, _ANSWER = 180, 120
"""Seconds that a start and an answer may take at most."""

# Beside what deploy/nginx.conf says: where this nginx writes, and who answered.
_AROUND = """
daemon off; master_process off; pid {folder}/nginx.pid; error_log {folder}/error.log;
events {{}}
http {{
    log_format who "$request_method $request_uri|$upstream_addr";
    access_log {folder}/access.log who;
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
    include {folder}/site.conf;
}}
"""


@dataclass(frozen=True)
class Stage:
    """Hold what runs: nginx's address, the processes by their address, who answered what."""

    address: str
    processes: dict[str, subprocess.Popen[bytes]]
    log: Path
    told: Counter[str] = field(default_factory=Counter)

    def answered(self, method: str, path: str, count: int) -> list[list[str]]:
        """Return which processes were tried for each of the ``count`` requests since the last."""
        wanted, found = f"{method} {PREFIX}{path}", []
        for _ in range(100):  # nginx writes a line after the answer has gone out
            lines = (line.split("|") for line in self.log.read_text().splitlines())
            found = [by.split(", ") for what, by in lines if what == wanted]
            if len(found) >= self.told[wanted] + count:
                break
            time.sleep(0.05)
        self.told[wanted] += count
        return found[self.told[wanted] - count :]


def main() -> int:
    """Run all of it and return the exit status."""
    nginx = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    if nginx is None:
        print("nginx is needed: install your system's package of that name.", file=sys.stderr)
        return 2
    failed = 0
    with (
        tempfile.TemporaryDirectory(prefix="proxy-demo-") as folder,
        staged(nginx, folder) as stage,
    ):
        print(f"three processes, {', '.join(stage.processes)}, behind {stage.address}{PREFIX}/")
        for scene in (prefix, spread, sticky, kept, ended, killed):
            for said, holds in scene(stage):
                failed += not holds
                print(f"{'ok  ' if holds else 'FAIL'}  {said}", flush=True)
    print("all as it should be" if not failed else f"{failed} not as it should be")
    return 1 if failed else 0


@contextlib.contextmanager
def staged(nginx: str, folder: str) -> Iterator[Stage]:
    """Start three processes and nginx, and end them."""
    *ports, front = _free_ports(4)
    servers = [f"127.0.0.1:{port}" for port in ports]
    started: list[subprocess.Popen[bytes]] = []
    try:
        for port in ports:
            started.append(_app(port, Path(folder, str(port))))
        Path(folder, "nginx.conf").write_text(_AROUND.format(folder=folder))
        told = {
            "PROXY_PORT": f"127.0.0.1:{front}",
            "PROXY_PATH": PREFIX,
            "PROXY_BEFORE": "",
            "PROXY_SERVERS": " ".join(f"server {s} max_fails=1 fail_timeout=60s;" for s in servers),
        }
        site = (PROJECT / "deploy" / "nginx.conf").read_text(encoding="utf-8")
        Path(folder, "site.conf").write_text(
            re.sub(r"\$\{(PROXY_\w+)\}", lambda found: told[found[1]], site)
        )
        _wait(servers, started)
        command = [nginx, "-e", f"{folder}/error.log", "-p", folder, "-c", f"{folder}/nginx.conf"]
        started.append(subprocess.Popen(command))
        _wait([f"127.0.0.1:{front}{PREFIX}"], started)
        log = Path(folder, "access.log")
        log.write_text("")
        stage = Stage(f"http://127.0.0.1:{front}", dict(zip(servers, started, strict=False)), log)
        yield stage
    finally:
        for process in started:
            process.terminate()
        for process in started:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(20)
            process.kill()


def _app(port: int, folder: Path) -> subprocess.Popen[bytes]:
    folder.mkdir()
    command = [sys.executable, "-m", "florence_demo", "serve", "--model=nano", "--host=127.0.0.1"]
    command += [f"--port={port}", "--forwarded", f"--root-path={PREFIX}", "--offline"]
    environment = {**os.environ, "GRADIO_TEMP_DIR": str(folder / "served"), "HF_HUB_OFFLINE": "1"}
    environment |= {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(PROJECT)}
    with Path(folder, "output.txt").open("wb") as out:
        return subprocess.Popen(command, cwd=folder, env=environment, stdout=out, stderr=out)


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def _wait(addresses: list[str], started: list[subprocess.Popen[bytes]]) -> None:
    end = time.monotonic() + _START
    for address in addresses:
        while True:
            with contextlib.suppress(requests.RequestException):
                if requests.get(f"http://{address}/v1/tasks", timeout=5).ok:
                    break
            if time.monotonic() > end or any(p.poll() is not None for p in started):
                raise SystemExit(f"{address} did not start")
            time.sleep(0.2)


def _ask(address: str, visitor: requests.Session | None = None, picture: str = "") -> int:
    """Ask under /v1, return the status, below 0 where it answers nothing."""
    asked = {"picture": picture or _sent(), "task": "od"}
    found = (visitor or requests).post(f"{address}/v1/ask", json=asked, timeout=_ANSWER)
    return found.status_code if found.ok and found.json()["detections"] else -found.status_code


def _sent() -> str:
    return "data:image/webp;base64," + base64.b64encode(PICTURE.read_bytes()).decode()


Scene = Iterator[tuple[str, bool]]
"""What was seen, and whether it should be so."""


def prefix(stage: Stage) -> Scene:
    """Load the page under its prefix."""
    page = requests.get(f"{stage.address}{PREFIX}/", timeout=30)
    # Where the page asks on: its configuration says it, and its scripts are where it says.
    root = re.search(r'"root":\s*"([^"]+)"', page.text)
    yield f"the page asks on at {root and root[1]}", bool(root and root[1].endswith(PREFIX))
    script = re.search(r'(?:src|href)="(\.?[^"]*assets/[^"]+\.js)"', page.text)
    found = requests.compat.urljoin(page.url, script[1]) if script else ""
    status = requests.get(found, timeout=30).status_code if found else 0
    yield f"its script {found.removeprefix(stage.address)[:60]}: {status}", status == 200
    for path in ("/", f"{PREFIX}/metrics", f"{PREFIX}/healthz"):
        status = requests.get(f"{stage.address}{path}", timeout=30).status_code
        yield f"{path} is not for visitors: {status}", status == 404


def spread(stage: Stage) -> Scene:
    """Ask under /v1 without a cookie, four at a time."""
    with ThreadPoolExecutor(4) as pool:
        statuses = list(pool.map(_ask, [stage.address + PREFIX] * 12))
    yield f"12 questions to /v1: {_told(statuses)}", statuses == [200] * 12
    who = Counter(tried[-1] for tried in stage.answered("POST", "/v1/ask", 12))
    yield f"answered by {_told(who)}", set(who) == set(stage.processes)


def sticky(stage: Stage) -> Scene:
    """Show what of the page lives in one process, and that a visitor stays there."""
    homes = []
    for _ in range(24):
        visitor = requests.Session()
        visitor.get(f"{stage.address}{PREFIX}/", timeout=30)
        for _ in range(4):
            visitor.get(f"{stage.address}{PREFIX}/theme.css", timeout=30)
        each = [tried[-1] for tried in stage.answered("GET", "/theme.css", 4)]
        homes.append(each[0] if len(set(each)) == 1 else "several")
    yield f"24 visitors with their cookies, 4 requests each: {_told(homes)}", "several" not in homes
    yield "they are spread over all", set(homes) == set(stage.processes)
    for _ in range(6):
        requests.get(f"{stage.address}{PREFIX}/theme.css", timeout=30)
    each = {tried[-1] for tried in stage.answered("GET", "/theme.css", 6)}
    yield f"6 requests of a program without cookies: by {', '.join(each)}", len(each) == 1
    home = homes[-1]
    other = next(each for each in stage.processes if each != home)
    with PICTURE.open("rb") as file:
        sent = visitor.post(f"{stage.address}{PREFIX}/gradio_api/upload", files={"files": file})
    path = f"/gradio_api/file={sent.json()[0]}"
    own = visitor.get(f"{stage.address}{PREFIX}{path}", timeout=30).status_code
    strange = requests.get(f"http://{other}{path}", timeout=30).status_code
    yield f"an upload, asked for by its visitor: {own}", own == 200
    yield f"the same of the other process, which has it not: {strange}", strange in (403, 404)
    for where, named in ((f"{stage.address}{PREFIX}", "home"), (f"http://{other}", "the other")):
        event = visitor.post(f"{stage.address}{PREFIX}{_TASKS}", json={"data": []}, timeout=30)
        seen = _heard(visitor, f"{where}{_TASKS}/{event.json()['event_id']}")
        yield (
            f"a question of the page's queue, listened to at {named}: {seen}",
            (seen == ("answered" if named == "home" else "not known")),
        )


def kept(stage: Stage) -> Scene:
    """Keep pictures under /v1, and ask about them by their names."""
    statuses, homes = [], []
    for _ in range(6):
        program = requests.Session()
        sent = {"picture": _sent()}
        found = program.post(f"{stage.address}{PREFIX}/v1/keep", json=sent, timeout=30)
        name = found.json()["picture"]
        statuses += [_ask(stage.address + PREFIX, program, name) for _ in range(2)]
        [own], [again] = stage.answered("POST", "/v1/ask", 2)
        homes.append(own if own == again else "several")
    yield (
        f"6 kept pictures, 2 questions each with cookies: {_told(statuses)}",
        (statuses == [200] * 12 and "several" not in homes),
    )
    other = next(each for each in stage.processes if each != homes[-1])
    status = -_ask(f"http://{other}", None, name)
    yield f"one of them, asked of the other process: {status}", 400 <= status < 500


def _heard(visitor: requests.Session, address: str) -> str:
    """Listen to a question that waits in the page's queue."""
    try:
        told = visitor.get(address, timeout=30).text
    except requests.RequestException:  # gradio looks for its session and breaks off
        told = ""
    return "answered" if "event: complete" in told else "not known"


def ended(stage: Stage) -> Scene:
    """End one process as a new version would, by SIGTERM."""
    gone = next(iter(stage.processes))
    statuses = _asked_while(stage, stage.processes[gone].terminate)
    yield (
        f"16 questions, {gone} told to end after the fourth: {_told(statuses)}",
        (statuses == [200] * 16),
    )
    stage.answered("POST", "/v1/ask", 16)
    status = stage.processes[gone].wait(30)
    del stage.processes[gone]
    yield f"it ended by itself, with status {status}", status == 0


def killed(stage: Stage) -> Scene:
    """Kill one process of two; what it had in work is asked of the other."""
    gone, left = stage.processes
    statuses = _asked_while(stage, stage.processes[gone].kill)
    yield f"16 questions, {gone} killed after the fourth: {_told(statuses)}", statuses == [200] * 16
    again = sum(gone in each[:-1] for each in stage.answered("POST", "/v1/ask", 16))
    yield f"{again} of them were asked of it first, and again of {left}", again > 0
    statuses = [_ask(stage.address + PREFIX) for _ in range(6)]
    who = {each[-1] for each in stage.answered("POST", "/v1/ask", 6)}
    yield f"6 more: {_told(statuses)}, by {', '.join(who)}", statuses == [200] * 6 and who == {left}
    pages = [requests.get(f"{stage.address}{PREFIX}/", timeout=30).status_code for _ in range(6)]
    yield f"6 new visitors load the page: {_told(pages)}", pages == [200] * 6
    stage.processes[left].kill()
    stage.processes[left].wait(30)
    status = -_ask(stage.address + PREFIX)
    yield f"with the last one gone a question is refused in a sentence: {status}", status == 503


def _asked_while(stage: Stage, change: Callable[[], None]) -> list[int]:
    """Ask sixteen questions, four at a time, and do something after the fourth answer."""
    with ThreadPoolExecutor(4) as pool:
        asked = [pool.submit(_ask, stage.address + PREFIX) for _ in range(16)]
        for each in asked[:4]:
            each.result()
        change()
        return [each.result() for each in asked]


def _told(things: object) -> str:
    counted = Counter(things)  # type: ignore[call-overload]
    return ", ".join(f"{count} x {thing}" for thing, count in sorted(counted.items(), key=str))


if __name__ == "__main__":
    sys.exit(main())
