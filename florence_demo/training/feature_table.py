"""Image features on disk, so that a frozen vision tower looks at each picture once.

Knows the file: a memory-mapped table, one row a picture, valid for one tower and processor and for
these pictures in this order; anything else is refused, not used. Does not know how a step is taken
(``trainer``).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from florence_demo.bounded_json import load_json
from florence_demo.data.example import Example
from florence_demo.data.rows import distinct_pictures
from florence_demo.errors import DatasetError
from florence_demo.files import write_json
from florence_demo.machine import in_bytes

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import TrainingArguments

    from florence_demo.models.loading import LoadedModel
    from florence_demo.training.config import TrainConfig
    from florence_demo.training.status import RunFiles

_META, _TABLE = "features.json", "features.bin"
_AT_ONCE = 16
"""Pictures that the tower looks at together."""
Told = Callable[[int, int], None]


@dataclass(frozen=True)
class Shape:
    """Hold the size of a table: pictures, tokens a picture, numbers a token; two bytes each."""

    pictures: int
    tokens: int
    width: int

    @property
    def bytes(self) -> int:
        """Bytes on disk."""
        return self.pictures * self.tokens * self.width * 2


class FeatureCache:
    """Hold the features of a set of pictures; several rows about one picture share them."""

    def __init__(self, folder: Path, examples: Sequence[Example], shape: Shape, valid_for: str):
        """Describe the table; ``build`` fills it.

        Args:
            folder: Where its two files are.
            examples: The rows, in the order in which ``rows`` is asked for them.
            shape: Of ``measure``.
            valid_for: Fingerprint of tower, projector and processor.
        """
        self.folder = folder
        self.shape = shape
        self.valid_for = valid_for
        self._examples = examples
        self._keys, self._row_of = distinct_pictures(examples)
        self._table: Tensor | None = None

    def complete(self) -> bool:
        """Whether the files hold every picture, for this tower and these pictures."""
        try:
            meta = load_json(self.folder / _META)
        except (OSError, ValueError):
            return False
        size = (self.folder / _TABLE).stat().st_size if (self.folder / _TABLE).exists() else -1
        return bool(meta == self._meta() and size == self.shape.bytes)

    def build(self, encode: Callable[[Sequence[Example]], Tensor], batch: int, told: Told) -> None:
        """Fill the table with what ``encode`` returns for rows, unless it is filled already.

        Args:
            encode: From rows to features (B, tokens, width).
            batch: Pictures at a time.
            told: Called with pictures done and in all.

        Raises:
            DatasetError: The disk is full.
        """
        if self.complete():
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / _META).unlink(missing_ok=True)
        first = {row: i for i, row in reversed(list(enumerate(self._row_of)))}
        try:
            table = self._map(writable=True)
            for at in range(0, self.shape.pictures, batch):
                rows = range(at, min(at + batch, self.shape.pictures))
                found = encode([self._examples[first[row]] for row in rows])
                table[at : at + len(rows)] = found.to(table.dtype).cpu()
                told(rows.stop, self.shape.pictures)
        except OSError as exc:
            raise DatasetError(
                f"The image features do not fit on the disk of {self.folder} ({exc}): choose"
                " another folder, or train without the cache."
            ) from exc
        del table
        # Written last: without it the table counts as not there.
        write_json(self.folder / _META, self._meta())

    def rows(self, indices: Sequence[int]) -> Tensor:
        """Return the features (B, tokens, width) of rows of the set, as float32."""
        if self._table is None:
            self._table = self._map(writable=False)
        return self._table[[self._row_of[i] for i in indices]].float()

    def _map(self, writable: bool) -> Tensor:
        import torch

        path = self.folder / _TABLE
        if writable:
            with path.open("wb") as out:
                out.truncate(self.shape.bytes)
        shape = self.shape
        flat = torch.from_file(
            str(path),
            shared=True,
            size=shape.pictures * shape.tokens * shape.width,
            dtype=torch.bfloat16,
        )
        return flat.view(shape.pictures, shape.tokens, shape.width)

    def _meta(self) -> dict[str, Any]:
        keys = hashlib.sha256("\n".join(self._keys).encode()).hexdigest()
        shape = [self.shape.pictures, self.shape.tokens, self.shape.width]
        return {"valid_for": self.valid_for, "pictures": keys, "shape": shape}


def fingerprint(model: Any, processor: Any) -> str:
    """Return a digest of all that a picture's features depend on."""
    digest = hashlib.sha256()
    for part in (model.model.vision_tower, model.model.multi_modal_projector):
        for name, tensor in sorted(part.state_dict().items()):
            digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
            digest.update(tensor.detach().float().cpu().contiguous().numpy().tobytes())
    digest.update(json.dumps(processor.image_processor.to_dict(), default=str).encode())
    return digest.hexdigest()


def measure(examples: Sequence[Example], model: Any, processor: Any) -> Shape:
    """Return the size that a table of these rows would have."""
    pictures = len(distinct_pictures(examples)[0])
    width = int(model.config.vision_config.projection_dim)
    return Shape(pictures, int(processor.num_image_tokens), width)


def cached_features(
    config: TrainConfig,
    rows: Sequence[Example],
    loaded: LoadedModel,
    args: TrainingArguments,
    files: RunFiles,
) -> FeatureCache:
    """Return a run's table of features, filled by the first process while the others wait.

    Args:
        config: The run's settings.
        rows: What it learns from.
        loaded: The model and its processor; the model moves to the run's device.
        args: The Trainer's: device and processes.
        files: Where it tells how far it is.

    Raises:
        DatasetError: The table would be larger than agreed, or the disk is full.
    """
    import torch

    model, processor, device = loaded.model, loaded.processor, args.device
    shape = measure(rows, model, processor)
    size = in_bytes(shape.bytes)
    if shape.bytes > config.cache_limit_gb * 1e9:
        raise DatasetError(
            f"The image features of {shape.pictures:,} pictures take {size} on the disk of"
            f" {config.out}, more than the {config.cache_limit_gb:g} GB agreed to: raise"
            " cache_limit_gb, or train without the cache."
        )
    cache = FeatureCache(config.out / "features", rows, shape, fingerprint(model, processor))
    tower = model.to(device)

    def encode(examples: Sequence[Example]) -> Tensor:
        images = [e.load() for e in examples]
        pixels = processor.image_processor(images, return_tensors="pt")["pixel_values"]
        bf16 = config.precision == "bf16"
        with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            found: Tensor = tower.get_image_features(pixels.to(device)).pooler_output
        return found

    def told(done: int, total: int) -> None:
        message = f"Looking at pictures: {done:,} of {total:,}, {size} on disk in all"
        files.tell(state="caching", message=message)

    with args.main_process_first(local=False, desc="image features"):
        cache.build(encode, _AT_ONCE, told)
    return cache
