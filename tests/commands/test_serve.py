"""The command that starts the page."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

import pytest

from florence_demo.__main__ import main
from florence_demo.commands.serve import config_of
from florence_demo.serving.config import AppConfig
from florence_demo.serving.settings import read
from tests.running import ROOT, started


@pytest.fixture(autouse=True)
def at_home(monkeypatch):
    monkeypatch.delenv("SPACE_ID", raising=False)


def test_show_config_prints_and_ends(capsys, monkeypatch):
    monkeypatch.setenv("FLORENCE_PORT", "7000")
    assert main(["serve", "--show-config", "--api-key", "a-long-hidden-key"]) == 0
    told = capsys.readouterr().out
    assert "7000  (variable FLORENCE_PORT)" in told
    assert "hidden" not in told


def test_a_wrong_setting_ends_with_a_sentence(capsys):
    assert main(["serve", "--port", "x"]) == 2
    told = capsys.readouterr()
    assert told.err == "--port must be a whole number from 1 to 65535, not 'x'.\n"
    assert told.out == ""


def test_metrics_for_who_has_a_key_need_one(capsys):
    assert main(["serve", "--metrics", "key"]) == 2
    assert capsys.readouterr().err.startswith("--metrics key needs --api-key: ")


def test_settings_reach_the_app(monkeypatch):
    def config(**flags):
        return config_of({n: each.value for n, each in read(flags, {}).items()})

    assert config() == AppConfig()
    given = config(api_key=["one", "two"], allowed_host=["a.org"], questions_a_minute="7",
                   key_questions_a_minute="9", forwarded=True, frames=["https://b.org"],
                   disk="1 GB", mcp=True, offline=True, metrics="key", root_path="/a/")  # fmt: skip
    assert given.api_keys == ("one", "two")
    assert (given.mcp, given.offline, given.metrics, given.disk) == (True, True, "key", 1 << 30)
    assert given.prefix == "/a"
    rules = given.rules()
    assert (rules.hosts, rules.frames) == (("a.org",), ("https://b.org",))
    assert (rules.questions_a_minute, rules.key_questions_a_minute) == (7, 9)
    assert rules.forwarded
    assert config(public=True).rules().questions_a_minute == 120
    assert config(public=True, questions_a_minute="0").rules().questions_a_minute == 0
    monkeypatch.setenv("SPACE_ID", "me/mine")
    assert config(allowed_host=["a.org"]).hosts == ("a.org", "*.hf.space")


def test_a_proxy_for_the_way_out_is_none_for_the_server_itself(tmp_path):
    proxies = dict.fromkeys(("HTTP_PROXY", "http_proxy", "ALL_PROXY"), "http://127.0.0.1:9")
    with started(tmp_path, NO_PROXY="example.org", **proxies) as app:
        assert app.url.startswith("http://127.0.0.1:")


def test_a_port_that_is_taken_is_a_sentence(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        done = subprocess.run(
            [sys.executable, "app.py", "--host", "127.0.0.1", "--port", port, "--model", "nano"],
            capture_output=True, text=True, cwd=ROOT, check=False,
            env={**os.environ, "GRADIO_TEMP_DIR": str(tmp_path)},
        )  # fmt: skip
    assert done.returncode == 2
    told = done.stderr.strip().splitlines()[-1]
    assert told.startswith(f"The page cannot listen at 127.0.0.1, port {port}: it is taken")
    assert "Traceback" not in done.stderr
    assert list(tmp_path.rglob("*")) == []
