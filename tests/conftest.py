"""Fixtures shared by all tests."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
# The models here are small: a second thread waits longer for the first than it works, and keeps a
# core busy with waiting.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Several pages live in one process here; they share what gradio hands out. It goes at the end.
_served = tempfile.TemporaryDirectory(prefix="florence-tests-", ignore_cleanup_errors=True)
os.environ["GRADIO_TEMP_DIR"] = _served.name


@pytest.fixture(scope="session")
def golden() -> Path:
    """The folder with checkpoints and outputs of the original code."""
    folder = os.environ.get("FLORENCE2_GOLDEN")
    if not folder:
        pytest.skip("not run: FLORENCE2_GOLDEN names no folder with the original code's outputs")
    path = Path(folder)
    # Once it is named, a missing folder is a failure, not a reason to skip.
    assert path.is_dir(), f"FLORENCE2_GOLDEN={folder} is no folder"
    return path


@pytest.fixture(scope="session")
def nano():
    """The embedded model, loaded once."""
    from florence_demo.engine.engine import Engine
    from florence_demo.models.loading import load_model

    return Engine(load_model("nano", device="cpu"))


@pytest.fixture(scope="module")
def micro():
    """The makers of the smallest checkpoint of each layout."""
    from tests.checkpoint_makers import Micro

    return Micro()
