"""The shape of the house: who may import whom, and what an import costs."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "florence_demo"

# Imports only go down. Modules of one floor may import each other where one was cut out of another.
FLOORS = {
    "errors": 0, "prediction": 0,
    "codec": 1, "images": 1, "render": 1, "export": 1,
    "tasks": 2, "web": 2,
    "models": 3, "batching": 3,
    "engine": 4,
    "evaluate": 5,
    "train": 6,
    "ui": 7, "__main__": 7,
}  # fmt: skip


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
    floor = FLOORS[_name(path)]
    for module in _imports(path):
        if module.startswith("florence_demo."):
            target = module.split(".")[1]
            assert (
                FLOORS[target] < floor
                or target == _name(path)
                or (FLOORS[target] == floor and (target, _name(path)) in SIBLINGS)
            ), f"{_name(path)} (f{floor}) imports {target} (f{FLOORS[target]})"


# (imported, importer): pieces of one module that outgrew one file.
SIBLINGS: set[tuple[str, str]] = set()


@pytest.mark.parametrize("path", _modules(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_low_floors_and_gradio_stay_where_they_are(path):
    tops = {m.split(".")[0] for m in _imports(path)}
    if FLOORS[_name(path)] <= 1:
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


def test_nobody_trusts_remote_code():
    for path in PACKAGE.rglob("*.py"):
        assert "trust_remote_code" not in path.read_text(encoding="utf-8")


def test_the_readmes_tree_is_the_folders():
    readme = (PACKAGE.parent / "README.md").read_text(encoding="utf-8")
    for path in PACKAGE.glob("*.py"):
        if path.name != "__init__.py":
            assert path.name in readme, f"{path.name} is missing in the README's tree"
