"""What is fetched from the hub for a visitor: measured first, then exactly that."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pytest

from florence_demo.errors import CheckpointError
from florence_demo.models import finding as models
from florence_demo.models.catalogue import spec_at, spec_of
from florence_demo.models.finding import find, folder_of, spec_of_base
from florence_demo.models.hub import DISK_KEPT, MAX_FILES, download
from florence_demo.models.loading import load_model
from florence_demo.trust import OPERATOR, VISITOR

GB = 10**9


@dataclass
class FakeHub:
    """A hub with one repository, and what was asked of it."""

    files: dict[str, int | None]
    fetched: dict | None = None
    asked: int = 0

    def model_info(self, _api, repo, *, revision=None, files_metadata=False):
        self.asked += 1
        assert files_metadata
        siblings = [SimpleNamespace(rfilename=n, size=s) for n, s in self.files.items()]
        return SimpleNamespace(siblings=siblings, sha="f00d")

    def snapshot_download(self, source, **how):
        self.fetched = {"source": source, **how}
        return "/somewhere"


@pytest.fixture
def served(monkeypatch, tmp_path):
    def serve(**files: int | None) -> FakeHub:
        fake = FakeHub({name.replace("__", "."): size for name, size in files.items()})
        monkeypatch.setattr(
            "huggingface_hub.HfApi.model_info", lambda *args, **how: fake.model_info(*args, **how)
        )
        monkeypatch.setattr("huggingface_hub.snapshot_download", fake.snapshot_download)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "not" / "yet"))
        return fake

    return serve


def test_what_was_measured_is_what_is_fetched(served):
    fake = served(config__json=1_000, model__safetensors=GB)
    assert download("owner/name", None, "it", None, 2 * GB) == Path("/somewhere")
    assert fake.fetched is not None
    assert fake.fetched["revision"] == "f00d"
    assert fake.fetched["local_files_only"] is False


TOO_MUCH = {
    "one large file": {"model__safetensors": 3 * GB},
    "many files": {f"model-{i}__safetensors": 200_000_000 for i in range(20)},
    "more files than any model has": {f"{i}__json": 1 for i in range(MAX_FILES + 1)},
    "a size that is not told": {"config__json": 10, "model__safetensors": None},
}


@pytest.mark.parametrize("files", TOO_MUCH.values(), ids=TOO_MUCH)
def test_too_much_is_refused_before_anything_is_fetched(served, files):
    fake = served(**files)
    with pytest.raises(CheckpointError, match="fetched for a visitor") as caught:
        download("owner/name", None, "it", None, 2 * GB)
    assert fake.fetched is None
    assert str(caught.value).endswith(".")


def test_files_that_are_not_fetched_do_not_count(served):
    fake = served(
        config__json=10, **{"pytorch_model.bin": 9 * GB, "deep/model.safetensors": 9 * GB}
    )
    download("owner/name", None, "it", None, GB)
    assert fake.fetched is not None
    assert "*.bin" not in fake.fetched["allow_patterns"]
    assert fake.fetched["ignore_patterns"] == ["*/*"]


def test_the_disk_is_never_filled(served, monkeypatch):
    fake = served(model__safetensors=GB)
    room = SimpleNamespace(free=DISK_KEPT + GB - 1)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: room)
    with pytest.raises(CheckpointError, match="no room"):
        download("owner/name", None, "it", None, 2 * GB)
    assert fake.fetched is None
    # What is here already takes no more room.
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *_, **__: "/here")
    download("owner/name", None, "it", None, 2 * GB)
    assert fake.fetched is not None


def test_without_a_hub_only_what_is_here_is_opened(served, monkeypatch):
    fake = served()
    monkeypatch.setattr("huggingface_hub.HfApi.model_info", lambda *_, **__: 1 / 0)
    download("owner/name", "abc", "it", None, GB)
    assert fake.fetched is not None
    assert fake.fetched["local_files_only"] is True
    assert fake.fetched["revision"] == "abc"


def test_an_operator_is_not_limited(served):
    fake = served(model__safetensors=10**15)
    download("owner/name", None, "it")
    assert fake.fetched is not None
    assert fake.fetched["revision"] is None


# Who is a visitor


@pytest.fixture
def limits(monkeypatch):
    seen: list[int | None] = []

    def fetch(source, revision, title, progress=None, max_bytes=None):
        seen.append(max_bytes)
        raise CheckpointError("Enough.")

    monkeypatch.setattr(models, "download", fetch)
    return seen


WAYS = {
    "a visitor's model": (lambda: load_model("owner/name", trust=VISITOR), VISITOR.download),
    "an operator's model": (lambda: load_model("owner/name"), None),
    "a look at one of the hub": (
        lambda: folder_of(spec_of("owner/name", VISITOR), VISITOR),
        VISITOR.download,
    ),
    "the base of an upload": (
        lambda: folder_of(spec_of_base("owner/name", VISITOR), VISITOR),
        VISITOR.download,
    ),
    "the catalogue": (lambda: load_model("base-ft", trust=VISITOR), None),
}


@pytest.mark.parametrize(("ask", "limit"), WAYS.values(), ids=WAYS)
def test_a_visitors_wish_is_limited(limits, ask, limit):
    with pytest.raises(CheckpointError, match="Enough"):
        ask()
    assert limits == [limit]


def test_an_adapters_base_is_limited_like_its_adapter(limits, tmp_path):
    from safetensors.numpy import save_file

    (tmp_path / "adapter_config.json").write_text(
        '{"peft_type": "LORA", "r": 1, "lora_alpha": 1, "base_model_name_or_path": "owner/huge"}'
    )
    save_file({}, tmp_path / "adapter_model.safetensors")
    for trust in (OPERATOR, VISITOR):
        with pytest.raises(CheckpointError, match="Enough"):
            find(spec_at(tmp_path), trust)
    assert limits == [None, VISITOR.download]
