"""What a checkpoint's folder holds, told from its JSON files and safetensors headers alone.

Knows file names, headers and ``config.json``. Reads no weights, imports no torch, unpickles
nothing and never imports from the folder, so it may look at any folder in milliseconds. Opening
one is the work of ``checkpoints``.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from florence_demo.checkpoints.adapter_config import read_adapter_config
from florence_demo.checkpoints.config import admitted_config
from florence_demo.checkpoints.info import CheckpointInfo, Layout, StoredTensor, listed
from florence_demo.checkpoints.names import (
    IMAGE_PROJECTION,
    NATIVE_PROJECTOR,
    SHARED,
    TIED,
    holder,
    native_config,
    native_name,
    unwrapped,
)
from florence_demo.checkpoints.reading import brief, read_json, reading
from florence_demo.errors import CheckpointError, plain

_DTYPES = {"F64": "fp64", "F32": "fp32", "F16": "fp16", "BF16": "bf16"}
_TORCH_DTYPES = {"float64": "fp64", "float32": "fp32", "float16": "fp16", "bfloat16": "bf16"}
_BYTES = {"fp64": 8, "fp32": 4, "fp16": 2, "bf16": 2}
_WEIGHTS = tuple(
    f"{name}{index}"
    for name in ("model.safetensors", "pytorch_model.bin")
    for index in ("", ".index.json")
)
PICKLES = (".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt")
"""How the names of files end that may be programs."""
_SIZES = {
    (768, 6, (128, 256, 512, 1024)): "base 0.23B",
    (1024, 12, (256, 512, 1024, 2048)): "large 0.77B",
}
_PICKLED = (
    "Its weights are a pickle, which is opened in a process of its own and only where the operator "
    "of this program allows it by --allow-pickle; converting it once to safetensors is better."
)
_JOIN = "run `python zero_to_fp32.py . . --safe_serialization` in it, where DeepSpeed is installed."
MAX_HEADER = 4 << 20
"""Bytes of a safetensors header; Florence-2-large's has 0.2 MB."""
MAX_TENSORS = 20_000
MAX_NAME = 300
MAX_DIMENSIONS = 8
MAX_SHARDS = 100

_BUFFERS = (".pos_idx_to_embed", ".final_logits_bias")


def inspect_checkpoint(folder: Path) -> CheckpointInfo:
    """Return what a folder holds, without reading its weights or running anything of it.

    Args:
        folder: The folder of a checkpoint or of a LoRA adapter.

    Raises:
        CheckpointError: If there is no Florence-2 in it, or its files contradict themselves.
    """
    folder = Path(folder)
    names = _file_names(folder)
    with reading(folder):
        if "adapter_config.json" in names and not has_model(names):
            return _inspect_adapter(folder, names)
        return _inspect_model(folder, names)


def native_settings(config: Mapping[str, Any], layout: str) -> dict[str, Any]:
    """Return the native configuration that a ``config.json`` of some layout asks for, in bounds.

    Raises:
        CheckpointError: It describes no Florence-2 that can be built.
    """
    return admitted_config(config if layout == "native" else native_config(config))


def _inspect_model(folder: Path, names: set[str]) -> CheckpointInfo:
    config = _florence_config(folder, names)
    files, pickled = weight_files(folder, names)
    if pickled:
        return _inspect_pickled(folder, names, config, files)
    tensors = read_model(folder / file for file in files)
    layout = layout_of(config, (tensor.name for tensor in tensors))
    shapes = native_shapes(tensors)
    settings = native_settings(config, layout)
    dtype, parameters = _amount(tensors)
    return CheckpointInfo(
        path=folder,
        layout=layout,
        size=_size(settings),
        parameters=parameters,
        dtype=dtype,
        base=_base(config),
        tokens=(shapes.get(SHARED) or (0,))[0],
        files=files,
        ignored=_ignored(names, files),
        problems=(*contradictions(settings, shapes), *_lacking(names)),
    )


