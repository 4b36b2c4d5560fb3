"""The command that starts the page."""

from __future__ import annotations

import pytest

from florence_demo.__main__ import main
from florence_demo.commands.serve import config_of
from florence_demo.serving.config import AppConfig
from florence_demo.serving.settings import read


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
