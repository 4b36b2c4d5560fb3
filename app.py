"""Start the page: ``python app.py [flags]``. Hugging Face Spaces starts this file."""

from __future__ import annotations

import contextlib
import os
import sys

from florence_demo.machine import SPINS

os.environ.setdefault("GOMP_SPINCOUNT", SPINS)  # read when torch is imported

with contextlib.suppress(ImportError):
    import spaces  # noqa: F401  # must come before torch where GPUs are shared

from florence_demo.__main__ import main

if __name__ == "__main__":
    sys.exit(main(["serve", *sys.argv[1:]]))