def weight_files(
    folder: Path, names: Collection[str], stem: str = "model"
) -> tuple[tuple[str, ...], bool]:
    """Return the names of the files with weights, and whether they are pickles.

    Args:
        folder: The checkpoint.
        names: Names of its files.
        stem: "model", or "adapter_model" for a LoRA adapter.

    Raises:
        CheckpointError: If there are none, or some of those named in an index are missing.
    """
    pickle_stem = "pytorch_model" if stem == "model" else stem
    for single, pickled in ((f"{stem}.safetensors", False), (f"{pickle_stem}.bin", True)):
        if single in names:
            return (single,), pickled
        if f"{single}.index.json" in names:
            return _shards(folder, names, f"{single}.index.json"), pickled
    raise CheckpointError(
        _in_parts(folder, names)
        or f"{folder.name} holds no {stem}.safetensors: add the file with the weights."
    )


def _in_parts(folder: Path, names: Collection[str]) -> str:
    """Return what to do with weights that DeepSpeed wrote in parts, or ""."""
    told = f"{folder.name} holds the parts that DeepSpeed wrote, which are not read: {_JOIN}"
    return told if "zero_to_fp32.py" in names else ""


def read_model(files: Iterable[Path]) -> list[StoredTensor]:
    """Return the tensors of a full checkpoint, their names without what held the whole model.

    Raises:
        CheckpointError: As ``read_headers`` does.
    """
    tensors = read_headers(files)
    first = len(holder([tensor.name for tensor in tensors]))
    return [replace(t, name=t.name[first:]) for t in tensors] if first else tensors


def read_headers(files: Iterable[Path]) -> list[StoredTensor]:
    """Return every tensor of some safetensors files, read from their headers.

    Raises:
        CheckpointError: If a file is truncated, its header does not fit its length, or it holds
            more or other tensors than a checkpoint has.
    """
    from safetensors import SafetensorError, safe_open

    found: list[StoredTensor] = []
    for file in files:
        try:
            _check_header(file)
            with safe_open(file, framework="numpy") as weights:
                keys = weights.keys()
                if len(found) + len(keys) > MAX_TENSORS:
                    raise CheckpointError(
                        f"The weights are more than {MAX_TENSORS:,} tensors; no Florence-2 has so "
                        "many."
                    )
                found += [_stored(file, key, weights.get_slice(key)) for key in keys]
        except (SafetensorError, OSError, ValueError) as exc:
            if _is_pointer(file):
                raise CheckpointError(
                    f"{plain(file.name)} is only a pointer: run “git lfs pull” in"
                    f" {file.parent.name}."
                ) from exc
            raise CheckpointError(
                f"{plain(file.name)} is damaged or was not copied to its end ({brief(exc)}). Copy "
                "it again."
            ) from exc
    return found


def _check_header(file: Path) -> None:
    """Refuse a header whose reading would cost too much, before the library reads it.

    Raises:
        CheckpointError: It is larger than a checkpoint's can be.
        ValueError: It does not fit into the file.
    """
    with file.open("rb") as start:
        length = int.from_bytes(start.read(8), "little")
    if length > file.stat().st_size - 8:
        raise ValueError(f"its header would have {length:,} bytes")
    if length > MAX_HEADER:
        raise CheckpointError(
            f"{plain(file.name)} has a header of more than {MAX_HEADER >> 20} MB; no Florence-2 has"
            " so many tensors."
        )


def _stored(file: Path, key: str, entry: Any) -> StoredTensor:
    shape = tuple(int(n) for n in entry.get_shape())
    if len(key) > MAX_NAME or len(shape) > MAX_DIMENSIONS:
        raise CheckpointError(
            f"{plain(file.name)} holds {plain(key)} with {len(shape)} dimensions; no weight of a "
            "Florence-2 is called or shaped so."
        )
    return StoredTensor(file, key, unwrapped(key), shape, entry.get_dtype())


def _is_pointer(file: Path) -> bool:
    try:
        with file.open("rb") as start:
            return start.read(20).startswith(b"version https://git")
    except OSError:
        return False


def layout_of(
    config: Mapping[str, Any], names: Iterable[str]
) -> Literal["native", "original", "hub"]:
    """Return the layout of a full checkpoint from the names of its weights.

    Raises:
        CheckpointError: If they are not a Florence-2's.
    """
    names = tuple(names)
    if IMAGE_PROJECTION in names:
        text = config.get("text_config") or {}
        return "original" if text.get("model_type") == "florence2_language" else "hub"
    if any(name.startswith(NATIVE_PROJECTOR) for name in names):
        return "native"
    raise CheckpointError(
        "The weights are not a whole Florence-2: there is no image projection among "
        f"{listed(names, 3)}."
    )


