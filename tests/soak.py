"""A crowd for minutes: ``python -m tests.soak`` (``make soak``) starts the app and its people.

Each person is a client of its own address (as a proxy tells it) with pictures of its own size, who
asks through the page's queue, plain HTTP or a stream, and leaves in the middle of every other
question. At the end the figures are printed, and what was promised and not kept.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import contextlib
import io
import json
import os
import random
import re
import socket
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil
from PIL import Image, ImageDraw

ROOT = Path(__file__).parent.parent
BUSY = re.compile(r"Busy: .*(second|try again)")
LEAVES = 0.5
"""Share of the questions that are left in the middle."""


@dataclass
class Told:
    """Hold what the people saw."""

    seconds: list[float] = field(default_factory=list)
    ends: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    memory: list[tuple[float, int]] = field(default_factory=list)
    left: float = 0.0
    before: int = 0


class Person:
    """Ask and look at the answers: each must be of this person's picture and words."""

    def __init__(self, address: str, number: int, told: Told) -> None:
        self.number, self.told, self.asked = number, told, 0
        self.tab = ""
        self._event: int | None = None
        self.random = random.Random(number)
        self.size = (320 + number, 240 + number % 7)
        self.picture = _picture(self.size, number)
        headers = {"X-Forwarded-For": f"10.1.{number // 250}.{number % 250}"}
        limits = httpx.Limits(max_connections=64)
        self.http = httpx.AsyncClient(base_url=address, headers=headers, timeout=120, limits=limits)

    async def live(self, until: float) -> None:
        """Ask until a time, with short rests between two questions."""
        ways = (self.over_http, self.as_stream, self.through_the_page)
        while time.monotonic() < until:
            self.asked += 1
            way = self.random.choice(ways)
            words = f"person {self.number} question {self.asked}"
            leaves = self.random.random() < LEAVES
            began = time.monotonic()
            try:
                async with asyncio.timeout(self.random.uniform(0, 2) if leaves else 120):
                    found = await way(words)
            except TimeoutError:
                self.told.ends["left" if leaves else "never answered"] += 1
            except httpx.HTTPError as exc:
                self.told.ends[type(exc).__name__] += 1
            else:
                self._look(found, words, time.monotonic() - began)
            await asyncio.sleep(self.random.uniform(0, 1))
        await self.http.aclose()

    def _look(self, found: Any, words: str, seconds: float) -> None:
        if isinstance(found, str):
            self.told.ends["busy" if BUSY.search(found) else f"refused: {found[:80]}"] += 1
            return
        self.told.ends["answered"] += 1
        self.told.seconds.append(seconds)
        # The page tells no size; its canvas is as the picture.
        size, prompt = found.get("size", list(self.size)), found["prompt"]
        if words not in prompt or size != list(self.size):
            self.told.wrong.append(f"{words}: got {prompt} of {size}")

    def question(self, words: str) -> dict[str, Any]:
        """Return a question that cannot be another's."""
        text = base64.b64encode(self.picture).decode()
        return {"picture": text, "task": "caption_to_phrase_grounding", "text": words}

    async def over_http(self, words: str) -> Any:
        """Ask by one request."""
        answer = await self.http.post("/v1/ask", json=self.question(words))
        return answer.json() if answer.status_code == 200 else _said(answer)

    async def as_stream(self, words: str) -> Any:
        """Ask for events."""
        headers = {"accept": "text/event-stream"}
        stream = self.http.stream("POST", "/v1/ask", json=self.question(words), headers=headers)
        async with stream as answer:
            if answer.status_code != 200:
                await answer.aread()
                return _said(answer)
            async for name, data in _events(answer):
                if name == "answer":
                    return data
                if name == "error":
                    return data["detail"]
        return "the stream ended"

    async def through_the_page(self, words: str) -> Any:
        """Ask as the page does: upload, join the queue, wait; who leaves closes the tab."""
        tab, self.tab = self.tab or f"tab{self.number}x{self.asked}", ""
        files = {"files": ("picture.png", self.picture, "image/png")}
        path = (await self.http.post("/gradio_api/upload", files=files)).json()[0]
        picture = {"path": path, "meta": {"_type": "gradio.FileData"}}
        search = (3, 64, False, 1, 0, False)
        data = [picture, "caption_to_phrase_grounding", words, None, "nano", *search, None]
        question = {"data": data, "fn_index": await self._page_ask(), "session_hash": tab}
        answer = await self.http.post("/gradio_api/queue/join", json=question)
        if answer.status_code != 200:
            return _said(answer)
        found: Any = "the stream ended"
        async with self.http.stream("GET", f"/gradio_api/queue/data?session_hash={tab}") as answer:
            async for _, told in _events(answer):
                if told["msg"] == "process_completed":
                    found = told["output"].get("error") or {
                        "prompt": told["output"]["data"][0].get("question")
                    }
        self.tab = tab
        return found

    async def _page_ask(self) -> int:
        """Return the number of the page's event that asks, as the page looks it up."""
        if self._event is None:
            events = (await self.http.get("/config")).json()["dependencies"]
            self._event = next(each["id"] for each in events if each["api_name"] == "page_ask")
        return self._event


async def _events(answer: httpx.Response) -> AsyncIterator[tuple[str, Any]]:
    name = ""
    async for line in answer.aiter_lines():
        if line.startswith("event: "):
            name = line[7:]
        elif line.startswith("data: ") and line[6:].strip():
            yield name, json.loads(line[6:])


