"""What a person waits for before the page answers."""

from __future__ import annotations

import subprocess
import sys

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


def test_no_stubs_are_written_when_the_page_is_imported() -> None:
    done = subprocess.run([sys.executable, "-c", PROBE], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
