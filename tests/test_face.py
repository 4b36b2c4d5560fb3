"""The package as a program meets it: the README's example, and what a new syntax needs."""

from __future__ import annotations

import io
import re
import subprocess
import sys
from contextlib import redirect_stdout
from pathlib import Path

import pytest

import florence_demo
from florence_demo import codec
from florence_demo.evaluation.scoring import METRICS
from florence_demo.tasks import TASKS
from tests.fakes import RAW

PROJECT = Path(__file__).resolve().parent.parent
EXAMPLE = PROJECT / "assets" / "examples" / "truck.webp"


def test_the_readmes_example_runs():
    readme = (PROJECT / "README.md").read_text(encoding="utf-8")
    code = re.search(r"## In Python\n\n```python\n(.*?)```", readme, re.DOTALL)
    assert code is not None
    assert len(code[1].splitlines()) <= 6
    out = io.StringIO()
    with redirect_stdout(out):
        exec(code[1].replace("picture.jpg", str(EXAMPLE)), {})
    assert re.match(r"\d+ objects?: ", out.getvalue())


def test_the_face_is_lazy():
    code = "import sys, florence_demo; print({'numpy.random', 'torch', 'PIL'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "torch" not in done.stdout
    assert set(florence_demo.__all__) <= set(dir(florence_demo))


SYNTAXES = codec.ANSWERS
TABLES = {"METRICS of evaluation.scoring": METRICS, "RAW of the tests' fakes": RAW}


@pytest.mark.parametrize("name", SYNTAXES)
@pytest.mark.parametrize("table", TABLES)
def test_every_syntax_of_answers_has_its_entry(table, name):
    assert name in TABLES[table], f"a new syntax needs an entry “{name}” in {table}"


def test_every_task_answers_in_a_known_syntax():
    assert {task.answer.name for task in TASKS.values()} <= set(SYNTAXES)
