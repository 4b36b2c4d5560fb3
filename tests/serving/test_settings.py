"""From where a setting's value comes, and what is said of one that cannot be used."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from florence_demo.errors import InputError
from florence_demo.serving.config import AppConfig
from florence_demo.serving.settings import SETTINGS, add_flags, read, shown, unknown_variables

KEYS = ("a-long-key-of-one", "a-long-key-of-two")


def values(*flags: str, **environment: str) -> dict[str, object]:
    parser = argparse.ArgumentParser()
    add_flags(parser)
    found = read(vars(parser.parse_args(flags)), environment)
    return {name: each.value for name, each in found.items()}


def source(name: str, *flags: str, **environment: str) -> str:
    parser = argparse.ArgumentParser()
    add_flags(parser)
    return read(vars(parser.parse_args(flags)), environment)[name].source


def written(folder: Path, text: str) -> str:
    file = folder / "florence.toml"
    file.write_text(text, encoding="utf-8")
    return str(file)


def test_a_flag_goes_before_a_variable_and_that_before_the_file(tmp_path):
    file = written(tmp_path, "port = 1\nmax_models = 2")
    assert values()["port"] is None
    assert values(FLORENCE_CONFIG=file)["port"] == 1
    assert values("--config", file, FLORENCE_PORT="2")["port"] == 2
    assert values("--config", file, "--port", "3", FLORENCE_PORT="2")["port"] == 3
    assert values("--config", file, "--port", "3", FLORENCE_PORT="2")["max_models"] == 2
    asked = ("--config", file, "--device", "cpu")
    told = [source(n, *asked, FLORENCE_DTYPE="int8") for n in ("device", "dtype", "port", "host")]
    assert told == ["flag --device", "variable FLORENCE_DTYPE", f"file {file}", "default"]


def test_the_command_line_names_another_file_than_the_variable(tmp_path):
    (tmp_path / "other").mkdir()
    files = written(tmp_path, "port = 1"), written(tmp_path / "other", "port = 2")
    assert values("--config", files[1], FLORENCE_CONFIG=files[0])["port"] == 2


@pytest.mark.parametrize(
    ("name", "flag", "variable", "toml", "value"),
    [
        ("model", ["--model", "base"], "base", '"base"', "base"),
        ("max_models", ["--max-models", "3"], "3", "3", 3),
        ("public", ["--public"], "1", "true", True),
        ("public", ["--no-public"], "off", "false", False),
        ("training", ["--no-training"], "No", "false", False),
        ("data", ["--data", "a b"], "a b", '"a b"', Path("a b")),
        ("disk", ["--disk", "500MB"], "500 mb", '"500 MB"', 500 << 20),
        ("api_key", ["--api-key", KEYS[0], "--api-key", KEYS[1]], " , ".join(KEYS),
         f"{list(KEYS)}", KEYS),
        ("allowed_host", ["--allowed-host", "*.a.org"], "*.a.org,", '"*.a.org"', ("*.a.org",)),
        ("auth", ["--auth", "me:a:b"], "me:a:b", '"me:a:b"', "me:a:b"),
        ("metrics", ["--metrics", "key"], "key", '"key"', "key"),
        ("root_path", ["--root-path", "/a"], "/a", '"/a"', "/a"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_all_three_ways_say_the_same(tmp_path, name, flag, variable, toml, value):
    assert values(*flag)[name] == value
    assert values(**{f"FLORENCE_{name.upper()}": variable})[name] == value
    assert values("--config", written(tmp_path, f"{name} = {toml}"))[name] == value


@pytest.mark.parametrize(
    ("toml", "sentence"),
    [
        ("prot = 1", "prot in florence.toml is no setting. Did you mean port?"),
        ("max-models = 1", "max-models in florence.toml is no setting. Did you mean max_models?"),
        ("zzzzzz = 1", "zzzzzz in florence.toml is no setting."),
        ('port = "80"', "port in florence.toml must be a whole number from 1 to 65535, not '80'."),
        (
            "port = true",
            "port in florence.toml must be a whole number from 1 to 65535, not 'True'.",
        ),
        ("public = 1", "public in florence.toml must be true or false, not '1'."),
        ("model = [1]", "model in florence.toml must be a text, not '[1]'."),
        ("auth = 1", "auth in florence.toml must be NAME:PASSWORD."),
        ("api_key = [1]", "api_key in florence.toml must be letters, digits and signs, no spaces."),
        ("port 1", "florence.toml is no TOML file: "),
        ("model = '\ud800'", "florence.toml is no TOML file: "),
    ],
    ids=lambda value: value[:20],
)
def test_what_the_file_says_wrongly_is_a_sentence(tmp_path, monkeypatch, toml, sentence):
    monkeypatch.chdir(tmp_path)
    Path("florence.toml").write_bytes(toml.encode("utf-8", "surrogatepass"))
    with pytest.raises(InputError) as told:
        values("--config", "florence.toml")
    assert str(told.value).startswith(sentence)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    ("flags", "environment", "sentence"),
    [
        (["--port", "x"], {}, "--port must be a whole number from 1 to 65535, not 'x'."),
        ([], {"FLORENCE_PORT": "0"}, "FLORENCE_PORT must be a whole number from 1 to 65535"),
        ([], {"FLORENCE_PUBLIC": "maybe"}, "FLORENCE_PUBLIC must be true or false, not 'maybe'."),
        (["--auth", ":hidden"], {}, "--auth must be NAME:PASSWORD."),
        (["--api-key", "hid den"], {}, "--api-key must be letters, digits and signs, no spaces."),
        (["--disk", "3"], {}, "--disk must be an amount such as 16 GB, not '3'."),
        (["--root-path", "a"], {}, "--root-path must be a path or an address"),
        (["--metrics", "all"], {}, "--metrics must be one of local, key, public, not 'all'."),
        (["--config", "/none.toml"], {}, "The settings in /none.toml cannot be read: No such file"),
        ([], {"FLORENCE_CONFIG": "/"}, "The settings in / cannot be read: Is a directory."),
    ],
    ids=lambda value: " ".join(value)[:30],
)
def test_a_value_of_another_kind_is_a_sentence(flags, environment, sentence):
    with pytest.raises(InputError) as told:
        values(*flags, **environment)
    assert str(told.value).startswith(sentence)
    assert "hid" not in str(told.value)


def test_an_empty_variable_says_nothing():
    assert values(FLORENCE_PORT="", FLORENCE_MODEL="", FLORENCE_API_KEY="") == values()


def test_a_space_is_public_and_behind_a_proxy_unless_told_otherwise():
    at_home, on_space = values(), values(SPACE_ID="me/mine")
    assert not at_home["public"]
    assert not at_home["forwarded"]
    assert on_space["public"]
    assert on_space["forwarded"]
    assert on_space["frames"] == ("https://huggingface.co", "https://*.hf.space")
    assert not values("--no-public", SPACE_ID="me/mine")["public"]


def test_gradios_own_variables_are_heard():
    heard = values(GRADIO_SERVER_NAME="0.0.0.0", GRADIO_SERVER_PORT="80", GRADIO_ROOT_PATH="/a")
    assert [heard[name] for name in ("host", "port", "root_path")] == ["0.0.0.0", 80, "/a"]
    assert values(GRADIO_SERVER_PORT="80", FLORENCE_PORT="81")["port"] == 81


def test_a_variable_that_is_no_setting_is_found():
    assert unknown_variables({"FLORENCE_PUBLC": "1", "FLORENCE_PUBLIC": "1", "HOME": "/"}) == [
        "FLORENCE_PUBLC"
    ]


def test_no_secret_is_shown():
    parser = argparse.ArgumentParser()
    add_flags(parser)
    given = ["--auth", "me:hidden", "--api-key", KEYS[0], "--disk", "1536MB", "--public"]
    lines = list(shown(read(vars(parser.parse_args(given)), {"FLORENCE_MODEL": "nano"})))
    assert len(lines) == len(SETTINGS)
    text = "\n".join(" ".join(line.split()) for line in lines)
    assert "hidden" not in text
    assert KEYS[0] not in text
    for line in ("auth *** (flag --auth)", "api_key *** (flag --api-key)", "host - (default)",
                 "disk 1536 MB (flag --disk)", "public true (flag --public)",
                 "model nano (variable FLORENCE_MODEL)"):  # fmt: skip
        assert line in text.splitlines()


def test_all_that_the_app_is_built_with_can_be_set():
    named = {each.field or each.name for each in SETTINGS}
    assert set(AppConfig.__dataclass_fields__) <= named
