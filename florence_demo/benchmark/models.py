"""Florence-2 at its true sizes with random weights, asked the usual way and ours.

Knows what a benchmark needs of a model: its shape, and answers of a forced length. Does not know
which rows are measured. Weights are rounded to fp16, as those of the published checkpoints are.
"""

from __future__ import annotations

import copy
import gc
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import Florence2Config, Florence2ForConditionalGeneration, GenerationConfig

from florence_demo.decoding.decoder import Decoder
from florence_demo.decoding.rules import DecodeOptions
from florence_demo.machine import keep_heap, peak_bytes

IMAGE_SIDE = 768
IMAGE_TOKENS = 577
IMAGE_TOKEN = 50264

PROMPTS: tuple[tuple[int, ...], ...] = (
    (0, 2264, 473, 5, 2274, 6190, 116, 2),
    (0, 574, 22486, 5, 8720, 19, 4120, 766, 11, 5, 2274, 4, 2),
    (0, 47066, 21700, 11, 4617, 99, 16, 2343, 11, 5, 2274, 4, 2),
)
"""The questions of CAPTION, OD and DETAILED_CAPTION in tokens."""

_SHAPES = {  # width, layers, heads, width of the tower's first stage
    "base": (768, 6, 12, 128),
    "large": (1024, 12, 16, 256),
    "tiny": (64, 1, 2, 32),
}


