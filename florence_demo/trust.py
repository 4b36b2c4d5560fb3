"""What a name, and the folder that it leads to, may do: an operator's much, a visitor's little.

A ``Trust`` goes along from the door to the last file that is opened. Knows no names and no files.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Cost:
    """Hold what a model takes.

    Attributes:
        operations: Multiplications and additions of a question.
        memory: Bytes of its activations at their largest.
        parameters: Of the model; each may take four bytes, however it is stored.
    """

    operations: float
    memory: float
    parameters: float = 0.0


VISITORS = Cost(operations=15e12, memory=3e9, parameters=2e9)
"""What a stranger's checkpoint may take; Florence-2-large takes 3.3e12, 0.6e9 and 0.8e9."""


@dataclass(frozen=True)
class Trust:
    """Hold what is allowed.

    Attributes:
        folders: Whether a name may be a folder of this machine, be it typed or an adapter's word
            for its base, and whether the folders beside a checkpoint may be looked into. If not,
            nothing tells whether there is such a folder.
        hub: Whether a name may be any model of the hub; those of the catalogue always may.
        pickle: Whether pickled weights may be read, in a process of their own.
        cost: What a question may take; None is any amount.
        download: Bytes that may be fetched of a model outside the catalogue; None is any amount.
    """

    folders: bool
    hub: bool
    pickle: bool = False
    cost: Cost | None = None
    download: int | None = None


OPERATOR = Trust(folders=True, hub=True)
"""Whoever runs the program."""

VISITOR = Trust(folders=False, hub=True, cost=VISITORS, download=8_000_000_000)
"""Whoever comes to the page. Florence-2-large in fp32 has 3.1 GB."""