def native_shapes(tensors: Iterable[StoredTensor]) -> dict[str, tuple[int, ...]]:
    """Return the stored shapes under their native names, tensors without a place left out."""
    named = ((native_name(tensor.name), tensor.shape) for tensor in tensors)
    shapes = {name: shape for name, shape in named if name is not None}
    if SHARED not in shapes:  # safetensors may keep any one of the names of a tied tensor
        for name in TIED:
            if name in shapes:
                shapes[SHARED] = shapes[name]
    return shapes


def contradictions(
    config: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]]
) -> Iterator[str]:
    """Yield where a native ``config.json`` and the weights contradict each other.

    This is the cheap part of the check, and it comes before a model is built, so that a
    configuration with a billion layers cannot keep the machine busy.
    """
    text, vision = config["text_config"], config["vision_config"]
    language, tower = "model.language_model", "model.vision_tower"
    shared = shapes.get(SHARED)
    rows, width = shared if shared is not None and len(shared) == 2 else (None, None)
    counted = [
        ("vocab_size", text["vocab_size"], rows),
        ("d_model", text["d_model"], width),
        *(
            (f"{side}_layers", text[f"{side}_layers"], _layers(shapes, f"{language}.{side}.layers"))
            for side in ("encoder", "decoder")
        ),
        ("stages of embed_dim", len(vision["embed_dim"]), _layers(shapes, f"{tower}.convs")),
        *(
            (f"depths[{i}]", depth, _layers(shapes, f"{tower}.blocks.{i}"))
            for i, depth in enumerate(vision["depths"])
        ),
    ]
    for what, said, stored in counted:
        if stored is not None and said != stored:
            yield f"config.json says {what} {said}, the weights have {stored}."


def _layers(shapes: Mapping[str, tuple[int, ...]], prefix: str) -> int:
    start = len(prefix) + 1
    return len({name[start:].split(".")[0] for name in shapes if name.startswith(f"{prefix}.")})


def _file_names(folder: Path) -> set[str]:
    if folder.is_file():
        raise CheckpointError(f"{folder.name} is a file: give the folder of the checkpoint.")
    try:
        names = {entry.name for entry in folder.iterdir() if entry.is_file()}
    except OSError as exc:
        raise CheckpointError(f"There is no folder {folder.name} that can be read.") from exc
    if names:
        return names
    inner = sorted(p.parent.name for p in folder.glob("*/*config.json"))
    if inner:
        raise CheckpointError(
            f"{folder.name} holds no checkpoint itself; open one of its folders: "
            f"{listed(tuple(dict.fromkeys(inner)), 5)}."
        )
    raise CheckpointError(f"The folder {folder.name} is empty.")


def has_model(names: Collection[str]) -> bool:
    """Say whether these names of files are a whole checkpoint's."""
    return "config.json" in names and any(name in names for name in _WEIGHTS)


def _florence_config(folder: Path, names: set[str]) -> dict[str, Any]:
    if "config.json" not in names:
        if "model_index.json" in names:
            raise CheckpointError(f"{folder.name} is a diffusion pipeline, not a Florence-2.")
        inner = sorted(p.parent.name for p in folder.glob("*-[0-9]*/config.json"))
        hint = f" Its folders {listed(inner, 5)} have one." if inner else ""
        hint = hint or f" {_in_parts(folder, names)}".rstrip()
        raise CheckpointError(f"{folder.name} has no config.json, so it is no checkpoint.{hint}")
    config = read_json(folder / "config.json")
    kind = config.get("model_type")
    if kind != "florence2":
        raise CheckpointError(
            f"{folder.name} holds a model of the kind {plain(kind or 'unknown')}, not a Florence-2."
        )
    for section in ("text_config", "vision_config"):
        if not isinstance(config.get(section), dict):
            raise CheckpointError(f"config.json in {folder.name} has no {section}.")
    if "quantization_config" in config:
        raise CheckpointError(
            f"{folder.name} is quantised; this program opens fp32, fp16 and bf16 weights."
        )
    return config


