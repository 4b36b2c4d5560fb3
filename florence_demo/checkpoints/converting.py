"""Write any Florence-2 checkpoint as a native one."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from florence_demo.checkpoints.cost import check_cost
from florence_demo.checkpoints.info import CheckpointInfo
from florence_demo.checkpoints.inspection import inspect_checkpoint
from florence_demo.checkpoints.names import FLORENCE_TOKENS, TIED
from florence_demo.checkpoints.opening import (
    open_checkpoint,
    ready,
    settings_of,
    stored_tensors,
)
from florence_demo.checkpoints.processors import MASK_ID
from florence_demo.checkpoints.reading import brief, reading
from florence_demo.checkpoints.vocabularies import BART_TOKENS, NoTokenizerError
from florence_demo.checkpoints.weights import empty_model, fill, stored_dtype
from florence_demo.errors import CheckpointError
from florence_demo.trust import OPERATOR, Trust

if TYPE_CHECKING:
    import torch
    from transformers import (
        CLIPImageProcessor,
        Florence2ForConditionalGeneration,
        Florence2Processor,
    )


def convert_checkpoint(
    info: CheckpointInfo,
    dst: Path,
    *,
    base: CheckpointInfo | None = None,
    tokenizers: Iterable[Path] = (),
    trust: Trust = OPERATOR,
    dtype: torch.dtype | None = None,
) -> CheckpointInfo:
    """Write any checkpoint as a native folder that plain ``transformers`` opens.

    The same source gives the same bytes. The folder appears whole under its name or not at all.

    Args:
        info: Any checkpoint; an adapter is merged into its base.
        dst: The folder to make.
        base: As for ``open_checkpoint``.
        tokenizers: As for ``open_checkpoint``.
        trust: As for ``open_checkpoint``.
        dtype: Type of the parameters; None keeps the stored one.

    Raises:
        CheckpointError: If it cannot be opened whole, or there is something under the new name.
    """
    dst = Path(dst)
    if os.path.lexists(dst):
        raise CheckpointError(f"{dst} is already there; choose another name.")
    model, processor = _opened(info, base, tokenizers, trust, dtype)
    try:
        dst.parent.mkdir(parents=True, exist_ok=True)
        # A hidden neighbour is on the same disk, so the last step is one rename.
        partial = Path(tempfile.mkdtemp(prefix=f".{dst.name}-", dir=dst.parent))
        try:
            _save(model, processor, partial)
            if os.path.lexists(dst):
                raise CheckpointError(f"{dst} appeared meanwhile; choose another name.")
            partial.rename(dst)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    except OSError as exc:
        raise CheckpointError(f"{dst} could not be written ({exc.strerror}).") from exc
    except ValueError as exc:  # the library writes no settings that it would not use
        raise CheckpointError(f"{dst} could not be written ({brief(exc)}).") from exc
    return inspect_checkpoint(dst)


def _opened(
    info: CheckpointInfo,
    base: CheckpointInfo | None,
    tokenizers: Iterable[Path],
    trust: Trust,
    dtype: torch.dtype | None,
) -> tuple[Florence2ForConditionalGeneration, Florence2Processor | CLIPImageProcessor]:
    """Return what is to be written, without a tokenizer where there is none."""
    try:
        opened = open_checkpoint(info, base=base, tokenizers=tokenizers, trust=trust, dtype=dtype)
    except NoTokenizerError:
        if base is not None:
            raise
        return _without_tokenizer(info, dtype, trust)
    return opened.model, opened.processor


def _without_tokenizer(
    info: CheckpointInfo, dtype: torch.dtype | None, trust: Trust
) -> tuple[Florence2ForConditionalGeneration, CLIPImageProcessor]:
    """Return what can be converted of a checkpoint that lacks a tokenizer: all but that.

    Raises:
        NoTokenizerError: If even the picture's token depends on the tokenizer.
    """
    from transformers import CLIPImageProcessor

    src = info.path
    with reading(src), stored_tensors(info, trust) as tensors:
        config, picture = settings_of(src, info, tensors)
        if info.tokens != BART_TOKENS + len(FLORENCE_TOKENS) and "image_token_id" not in config:
            raise NoTokenizerError(
                f"{src.name} has no tokenizer and a vocabulary of its own ({info.tokens:,} tokens)."
                " Add its file tokenizer.json."
            )
        config.setdefault("image_token_id", MASK_ID)
        check_cost(config, picture, info.parameters, trust.cost)
        model = empty_model(config)
        fill(model, tensors, dtype or stored_dtype(info.dtype), "cpu")
        ready(model, src, info)
    return model, CLIPImageProcessor(**picture)


def _save(
    model: Florence2ForConditionalGeneration,
    processor: Florence2Processor | CLIPImageProcessor,
    folder: Path,
) -> None:
    state = model.state_dict()
    if not model.config.tie_word_embeddings:
        # With an output head of its own, transformers ties nothing when it loads, and would make
        # up the embeddings that are one tensor here; so they are written out.
        state = {k: v.clone() if k in TIED else v for k, v in state.items()}
    model.save_pretrained(folder, state_dict=state)
    processor.save_pretrained(folder)
    # What the temporary folder was made with would shut others out of the copy.
    umask = os.umask(0)
    os.umask(umask)
    folder.chmod(0o777 & ~umask)
    for file in folder.iterdir():
        file.chmod(0o666 & ~umask)
