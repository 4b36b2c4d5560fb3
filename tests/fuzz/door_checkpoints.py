"""The door for checkpoints: an uploaded zip is unpacked, looked at, opened, and asked."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from hypothesis import strategies as st
from PIL import Image

from florence_demo.checkpoints.folders import unpack_upload
from florence_demo.checkpoints.inspection import inspect_checkpoint
from florence_demo.models.catalogue import spec_at
from florence_demo.tasks import TASKS
from florence_demo.trust import VISITOR
from tests.fuzz import make_checkpoints as make
from tests.fuzz.doors import Door, Drive
from tests.fuzz.guards import Guard
from tests.fuzz.hostile_checkpoints import KEYS, corpus
from tests.fuzz.make_zips import bent_zips, of_files
from tests.fuzz.mutations import (
    NUMBERS,
    TEXTS,
    Draw,
    among,
    bent_bytes,
    bent_value,
    dump,
    just,
    values,
)
from tests.fuzz.oracle import Breach, wrong_with
from tests.fuzz.uploads import Upload


@contextmanager
def opened(folder: Path) -> Iterator[Drive]:
    """Take uploads as the page does: describe, load, ask once."""
    from florence_demo.engine.engine import Engine
    from florence_demo.engine.request import Options
    from florence_demo.models.loading import load_model

    guard = Guard()
    image = Image.effect_noise((50, 40), 90).convert("RGB")
    options = Options(max_new_tokens=6, num_beams=2)

    def drive(data: bytes) -> None:
        with Upload(folder, data) as upload, guard.watching():
            try:
                unpack_upload(upload.files, upload.target)
                about(upload.target)
                trust = replace(VISITOR, hub=False)
                loaded = load_model(spec_at(upload.target), device="cpu", trust=trust)
                found = Engine(loaded).predict(
                    image, TASKS["docvqa"], "What is the date ?", options=options
                )
                json.dumps(found.to_json(), allow_nan=False)
            except Exception:
                upload.check_nothing_left()
                raise
            finally:
                guard.check()

    for files in (make.native(), make.original()):
        drive(of_files(files))
    yield drive


def about(folder: Path) -> None:
    """Say what a folder holds, as the page does before it is loaded."""
    info = inspect_checkpoint(folder)
    json.dumps({**info.to_json(), "path": ""}, allow_nan=False).encode()
    for sentence in info.sentences():
        problem = wrong_with(sentence)
        if problem:
            raise Breach(f"{problem} about a checkpoint", repr(sentence[:200]))


@st.composite
def _bent_settings(draw: Draw) -> bytes:
    """A checkpoint with other values in its JSON files."""
    base = dict(draw(among([make.native(), make.original()])))
    value = st.one_of(
        st.sampled_from(NUMBERS),
        st.sampled_from(TEXTS),
        values(),
        st.lists(st.sampled_from(NUMBERS), max_size=3),
    )
    for _ in range(draw(st.integers(1, 2))):
        name = draw(
            st.sampled_from(
                [
                    "config.json",
                    "config.json",
                    "config.json",
                    *(n for n in base if n.endswith(".json")),
                ]
            )
        )
        try:
            settings = make.settings(base, name)
        except (ValueError, RecursionError):
            continue  # bent already
        base[name] = dump(draw(bent_value(just(settings), keys=KEYS, value=value)))
    return of_files(base)


@st.composite
def _bent_weights(draw: Draw) -> bytes:
    """A checkpoint with another header, or other bytes, in its weights."""
    base = dict(draw(among([make.native(), make.original()])))
    data = base["model.safetensors"]
    if draw(st.booleans()):
        header = draw(
            bent_value(
                just(make.header_of(data)), keys=("dtype", "shape", "data_offsets", "__metadata__")
            )
        )
        base["model.safetensors"] = make.with_header(data, dump(header))
    else:
        base["model.safetensors"] = draw(bent_bytes(just(data)))
    return of_files(base)


def inputs() -> st.SearchStrategy[bytes]:
    """Honest checkpoints, bent in their settings, in their weights, or as zips."""
    plain = among([make.native(), make.original()])
    return st.one_of(_bent_settings(), _bent_settings(), _bent_weights(), bent_zips(plain))


_QUICK = (
    "2024: config.json  num_labels 0",
    "native: config.json text_config num_hidden_layers 0",
    "2024: config.json vision_config window_size 0",
    "native: config.json vision_config patch_stride 0",
    "2024: preprocessor_config.json  image_std 1",
    "native: a tokenizer that replaces",
    "native: a tokenizer that splits",
    "native: config.json is 2",
    "2024: generation_config.json  num_beams 0",
    "native: weights with a header of 2^63",
    "2024: a part called 16",
    "2024: a pickle",
    "zip: the name 0",
    "zip: a link",
)
"""One of each kind, small enough for every run of the tests."""

DOOR = Door("checkpoints", corpus, inputs, opened, _QUICK)
