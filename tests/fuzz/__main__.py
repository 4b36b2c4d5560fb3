"""``python -m tests.fuzz --seconds 300 [--door pictures] [--seed 7]``; a table at the end."""

from __future__ import annotations

import argparse
import secrets
import shutil
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

from tests.fuzz.control import Findings, drive
from tests.fuzz.doors import NAMES, door
from tests.fuzz.oracle import judge
from tests.fuzz.worker import Plan

_SHARES = {
    "pictures": 4,
    "pages": 2,
    "frames": 2,
    "answers": 1,
    "json": 1,
    "data": 4,
    "checkpoints": 4,
    "adapters": 2,
    "api": 5,
}
"""Parts of the time; a door behind which more lies gets more of it."""
_HEAD = (
    "door",
    "inputs",
    "corpus",
    "accepted",
    "refused",
    "sentences",
    "failures",
    "peak MB",
    "slowest s",
)


def main() -> int:
    """Drive the doors, print what was found, and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--seconds", type=float, default=300, help="for all doors (default 300)")
    parser.add_argument("--door", action="append", choices=NAMES, help="only this one")
    parser.add_argument("--seed", type=int, help="decides every input (default: another each time)")
    parser.add_argument("--out", type=Path, default=Path("build/fuzz"), help="for what failed")
    parser.add_argument("--again", type=Path, metavar="FILE", help="hand one kept input in again")
    args = parser.parse_args()
    if args.again:
        return _again(args.again)
    names = args.door or list(NAMES)
    seed = secrets.randbelow(1_000_000) if args.seed is None else args.seed
    print(f"{len(names)} doors, {args.seconds:g} seconds, --seed {seed}", flush=True)
    found = []
    for name in names:
        share = args.seconds * _SHARES[name] / sum(_SHARES[each] for each in names)
        found.append(drive([name], Plan(seed, share), args.out)[name])
        print(
            f"{name}: {found[-1].inputs:,} inputs, {len(found[-1].failures)} failures", flush=True
        )
    print("\n" + table(found))
    for findings in found:
        print(failures(findings), end="")
    return int(any(findings.failures for findings in found))


def table(found: Iterable[Findings]) -> str:
    """Return the figures of some doors, one line each."""
    rows = [
        (
            f.name, f"{f.inputs:,}", f"{f.corpus[1]}/{f.corpus[0]}", f"{f.accepted:,}",
            f"{f.refused:,}", str(len(f.sentences)), str(len(f.failures)),
            f"{f.memory / 1e6:,.0f}", f"{f.slowest[0]:.2f}",
        )
        for f in found
    ]  # fmt: skip
    widths = [max(map(len, column)) for column in zip(_HEAD, *rows, strict=True)]
    lines = [
        "  ".join(
            [
                row[0].ljust(widths[0]),
                *(c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True)),
            ]
        )
        for row in (_HEAD, *rows)
    ]
    return "\n".join(lines)


def failures(findings: Findings) -> str:
    """Return what failed at a door, with a file to hand in again for each."""
    return "".join(
        f"\n{findings.name}: {failure.name} ({failure.count} times)\n  {failure.said}\n"
        f"  python -m tests.fuzz --again {failure.file}\n"
        for failure in findings.failures.values()
    )


def _again(file: Path) -> int:
    """Hand one kept input in, in this process, and print what becomes of it."""
    what = door(file.name.partition("-")[0])
    with tempfile.TemporaryDirectory() as folder, what.open(Path(folder)) as drive_in:
        verdict = judge(drive_in, file.read_bytes())
        print(f"{verdict.outcome}: {verdict.said}")
    shutil.rmtree(folder, ignore_errors=True)
    return int(verdict.outcome == "failed")


if __name__ == "__main__":
    sys.exit(main())
