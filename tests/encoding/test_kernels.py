"""The GPU's kernels, interpreted on a processor: what torch's own operations give."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("triton")

HERE = "tests.encoding.interpreted"


@pytest.mark.parametrize("check", ["looks", "channels", "windows", "norms", "blocks"])
def test_a_kernel_gives_what_torch_gives(check):
    # Triton decides when a kernel is defined whether it is interpreted: hence another process.
    done = subprocess.run(
        [sys.executable, "-m", HERE, check],
        env={**os.environ, "TRITON_INTERPRET": "1"},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
