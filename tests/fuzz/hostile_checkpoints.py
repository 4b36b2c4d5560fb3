"""Hostile checkpoints: they lie about their size, run something, or cost more than they are."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from tests.fuzz import make_checkpoints as make
from tests.fuzz.make_zips import hostile_zips, of_files
from tests.fuzz.mutations import HUGE, NAMES, dump
from tests.fuzz.oracle import SECRET

Files = make.Files
Change = Callable[[Any], Any]


def _with(base: Files, **files: bytes) -> Callable[[], bytes]:
    named = {name.replace("_dot_", "."): data for name, data in files.items()}
    return lambda: of_files({**base, **named})


def _changed(base: Files, name: str, change: Change) -> Callable[[], bytes]:
    """A checkpoint one of whose JSON files is changed."""

    def make_it() -> bytes:
        value = make.settings(base, name) if name in base else {}
        return of_files({**base, name: dump(change(value))})

    return make_it


def _set(*path: str | int, to: Any) -> Change:
    """A change of one inner value."""

    def change(value: Any) -> Any:
        inner = value
        for key in path[:-1]:
            inner = inner.setdefault(key, {}) if isinstance(inner, dict) else inner[key]
        inner[path[-1]] = to
        return value

    return change


def corpus() -> dict[str, Callable[[], bytes]]:
    """Checkpoints that lie about their size, run something, or cost more than they are."""
    found: dict[str, Callable[[], bytes]] = {}
    for kind, base in (("native", make.native()), ("2024", make.original())):
        found |= {f"{kind}: {name}": one for name, one in _configs(base).items()}
        found |= {f"{kind}: {name}": one for name, one in _tokenizers(base).items()}
        found |= {f"{kind}: {name}": one for name, one in _weights(base).items()}
    zips = hostile_zips(make.original(), "config.json", "more.json")
    return {**found, **{f"zip: {name}": one for name, one in zips.items()}}


_ABSURD: dict[str, tuple[Any, ...]] = {
    "num_labels": (10**8, -1, "x"), "num_hidden_layers": (10**9, 10**6),
    "id2label": ({str(i): "x" for i in range(50_000)}, []), "pad_token_id": (10**12, -5, "x"),
    "torch_dtype": ("float8_e4m3fn", "int8", "__class__"), "dtype": ("complex128", [], 3),
    "auto_map": ({"AutoModel": "evil--a.b"},),
    "_attn_implementation": ("flash_attention_2", "x/y", "__class__"),
    "attn_implementation": ("evil/kernel", {"a": 1}), "tie_word_embeddings": (False, "no"),
    "is_decoder": (True,), "quantization_config": ({"load_in_8bit": True}, {}),
    "chunk_size_feed_forward": (1, -1), "output_attentions": (True,),
    "output_hidden_states": (True,), "return_dict": (False,), "pruned_heads": ({"0": [0]},),
    "problem_type": ("x",), "image_token_id": (10**9, -1, "x", 0), "image_token_index": (10**9,),
    "transformers_version": ("x", 1, "@long:700000@"), "architectures": (["__class__"], "x"),
    "model_type": ("../x", 1), "vocab_size": (10**12, 0, -1),
}  # fmt: skip
_ABSURD_TEXT: dict[str, tuple[Any, ...]] = {
    "num_labels": (10**8,), "num_hidden_layers": (10**9,), "encoder_layers": (10**9, 0, -1),
    "decoder_layers": (10**9, 0), "d_model": (10**9, 0, 17), "vocab_size": (10**9, 0),
    "encoder_ffn_dim": (10**9,), "decoder_ffn_dim": (10**12,),
    "encoder_attention_heads": (0, -1, 3, 16), "decoder_attention_heads": (10**6,),
    "max_position_embeddings": (10**9, 1, 0, -3), "dropout": ("x", -1, 2, 1e300, None),
    "attention_dropout": ("x",), "activation_dropout": (5,), "init_std": (1e300, -1, "x"),
    "activation_function": ("__class__", "x", "quick_gelu", []), "scale_embedding": ("x", True),
    "classifier_dropout": ("x",), "encoder_layerdrop": (1.0, 2, "x"),
    "decoder_start_token_id": (10**9, -1, "x"), "eos_token_id": ([1] * 10_000, -1, 10**9),
    "forced_bos_token_id": (10**9, "x"), "forced_eos_token_id": (10**9,),
    "bos_token_id": (2**63, []), "num_beams": (10**6, "x"),
    "no_repeat_ngram_size": (10**9, -1, "x"), "use_cache": (False,),
    "model_type": ("gpt2", "llama", "t5", "__class__", "bert"), "is_encoder_decoder": (False,),
    "rope_theta": (1,), "early_stopping": ("x", "never"), "length_penalty": (1e300, -1e300, "x"),
}  # fmt: skip
_ABSURD_VISION: dict[str, tuple[Any, ...]] = {
    "window_size": (3000, 0, -1, 10**9, "x", 1),
    "patch_stride": ([1, 1], [0, 1], [-1, 2], [8], [10**9, 1]),
    "patch_size": ([7, 10**6], [0, 0], ["x", 1]),
    "patch_padding": ([10**6, 1], [3000, 3000], [-1, -1]), "patch_prenorm": (["x", 1], []),
    "depths": ([10**9, 1], [0, 0], [-1, 1], [1] * 100_000), "embed_dim": ([10**9, 16], [], [8]),
    "dim_embed": ([10**9, 16], [], [8]), "num_heads": ([0, 0], [3, 5], [10**6, 1], [8, 16]),
    "num_groups": ([0, 1], [10**6, 1], [8, 16]), "drop_path_rate": (2, -1, "x", 1e300),
    "projection_dim": (10**9, 0), "mlp_ratio": (10**9, 0, "x"), "qkv_bias": ("x", False),
    "max_position_embeddings": (10**9, 0), "max_temporal_embeddings": (10**9, 0, 1),
    "in_channels": (10**6, 4),
    "image_pos_embed": ({"type": "learned_abs_2d", "max_pos_embeddings": 10**9}, [], 1),
    "visual_temporal_embedding": ({"type": "COSINE", "max_temporal_embeddings": 10**9}, "x"),
    "image_feature_source": (["spatial_avg_pool"] * 10**5, 1, "x"), "num_labels": (10**8,),
    "activation_function": ("x",), "model_type": ("clip", "__class__"),
    "initializer_range": (1e300,),
}  # fmt: skip
_GENERATION: dict[str, tuple[Any, ...]] = {
    "num_beams": (10**9, 0, -1, "x", 1.5), "max_length": (10**12, 0, "x"),
    "max_new_tokens": (10**12, 0), "min_length": (10**9,), "num_return_sequences": (10**6,),
    "no_repeat_ngram_size": (10**9, -1, "x"), "length_penalty": (1e300, -1e300, "x", 10**400),
    "repetition_penalty": (0, -1, 1e-300, "x"),
    "bad_words_ids": ([[1]] * 50_000, [[]], "x", [[10**9]]), "temperature": (0, -1, "x"),
    "suppress_tokens": (list(range(1300)), [10**9], "x"), "sequence_bias": ([[[1], 1e300]], "x"),
    "stop_strings": (["a" * 10**5], "x"), "forced_bos_token_id": (10**9, [], "x"),
    "eos_token_id": ([2] * 10**5, [], "x", -1), "decoder_start_token_id": (10**9, [1, 2]),
    "cache_implementation": ("static", "x", "offloaded"), "assistant_early_exit": (1,),
    "prompt_lookup_num_tokens": (10,), "custom_generate": ("evil/x",), "penalty_alpha": (1,),
    "dola_layers": ("low",), "constraints": ([1],), "diversity_penalty": (1.0,),
    "num_beam_groups": (2,), "watermarking_config": ({"bias": 1e9}, "x"),
    "compile_config": ({"backend": "x"},), "guidance_scale": (2, "x"), "typical_p": (0, "x"),
    "top_k": (10**12, -1, "x"), "top_p": (-1, "x"), "use_cache": (False,), "do_sample": ("x", True),
    "early_stopping": ("x", 3), "encoder_no_repeat_ngram_size": (2, 10**9),
    "exponential_decay_length_penalty": ([1, 1e300], "x"), "begin_suppress_tokens": ([10**9], "x"),
    "renormalize_logits": ("x",), "transformers_version": (1,), "low_memory": (True,),
    "output_scores": (True,), "return_dict_in_generate": (True,), "pad_token_id": (10**9, [1], "x"),
    "max_time": (1e-9, "x"),
}  # fmt: skip
_PICTURE: dict[str, tuple[Any, ...]] = {
    "size": (
        {"height": 2048, "width": 2048}, {"height": 10**9, "width": 1}, {"shortest_edge": 10**6},
        10**6, [], "x", {}, {"height": 0, "width": 0},
    ),
    "crop_size": ({"height": 10**6, "width": 10**6}, "x"), "resample": (99, "x", -1),
    "image_mean": ([], [1], ["x"] * 3, 0.5, [float("nan")] * 3),
    "image_std": ([0, 0, 0], [], [1e-300] * 3), "rescale_factor": (1e300, "x", 0, float("nan")),
    "do_center_crop": (True, "x"), "do_resize": (False,), "do_normalize": ("x", False),
    "do_rescale": (False,), "image_seq_length": (10**9, -1, "x"), "do_pad": (True,),
    "image_processor_type": ("__class__", "ViTImageProcessor"),
    "auto_map": ({"AutoProcessor": "evil--a.B"},), "pad_size": ({"height": 10**6, "width": 10**6},),
    "processor_class": ("LlavaProcessor", 1), "do_convert_rgb": (False,),
    "data_format": ("channels_last", "x"), "num_additional_image_tokens": (10**9,),
    "input_data_format": ("x",), "device": ("cuda", "meta"), "return_tensors": ("x",),
    "patch_size": (0,), "post_processor_config": ([], {"ocr": {"pattern": "(a+)+$"}}),
}  # fmt: skip


def _configs(base: Files) -> dict[str, Callable[[], bytes]]:
    found: dict[str, Callable[[], bytes]] = {}

    def absurd(file: str, section: tuple[str, ...], table: dict[str, tuple[Any, ...]]) -> None:
        for key, several in table.items():
            for i, value in enumerate(several):
                found[f"{file} {' '.join(section)} {key} {i}"] = _changed(
                    base, file, _set(*section, key, to=value)
                )

    absurd("config.json", (), _ABSURD)
    absurd("config.json", ("text_config",), _ABSURD_TEXT)
    absurd("config.json", ("vision_config",), _ABSURD_VISION)
    absurd("generation_config.json", (), _GENERATION)
    if "processor_config.json" in base:
        absurd("processor_config.json", ("image_processor",), _PICTURE)
    else:
        absurd("preprocessor_config.json", (), _PICTURE)

    def wide(value: Any) -> Any:
        value["text_config"] |= {"d_model": 2**15, "encoder_ffn_dim": 2**20}
        return value

    found["config.json much wider"] = _changed(base, "config.json", wide)
    for name in [name for name in base if name.endswith(".json")]:
        for i, value in enumerate(
            (*HUGE, [], 1, "x", None, {}, {"a": "@nest:900@"}, {"@long:9000@": "@wide:500000@"})
        ):
            found[f"{name} is {i}"] = lambda name=name, value=value: of_files(
                {**base, name: dump(value)}
            )
        found[f"{name} of 60 MB"] = lambda name=name: of_files(
            {**base, name: b'{"a": [' + b"0," * 31_000_000 + b"0]}"}
        )
        found[f"{name} of 60 MB in one string"] = _changed(
            base, name, lambda value: {**value, "a": "@long:60000000@"}
        )
        found[f"{name} of lists"] = lambda name=name: of_files(
            {**base, name: b'{"a": [' + b"[]," * 7_000_000 + b"0]}"}
        )
        found[f"{name} with a BOM"] = lambda name=name: of_files(
            {**base, name: b"\xef\xbb\xbf" + base[name]}
        )
        found[f"{name} without an end"] = lambda name=name: of_files(
            {**base, name: base[name][:-2]}
        )
    return found


def _tokenizers(base: Files) -> dict[str, Callable[[], bytes]]:
    token = {
        "id": 1400,
        "content": "a",
        "single_word": False,
        "lstrip": False,
        "rstrip": False,
        "normalized": True,
        "special": False,
    }
    slow = "(a|a|a|a)*" * 20 + "$"

    def added(*tokens: Any) -> Change:
        return lambda value: {**value, "added_tokens": [*value.get("added_tokens", []), *tokens]}

    def many() -> Iterator[Any]:
        return ({**token, "content": f"x{i}", "id": 1400 + i} for i in range(200_000))

    changes: dict[str, Change] = {
        "that replaces": _set(
            "normalizer",
            to={"type": "Replace", "pattern": {"Regex": slow}, "content": "a" * 100_000},
        ),
        "that doubles": _set(
            "normalizer",
            to={
                "type": "Sequence",
                "normalizers": [
                    {"type": "Replace", "pattern": {"String": "a"}, "content": "aaaa"}
                ] * 60,
            },
        ),
        "that splits": _set(
            "pre_tokenizer",
            to={
                "type": "Split", "pattern": {"Regex": slow}, "behavior": "Isolated",
                "invert": False,
            },
        ),
        "with an odd splitter": _set(
            "pre_tokenizer", to={"type": "Metaspace", "replacement": "xx"},
        ),
        "with a template": _set(
            "post_processor",
            to={
                "type": "TemplateProcessing",
                "single": [{"Sequence": {"id": "A", "type_id": 0}}] * 5000, "pair": [],
                "special_tokens": {},
            },
        ),
        "that pads": _set(
            "padding",
            to={
                "strategy": {"Fixed": 10**9}, "direction": "Right", "pad_to_multiple_of": None,
                "pad_id": 1, "pad_type_id": 0, "pad_token": "<pad>",
            },
        ),
        "that cuts": _set(
            "truncation",
            to={"direction": "Right", "max_length": 0, "strategy": "LongestFirst", "stride": 10**9},
        ),
        "with a decoder": _set(
            "decoder", to={"type": "Replace", "pattern": {"Regex": slow}, "content": "a" * 100_000},
        ),
        "of another kind": _set("model", "type", to="Unigram"),
        "without merges": _set("model", "merges", to=[]),
        "with odd merges": _set("model", "merges", to=[["a"], 1, "a b c", None]),
        "with dropout": _set("model", "dropout", to=0.9),
        "with a prefix": _set("model", "continuing_subword_prefix", to="x" * 10**6),
        "of no tokens": _set("model", "vocab", to={}),
        "of numbers": _set("model", "vocab", to={"a": "x", "b": None}),
        "with a far id": _set("model", "vocab", "far", to=10**12),
        "with a negative id": _set("model", "vocab", "less", to=-1),
        "with a fraction": _set("model", "vocab", "half", to=1.5),
        "with one id twice": _set("model", "vocab", "twice", to=7),
        "with halves": _set("model", "vocab", "\ud800", to=1401),
        "with a token of 30 MB": added({**token, "content": "@long:30000000@"}),
        "with 200,000 tokens": lambda value: added(*many())(value),
        "with one token 100,000 times": added(*[token] * 100_000),
        "with an empty token": added({**token, "content": ""}),
        "with tokens of no form": added(1, None, [], {"id": "x"}),
        "with a token far away": added({**token, "id": 2**40}),
        "with the image's token as a letter": added({**token, "content": "<image>", "id": 3}),
        "with an odd token": added({**token, "content": "\ud800"}),
        "with a space as a token": added({**token, "content": " ", "lstrip": True, "rstrip": True}),
        "with merges of 60,000": _set("model", "merges", to=["a b"] * 60_000),
        "with long pieces": _set("model", "vocab", "x" * 10**6, to=1402),
    }  # fmt: skip
    found = {
        f"a tokenizer {name}": _changed(base, "tokenizer.json", change)
        for name, change in changes.items()
    }
    configs: dict[str, Any] = {
        "tokenizer_class": ("__class__", "LlamaTokenizer", "../x", 1),
        "auto_map": ({"AutoTokenizer": ["evil--a.b", None]},),
        "model_max_length": (10**30, -1, "x"),
        "chat_template": ("{% for i in range(10**9) %}{% endfor %}",),
        "added_tokens_decoder": ({"x": 1}, {"5": {"content": "a" * 10**6}}),
        "extra_special_tokens": ({"image_token": 1}, [1], {"image_token": "a"}),
        "bos_token": ({"__type": "AddedToken", "content": "x"}, 1, "a" * 10**6), "errors": ("x",),
        "tokenizer_file": (SECRET, "/etc/passwd"), "vocab_file": (SECRET,),
        "name_or_path": ("/etc",), "add_prefix_space": ("x",), "image_token": ("a", 1),
        "init_kwargs": ({"vocab_file": SECRET},), "is_local": (False,), "backend": ("x",),
        "local_files_only": (False,),
    }  # fmt: skip
    for key, several in configs.items():
        for i, value in enumerate(several):
            found[f"tokenizer_config {key} {i}"] = _changed(
                base, "tokenizer_config.json", _set(key, to=value)
            )
    plain = {name: data for name, data in base.items() if name != "tokenizer.json"}
    found["vocab files of nothing"] = _with(plain, vocab_dot_json=b"{}", merges_dot_txt=b"")
    found["vocab files of odd merges"] = _with(
        plain, vocab_dot_json=b'{"a": 1}', merges_dot_txt=b"a b c\n\xff\n" * 1000
    )
    found["vocab files of 60 MB"] = lambda: of_files(
        {**plain, "vocab.json": b'{"a": 1}', "merges.txt": b"a b\n" * 15_000_000}
    )
    found["vocab files of odd numbers"] = _with(
        plain, vocab_dot_json=b'{"a": 1e300, "b": [], "c": "\\ud800"}', merges_dot_txt=b""
    )
    found["no tokenizer"] = lambda: of_files(plain)
    found["other files"] = _with(
        base,
        added_tokens_dot_json=b'{"a": "x"}',
        special_tokens_map_dot_json=b"[]",
        chat_template_dot_json=b"{",
        model_dot_py=b"1/0",
    )
    return found


def _weights(base: Files) -> dict[str, Callable[[], bytes]]:
    data = base["model.safetensors"]
    header = make.header_of(data)
    names = [name for name in header if name != "__metadata__"]
    rest = {name: file for name, file in base.items() if name != "model.safetensors"}

    def first(**changes: Any) -> bytes:
        return make.with_header(data, dump({**header, names[0]: {**header[names[0]], **changes}}))

    def renamed(*changes: tuple[str, str]) -> bytes:
        new = dict(header)
        for old, name in changes:
            new[name] = new.pop(old)
        return make.with_header(data, dump(new))

    nothing = {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}
    layer = "language_model.model.encoder.layers.%d.a"
    index = {"metadata": {}, "weight_map": dict.fromkeys(names, "model.safetensors")}
    files: dict[str, Callable[[], bytes]] = {
        "empty": lambda: b"", "of a few bytes": lambda: b"\x08", "cut off": lambda: data[:-100],
        "with more": lambda: data + bytes(100),
        "with a header of 2^63": lambda: make.with_header(data, b"{}", length=2**63),
        "with a header of nothing": lambda: make.with_header(data, b""),
        "with a header of 100 MB": lambda: make.with_header(data, b"{}" + b" " * 99_000_000),
        "with a deep header": lambda: make.with_header(data, b'{"a":' * 100_000),
        "with a header of 500,000 names": lambda: make.with_header(
            data, dump({**header, **{f"x{i}": nothing for i in range(500_000)}}),
        ),
        "with an odd type": lambda: first(dtype="F128"),
        "of 8 bits": lambda: first(dtype="F8_E4M3"), "of whole numbers": lambda: first(dtype="I32"),
        "with a shape of 2^62": lambda: first(shape=[2**62, 2**62]),
        "with a negative shape": lambda: first(shape=[-1]),
        "with no shape": lambda: first(shape=[]),
        "with 10,000 dimensions": lambda: first(shape=[1] * 10_000),
        "with places outside": lambda: first(data_offsets=[0, 2**62]),
        "with places backwards": lambda: first(data_offsets=[9, 1]),
        "with places that overlap": lambda: first(data_offsets=header[names[1]]["data_offsets"]),
        "with metadata of any kind": lambda: make.with_header(
            data, dump({**header, "__metadata__": {"a": 1}}),
        ),
        "with metadata of 5 MB": lambda: make.with_header(
            data, dump({**header, "__metadata__": {"format": "@long:5000000@"}}),
        ),
        "a pickle": lambda: b"\x80\x04\x8c\x02os\x8c\x06system\x93.",
        "a pointer of git": lambda: b"version https://git-lfs.github.com/spec/v1\n",
        "with one less": lambda: make.with_header(
            data, dump({k: v for k, v in header.items() if k != names[3]}),
        ),
        "with odd names": lambda: renamed((names[0], "\x00"), (names[1], "a" * 10**6)),
        "wrapped": lambda: renamed((names[0], "module." * 100_000 + names[0])),
        "with halves in a name": lambda: renamed((names[0], "\ud800")),
        "of numbers that are none": lambda: make.with_numbers(data, b"\xff"),
        "of another model": lambda: make.tensors_of({"bert.weight": [2, 2]}),
        "of one name": lambda: make.tensors_of({"image_projection": [16, 16]}),
        "of 300,000 layers": lambda: make.tensors_of(
            {"image_projection": [1], **{layer % i: [0] for i in range(300_000)}}
        ),
    }  # fmt: skip
    found: dict[str, Callable[[], bytes]] = {
        f"weights {name}": lambda one=one: of_files({**base, "model.safetensors": one()})
        for name, one in files.items()
    }
    for i, name in enumerate((*NAMES, SECRET, "config.json", 1, None, "model.safetensors")):
        shards = {**index, "weight_map": {**index["weight_map"], names[0]: name}}
        found[f"a part called {i}"] = lambda shards=shards: of_files(
            {**rest, "part.safetensors": data, "model.safetensors.index.json": dump(shards)}
        )
    found["an index of 100,000 parts"] = lambda: of_files(
        {
            **rest,
            "model.safetensors.index.json": dump(
                {"weight_map": {str(i): f"{i}.safetensors" for i in range(100_000)}}
            ),
        }
    )
    found["an index of no parts"] = lambda: of_files(
        {**rest, "model.safetensors.index.json": b'{"weight_map": []}'}
    )
    found["a pickle"] = lambda: of_files(
        {**rest, "pytorch_model.bin": b"\x80\x04\x8c\x02os\x8c\x06system\x93."}
    )
    found["weights and a pickle"] = _with(
        base, pytorch_model_dot_bin=b"\x80\x04.", training_args_dot_bin=b"\x80\x04."
    )
    return found


KEYS = tuple({**_ABSURD, **_ABSURD_TEXT, **_ABSURD_VISION, **_GENERATION, **_PICTURE})
"""All settings that something of a checkpoint's reads."""
