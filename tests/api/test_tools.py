"""The tools as the protocol's official client meets them, of its newest revision and before."""

from __future__ import annotations

import base64
import io
import sys

import anyio
import httpx2
import pytest
from mcp.client.client import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.exceptions import MCPError
from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS, MODERN_PROTOCOL_VERSIONS
from PIL import Image

from florence_demo.api.tools import Missing
from florence_demo.api.verbs import verbs
from florence_demo.serving.asking import Service
from florence_demo.ui import AppConfig, build_app
from tests.fakes import FakeEngines, SlowEngine

NEWEST = {
    "2026-07-28": ("auto", MODERN_PROTOCOL_VERSIONS),
    "before": ("legacy", HANDSHAKE_PROTOCOL_VERSIONS),
}


def picture() -> str:
    buffer = io.BytesIO()
    Image.new("RGB", (400, 300), "teal").save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


@pytest.fixture(scope="module")
def engines():
    return FakeEngines()


@pytest.fixture(scope="module")
def address(engines):
    config = AppConfig(model="nano", mcp=True, api_keys=("right",))
    app = build_app(config, Service(config, engines))
    _, url, _ = app.serve(prevent_thread_lock=True, quiet=True, server_name="127.0.0.1")
    yield f"{url}mcp"
    app.close()


def with_client(address, mode, work, key="right"):
    async def run():
        async with httpx2.AsyncClient(headers={"X-API-Key": key}, timeout=30) as http:
            transport = streamable_http_client(address, http_client=http)
            async with Client(transport, mode=mode) as client:
                return await work(client)

    return anyio.run(run)


@pytest.mark.parametrize(("mode", "versions"), NEWEST.values(), ids=NEWEST)
def test_every_verb_is_a_tool_that_says_what_it_takes(address, mode, versions):
    async def work(client):
        return client.protocol_version, (await client.list_tools()).tools

    version, listed = with_client(address, mode, work)
    assert version == versions[-1]
    assert {tool.name for tool in listed} == set(verbs())
    detect = next(tool for tool in listed if tool.name == "detect")
    assert "picture" in detect.input_schema["required"]
    assert all(p.get("description") for p in detect.input_schema["properties"].values())
    assert detect.output_schema["properties"].keys() >= {"text", "detections"}
    assert detect.description


@pytest.mark.parametrize(("mode", "versions"), NEWEST.values(), ids=NEWEST)
def test_a_tool_answers(address, mode, versions):
    async def work(client):
        return await client.call_tool("detect", {"picture": picture(), "names": "cat, dog"})

    found = with_client(address, mode, work)
    assert not found.is_error
    assert [row["label"] for row in found.structured_content["detections"]] == ["cat", "dog"]


@pytest.mark.parametrize(("mode", "versions"), NEWEST.values(), ids=NEWEST)
def test_who_leaves_ends_the_work(address, engines, monkeypatch, mode, versions):
    slow = SlowEngine()
    monkeypatch.setattr(engines, "engine", slow)

    async def work(client):
        async with anyio.create_task_group() as group:
            group.start_soon(client.call_tool, "detect", {"picture": picture()})
            assert await anyio.to_thread.run_sync(slow.started.wait, 20)
            group.cancel_scope.cancel()

    with_client(address, mode, work)
    assert slow.stopped.wait(8), "it goes on for ten seconds where nobody stops it"


BAD = {
    "no question": ("query", {"question": ""}, "needs words"),
    "no such task": ("ask", {"task": "dance"}, "no task"),
    "a path": ("detect", {"picture": "/etc/passwd"}, "none of what is taken"),
}


@pytest.mark.parametrize(("name", "given", "words"), BAD.values(), ids=BAD)
def test_bad_input_is_a_sentence_for_the_model(address, name, given, words):
    async def work(client):
        return await client.call_tool(name, {"picture": picture(), **given})

    found = with_client(address, "auto", work)
    assert found.is_error
    assert words in found.content[0].text


def test_without_a_key_there_are_no_tools(address):
    async def work(client):
        return await client.list_tools()

    with pytest.raises(ExceptionGroup) as told:
        with_client(address, "legacy", work, key="wrong")
    assert told.group_contains(MCPError, match="error response")


def test_a_missing_package_is_a_sentence(monkeypatch):
    for name in [n for n in sys.modules if n.split(".")[0] in ("mcp", "mcp_types")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "mcp", None)
    with pytest.raises(Missing, match="pip install"):
        build_app(AppConfig(model="nano", mcp=True))
