"""The shape of the house: which room may import which, how large things are, what a start loads."""

from __future__ import annotations

import ast
import re
import statistics
import subprocess
import sys
from collections import defaultdict
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

PROJECT = Path(__file__).parent.parent
PACKAGE = PROJECT / "florence_demo"

# Floors from the ground up. A file may import from lower floors and from its own room, never
# sideways into another room of its floor. Files at the package's root are rooms of one.
HOUSE: list[list[str]] = [
    ["errors", "prediction"],
    ["codec", "machine", "files", "bounded_json", "trust", "regions"],
    ["tasks"],
    ["pictures", "output", "checkpoints", "encoding"],
    ["decoding"],
    ["models", "data"],
    ["engine"],
    ["evaluation", "batch"],
    ["serving"],
    ["training"],
    ["api"],
    ["ui", "nano"],
    ["commands", "benchmark"],
    ["__main__"],
]
FLOORS = {room: floor for floor, rooms in enumerate(HOUSE) for room in rooms}
HALL = {"errors", "prediction", "codec", "tasks", "regions"} | {
    "machine", "files", "bounded_json", "trust",
}  # fmt: skip
"""What every room speaks."""
DOORS = {"ui", "commands", "benchmark", "nano", "__main__", "serving", "api"}
"""Where people come in, and what those places share: they know many rooms."""

MODULES = sorted(p for p in PACKAGE.rglob("*.py") if p != PACKAGE / "__init__.py")
IDS = [str(p.relative_to(PACKAGE)) for p in MODULES]
each_module = pytest.mark.parametrize("path", MODULES, ids=IDS)