def build(size: str, seed: int = 0, *, device: Any = "cpu") -> Any:
    """Return a random model of the true size in fp32.

    Args:
        size: "base" or "large"; "tiny" is no size of Microsoft's, it only shows that all works.
        seed: Of the weights.
        device: Where it is made: large takes a GPU a second, and a processor many.
    """
    config = config_of(size)
    torch.manual_seed(seed)
    with torch.device(device):
        model: Any = Florence2ForConditionalGeneration(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(parameter.half())
    model.generation_config = GenerationConfig(
        num_beams=3,
        no_repeat_ngram_size=3,
        early_stopping=False,
        forced_bos_token_id=0,
        forced_eos_token_id=2,
        decoder_start_token_id=2,
        bos_token_id=0,
        eos_token_id=2,
        pad_token_id=1,
    )
    return model


def config_of(size: str) -> Any:
    """Return the configuration of a size, as ``build`` takes it."""
    width, layers, heads, tower = _SHAPES[size]
    groups = [(tower // 32) << stage for stage in range(4)]
    return Florence2Config(
        vision_config={
            "embed_dim": [tower << stage for stage in range(4)],
            "num_heads": groups,
            "num_groups": groups,
            "depths": [1, 1, 9, 1],
            "projection_dim": width,
        },
        text_config={
            "model_type": "bart",
            "vocab_size": 51289,
            "d_model": width,
            "encoder_layers": layers,
            "decoder_layers": layers,
            "encoder_attention_heads": heads,
            "decoder_attention_heads": heads,
            "encoder_ffn_dim": 4 * width,
            "decoder_ffn_dim": 4 * width,
            "max_position_embeddings": 1024 if size == "base" else 4096,
            "bos_token_id": 0,
            "pad_token_id": 1,
            "eos_token_id": 2,
            "decoder_start_token_id": 2,
        },
        image_token_id=IMAGE_TOKEN,
    )


def picture(seed: int = 0, rows: int = 1) -> Tensor:
    """Return random pixels (rows, 3, side, side)."""
    torch.manual_seed(seed)
    return torch.randn(rows, 3, IMAGE_SIDE, IMAGE_SIDE)


@torch.inference_mode()
def ask_usually(
    model: Any,
    pixels: Tensor,
    prompt: Sequence[int],
    tokens: int,
    image_tokens: int = IMAGE_TOKENS,
) -> list[int]:
    """Return an answer as everybody gets it: picture and prompt into ``generate``, 3 beams."""
    place = [int(model.config.image_token_id)] * image_tokens
    ids = torch.tensor([place + list(prompt)], device=model.device)
    answer = model.generate(
        input_ids=ids,
        attention_mask=torch.ones_like(ids),
        pixel_values=pixels.to(model.device, model.dtype),
        max_new_tokens=tokens,
    )
    return [int(token) for token in answer[0]]


def ask(
    decoder: Decoder, features: Tensor, prompts: Sequence[Sequence[int]], tokens: int
) -> list[list[int]]:
    """Return our answers on encoded pictures, 3 beams."""
    options = DecodeOptions.from_generation_config(
        decoder.model.generation_config, max_new_tokens=tokens
    )
    return [list(answer.ids) for answer in decoder.decode(features, prompts, options)]


def step_seconds(decoder: Decoder, tokens: int) -> tuple[float, list[int]]:
    """Return the seconds of a decoding step, by the median, and the answer.

    Args:
        decoder: Ours, or the reference.
        tokens: Length of the answer.
    """
    torch.manual_seed(1)
    features = torch.randn(1, IMAGE_TOKENS, decoder.model.config.text_config.d_model)
    features = features.to(decoder.model.device, decoder.model.dtype)
    marks: list[float] = []

    def mark(_step: int, _leading: list[list[int]]) -> bool:
        marks.append(time.perf_counter())
        return True

    options = DecodeOptions.from_generation_config(
        decoder.model.generation_config, max_new_tokens=tokens
    )
    (answer,) = decoder.decode(features, PROMPTS[1:2], options, on_step=mark)
    gaps = sorted(b - a for a, b in pairwise(marks))
    return gaps[len(gaps) // 2], list(answer.ids)


@dataclass(frozen=True)
class Start:
    """Hold what a fresh process took for one caption.

    Attributes:
        peak: Bytes it held at most; None where the system does not tell.
        ready: Seconds until the model was in memory.
        answered: Seconds until the caption was there.
    """

    peak: int | None
    ready: float
    answered: float


@contextmanager
def on_disk(model: Any, folder: Path | None = None) -> Iterator[Path]:
    """Give a folder with the model's files, written as fp16 where there is none yet."""
    if folder is not None:
        yield folder
        return
    with tempfile.TemporaryDirectory() as written:
        # As the published checkpoints are. The copy shares nothing with ours.
        copy.deepcopy(model).half().save_pretrained(written)
        gc.collect()
        yield Path(written)


def start_of(way: str, folder: Path, threads: int) -> Start:
    """Answer one caption in a process of its own.

    Args:
        way: "usual" or "ours".
        folder: A checkpoint, or a native model without a tokenizer.
        threads: Threads of the process.
    """
    command = [sys.executable, "-m", __name__, way, str(folder), str(threads)]
    begun = time.time()
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    peak, ready, answered = json.loads(done.stdout.splitlines()[-1])
    return Start(peak, ready - begun, answered - begun)


def _open(folder: Path) -> tuple[Any, Tensor, Sequence[int], int]:
    """Return a model, a picture, a question and how many tokens a picture has."""
    if not (folder / "tokenizer.json").is_file():
        opened = Florence2ForConditionalGeneration.from_pretrained(folder, dtype=torch.float32)
        return opened, picture(), PROMPTS[0], IMAGE_TOKENS
    # With what a name or an adapter needs; a model alone opens faster without it.
    from PIL import Image

    from florence_demo.models.loading import load_model
    from florence_demo.tasks import TASKS

    loaded = load_model(str(folder), device="cpu", dtype="fp32")
    gray = Image.new("RGB", (640, 480), "gray")
    pixels = loaded.processor.image_processor(images=gray, return_tensors="pt")["pixel_values"]
    prompt = loaded.processor.tokenizer(TASKS["caption"].prompt)["input_ids"]
    return loaded.model, pixels, prompt, int(loaded.processor.num_image_tokens)


def _main(way: str, folder: str, threads: str) -> None:
    torch.set_num_threads(int(threads))
    model, pixels, prompt, image_tokens = _open(Path(folder))
    if way == "usual":
        model.eval()
        ready = time.time()
        ask_usually(model, pixels, prompt, 20, image_tokens)
    else:
        keep_heap()
        decoder = Decoder(model)
        ready = time.time()
        ask(decoder, decoder.encode_image(pixels), [prompt], 20)
    print(json.dumps([peak_bytes(), ready, time.time()]))


if __name__ == "__main__":
    _main(*sys.argv[1:])
