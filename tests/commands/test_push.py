"""A run goes to the hub: what goes, what stays, and a small hub of our own that takes it."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from florence_demo.__main__ import main
from florence_demo.models.loading import load_model
from florence_demo.models.pushing import files_to_push
from florence_demo.training.config import TrainConfig
from florence_demo.training.fine_tune import fine_tune
from tests.micro_florence import micro_model, micro_processor

ROOT = Path(__file__).resolve().parents[2]


@dataclass
class Hub:
    """A hub that takes small files as they stand and large ones by LFS, and remembers what came.

    Attributes:
        url: Where it is.
        status: What it answers.
        broken: The path, or the end of one, at which it refuses with 403.
        made: The repositories that were made.
        files: Those of the commits, by name.
        stored: What came by LFS, by the sum of its bytes.
        asked: The paths that were asked for.
    """

    url: str = ""
    status: int = 200
    broken: str = "nothing"
    stored: dict[str, bytes] = field(default_factory=dict)
    made: list[dict[str, Any]] = field(default_factory=list)
    files: dict[str, bytes] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def answer(self, path: str, body: bytes) -> dict[str, Any]:
        if path == "/api/repos/create":
            self.made.append(json.loads(body))
            return {"url": f"{self.url}/me/mine"}
        if path == "/api/validate-yaml":
            return {"errors": [], "warnings": []}
        if path == "/api/models/me/mine/branch/v2":
            return {}
        if path.startswith("/api/models/me/mine/preupload/"):
            return {"files": [mode_of(file) for file in json.loads(body)["files"]]}
        if path == "/me/mine.git/info/lfs/objects/batch":
            return {
                "transfer": "basic",
                "objects": [self.place(o) for o in json.loads(body)["objects"]],
            }
        if path.startswith("/lfs/"):
            self.stored[path.removeprefix("/lfs/")] = body
            return {}
        if path == "/verify":
            told = json.loads(body)
            assert len(self.stored[told["oid"]]) == told["size"]
            return {}
        assert path.startswith("/api/models/me/mine/commit/"), path
        for line in map(json.loads, body.splitlines()):
            if line["key"] == "file":
                self.files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
            elif line["key"] == "lfsFile":
                self.files[line["value"]["path"]] = self.stored[line["value"]["oid"]]
        return {
            "success": True,
            "commitOid": "a" * 40,
            "commitUrl": f"{self.url}/me/mine/commit/{'a' * 40}",
            "hookOutput": "",
        }

    def place(self, thing: dict[str, Any]) -> dict[str, Any]:
        """Return where a large file goes; nowhere, if it is there already."""
        if thing["oid"] in self.stored:
            return thing
        places = {"upload": f"/lfs/{thing['oid']}", "verify": "/verify"}
        actions = {name: {"href": self.url + place} for name, place in places.items()}
        return {**thing, "actions": actions}


def mode_of(file: dict[str, Any]) -> dict[str, Any]:
    large = file["size"] > 10_000_000
    return {
        "path": file["path"],
        "uploadMode": "lfs" if large else "regular",
        "shouldIgnore": False,
    }


@pytest.fixture
def hub() -> Iterator[Hub]:
    found = Hub()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            path = self.path.partition("?")[0]
            found.asked.append(path)
            status = 403 if found.broken in path else found.status
            said = found.answer(path, body) if status == 200 else {"error": "no"}
            answer = json.dumps(said).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        do_PUT = do_POST

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    found.url = f"http://127.0.0.1:{server.server_address[1]}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield found
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A LoRA run whose base is a folder."""
    folder = tmp_path_factory.mktemp("push")
    processor = micro_processor()
    micro_model(processor).save_pretrained(folder / "mybase")
    processor.save_pretrained(folder / "mybase")
    (folder / "secret-place").mkdir()
    rows = []
    for i in range(8):
        Image.new("RGB", (20, 20 + i), "red").save(folder / f"secret-place/{i}.png")
        rows.append({"image": f"{i}.png", "prefix": "<FORM>What?", "suffix": "red"})
    data = folder / "secret-place/forms.jsonl"
    data.write_text("\n".join(map(json.dumps, rows)))
    config = TrainConfig(
        model=str(folder / "mybase"), data=str(data), out=folder / "it", mode="lora", steps=2,
        batch_size=4, device="cpu", answers=2, max_new_tokens=4,
    )  # fmt: skip
    fine_tune(config)
    return config.out


def with_base(run: Path, folder: Path, base: str) -> Path:
    shutil.copytree(run, folder)
    path = folder / "adapter/adapter_config.json"
    settings = {**json.loads(path.read_text()), "base_model_name_or_path": base}
    path.write_text(json.dumps(settings))
    return folder