def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def _room(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def _dotted(path: Path) -> str:
    name = ".".join(path.relative_to(PROJECT).with_suffix("").parts)
    return name.removesuffix(".__init__")


NAMES = {_dotted(p) for p in (*MODULES, PACKAGE / "__init__.py")}


def _imports(path: Path) -> set[str]:
    """Return the modules that a file imports, anywhere in it."""
    found: set[str] = set()
    for node in ast.walk(_tree(path)):
        if isinstance(node, ast.ImportFrom) and node.module:
            modules = {f"{node.module}.{a.name}" for a in node.names}
            found |= {m if m in NAMES else node.module for m in modules}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return found


def _rooms_of(path: Path) -> set[str]:
    own = (m.split(".") for m in _imports(path) if m.startswith("florence_demo."))
    return {parts[1] for parts in own}


@each_module
def test_imports_go_down(path):
    room = _room(path)
    assert room in FLOORS, f"{room} has no floor: add it to HOUSE"
    for target in _rooms_of(path) - {room}:
        assert FLOORS[target] < FLOORS[room], (
            f"{path.name} (floor {FLOORS[room]}) imports {target} (floor {FLOORS[target]})"
        )


def test_no_file_imports_itself_in_a_circle():
    graph = {_dotted(p): {m for m in _imports(p) if m in NAMES} - {_dotted(p)} for p in MODULES}
    tuple(TopologicalSorter(graph).static_order())


def test_few_rooms_know_many_others():
    arrows = defaultdict(set)
    for path in MODULES:
        arrows[_room(path)] |= _rooms_of(path) - HALL - {_room(path)}
    many = {room: sorted(to) for room, to in arrows.items() if len(to) > 6 and room not in DOORS}
    assert many == {}, "at most six"


@each_module
def test_gradio_stays_in_the_page(path):
    tops = {m.split(".")[0] for m in _imports(path)}
    if _room(path) != "ui":
        assert "gradio" not in tops
    if _room(path) in {"errors", "prediction", "codec", "tasks", "files", "bounded_json", "output"}:
        assert not tops & {"torch", "transformers", "timm"}


@each_module
def test_a_file_says_what_it_knows(path):
    said = ast.get_docstring(_tree(path))
    assert said, "a module begins with what it knows and what it does not"
    assert "TODO" not in said


@each_module
def test_rooms_hand_nothing_on(path):
    # A name has one place; ``ui`` must set the stage before gradio is imported.
    if path.name == "__init__.py" and _room(path) != "ui":
        assert len(_tree(path).body) == 1, "a room's __init__ is its doc string alone"


def _functions(tree: ast.Module):
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


@each_module
def test_files_and_functions_stay_short(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 450
    long = {
        node.name: node.end_lineno - node.lineno + 1
        for node in _functions(_tree(path))
        if node.end_lineno - node.lineno + 1 > 60
    }
    assert long == {}, "functions of more than 60 lines"


def test_most_files_are_small():
    sizes = [len(p.read_text(encoding="utf-8").splitlines()) for p in MODULES]
    assert statistics.median(sizes) <= 200


@each_module
def test_what_is_public_is_documented_and_typed(path):
    for node in _tree(path).body:
        inner = node.body if isinstance(node, ast.ClassDef) else []
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            assert ast.get_docstring(node), node.name
        for function in (node, *inner):
            if not isinstance(function, ast.FunctionDef) or function.name.startswith("_"):
                continue
            if isinstance(node, ast.ClassDef) and node.name.startswith("_"):
                continue
            where = f"{path.name}:{function.name}"
            assert ast.get_docstring(function), where
            given = function.args
            named = [*given.posonlyargs, *given.args, *given.kwonlyargs]
            untyped = [a.arg for a in named if not a.annotation and a.arg not in ("self", "cls")]
            assert untyped == [], where
            assert function.returns, where


@each_module
def test_one_module_opens_pictures(path):
    # Every other one would have formats and limits of its own, or none.
    if path == PACKAGE / "pictures" / "decoder.py":
        return
    tree = _tree(path)
    called = {ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    assert not called & {"Image.open", "PIL.Image.open", "cv2.imread", "plt.imread", "iio.imread"}
    imported = {
        f"{node.module}.{alias.name}"
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert "PIL.Image.open" not in imported


@pytest.mark.parametrize(
    "module",
    [
        "florence_demo",
        "florence_demo.models.loading",
        "florence_demo.engine.engine",
        "florence_demo.__main__",
    ],
)
def test_importing_is_cheap(module):
    # What is not imported costs nothing: the heavy libraries come when a model is loaded.
    heavy = "{'torch', 'transformers', 'gradio'}"
    code = f"import sys, {module}; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_app_starts_without_what_it_does_not_need():
    code = (
        "import sys, app; from florence_demo.ui import AppConfig, build_app;"
        " build_app(AppConfig(model='nano'));"
        "print([m for m in sys.modules if m.startswith(('florence_demo.nano',"
        " 'florence_demo.benchmark', 'florence_demo.commands', 'torch.'))])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=PROJECT
    )
    assert done.stdout.strip().splitlines()[-1] == "[]"


def test_nobody_trusts_remote_code():
    for path in PACKAGE.rglob("*.py"):
        assert "trust_remote_code" not in path.read_text(encoding="utf-8")


def test_the_readmes_tree_is_the_rooms():
    readme = (PROJECT / "README.md").read_text(encoding="utf-8")
    tree = readme.split("florence_demo/\n", 1)[1].split("```", 1)[0]
    told = {line.split()[0].rstrip("/") for line in tree.splitlines() if line.startswith("  ")}
    rooms = {p.name for p in PACKAGE.iterdir() if p.is_dir() and (p / "__init__.py").is_file()}
    files = {p.name for p in PACKAGE.glob("*.py") if p.name != "__init__.py"}
    assert told == rooms | files


def test_tests_mirror_the_rooms():
    rooms = {p.name for p in PACKAGE.iterdir() if (p / "__init__.py").is_file()}
    folders = {p.name for p in (PROJECT / "tests").iterdir() if (p / "__init__.py").is_file()}
    assert folders - rooms <= {"browser", "fuzz"}
    assert rooms - folders == set()


def test_the_security_page_names_tests_that_are_there():
    page = (PROJECT / "SECURITY.md").read_text(encoding="utf-8")
    named = re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", page)
    assert len(named) > 20
    for file, test in named:
        path = PROJECT / file
        assert path.is_file(), file
        functions = {node.name for node in _functions(_tree(path))}
        assert not test or test in functions, f"{file}::{test}"