def _said(answer: httpx.Response) -> str:
    with contextlib.suppress(ValueError):
        return str(answer.json().get("detail"))
    return f"{answer.status_code} {answer.text[:80]}"


def _picture(size: tuple[int, int], number: int) -> bytes:
    image = Image.new("RGB", size, (number * 37 % 256, number * 91 % 256, 120))
    ImageDraw.Draw(image).ellipse((40, 40, 60 + number, 120), "white")
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


async def _greedy(address: str, told: Told) -> None:
    """Let one visitor ask 48 questions at once, then another one: how many of them go first?"""
    many, one = Person(address, 900, told), Person(address, 901, told)
    asked = [asyncio.create_task(many.over_http(f"many {i}")) for i in range(48)]
    async with httpx.AsyncClient(base_url=address) as http:
        while await _taken(http) < 40:
            await asyncio.sleep(0.02)
    await one.over_http("one")
    told.before = sum(each.done() for each in asked)
    await asyncio.gather(*asked)


async def _leave_at_once(address: str, told: Told) -> None:
    """Let a crowd leave at once, and see how long their places stay taken."""
    people = [Person(address, 800 + i, told) for i in range(40)]
    asked = [asyncio.create_task(p.as_stream(f"leaving {i}")) for i, p in enumerate(people)]
    async with httpx.AsyncClient(base_url=address) as http:
        while await _taken(http) < 30:
            await asyncio.sleep(0.02)
        for each in asked:
            each.cancel()
        began = time.monotonic()
        while await _taken(http):
            await asyncio.sleep(0.02)
        told.left = time.monotonic() - began
    await asyncio.gather(*asked, return_exceptions=True)


async def _taken(http: httpx.AsyncClient) -> int:
    counted = (await http.get("/metrics")).text
    return sum(
        int(float(value))
        for value in re.findall(r"^florence_questions_(?:waiting|working) (\S+)", counted, re.M)
    )


async def crowd(address: str, people: int, seconds: float, process: psutil.Process) -> Told:
    """Let people live for some seconds, and return what they saw."""
    told = Told()
    began = time.monotonic()
    until = began + seconds
    living = [asyncio.create_task(Person(address, n, told).live(until)) for n in range(people)]
    while not all(each.done() for each in living):
        told.memory.append((time.monotonic() - began, process.memory_info().rss))
        await asyncio.sleep(1)
    await asyncio.gather(*living)
    await _leave_at_once(address, told)
    await _greedy(address, told)
    return told


@contextlib.contextmanager
def served(*flags: str) -> Iterator[tuple[str, psutil.Process]]:
    """Serve the app in a process of its own."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "app.py", "--model", "nano", "--host", "127.0.0.1",
               "--port", str(port), "--forwarded", "--offline", *flags]  # fmt: skip
    env = {**os.environ, "HF_HUB_OFFLINE": "1"}
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(command, cwd=ROOT, env=env, **quiet) as app:
        try:
            address = f"http://127.0.0.1:{port}"
            while app.poll() is None:
                with contextlib.suppress(httpx.HTTPError):
                    if httpx.get(f"{address}/readyz").status_code == 200:
                        break
                time.sleep(0.1)
            yield address, psutil.Process(app.pid)
        finally:
            app.terminate()


def broken(told: Told) -> list[str]:
    """Return what was promised and not kept."""
    found = [f"{n} times: {end}" for end, n in told.ends.items()
             if end not in ("answered", "left", "busy")]  # fmt: skip
    found += [f"an answer to another's question: {each}" for each in told.wrong[:3]]
    if ratio(told) >= 3:
        found.append(f"p95 is {ratio(told):.1f} times p50 (3 allowed)")
    if growth(told) >= 0.05:
        found.append(f"memory grew by {growth(told):.1%} after the first minute (5 % allowed)")
    if told.left > 2:
        found.append(f"places of those who left stayed taken for {told.left:.1f} s (2 allowed)")
    if told.before > 32:  # what was in work, and what came with it
        found.append(f"{told.before} of another's 48 questions went before one that came later")
    return found


def ratio(told: Told) -> float:
    """Return p95 over p50."""
    if len(told.seconds) < 20:
        return 0.0
    cuts = statistics.quantiles(told.seconds, n=20)
    return cuts[18] / cuts[9]


def growth(told: Told) -> float:
    """Return how much memory grew from the second minute to the last."""
    later = [rss for at, rss in told.memory if at > 60]
    if len(later) < 60:
        return 0.0
    return statistics.median(later[-20:]) / statistics.median(later[:20]) - 1


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a crowd and print what it saw."""
    parser = argparse.ArgumentParser("tests.soak", description=__doc__)
    parser.add_argument("--people", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=300)
    args = parser.parse_args(arguments)
    with served() as (address, process):
        told = asyncio.run(crowd(address, args.people, args.seconds, process))
    for end, count in told.ends.most_common():
        print(f"{count:6,}  {end}")
    if len(told.seconds) >= 20:
        cuts = statistics.quantiles(told.seconds, n=20)
        print(f"p50 {cuts[9]:.2f} s, p95 {cuts[18]:.2f} s, {ratio(told):.2f} times p50")
    print(f"{len(told.seconds) / args.seconds:.1f} answers a second")
    print(f"memory {told.memory[-1][1] / 1e6:,.0f} MB, {growth(told):+.1%} after the first minute")
    print(f"places of 40 who left: free after {told.left:.2f} s")
    print(f"one question after 48 of another visitor: answered after {told.before} of them")
    problems = broken(told)
    print(*(f"NOT KEPT: {each}" for each in problems), sep="\n")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