def pushed(hub: Hub, *arguments: str, **changes: str) -> subprocess.CompletedProcess[str]:
    environment = {
        **os.environ, "HF_ENDPOINT": hub.url, "HF_HUB_OFFLINE": "0", "HF_TOKEN": "hf_x",
        "HF_HUB_DISABLE_XET": "1", **changes
    }  # fmt: skip
    return subprocess.run(
        [sys.executable, "-m", "florence_demo", "push", *arguments],
        env=environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_a_model_and_its_card_arrive_and_nothing_else(hub: Hub, run: Path, tmp_path: Path) -> None:
    folder = with_base(run, tmp_path / "it", "nano")
    done = pushed(hub, str(folder), "me/mine", "--private")
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout == f"{hub.url}/me/mine\n"
    assert (hub.made[0]["name"], hub.made[0]["organization"]) == ("mine", "me")
    assert "private" in str(hub.made[0])
    assert {"model.safetensors", "config.json", "tokenizer.json", "README.md"} <= set(hub.files)
    assert {"adapter/adapter_model.safetensors", "adapter/adapter_config.json"} <= set(hub.files)
    for name, content in hub.files.items():
        assert content == (folder / name).read_bytes()
        # No path of this machine goes out, nor what lies beside the model.
        assert str(run.parent).encode() not in content, name
    own = ("train_config", "status", "result", "log", "before", "after", "checkpoints", "samples")
    assert not [name for name in hub.files if name.startswith(own)]


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model whose weights the hub takes as a large file."""
    folder = tmp_path_factory.mktemp("push") / "large"
    loaded = load_model("nano", device="cpu", dtype="fp32")
    loaded.model.save_pretrained(folder)
    loaded.processor.save_pretrained(folder)
    assert (folder / "model.safetensors").stat().st_size > 10_000_000
    return folder


def test_large_weights_arrive_by_lfs_on_a_branch(hub: Hub, large: Path) -> None:
    done = pushed(hub, str(large), "me/mine", "--revision", "v2")
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout == f"{hub.url}/me/mine/tree/v2\n"
    assert "/api/models/me/mine/commit/v2" in hub.asked
    (stored,) = hub.stored.values()
    assert stored == (large / "model.safetensors").read_bytes()
    assert hub.files == {name: path.read_bytes() for name, path in files_to_push(large).items()}


@pytest.mark.parametrize("broken", ["/lfs/objects/batch", "/lfs/", "/verify", "/commit/"])
def test_a_refusal_half_way_says_how_to_go_on_and_going_on_sends_the_rest(
    hub: Hub, large: Path, broken: str
) -> None:
    hub.broken = broken
    done = pushed(hub, str(large), "me/mine")
    assert done.returncode == 2
    assert "push again, and large ones that arrived are not sent again" in done.stderr
    assert "Traceback" not in done.stderr
    assert hub.files == {}
    hub.broken = "nothing"
    arrived = len(hub.stored)
    hub.asked.clear()
    assert pushed(hub, str(large), "me/mine").returncode == 0
    assert len(hub.files) > 1
    assert sum(path.startswith("/lfs/") for path in hub.asked) == 1 - arrived


def test_a_branch_is_a_name(large: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for odd in ("../x", "a b", ""):
        assert main(["push", str(large), "me/mine", "--dry-run", "--revision", odd]) == 2
        assert "is no name of a branch" in capsys.readouterr().err
    assert main(["push", str(large), "me/mine", "--dry-run", "--revision", "v2"]) == 0
    assert "to me/mine@v2:" in capsys.readouterr().out


def test_an_adapter_of_a_folder_stays_here(run: Path) -> None:
    assert not [name for name in files_to_push(run) if name.startswith("adapter/")]
    assert (run / "adapter/adapter_config.json").is_file()


def test_a_dry_run_asks_nothing(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # The hub is off in tests: it would be told.
    assert main(["push", str(run), "me/mine", "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("Would push ")
    assert "  model.safetensors  " in said
    assert "## Before and after" in said


def test_the_card_tells_the_run_and_no_path(run: Path) -> None:
    card = (run / "README.md").read_text()
    result = json.loads((run / "result.json").read_text())
    assert card == (run / "adapter/README.md").read_text()
    assert card.startswith("---\nlibrary_name: transformers\n")
    assert "license:" not in card, "whose base it is is not known"
    assert "fine-tuned from mybase on “forms.jsonl”" in card
    assert f"| custom/anls | {result['before']['custom/anls']:.3f} |" in card
    assert "| learning_rate | 1e-06 |" in card
    assert str(run.parent) not in card
    assert "secret-place" not in card


@pytest.mark.parametrize(
    ("status", "changes", "said"),
    [
        (401, {}, "hf auth login"),
        (403, {}, "does not let you write to me/mine"),
        (400, {}, "refused"),
        (200, {"HF_HUB_OFFLINE": "1"}, "HF_HUB_OFFLINE"),
        (200, {"HF_ENDPOINT": "http://127.0.0.1:9"}, "cannot be reached"),
    ],
)
def test_what_goes_wrong_is_one_sentence(
    hub: Hub, run: Path, status: int, changes: dict[str, str], said: str
) -> None:
    hub.status = status
    done = pushed(hub, str(run), "me/mine", **changes)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert hub.files == {}


@pytest.mark.parametrize(
    ("inside", "name", "said"),
    [("", "mine", "owner/name"), ("adapter", "me/mine", "push the folder of the run")],
)
def test_what_cannot_be_pushed(
    run: Path, inside: str, name: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["push", str(run / inside), name, "--dry-run"]) == 2
    assert said in capsys.readouterr().err
