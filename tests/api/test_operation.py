"""What whoever runs the server asks it, and from where."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import replace

import anyio
import httpx
import pytest
from anyio import to_thread

from florence_demo.api.application import Beside
from florence_demo.serving.asking import Service
from florence_demo.serving.config import AppConfig
from florence_demo.serving.gate import Gate
from tests.fakes import FakeEngines

KEY = "a-key-of-some-length"


async def page(scope, receive, send):
    """Stand where the page is, and answer nothing of ours."""
    await send({"type": "http.response.start", "status": 299, "headers": []})
    await send({"type": "http.response.body", "body": b"the page"})


def door(**config: object) -> tuple[Service, httpx.ASGITransport]:
    service = Service(AppConfig(model="nano", **config), FakeEngines())
    gate = Gate(Beside(page, service), service.config.rules())
    return service, httpx.ASGITransport(gate, client=("127.0.0.1", 5))


def ask(transport: httpx.ASGITransport, path: str, method: str = "GET", **headers: str):
    async def go() -> httpx.Response:
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            return await client.request(method, path, headers=headers)

    return asyncio.run(go())


def test_a_server_tells_whether_it_is_alive_and_ready():
    service, there = door()
    assert ask(there, "/healthz").json() == {"status": "ok"}
    waiting = ask(there, "/readyz")
    assert waiting.status_code == 503
    told = {"status": "unavailable", "detail": "The first model is not asked for yet."}
    assert waiting.json() == told
    service.warm_up()
    assert ask(there, "/readyz").json() == {"status": "ok"}
    service.health.lost("The GPU is gone.")
    for path in ("/healthz", "/readyz"):
        found = ask(there, path)
        assert (found.status_code, found.json()["detail"]) == (503, "The GPU is gone.")
        assert found.headers["cache-control"] == "no-store"


def test_what_the_door_refuses_is_counted_by_its_word():
    service = Service(AppConfig(model="nano", api_keys=(KEY,)), FakeEngines())
    gate = Gate(Beside(page, service), service.config.rules(), refused=service.metrics.refused)
    there = httpx.ASGITransport(gate, client=("127.0.0.1", 5))
    assert ask(there, "/v1/models").status_code == 401
    assert ask(there, "/nowhere").status_code == 404
    assert ask(there, "/healthz").status_code == 200
    lines = [line for line in service.metrics.text().decode().splitlines() if "refused" in line]
    counted = [line for line in lines if not line.startswith("#")]
    assert sorted(counted) == [
        'florence_refused_total{code="no_key"} 1.0',
        'florence_refused_total{code="no_such_address"} 1.0',
    ]


def test_health_needs_no_key_and_is_told_by_a_head_too():
    _, there = door(api_keys=(KEY,))
    assert ask(there, "/healthz").status_code == 200
    assert ask(there, "/healthz", "HEAD").status_code == 200
    assert ask(there, "/healthz", "POST").status_code != 200


def test_health_is_told_while_every_thread_is_busy():
    _, there = door()
    go_on, taken = threading.Event(), threading.Event()

    def work() -> None:
        taken.set()
        go_on.wait(20)

    async def go() -> int:
        to_thread.current_default_thread_limiter().total_tokens = 1
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(to_thread.run_sync, work)
            await anyio.sleep(0)
            async with httpx.AsyncClient(transport=there, base_url="http://localhost") as client:
                with anyio.fail_after(10):
                    while not taken.is_set():
                        await anyio.sleep(0)
                    found = await client.get("/healthz")
            go_on.set()
        return found.status_code

    assert asyncio.run(go()) == 200


@pytest.mark.parametrize("root", ["/florence", "https://example.org/florence/"])
def test_a_proxy_may_take_a_prefix_off(root):
    _, there = door(root_path=root)
    assert ask(there, "/healthz").status_code == 200
    assert ask(there, "/v1/openapi.json").json()["servers"] == [{"url": "/florence"}]
    documentation = ask(there, "/docs").text
    assert "/florence/v1/openapi.json" in documentation
    assert ask(there, "/docs/static/swagger-ui.css").status_code == 200
    assert ask(there, "/v1/tasks").status_code == 200
    assert ask(there, "/elsewhere").status_code == 404
    assert ask(there, "/").text == "the page"


ELSEWHERE = ("192.0.2.7", 5)


@pytest.mark.parametrize(
    ("who", "peer", "headers", "status"),
    [
        ("local", ("127.0.0.1", 5), {}, 200),
        ("local", ("::1", 5), {}, 200),
        ("local", ELSEWHERE, {}, 403),
        ("local", ("127.0.0.1", 5), {"x-forwarded-for": "192.0.2.7"}, 403),
        ("local", ("127.0.0.1", 5), {"via": "1.1 proxy"}, 403),
        ("local", ELSEWHERE, {"x-api-key": KEY}, 200),
        ("local", ELSEWHERE, {"x-api-key": "another"}, 403),
        ("key", ("127.0.0.1", 5), {}, 403),
        ("key", ELSEWHERE, {"authorization": f"Bearer {KEY}"}, 200),
        ("public", ELSEWHERE, {}, 200),
    ],
)
def test_who_may_read_what_is_counted(who, peer, headers, status):
    service = Service(AppConfig(model="nano", metrics=who), FakeEngines())
    rules = replace(service.config.rules(), keys=(KEY,))
    there = httpx.ASGITransport(Gate(Beside(page, service), rules), client=peer)
    found = ask(there, "/metrics", **headers)
    assert found.status_code == status
    if status == 200:
        assert "florence_questions_waiting 0.0" in found.text.splitlines()
        assert found.headers["content-type"].startswith("text/plain; version=")
    else:
        assert "florence_" not in found.text
        assert "may read the metrics" in found.json()["detail"]


def test_nobody_is_named_by_a_key_where_there_are_none():
    _, there = door(metrics="key")
    assert ask(there, "/metrics", **{"x-api-key": ""}).status_code == 403
