"""Which model it is, told by its files: two folders of equal files are one model.

Knows which files decide about an answer. Does not open a model.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from florence_demo.models.finding import Found

_WEIGHTS = (".safetensors", ".bin", ".pt", ".pth", ".ckpt")
_SETTINGS = (
    "config.json", "generation_config.json", "preprocessor_config.json", "processor_config.json",
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json",
    "vocab.json", "merges.txt", "adapter_config.json", "confidence.json",
)  # fmt: skip


def digest_of(found: Found) -> str:
    """Return a digest of what a model is made of, its base's files included.

    Raises:
        OSError: A file cannot be read.
    """
    digest = hashlib.sha256()
    for folder in (found.info.path, *([found.base.path] if found.base else [])):
        for file in sorted(Path(folder).iterdir()):
            if file.is_file() and (file.name in _SETTINGS or file.suffix in _WEIGHTS):
                digest.update(f"{file.name}\0".encode("utf-8", "surrogatepass"))
                digest.update(_content(file))
    return digest.hexdigest()


def _content(file: Path) -> bytes:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").digest()
