"""The door for adapters: an uploaded LoRA adapter is looked at and merged into a model."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from florence_demo.checkpoint_folders import unpack_upload
from florence_demo.checkpoints import Opened, open_checkpoint, switch_adapter
from florence_demo.errors import CheckpointError
from tests.fuzz import make_checkpoints as make
from tests.fuzz.door_checkpoints import about
from tests.fuzz.doors import Door, Drive
from tests.fuzz.guards import Guard
from tests.fuzz.make_zips import bent_zips, of_files
from tests.fuzz.mutations import (
    HUGE,
    NAMES,
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
from tests.fuzz.oracle import SECRET, Breach
from tests.fuzz.uploads import Upload

_CONFIG, _TENSORS = "adapter_config.json", "adapter_model.safetensors"
_MODEL = "base_model.model.model"
_Q = f"{_MODEL}.language_model.encoder.layers.0.self_attn.q_proj"


@contextmanager
def opened(folder: Path) -> Iterator[Drive]:
    """Merge adapters into one model, which must be as before when they are out again."""
    guard = Guard()
    base = folder / "base"
    base.mkdir()
    for name, data in make.native().items():
        (base / name).write_bytes(data)
    held = [open_checkpoint(base)]
    before = _print_of(held[0])

    def resolve(name: str) -> Path:
        if name == "base":
            return base
        raise CheckpointError("There is no such model: choose another.")

    def merge(upload: Path) -> None:
        held[0] = switch_adapter(held[0], upload)
        held[0] = switch_adapter(held[0], None)

    def drive(data: bytes) -> None:
        with Upload(folder, data) as upload, guard.watching():
            try:
                unpack_upload(upload.files, upload.target)
                about(upload.target)
                # Its own base is found, or another's that lies beside it is not.
                open_checkpoint(upload.target, resolve_base=resolve, tokenizers=())
                merge(upload.target)
            finally:
                guard.check()
                if _print_of(held[0]) != before:
                    raise Breach("the model is another than before the adapter")

    for kind in ("plain", "2024", "dora"):
        drive(of_files(make.adapter(kind)))
    yield drive


def _print_of(model: Opened) -> dict[str, float]:
    return {
        name: float(value.double().abs().sum()) for name, value in model.model.state_dict().items()
    }


def _configured(**changes: Any) -> Callable[[], bytes]:
    return lambda: of_files(
        {**make.adapter(), _CONFIG: dump({**make.settings(make.adapter(), _CONFIG), **changes})}
    )


def _shaped(shapes: dict[str, list[int]], kind: str = "F32", **changes: Any) -> Callable[[], bytes]:
    def make_it() -> bytes:
        config = {**make.settings(make.adapter(), _CONFIG), **changes}
        return of_files({_CONFIG: dump(config), _TENSORS: make.tensors_of(shapes, kind)})

    return make_it


def _pair(module: str, out: int = 16, inside: int = 16, rank: int = 2) -> dict[str, list[int]]:
    return {f"{module}.lora_A.weight": [rank, inside], f"{module}.lora_B.weight": [out, rank]}


_PATTERNS = (
    "(a+)+$", "([a-z_.0-9]+)+!", "(.*a){25}", ".*.*.*.*.*.*.*.*.*!", "(a|a|a|a)*!", "(?:(?:x?)*)*!",
    "[a-z.]*[a-z.]*[a-z.]*[a-z.]*!", "(?=(.*))(?=(.*))(?=(.*)).*!", "(.|..|...)*!",
    r"(\w|\d)+(\w|\d)+(\w|\d)+!", "^(([a-z])+.)+[A-Z]([a-z])+$",
    "((((((((((.?)?)?)?)?)?)?)?)?)?)*!", "(?P<a>.)(?P=a)", "(?#" + "x" * 5000 + ")", "(" * 100, "[",
    "\\", "(?i:Q_PROJ)", "q_proj|" * 50 + "!", r"(?<=.*)a", "a{0,65535}{0,65535}",
    "(?s:.)*(?s:.)*(?s:.)*!", r"([^.]*\.)*([^.]*\.)*([^.]*\.)*([^.]*\.)*!", "(x*x*x*)!", "q_proj",
    "model.*q_proj", ".*\\.q_proj", "\ud800", "", ".", "$", "\0", "q_proj\n",
)  # fmt: skip


def corpus() -> dict[str, Callable[[], bytes]]:
    """Adapters with endless patterns, with numbers that explode, with names that are not theirs."""
    found: dict[str, Callable[[], bytes]] = {}
    longer = f"{_Q[:-6]}{'a' * 5000}.q_proj"
    for i, pattern in enumerate(_PATTERNS):
        for key in ("rank_pattern", "alpha_pattern"):
            found[f"the {key} {i}"] = _configured(**{key: {pattern: 2}})
            found[f"the {key} {i} on a long name"] = _shaped(_pair(longer), **{key: {pattern: 2}})
        found[f"the target {i}"] = _configured(target_modules=pattern)
        found[f"the exclusion {i}"] = _configured(exclude_modules=pattern, layers_pattern=pattern)
    numbers = {"r": NUMBERS, "lora_alpha": NUMBERS, "lora_dropout": NUMBERS[-6:]}
    for key, several in numbers.items():
        found |= {f"the {key} {i}": _configured(**{key: value}) for i, value in enumerate(several)}
    for i, name in enumerate(
        (
            *NAMES,
            *TEXTS,
            SECRET,
            f"../../..{SECRET}",
            "nano",
            "base",
            "microsoft/Florence-2-base",
            "upload",
            "x" * 300,
            "a/" * 200,
            "@long:700000@",
            ["base"],
            {"a": 1},
            1,
            True,
        )
    ):
        found[f"the base {i}"] = _configured(base_model_name_or_path=name)
    odd: dict[str, tuple[Any, ...]] = {
        "target_modules": (
            HUGE[3], [["a"]], {"a": 1}, 1, None, ["q_proj"] * 100_000, ["\ud800"], ["<b>" * 300],
        ),
        "peft_type": ("IA3", "LOHA", 1, None, "LORA\0", "x" * 9000, {}),
        "rank_pattern": (
            [], "x", 1, {"q_proj": "x"}, {"q_proj": 10**9}, {str(i): 2 for i in range(100_000)},
            {"q_proj": None}, {"q_proj": float("nan")},
        ),
        "alpha_pattern": (
            [], "x", {"q_proj": "6"}, {"q_proj": 10**400}, {"q_proj": float("inf")},
            {"q_proj": True},
        ),
        "use_rslora": ("x", True, 1), "use_dora": (True, "x"),
        "modules_to_save": (["lm_head"] * 1000, "x", 1), "bias": ("all", "lora_only", 1),
        "layers_to_transform": ([10**9], "x"),
        "init_lora_weights": ("pissa", "x" * 9000, [], 1, "eva"), "lora_bias": (True,),
        "use_new_thing": (True,),
        "auto_mapping": ({"base_model_class": "x", "parent_library": "os"},),
        "fan_in_fan_out": (True, "x"), "corda_config": ({"x": 1},), "eva_config": ({"x": 1},),
        "loftq_config": ({"x": 1},), "trainable_token_indices": ([1], {"x": [1]}),
        "layer_replication": ([[0, 10**9]],), "revision": ("../x", 1),
        "runtime_config": ({"ephemeral_gpu_offload": True},), "task_type": ("x", 1),
        "target_parameters": (["x"],), "ensure_weight_tying": (True,),
        "megatron_config": ({"a": 1},), "quantization_config": ({"load_in_8bit": True},),
        "arrow_config": ({"a": 1},), "qalora_group_size": (0,), "alora_invocation_tokens": ([1],),
    }  # fmt: skip
    for key, several in odd.items():
        found |= {f"the {key} {i}": _configured(**{key: value}) for i, value in enumerate(several)}
    return {**found, **_weights(), **_files()}


def _weights() -> dict[str, Callable[[], bytes]]:
    fc = _Q.replace("self_attn.q_proj", "fc1")
    conv = "base_model.model.model.vision_tower.convs.1.conv"
    return {
        "of rank 0": _shaped(_pair(_Q, rank=0), r=0),
        "of rank 100,000": _shaped(_pair(_Q, rank=100_000), r=100_000),
        "of rank 16": _shaped(_pair(_Q, rank=16), r=16),
        "of one half": _shaped({f"{_Q}.lora_A.weight": [2, 16]}), "of nothing": _shaped({}),
        "of other shapes": _shaped(_pair(_Q, 17, 15)),
        "of three dimensions": _shaped(
            {f"{_Q}.lora_A.weight": [2, 16, 1], f"{_Q}.lora_B.weight": [16, 2, 1]}
        ),
        "of no dimensions": _shaped({f"{_Q}.lora_A.weight": [], f"{_Q}.lora_B.weight": []}),
        "of whole numbers": _shaped(_pair(_Q), "I64"), "of 8 bits": _shaped(_pair(_Q), "F8_E4M3"),
        "of yes and no": _shaped(_pair(_Q), "BOOL"),
        "with lengths of zero": _shaped(
            {**_pair(_Q), f"{_Q}.lora_magnitude_vector": [16]}, use_dora=True,
        ),
        "with lengths of another size": _shaped(
            {**_pair(_Q), f"{_Q}.lora_magnitude_vector": [4, 4]}, use_dora=True,
        ),
        "for a convolution": _shaped(
            {f"{conv}.lora_A.weight": [2, 8, 3, 3], f"{conv}.lora_B.weight": [16, 2, 1, 1]}
        ),
        "for an odd convolution": _shaped(
            {f"{conv}.lora_A.weight": [2, 8, 3, 3], f"{conv}.lora_B.weight": [16, 2, 3, 3]}
        ),
        "of a norm": _shaped({f"{_MODEL}.multi_modal_projector.image_proj_norm.weight": [16]}),
        "of a whole module": _shaped({f"{_Q}.base_layer.weight": [16, 16]}),
        "of a saved module": _shaped({f"{fc}.modules_to_save.default.weight": [32, 16]}),
        "of another saved module": _shaped({f"{fc}.modules_to_save.{'a' * 9000}.weight": [32, 16]}),
        "of a saved embedding": _shaped({f"{_MODEL}.language_model.shared.weight": [1325, 16]}),
        "of the head": _shaped(_pair("base_model.model.lm_head", 1325, 16)),
        "of both names of one": _shaped(
            {
                **_pair(_Q),
                **_pair(_Q.replace("model.model.language_model", "model.language_model.model")),
            }
        ),
        "of an adapter called as a regular expression": _shaped(
            {f"{_Q}.lora_A.(a+)+$.weight": [2, 16], f"{_Q}.lora_B.(a+)+$.weight": [16, 2]}
        ),
        "of a name of a million": _shaped(_pair("base_model.model." + "a." * 500_000 + "q_proj")),
        "of 100,000 names": _shaped(
            {f"base_model.model.x{i}.lora_A.weight": [0, 0] for i in range(100_000)}
        ),
        "of names that nest": _shaped(_pair("base_model.model." * 5000 + "q_proj")),
        "of wrapped names": _shaped(_pair("module._orig_mod." * 5000 + _Q)),
        "of NUL": _shaped(_pair("base_model.model.\0")),
        "of halves": _shaped(_pair("base_model.model.\ud800")),
        "of markup": _shaped(_pair("base_model.model.<img src=x onerror=alert(1)>")),
        "of lora in lora": _shaped(_pair(f"{_Q}.lora_A.lora_B")),
    }  # fmt: skip


def _files() -> dict[str, Callable[[], bytes]]:
    plain = make.adapter()
    data = plain[_TENSORS]
    found: dict[str, Callable[[], bytes]] = {
        "a pickle": lambda: of_files(
            {_CONFIG: plain[_CONFIG], "adapter_model.bin": b"\x80\x04\x8c\x02os\x8c\x06system\x93."}
        ),
        "no weights": lambda: of_files({_CONFIG: plain[_CONFIG]}),
        "weights cut off": lambda: of_files({**plain, _TENSORS: data[:-9]}),
        "numbers that are none": lambda: of_files({**plain, _TENSORS: data[:-64] + b"\xff" * 64}),
        "numbers that explode": lambda: of_files(
            {**plain, _TENSORS: data[:-64] + b"\x7f\x7f\x7f\x7f" * 16}
        ),
        "a model too": lambda: of_files({**make.native(), **plain}),
        "a configuration of a model": lambda: of_files(
            {**plain, "config.json": make.native()["config.json"]}
        ),
        "an index": lambda: of_files(
            {_CONFIG: plain[_CONFIG], f"{_TENSORS}.index.json": dump({"weight_map": {"a": SECRET}})}
        ),
    }
    for i, value in enumerate((*HUGE, [], 1, {}, None)):
        found[f"a configuration that is {i}"] = lambda value=value: of_files(
            {**plain, _CONFIG: dump(value)}
        )
    return found


@st.composite
def _bent(draw: Draw) -> bytes:
    """An adapter with other values in its configuration, or other bytes in its weights."""
    files = dict(make.adapter(draw(st.sampled_from(["plain", "2024", "dora"]))))
    value = st.one_of(
        st.sampled_from(NUMBERS), st.sampled_from(TEXTS), st.sampled_from(_PATTERNS), values()
    )
    patterns = st.dictionaries(
        st.sampled_from(_PATTERNS), st.sampled_from([2, 6, "x", None]), max_size=3
    )
    keys = (*make.settings(files, _CONFIG), "exclude_modules", "lora_bias", "use_thing")
    kind = draw(st.integers(0, 2))
    if kind == 0:
        config = draw(
            bent_value(just(make.settings(files, _CONFIG)), keys=keys, value=value | patterns)
        )
        files[_CONFIG] = dump(config)
    elif kind == 1:
        header = draw(
            bent_value(
                just(make.header_of(files[_TENSORS])), keys=("dtype", "shape", "data_offsets")
            )
        )
        files[_TENSORS] = make.with_header(files[_TENSORS], dump(header))
    else:
        files[_TENSORS] = draw(bent_bytes(just(files[_TENSORS])))
    return of_files(files)


def inputs() -> st.SearchStrategy[bytes]:
    """Honest adapters, bent."""
    plain = among([make.adapter(kind) for kind in ("plain", "2024", "dora")])
    return st.one_of(_bent(), _bent(), bent_zips(plain))


_QUICK = (
    "the rank_pattern 6 on a long name",
    "the alpha_pattern 0 on a long name",
    "the base 94",
    "the lora_alpha 30",
    "the target_modules 6",
    "of rank 0",
    "of a name of a million",
)
"""One of each kind, small enough for every run of the tests."""

DOOR = Door("adapters", corpus, inputs, opened, _QUICK)
