"""What a person waits for before the page answers."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

PROBE = """
import ast, inspect
usual, parse, parsed = inspect.getfile, ast.get_source_segment, []
ast.get_source_segment = lambda *args, **kwargs: parsed.append(args) or parse(*args, **kwargs)
import florence_demo.ui, gradio
from florence_demo.ui.components import AnswerView
assert inspect.getfile is usual
# The events of the page itself are parsed still; they are few and are no component.
components = [node.name for _, node, *_ in parsed if node.name in dir(gradio)]
assert not components, components
assert inspect.getfile(AnswerView).endswith("components.py")
"""


def _run(code: str) -> None:
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=root)
    assert done.returncode == 0, done.stderr


def test_no_stubs_are_written_when_the_page_is_imported() -> None:
    _run(PROBE)


FIRST_EVENT = """
import sys
from florence_demo.commands import serve
serve.prepare()
from gradio.utils import MatplotlibBackendMananger
with MatplotlibBackendMananger():
    assert "matplotlib" in sys.modules
assert "matplotlib.pyplot" not in sys.modules
"""

WARM_UP = """
import gc
from florence_demo.commands import serve
assert gc.isenabled()
class Broken:
    def warm_up(self):
        raise OSError
serve.prepare()
assert not gc.isenabled()
try:
    serve._warm_up(Broken())
except OSError:
    assert gc.isenabled()
"""


def test_the_first_event_does_not_import_pyplot() -> None:
    _run(FIRST_EVENT)


def test_garbage_is_looked_for_once_the_model_is_there() -> None:
    _run(WARM_UP)
