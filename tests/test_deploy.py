"""What operators start the app with names what there is: settings, files, places to fill in."""

from __future__ import annotations

import configparser
import re
import subprocess
from pathlib import Path

import pytest
import yaml

from florence_demo.serving.settings import CONFIG, unknown_variables

PROJECT = Path(__file__).resolve().parent.parent
CONTAINERFILE = (PROJECT / "Containerfile").read_text(encoding="utf-8")
COMPOSE = yaml.safe_load((PROJECT / "compose.yaml").read_text(encoding="utf-8"))
NGINX = (PROJECT / "deploy" / "nginx.conf").read_text(encoding="utf-8")
# Of compose.yaml itself, filled in before the app sees anything.
OF_COMPOSE = {"FLORENCE_NAME", "FLORENCE_TORCH", "FLORENCE_LISTEN", "FLORENCE_BEFORE"}


@pytest.mark.parametrize(
    "file", ["Containerfile", "compose.yaml", "deploy/florence-demo.service"]
)  # fmt: skip
def test_the_variables_are_settings(file):
    named = set(re.findall(r"FLORENCE_[A-Z_]+", (PROJECT / file).read_text(encoding="utf-8")))
    assert named
    assert unknown_variables(dict.fromkeys(named - OF_COMPOSE - {CONFIG}, "1")) == []


def test_the_proxys_places_are_all_filled_in():
    places = set(re.findall(r"\$\{(\w+)\}", NGINX))
    given = {k for k in COMPOSE["services"]["proxy"]["environment"] if k.startswith("PROXY_")}
    demo = (PROJECT / "deploy" / "proxy_demo.py").read_text(encoding="utf-8")
    assert places == given == set(re.findall(r'"(PROXY_\w+)":', demo))


@pytest.mark.parametrize("service", COMPOSE["services"])
def test_no_service_may_more_than_it_needs(service):
    told = COMPOSE["services"][service]
    assert told["read_only"] is True
    assert told["cap_drop"] == ["ALL"]
    assert told["security_opt"] == ["no-new-privileges:true"]
    assert not told.get("privileged")


def test_only_the_proxy_is_reached_and_only_from_this_machine_by_itself():
    assert "ports" not in COMPOSE["services"]["app"]
    [port] = COMPOSE["services"]["proxy"]["ports"]
    assert "127.0.0.1" in port


def test_what_the_image_is_made_of_is_let_in():
    ignored = (PROJECT / ".containerignore").read_text(encoding="utf-8").splitlines()
    let_in = [line[1:] for line in ignored if line.startswith("!")]
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", CONTAINERFILE, re.MULTILINE)
    for source in " ".join(copied).split():
        assert source in let_in, source
        assert list(PROJECT.glob(source)), source


def test_the_image_runs_as_nobody_in_particular():
    assert re.search(r"^USER 1\d{4}:1\d{4}$", CONTAINERFILE, re.MULTILINE)
    assert "/healthz" in CONTAINERFILE


@pytest.mark.parametrize(
    ("torch", "wanted"),
    [("cuda", ["--require-hashes -r requirements.lock"]),
     ("cpu", ["--require-hashes -r ", "--no-deps --torch-backend cpu torch=="])],
    ids=["cuda", "cpu"],
)  # fmt: skip
def test_what_is_installed_is_what_is_pinned(torch, wanted, tmp_path):
    pip = tmp_path / "bin" / "pip"
    pip.parent.mkdir()
    seen = tmp_path / "seen"
    pip.write_text(f'#!/bin/sh\necho "$@" >>{seen}\n[ -f "$5" ] && cat "$5" >{tmp_path}/rest\ntrue')
    pip.chmod(0o755)
    uv = pip.with_name("uv")
    uv.write_text(pip.read_text())
    uv.chmod(0o755)
    install = PROJECT / "deploy" / "install.sh"
    subprocess.run([install, torch, tmp_path, uv], cwd=PROJECT, check=True)
    calls = seen.read_text().splitlines()
    assert len(calls) == len(wanted)
    assert all(part in call for part, call in zip(wanted, calls, strict=True))
    lock = (PROJECT / "requirements.lock").read_text(encoding="utf-8")
    if torch == "cpu":
        rest = (tmp_path / "rest").read_text()
        left = set(re.findall(r"^([a-z0-9-]+)==", lock, re.MULTILINE))
        left -= set(re.findall(r"^([a-z0-9-]+)==", rest, re.MULTILINE))
        assert {"torch", "torchvision", "triton"} < left
        others = {x for x in left if not x.startswith(("nvidia-", "cuda-"))}
        assert others == {"torch", "torchvision", "triton"}
        assert not re.search(r"^(nvidia|cuda)-", rest, re.MULTILINE)
        assert "gradio==6" in rest


def test_another_kind_of_torch_is_told(tmp_path):
    install = [PROJECT / "deploy" / "install.sh", "rocm", tmp_path, "uv"]
    done = subprocess.run(install, cwd=PROJECT, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (2, "TORCH is cpu or cuda, not rocm.\n")


def test_the_service_has_no_rights():
    unit = configparser.RawConfigParser(strict=False)
    unit.optionxform = str
    unit.read(PROJECT / "deploy" / "florence-demo.service")
    service = unit["Service"]
    assert service["CapabilityBoundingSet"] == ""
    assert (service["DynamicUser"], service["ProtectSystem"]) == ("yes", "strict")
    # torch and triton make code while they run, and pictures are opened under setrlimit.
    assert "MemoryDenyWriteExecute" not in service
    assert "@resources" not in unit["Service"]["SystemCallFilter"]