def _shards(folder: Path, names: Collection[str], index: str) -> tuple[str, ...]:
    mapping = read_json(folder / index).get("weight_map")
    if not isinstance(mapping, dict) or not all(isinstance(v, str) for v in mapping.values()):
        raise CheckpointError(f"{index} does not list the files of the weights.")
    files = tuple(sorted(set(mapping.values())))
    # An index is the folder's own text: a name in it counts only if it is one of the folder's.
    if any("/" in name or "\\" in name or name in (".", "..") for name in files):
        raise CheckpointError(f"{index} names a file outside its folder.")
    missing = [name for name in files if name not in names]
    if missing or not files:
        raise CheckpointError(f"The weights are not complete: {listed(missing, 5)} missing.")
    if len(files) > MAX_SHARDS:
        raise CheckpointError(
            f"The weights lie in {len(files)} files, more than {MAX_SHARDS}: save them in fewer."
        )
    return files


def _inspect_pickled(
    folder: Path, names: set[str], config: Mapping[str, Any], files: tuple[str, ...]
) -> CheckpointInfo:
    layout: Layout = "hub"
    if config["vision_config"].get("model_type") == "florence_vision":
        layout = "native"
    elif config["text_config"].get("model_type") == "florence2_language":
        layout = "original"
    settings = native_settings(config, layout)
    dtype = _TORCH_DTYPES.get(str(config.get("torch_dtype") or config.get("dtype")), "fp32")
    stored = sum((folder / file).stat().st_size for file in files)
    return CheckpointInfo(
        path=folder,
        layout=layout,
        size=_size(settings),
        parameters=stored // _BYTES[dtype],
        dtype=dtype,
        base=_base(config),
        tokens=settings["text_config"]["vocab_size"],
        files=files,
        ignored=_ignored(names, files),
        problems=(
            _PICKLED,
            *_lacking(names),
        ),
        pickled=True,
    )


def _inspect_adapter(folder: Path, names: set[str]) -> CheckpointInfo:
    config = read_adapter_config(read_json(folder / "adapter_config.json"))
    files, pickled = weight_files(folder, names, "adapter_model")
    tensors = [] if pickled else read_headers(folder / file for file in files)
    ranks = {t.shape[0] for t in tensors if ".lora_A" in t.name and t.shape}
    stored = sum((folder / file).stat().st_size for file in files)
    dtype, parameters = _amount(tensors) if tensors else ("fp32", stored // 4)
    return CheckpointInfo(
        path=folder,
        layout="adapter",
        size="other",
        parameters=parameters,
        dtype=dtype,
        base=config.base,
        lora_rank=max(ranks, default=config.rank or 0),
        lora_targets=config.targets,
        files=files,
        ignored=_ignored(names, files),
        problems=((_PICKLED,) if pickled else ()) + config.problems,
        pickled=pickled,
    )


def _amount(tensors: Iterable[StoredTensor]) -> tuple[str, int]:
    """Return the type of most parameters and their number, tied tensors counted once."""
    counts: Counter[str] = Counter()
    shared = 0
    for tensor in tensors:
        name, number = native_name(tensor.name), math.prod(tensor.shape)
        if name is None or name.endswith(_BUFFERS):
            continue
        if name == SHARED or name in TIED:
            number, shared = max(0, number - shared), max(number, shared)
        counts[_DTYPES.get(tensor.dtype, tensor.dtype)] += number
    return counts.most_common(1)[0][0] if counts else "fp32", sum(counts.values())


def _size(config: Mapping[str, Any]) -> str:
    text, vision = config["text_config"], config["vision_config"]
    dims = tuple(vision.get("embed_dim") or ())
    return _SIZES.get((text.get("d_model"), text.get("encoder_layers"), dims), "other")


def _base(config: Mapping[str, Any]) -> str | None:
    name = config.get("_name_or_path")
    if isinstance(name, str) and name not in ("", "florence2"):
        return plain(name, 200)
    # "microsoft/Florence-2-base--modeling_florence2.Florence2..." names the repository.
    for reference in (config.get("auto_map") or {}).values():
        if isinstance(reference, str) and "--" in reference:
            return plain(reference.split("--")[0], 200)
    return None


def _ignored(names: set[str], read: tuple[str, ...]) -> tuple[str, ...]:
    never = (".py", *PICKLES)
    return tuple(sorted(n for n in names if n.endswith(never) and n not in read))


def _lacking(names: set[str]) -> Iterator[str]:
    if not {"tokenizer.json", "vocab.json"} & names:
        yield (
            "It has no tokenizer: one of the same vocabulary is taken from another checkpoint, "
            "or add the base model's tokenizer.json."
        )
