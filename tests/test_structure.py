"""The shape of the house: who may import whom, and what an import costs."""

from __future__ import annotations

import ast
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "florence_demo"

# Floors from the ground up, each with its areas. A module may import from lower floors and from its
# own area (one thing that outgrew one file), never sideways into another area of its floor.
HOUSE: list[dict[str, list[str]]] = [
    {"types": ["errors", "prediction"]},
    {
        "options": ["options"],
        "answers": ["codec", "render", "export"],
        "json": ["bounded_json"],
        "pictures": ["images", "image_headers", "image_decoder", "image_process"],
        "machine": ["machine", "memory"],
        "scratch": ["scratch"],
        "batching": ["batching"],
        "metrics": ["metrics"],
        "familiarity": ["familiarity"],
    },
    {
        "tasks": ["tasks"],
        "runs": ["run_files"],
        "web": ["web"],
        "checkpoints": [
            "checkpoints", "checkpoint_files", "checkpoint_folders", "checkpoint_info",
            "checkpoint_json", "checkpoint_names", "checkpoint_config", "checkpoint_cost",
            "adapters", "adapter_config", "pickles", "processors", "vocabularies", "weights",
        ],
        "scenes": [
            "scenes", "scene_backgrounds", "scene_captions", "scene_contours", "scene_documents",
            "scene_phrases", "scene_text", "scene_truth", "scene_types", "scene_words",
            "sprites", "sprite_catalogue", "sprite_sources", "forms",
        ],
    },
    {
        "models": ["models", "hub"],
        "decoding": [
            "decoding", "beam_search", "decode_options", "decoder_graphs", "decoder_step", "int8",
        ],
        "data": [
            "data", "readers", "generated", "heldout", "data_command", "data_files",
            "data_folders", "data_source", "row_files", "saved_sets",
        ],
    },
    {"engine": ["engine", "engine_cache"]},
    {"evaluation": ["evaluate", "scoring", "report"], "trainable": ["trainable"]},
    {
        "training": [
            "train", "train_config", "trainer", "features", "finetune_demo",
            "runs", "estimate", "recipes",
        ],
        "embedded": ["embedded"],
        "benchmark": [
            "benchmark", "benchmark_app", "benchmark_models", "benchmark_rows", "benchmark_tasks",
            "benchmark_training",
        ],
    },
    {"doors": ["ui", "__main__"]},
]  # fmt: skip
FLOORS = {m: i for i, floor in enumerate(HOUSE) for mods in floor.values() for m in mods}
AREAS = {m: area for floor in HOUSE for area, mods in floor.items() for m in mods}


def _modules() -> list[Path]:
    return [p for p in PACKAGE.rglob("*.py") if p.name != "__init__.py" or p.parent != PACKAGE]


def _name(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def _imports(path: Path, *, top_only: bool = False) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    nodes = tree.body if top_only else ast.walk(tree)
    found: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return found


@pytest.mark.parametrize("path", _modules(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_go_down(path):
    name = _name(path)
    assert name in FLOORS, f"{name} has no floor: add it to HOUSE"
    for module in _imports(path):
        if module.startswith("florence_demo."):
            target = module.split(".")[1]
            assert FLOORS[target] < FLOORS[name] or AREAS[target] == AREAS[name], (
                f"{name} (floor {FLOORS[name]}) imports {target} (floor {FLOORS[target]})"
            )


def test_no_module_imports_itself_in_a_circle():
    graph = {
        _name(p): {m.split(".")[1] for m in _imports(p) if m.startswith("florence_demo.")}
        for p in PACKAGE.glob("*.py")
    }
    tuple(TopologicalSorter(graph).static_order())


@pytest.mark.parametrize("path", _modules(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_low_floors_and_gradio_stay_where_they_are(path):
    tops = {m.split(".")[0] for m in _imports(path)}
    if FLOORS[_name(path)] <= 1 and _name(path) not in ("memory", "machine", "familiarity"):
        assert not tops & {"torch", "transformers", "timm"}
    if _name(path) != "ui":
        assert "gradio" not in tops


@pytest.mark.parametrize("path", _modules(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_files_stay_short(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 450


@pytest.mark.parametrize(
    "module",
    ["florence_demo", "florence_demo.models", "florence_demo.engine", "florence_demo.__main__"],
)
def test_importing_is_cheap(module):
    # What is not imported costs nothing: the heavy libraries come when a model is loaded.
    heavy = "{'torch', 'transformers', 'gradio'}"
    code = f"import sys, {module}; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_decoders_process_starts_with_little():
    # it runs by its path: what it needed of this package would not be found, or cost numpy
    tops = _imports(PACKAGE / "image_decoder.py", top_only=True)
    assert not [name for name in tops if name.split(".")[0] in ("florence_demo", "numpy")]


def test_nobody_trusts_remote_code():
    for path in PACKAGE.rglob("*.py"):
        assert "trust_remote_code" not in path.read_text(encoding="utf-8")


# these two go through open_image once their own change is in
@pytest.mark.parametrize("path", _modules(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_one_module_opens_pictures(path):
    # Every other one would have formats and limits of its own, or none.
    if path.name == "image_decoder.py":
        return
    tree = ast.parse(path.read_text(encoding="utf-8"))
    called = {ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    readers = {"Image.open", "PIL.Image.open", "cv2.imread", "plt.imread", "iio.imread"}
    assert not called & readers
    imported = {
        f"{node.module}.{alias.name}"
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert "PIL.Image.open" not in imported
    assert not any(name.startswith("PIL.") and "Plugin" in name for name in imported)


def test_the_readmes_tree_is_the_folders():
    readme = (PACKAGE.parent / "README.md").read_text(encoding="utf-8")
    for path in PACKAGE.glob("*.py"):
        if path.name != "__init__.py":
            assert path.name in readme, f"{path.name} is missing in the README's tree"
