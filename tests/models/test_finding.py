"""From a name to folders: each looked into once, and no further than whoever named it may."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from florence_demo.checkpoints import inspection
from florence_demo.checkpoints.inspection import inspect_checkpoint
from florence_demo.checkpoints.vocabularies import NoTokenizerError
from florence_demo.errors import CheckpointError
from florence_demo.models.catalogue import MODELS, ModelSpec, spec_at, spec_of
from florence_demo.models.finding import find, folder_of, spec_of_base
from florence_demo.models.loading import load_model
from florence_demo.serving.engines import EngineCache
from florence_demo.trust import OPERATOR, VISITOR, Trust
from tests.checkpoint_makers import Micro, copied, edit_json, open_folder, write_json

CLOSED = replace(VISITOR, hub=False)
"""A visitor of a page for strangers."""
Q = "model.language_model.encoder.layers.0.self_attn.q_proj"
Hub = dict[str, Path]


@pytest.fixture(scope="module")
def base(micro, tmp_path_factory) -> Path:
    return micro.native(tmp_path_factory.mktemp("base") / "native")


@pytest.fixture
def asked(monkeypatch) -> Counter[str]:
    """What was asked of the hub, which has what ``hub`` gives it and nothing else."""
    return Counter()


@pytest.fixture
def hub(asked, monkeypatch) -> Hub:
    folders: Hub = {}

    def download(source, *_):
        asked[source] += 1
        if source not in folders:
            raise CheckpointError(f"no {source} on the hub.")
        return folders[source]

    monkeypatch.setattr("florence_demo.models.finding.download", download)
    return folders


@pytest.fixture
def looks(monkeypatch) -> Counter[Path]:
    """How often each folder was looked into."""
    counted: Counter[Path] = Counter()
    inside = inspection._file_names

    def look(folder):
        counted[folder] += 1
        return inside(folder)

    monkeypatch.setattr(inspection, "_file_names", look)
    return counted


def lora(folder: Path, base: object, seed: int = 0) -> Path:
    """Write an adapter of the micro model that names a base."""
    folder.mkdir(parents=True)
    draw = torch.Generator().manual_seed(seed)
    tensors = {
        f"base_model.model.{Q}.lora_{part}.weight": torch.randn(shape, generator=draw)
        for part, shape in (("A", (2, 16)), ("B", (16, 2)))
    }
    save_file(tensors, folder / "adapter_model.safetensors")
    settings = {"peft_type": "LORA", "r": 2, "lora_alpha": 2, "target_modules": ["q_proj"]}
    write_json(folder / "adapter_config.json", {**settings, "base_model_name_or_path": base})
    return folder


def changed(opened, micro) -> set[str]:
    got, was = opened.model.state_dict(), micro.model.state_dict()
    return {name for name in was if not torch.equal(got[name], was[name])}


# Looked into once


@pytest.mark.parametrize("trust", [OPERATOR, VISITOR], ids=["operator", "visitor"])
def test_opening_an_adapter_by_name_looks_once(base, tmp_path, hub, asked, looks, trust):
    folder = lora(tmp_path / "it", "owner/base")
    hub |= {"owner/lora": folder, "owner/base": base}
    loaded = load_model("owner/lora", device="cpu", trust=trust)
    assert loaded.base == base
    assert looks == {folder: 1, base: 1}
    assert asked == {"owner/lora": 1, "owner/base": 1}


def test_the_cache_looks_once_too(base, tmp_path, hub, asked, looks):
    first, second = (lora(tmp_path / str(i), "owner/base", seed=i) for i in range(2))
    hub |= {"owner/base": base}
    cache = EngineCache(device="cpu", trust=VISITOR)
    cache.get(spec_at(first))
    assert (looks, asked) == ({first: 1, base: 1}, {"owner/base": 1})
    # Its sibling takes its place: the base is asked for again, since it may have another.
    cache.get(spec_at(second))
    assert (looks, asked) == ({first: 1, second: 1, base: 2}, {"owner/base": 2})
    assert len(cache.loaded()) == 1


def test_a_whole_checkpoint_asks_for_nothing_else(base, hub, asked, looks):
    assert load_model(str(base), device="cpu").base is None
    assert looks == {base: 1}
    assert asked == {}


def test_an_adapter_counts_as_its_base(tmp_path):
    found = find(spec_at(lora(tmp_path / "it", "nano")), VISITOR)
    nano = inspect_checkpoint(Path(MODELS["nano"].source))
    assert found.parameters == nano.parameters > 1_000_000


# An adapter's base


def test_the_base_that_an_adapter_lacks_is_told(base, tmp_path, hub):
    nameless = lora(tmp_path / "it", None)
    with pytest.raises(CheckpointError, match="does not name its base"):
        find(spec_at(nameless), OPERATOR)
    hub["owner/lora"] = nameless
    with pytest.raises(CheckpointError, match="an adapter itself"):
        find(spec_at(lora(tmp_path / "two", "owner/lora")), OPERATOR)


def test_the_base_may_lie_beside(micro, tmp_path, hub):
    folder = lora(tmp_path / "it", "/far/away/mine")
    with pytest.raises(CheckpointError, match="base-ft"):
        find(spec_at(folder), OPERATOR)
    micro.native(tmp_path / "mine")
    for trust in (OPERATOR, VISITOR, CLOSED):
        loaded = load_model(spec_at(folder), device="cpu", trust=trust)
        assert changed(loaded, micro) == {f"{Q}.weight"}


def test_an_adapter_in_a_run_lies_beside_what_the_run_lies_beside(micro, tmp_path, hub):
    micro.native(tmp_path / "runs/mine")
    for inside in ("adapter", "checkpoints/epoch-2"):
        folder = lora(tmp_path / "runs/it" / inside, "/far/away/mine")
        with pytest.raises(CheckpointError, match="another machine"):
            find(spec_at(folder), VISITOR)
    # What is no run's folder says nothing of what is around it.
    write_json(tmp_path / "runs/it/train_config.json", {})
    for inside in ("adapter", "checkpoints/epoch-2"):
        found = find(spec_at(tmp_path / "runs/it" / inside), VISITOR)
        assert found.base.path == tmp_path / "runs/mine"


def test_an_adapter_tells_the_revision_of_its_base(base, tmp_path, monkeypatch):
    fetched = []

    def download(source, revision, *_):
        fetched.append((source, revision))
        return base

    monkeypatch.setattr("florence_demo.models.finding.download", download)
    folder = lora(tmp_path / "it", "owner/base")
    edit_json(folder / "adapter_config.json", revision="v1.0")
    assert inspect_checkpoint(folder).base == "owner/base@v1.0"
    for trust in (OPERATOR, VISITOR):
        assert find(spec_at(folder), trust).base.path == base
    with pytest.raises(CheckpointError, match="not fetched here"):
        find(spec_at(folder), CLOSED)
    assert fetched == [("owner/base", "v1.0")] * 2
    # The folder of its name beside it, where the hub has none.
    monkeypatch.setattr(
        "florence_demo.models.finding.download",
        lambda *_: (_ for _ in ()).throw(CheckpointError("no hub")),
    )
    copied(base, tmp_path / "base")
    assert find(spec_at(folder), VISITOR).base.path == tmp_path / "base"
    edit_json(folder / "adapter_config.json", revision=["x"])
    assert inspect_checkpoint(folder).base == "owner/base"


def test_the_catalogues_models_are_known_by_their_ids():
    known = MODELS["base-ft"]
    for trust in (OPERATOR, VISITOR, CLOSED):
        assert spec_of_base(known.source, trust) is known
        assert spec_of_base(f"{known.source}@{known.revision}", trust) is known
    assert spec_of_base(f"{known.source}@main", VISITOR).revision == "main"
    with pytest.raises(CheckpointError, match="not fetched here"):
        spec_of_base(f"{known.source}@main", CLOSED)
    assert spec_of_base(f"{MODELS['large'].source}@{'a' * 40}", CLOSED) is MODELS["large"]


ODD_BASES = {
    "long": "x" * 10_000,
    "long in bytes": "你" * 199,
    "a NUL": "a\0b",
    "lines": "a\nb\r\nc",
    "a link": "[press](https://evil.example/x)",
    "a picture": "![x](https://evil.example/x.png)",
    "a tag": '<img src="https://evil.example/x.png" onerror="x">',
    "the folder around": "..",
    "a path that leads out": "../../..",
    "nothing but spaces": "   ",
    "a list": ["a"] * 1_000,
    "a number": 7,
}


@pytest.mark.parametrize("name", ODD_BASES.values(), ids=ODD_BASES)
@pytest.mark.parametrize("way", ["found", "opened"])
def test_an_odd_base_is_one_plain_sentence(tmp_path, name, way):
    folder = lora(tmp_path / "in" / "it", name)
    # What lies around is no base, however the adapter calls it.
    write_json(tmp_path / "config.json", {"model_type": "zebra"})
    with pytest.raises(CheckpointError) as caught:
        find(spec_at(folder), CLOSED) if way == "found" else open_folder(folder)
    for text in (str(caught.value), *inspect_checkpoint(folder).sentences()):
        assert text.isprintable()
        assert len(text) < 600
        assert not any(sign in text for sign in ("<", ">", "]("))
        assert "zebra" not in text


@pytest.mark.parametrize(
    ("name", "trust", "found"),
    [
        pytest.param("nano", VISITOR, MODELS["nano"].source, id="catalogue"),
        pytest.param("FOLDER", OPERATOR, "FOLDER", id="path of a trusted checkpoint"),
        pytest.param("FOLDER", VISITOR, None, id="path of a stranger's checkpoint"),
    ],
)
def test_the_base_that_an_adapter_names(name, trust, found, tmp_path):
    name, found = (str(tmp_path) if v == "FOLDER" else v for v in (name, found))
    if found is None:
        with pytest.raises(CheckpointError, match="another machine"):
            spec_of_base(name, trust)
    else:
        assert str(folder_of(spec_of_base(name, trust), trust)) == found


def test_microsofts_own_name_is_the_catalogues_model():
    assert spec_of_base("microsoft/Florence-2-base-ft", VISITOR) is MODELS["base-ft"]


@pytest.mark.parametrize("trust", [VISITOR, CLOSED], ids=["open", "a Space"])
def test_what_an_upload_names_is_fetched_where_visitors_may_fetch_it(trust):
    assert spec_of_base("base-ft", trust) is MODELS["base-ft"]
    if trust.hub:
        assert spec_of_base("owner/huge", trust).source == "owner/huge"
    else:
        with pytest.raises(CheckpointError, match="not fetched here"):
            spec_of_base("owner/huge", trust)


def test_an_uploaded_adapter_cannot_fetch_a_base_of_its_choice(tmp_path, hub, asked):
    folder = lora(tmp_path / "it", "owner/huge")
    with pytest.raises(CheckpointError, match="not fetched here"):
        EngineCache(device="cpu", trust=CLOSED).get(spec_at(folder))
    assert asked == {}


PATHS = {
    "a folder": lambda root: root,
    "a file": lambda root: root / "here",
    "nothing": lambda root: root / "gone",
    "a home": lambda _: "~root",
    "a folder beside": lambda _: "florence_demo",
    "a nested folder": lambda _: "assets/nano/..",
    "a long name": lambda _: "x/" * 5_000,
    "markup": lambda _: "<img src=x>/[a](b)",
}


@pytest.fixture
def no_disk(monkeypatch) -> None:
    for look in ("is_dir", "exists", "is_file", "stat", "iterdir", "resolve"):
        monkeypatch.setattr(Path, look, lambda *_: pytest.fail("the disk was looked at"))


@pytest.mark.parametrize("name", PATHS.values(), ids=PATHS)
def test_a_base_tells_nothing_about_this_machine(name, tmp_path, no_disk):
    with pytest.raises(CheckpointError, match="another machine") as caught:
        spec_of_base(str(name(tmp_path)), VISITOR)
    assert len(str(caught.value)) < 400
    assert "<" not in str(caught.value)


# A name


@pytest.mark.parametrize("trust", [VISITOR, CLOSED], ids=["open", "a Space"])
@pytest.mark.parametrize("name", PATHS.values(), ids=PATHS)
def test_a_visitors_name_tells_nothing_about_this_machine(name, trust, tmp_path, no_disk):
    with pytest.raises(CheckpointError, match="There is no model") as caught:
        spec_of(str(name(tmp_path)), trust)
    assert len(str(caught.value)) < 400
    assert "<" not in str(caught.value)


def test_a_folder_of_this_machine_is_no_id_of_the_hub(tmp_path, monkeypatch, hub, asked):
    (tmp_path / "owner" / "name").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    hub["owner/name"] = tmp_path / "fetched"
    for read in (spec_of, spec_of_base):
        assert folder_of(read("owner/name", VISITOR), VISITOR) == tmp_path / "fetched"
        assert folder_of(read("owner/name", OPERATOR), OPERATOR) == tmp_path / "owner" / "name"
    assert asked == {"owner/name": 2}
    with pytest.raises(CheckpointError, match="folder name is empty"):
        load_model("owner/name", device="cpu")


def test_a_value_is_not_parsed_again(base, tmp_path, monkeypatch, hub, asked):
    """What was an id of the hub at the door is one in every process and folder."""
    spec = spec_of("owner/name", VISITOR)
    copied(base, tmp_path / "owner" / "name")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CheckpointError, match="on the hub"):
        EngineCache(device="cpu").get(spec)
    forged = {**vars(MODELS["nano"]), "source": "owner/huge"}
    assert ModelSpec.from_json(forged) is MODELS["nano"]
    again = ModelSpec.from_json(vars(spec))
    assert again == spec
    with pytest.raises(CheckpointError, match="on the hub"):
        find(again, OPERATOR)
    assert asked == {"owner/name": 2}


NO_SPEC = {
    "nothing": {},
    "a text": "nano",
    "no source": {"name": "a", "title": "b"},
    "another field": {"name": "a", "title": "b", "source": "c", "trust": True},
    "a number": {"name": "a", "title": "b", "source": 7},
    "a zero byte": {"name": "a", "title": "b", "source": "c\0"},
    "a public one of its own": {"name": "mine", "title": "b", "source": "owner/huge"},
    "a word for a truth": {"name": "a", "title": "b", "source": "c", "public": "no"},
    "a size of its own": {"name": "a", "title": "b", "source": "c", "size": "huge"},
}


@pytest.mark.parametrize("values", NO_SPEC.values(), ids=NO_SPEC)
def test_what_is_no_model_is_not_read_as_one(values):
    with pytest.raises(ValueError, match="model"):
        ModelSpec.from_json(values)


@pytest.mark.parametrize(
    "name",
    ["~nobody_of_this_name/model", "x" * 300, "zero\0byte"],
    ids=["no such home", "long", "zero byte"],
)
def test_a_name_that_no_file_system_takes_is_told(name):
    for read in (spec_of, spec_of_base):
        with pytest.raises(CheckpointError, match="There is no model") as caught:
            read(name, OPERATOR)
        assert len(str(caught.value)) < 400


@pytest.mark.parametrize("error", [OSError("x"), RuntimeError("x")], ids=repr)
def test_whatever_the_hub_raises_is_a_sentence(error, monkeypatch):
    def fail(*_args, **_kwargs):
        raise error

    monkeypatch.setattr("huggingface_hub.snapshot_download", fail)
    with pytest.raises(CheckpointError, match="cannot be reached"):
        folder_of(spec_of("owner/model", OPERATOR), OPERATOR)


def test_a_part_of_the_project_that_is_missing_is_told(tmp_path):
    gone = replace(MODELS["nano"], source=str(tmp_path / "gone"))
    with pytest.raises(CheckpointError, match="get the whole project again"):
        find(gone, VISITOR)
    with pytest.raises(CheckpointError, match="no folder gone"):
        find(spec_at(tmp_path / "gone"), OPERATOR)


# A folder without a tokenizer


@pytest.fixture
def bare(micro, tmp_path) -> Path:
    """A checkpoint that names its base and lacks a tokenizer."""
    folder = micro.original(tmp_path / "here" / "parser")
    (folder / "tokenizer.json").unlink()
    edit_json(folder / "config.json", _name_or_path="microsoft/Florence-2-base")
    return folder


def opens(folder: Path, trust: Trust, micro: Micro) -> bool:
    try:
        opened = load_model(spec_at(folder), device="cpu", trust=trust)
    except NoTokenizerError:
        return False
    assert changed(opened, micro) == set()
    return opened.processor.tokenizer.get_vocab() == micro.processor.tokenizer.get_vocab()


def test_a_tokenizer_comes_from_the_base(micro, base, bare, hub, asked):
    assert not opens(bare, OPERATOR, micro)
    hub[MODELS["base"].source] = base
    for trust in (OPERATOR, VISITOR, CLOSED):
        assert opens(bare, trust, micro)
    assert asked == {MODELS["base"].source: 4}


def test_a_tokenizer_comes_from_beside_where_that_is_trusted(micro, bare, hub, asked):
    damaged = bare.parent / "damaged"
    damaged.mkdir()
    (damaged / "tokenizer.json").write_text("{}")
    assert not opens(bare, OPERATOR, micro)
    micro.original(bare.parent / "neighbour")
    asked.clear()
    assert opens(bare, OPERATOR, micro)
    assert asked == {}, "what lies here already is not fetched"
    assert not opens(bare, VISITOR, micro)


def test_nothing_is_fetched_for_a_tokenizer_that_is_there(micro, base, tmp_path, hub, asked):
    folder = micro.original(tmp_path / "it")
    edit_json(folder / "config.json", _name_or_path="microsoft/Florence-2-base")
    assert opens(folder, OPERATOR, micro)
    (folder / "tokenizer.json").unlink()
    find(spec_at(folder), OPERATOR)
    assert asked == {}, "finding it is not asking for its tokenizer"


def test_pickles_are_read_where_they_are_allowed(base, tmp_path, hub):
    hub["owner/base"] = base
    folder = lora(tmp_path / "it", "owner/base")
    torch.save(load_file(folder / "adapter_model.safetensors"), folder / "adapter_model.bin")
    (folder / "adapter_model.safetensors").unlink()
    for trust in (OPERATOR, VISITOR):
        with pytest.raises(CheckpointError, match="pickle"):
            load_model(spec_at(folder), device="cpu", trust=trust)
        loaded = load_model(spec_at(folder), device="cpu", trust=replace(trust, pickle=True))
        assert loaded.base == base
