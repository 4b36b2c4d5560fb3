"""Start or continue a training: ``python -m florence_demo.embedded --out runs/nano``."""

from __future__ import annotations

import argparse
import dataclasses
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from florence_demo.embedded.trainer import TrainConfig, train


def main(argv: Sequence[str] | None = None) -> int:
    """Parse flags and train."""
    parser = argparse.ArgumentParser(prog="python -m florence_demo.embedded", description=__doc__)
    for f in dataclasses.fields(TrainConfig):
        flag = "--" + f.name.replace("_", "-")
        if isinstance(f.default, bool):
            parser.add_argument(flag, action="store_true")
        else:
            parser.add_argument(flag, type=type(f.default) if not isinstance(f.default, Path)
                                else Path, default=f.default)  # fmt: skip
    args = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    train(TrainConfig(**vars(args)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
