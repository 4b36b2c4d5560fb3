"""What is known about a checkpoint before it is opened, as data and as words for a person.

Knows no files. ``inspection`` fills these types from a folder.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path, PurePath
from typing import Any, Literal

from florence_demo.errors import plain

Layout = Literal["native", "original", "hub", "adapter"]

_LAYOUT = {
    "native": "in the native layout of transformers",
    "original": "in the 2024 layout",
    "hub": "in the 2024 layout, as the hub repositories have it",
}


@dataclass(frozen=True)
class StoredTensor:
    """Hold where one tensor lies.

    Attributes:
        file: The safetensors file.
        key: Its name in that file.
        name: The same without a trainer's wrapper prefixes.
        shape: Its shape.
        dtype: safetensors' word for its type, such as "F32".
    """

    file: Path
    key: str
    name: str
    shape: tuple[int, ...]
    dtype: str


@dataclass(frozen=True)
class CheckpointInfo:
    """Hold what a folder says about itself.

    Attributes:
        path: The folder.
        layout: "native", "original" (as the 2024 script saves it), "hub" (as Microsoft's
            repositories have it) or "adapter".
        size: "base 0.23B", "large 0.77B" or "other".
        parameters: Number of parameters, tied ones once; of an adapter, its own. An estimate from
            the file's size where the weights are pickled.
        dtype: "fp32", "fp16", "bf16" or "fp64": the type of most parameters.
        base: What it was fine-tuned from, as it says itself; of an adapter, its base.
        lora_rank: Rank of an adapter, the largest where they differ.
        lora_targets: The modules an adapter changes, as its configuration names them.
        tokens: Rows of the token embedding.
        files: Names of the files that hold weights.
        ignored: Names of files that are there and never read: code, pickles, a trainer's state.
        problems: Sentences about what stands in the way of opening it, or is lacking.
        pickled: Whether the weights are a pickle.
    """

    path: Path
    layout: Layout
    size: str
    parameters: int
    dtype: str
    base: str | None = None
    lora_rank: int | None = None
    lora_targets: tuple[str, ...] = ()
    tokens: int = 0
    files: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    pickled: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return plain Python values that ``json.dumps`` takes as they are."""
        return {
            key: list(value) if isinstance(value, tuple) else value
            for key, value in {**asdict(self), "path": str(self.path)}.items()
        }

    def sentences(self) -> list[str]:
        """Return what a person reads about it, sentence by sentence."""
        amount = f"{counted(self.parameters)} parameters in {self.dtype}"
        amount = f"about {amount}" if self.pickled else amount
        lines = self._adapter(amount) if self.layout == "adapter" else self._model(amount)
        if self.ignored:
            lines.append(f"Never read: {listed(self.ignored)}.")
        return [*lines, *self.problems]

    def _adapter(self, amount: str) -> list[str]:
        return [
            f"A LoRA adapter of rank {self.lora_rank}, {amount}.",
            f"It changes {listed(self.lora_targets, 8)}.",
            f"Its base is {called(self.base)}."
            if self.base
            else "It does not name its base, so it cannot be opened: add base_model_name_or_path to"
            " adapter_config.json.",
        ]

    def _model(self, amount: str) -> list[str]:
        what = "fine-tune" if self.base else "model"
        kinds = {"base 0.23B": f"base {what}", "large 0.77B": f"large {what}"}
        kind = kinds.get(self.size, f"{what} of a size of its own")
        lines = [f"A Florence-2 {kind} {_LAYOUT[self.layout]}, {amount}."]
        if self.base:
            lines.append(f"Fine-tuned from {called(self.base)}.")
        lines.append(f"Its vocabulary has {self.tokens:,} tokens.")
        return lines


def called(base: str, most: int = 200) -> str:
    """Return what a person reads of a base's name: of a folder's path, its last part alone.

    Whoever sees a page has no business with where its operator keeps things.
    """
    path = PurePath(base)
    return plain(path.name if path.is_absolute() and path.name else base, most)


def counted(number: int) -> str:
    """Return a number of parameters as a person says it: "231 million"."""
    if number >= 10_000_000:
        return f"{number / 1e6:.0f} million"
    return f"{number / 1e6:.1f} million" if number >= 1_000_000 else f"{number:,}"


def listed(names: Iterable[object], most: int = 5) -> str:
    """Return the first names, each short and plain, and how many more there are."""
    names = list(names)
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return (", ".join(plain(name, 120) for name in names[:most]) or "nothing") + more
