"""A GPU's kernels against what they are kernels of."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("triton")

HERE = Path(__file__).with_name("interpreted.py")


@pytest.mark.parametrize("part", ["scores", "answers"])
def test_kernels_give_what_torch_gives(part):
    # Triton decides when a kernel is defined whether it is interpreted: hence another process.
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-x", str(HERE), "-k", part, "-p", "no:cacheprovider"],
        env={**os.environ, "TRITON_INTERPRET": "1"},
        cwd=HERE.parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
