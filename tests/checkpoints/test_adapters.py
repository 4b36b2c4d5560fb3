"""LoRA adapters: merged they answer as PEFT does, and taken out they leave no trace."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from florence_demo.checkpoints.inspection import inspect_checkpoint
from florence_demo.checkpoints.opening import switch_adapter
from florence_demo.errors import CheckpointError
from tests.checkpoint_makers import (
    convert_folder,
    edit_json,
    open_folder,
    original_name,
    write_json,
)

Q = "model.language_model.encoder.layers.0.self_attn.q_proj"
FC2 = "model.vision_tower.blocks.0.0.channel_block.ffn.fc2"
CONV = "model.vision_tower.convs.1.conv"
NORM = "model.multi_modal_projector.image_proj_norm"


@pytest.fixture(scope="module")
def base(micro, tmp_path_factory) -> Path:
    return micro.native(tmp_path_factory.mktemp("base") / "native")


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape) + seed))


def write(folder: Path, tensors: dict[str, torch.Tensor], **config) -> Path:
    folder.mkdir(parents=True)
    named = {f"base_model.model.{name}": value for name, value in tensors.items()}
    save_file(named, folder / "adapter_model.safetensors")
    settings = {
        "peft_type": "LORA",
        "base_model_name_or_path": "base",
        "r": 2,
        "lora_alpha": 6,
        "target_modules": ["q_proj"],
    }
    write_json(folder / "adapter_config.json", settings | config)
    return folder


def pair(module: str, out: int, inside: int, rank: int = 2, seed: int = 0):
    return {
        f"{module}.lora_A.weight": random(rank, inside, seed=seed),
        f"{module}.lora_B.weight": random(out, rank, seed=seed),
    }


def opened_with(folder: Path, base: Path):
    return open_folder(folder, base)


def changed(opened, micro) -> set[str]:
    got, was = opened.model.state_dict(), micro.model.state_dict()
    return {name for name in was if not torch.equal(got[name], was[name])}


@pytest.mark.parametrize("naming", ["native", "2024"])
def test_a_pair_is_added_to_its_weight(micro, base, tmp_path, naming):
    tensors = pair(Q, 16, 16) | pair(FC2, 8, 32)
    if naming == "2024":
        tensors = {original_name(k): v for k, v in tensors.items()}
        assert any("ffn.fn.net.fc2" in name for name in tensors)
    opened = opened_with(write(tmp_path / "it", tensors), base)
    assert changed(opened, micro) == {f"{Q}.weight", f"{FC2}.weight"}
    expected = micro.model.get_parameter(f"{Q}.weight") + 3 * random(16, 2) @ random(2, 16)
    torch.testing.assert_close(opened.model.get_parameter(f"{Q}.weight"), expected)
    assert (opened.info.layout, opened.info.lora_rank, opened.info.base) == ("adapter", 2, "base")
    assert opened.info.tokens == opened.base.tokens == len(micro.processor.tokenizer)


SCALES = {
    "plain": ({}, 3.0),
    "rank-stabilised": ({"use_rslora": True}, 6 / math.sqrt(2)),
    "alpha pattern": ({"alpha_pattern": {"self_attn.q_proj": 8}}, 4.0),
    "pattern of the whole path": ({"alpha_pattern": {f"^{Q}": 8}}, 4.0),
    "pattern of another": ({"alpha_pattern": {"q": 8, "fc2": 1}}, 3.0),
    "rank pattern": ({"r": 64, "rank_pattern": {"q_proj": 2}}, 3.0),
    "an adapter's name inside": ({}, 3.0),
}


@pytest.mark.parametrize(("config", "scale"), SCALES.values(), ids=SCALES)
def test_scales(micro, base, tmp_path, request, config, scale):
    tensors = pair(Q, 16, 16)
    if "name inside" in request.node.name:
        tensors = {k.replace(".weight", ".default.weight"): v for k, v in tensors.items()}
    opened = opened_with(write(tmp_path / "it", tensors, **config), base)
    expected = micro.model.get_parameter(f"{Q}.weight") + scale * random(16, 2) @ random(2, 16)
    torch.testing.assert_close(opened.model.get_parameter(f"{Q}.weight"), expected)


def test_whole_modules_and_biases_replace(micro, base, tmp_path):
    tensors = {f"{NORM}.weight": random(16), f"{Q}.bias": random(16, seed=1)}
    opened = opened_with(write(tmp_path / "it", tensors, modules_to_save=["image_proj_norm"]), base)
    assert changed(opened, micro) == {f"{NORM}.weight", f"{Q}.bias"}
    assert torch.equal(opened.model.get_parameter(f"{NORM}.weight"), random(16))


def test_a_changed_head_leaves_the_embedding(micro, base, tmp_path):
    rows = len(micro.processor.tokenizer)
    shared = micro.model.get_input_embeddings().weight.detach()
    # PEFT adds copies of the unchanged embedding when the head is among its targets.
    copies = {
        "language_model.lm_head.base_layer.weight": shared.clone(),
        "language_model.model.shared.weight": shared.clone(),
    }
    folder = write(tmp_path / "it", pair("language_model.lm_head", rows, 16) | copies)
    opened = opened_with(folder, base)
    assert changed(opened, micro) == {"lm_head.weight"}
    convert_folder(folder, tmp_path / "native", base)
    again = open_folder(tmp_path / "native")
    assert changed(again, micro) == {"lm_head.weight"}
    from transformers import Florence2ForConditionalGeneration

    plain = Florence2ForConditionalGeneration.from_pretrained(tmp_path / "native").state_dict()
    assert all(torch.equal(v, plain[k]) for k, v in opened.model.state_dict().items())
    alone = switch_adapter(opened, None)
    assert alone.model.lm_head.weight is alone.model.get_input_embeddings().weight
    assert alone.model.config.tie_word_embeddings is True


def test_adapters_are_exchanged_without_the_base(micro, base, tmp_path, monkeypatch):
    one = write(tmp_path / "one", pair(Q, 16, 16))
    two = write(tmp_path / "two", pair(FC2, 8, 32, seed=5))
    opened = opened_with(one, base)
    first = {k: v.clone() for k, v in opened.model.state_dict().items()}
    parameter = opened.model.get_parameter(f"{Q}.weight")
    switched = switch_adapter(opened, inspect_checkpoint(two))
    assert changed(switched, micro) == {f"{FC2}.weight"}
    assert switched.info.path == two
    back = switch_adapter(switched, inspect_checkpoint(one))
    assert all(torch.equal(v, first[k]) for k, v in back.model.state_dict().items())
    assert back.model.get_parameter(f"{Q}.weight") is parameter
    alone = switch_adapter(back, None)
    assert changed(alone, micro) == set()
    assert alone.info.path == base
    assert alone.merge is None


def test_the_adapter_in_use_stays_when_another_fails(base, tmp_path):
    opened = opened_with(write(tmp_path / "one", pair(Q, 16, 16)), base)
    first = {k: v.clone() for k, v in opened.model.state_dict().items()}
    bad = write(tmp_path / "bad", pair(FC2, 8, 32) | pair(Q, 16, 16))
    tensors = load_file(bad / "adapter_model.safetensors")
    tensors[f"base_model.model.{Q}.lora_A.weight"][0, 0] = math.nan
    save_file(tensors, bad / "adapter_model.safetensors")
    with pytest.raises(CheckpointError, match="not a number"):
        switch_adapter(opened, inspect_checkpoint(bad))
    assert all(torch.equal(v, first[k]) for k, v in opened.model.state_dict().items())


REFUSED = {
    "another base": (pair("model.nowhere.q_proj", 16, 16), {}, "weights that the model has not"),
    "another width": (pair(Q, 32, 32), {}, "do not fit"),
    "half a pair": ({f"{Q}.lora_A.weight": random(2, 16)}, {}, "do not fit"),
    "nothing": ({}, {}, "do not fit"),
    "another rank": (pair(Q, 16, 16, rank=3), {}, "says rank 2"),
    "no alpha": (pair(Q, 16, 16), {"lora_alpha": None}, "alpha None"),
    "a broken pattern": (pair(Q, 16, 16), {"rank_pattern": {"(": 2}}, "pattern"),
    "a pattern without end": (pair(Q, 16, 16), {"alpha_pattern": {"(.*)*x": 2}}, "too involved"),
    "a pattern that doubles": (
        pair(Q, 16, 16),
        {"alpha_pattern": {"(?:[a-z]|[a-z_])?" * 9 + "!": 2}},
        "too involved",
    ),
    "an unknown name before a rank": (
        pair("model.nowhere.q_proj", 16, 16, rank=3),
        {},
        "weights that the model has not",
    ),
    "a factor twice": (
        pair(Q, 16, 16) | {f"{Q}.lora_A.other.weight": random(2, 16)},
        {},
        "twice",
    ),
    "a rank above its widths": (pair(Q, 16, 16, rank=40), {"r": 40}, "do not fit"),
    "a magnitude alone": (
        {f"{Q}.lora_magnitude_vector": random(16), f"{Q}.base_layer.weight": random(16, 16)},
        {},
        "do not fit",
    ),
    "a factor without dimensions": (
        {f"{Q}.lora_A.weight": torch.tensor(1.0), f"{Q}.lora_B.weight": random(16, 2)},
        {},
        "do not fit",
    ),
    "an alpha beyond all numbers": (
        pair(Q, 16, 16),
        {"lora_alpha": 10**300},
        "no Florence-2 has",
    ),
    "words for a rank": (pair(Q, 16, 16), {"r": "two"}, "no Florence-2 has"),
    "a list of patterns": (pair(Q, 16, 16), {"rank_pattern": [1]}, "no Florence-2 has"),
    "an embedding": (
        {"model.language_model.shared.lora_embedding_A": random(2, 16)},
        {},
        "cannot merge",
    ),
    "a trained embedding": (
        {"language_model.model.encoder.embed_tokens.weight": random(1325, 16)},
        {},
        "token embedding",
    ),
    "single rows": (pair(Q, 16, 16), {"trainable_token_indices": [1]}, "single rows"),
    "biases of its own": (pair(Q, 16, 16), {"lora_bias": True}, "lora_bias"),
    "LoRA-GA": (pair(Q, 16, 16), {"init_lora_weights": "lora_ga"}, "changed base"),
    "PiSSA": (pair(Q, 16, 16), {"init_lora_weights": "pissa_niter_4"}, "changed base"),
    "a kind to come": (pair(Q, 16, 16), {"use_tomorrow": True}, "use_tomorrow"),
    "no LoRA": (pair(Q, 16, 16), {"peft_type": "IA3"}, "kind IA3"),
    "a depthwise convolution": (
        {
            f"{FC2.replace('ffn.fc2', 'conv1')}.lora_A.weight": random(2, 8, 3, 3),
            f"{FC2.replace('ffn.fc2', 'conv1')}.lora_B.weight": random(8, 2, 1, 1),
        },
        {},
        "do not fit",
    ),
}


@pytest.mark.parametrize(("tensors", "config", "said"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_merged_is_said(base, tmp_path, tensors, config, said):
    folder = write(tmp_path / "it", tensors, **config)
    with pytest.raises(CheckpointError, match=said) as caught:
        opened_with(folder, base)
    assert str(caught.value).endswith(".")


def test_the_base_is_asked_for(base, tmp_path):
    folder = write(tmp_path / "it", pair(Q, 16, 16))
    with pytest.raises(CheckpointError, match="put the folder base beside it"):
        open_folder(folder)
    with pytest.raises(CheckpointError, match="a whole model"):
        switch_adapter(open_folder(base), inspect_checkpoint(base))


def test_inspect_tells_rank_and_targets(tmp_path):
    folder = write(tmp_path / "it", pair(Q, 16, 16), target_modules=["q_proj", "fc2"])
    info = inspect_checkpoint(folder)
    assert (info.layout, info.lora_rank, info.lora_targets) == ("adapter", 2, ("fc2", "q_proj"))
    assert info.parameters == 64
    assert json.loads(json.dumps(info.to_json()))["base"] == "base"
    assert info.sentences()[0] == "A LoRA adapter of rank 2, 64 parameters in fp32."


PEFT = {
    "attention": {"target_modules": ["q_proj", "v_proj"]},
    "the well-known notebook's": {
        "target_modules": ["q_proj", "o_proj", "k_proj", "v_proj", "Conv2d", "lm_head", "fc2"],
        "use_rslora": True,
    },
    "DoRA": {"target_modules": ["fc1", "proj"], "use_dora": True},
    "convolution": {"target_modules": ["convs.0.conv", "convs.1.conv", "qkv"]},
    "patterns": {
        "target_modules": ["q_proj", "fc1"],
        "rank_pattern": {"encoder_attn.q_proj": 3},
        "alpha_pattern": {"fc1": 1},
    },
    "modules to save": {"target_modules": ["q_proj"], "modules_to_save": ["image_proj_norm"]},
    "biases": {"target_modules": ["q_proj"], "bias": "all"},
}


@pytest.mark.parametrize("settings", PEFT.values(), ids=PEFT)
@pytest.mark.parametrize("naming", ["native", "2024"])
@pytest.mark.filterwarnings("ignore")
def test_the_merged_model_answers_as_peft_does(base, tmp_path, settings, naming):
    peft = pytest.importorskip("peft")
    torch.manual_seed(1)
    plain = open_folder(base)
    wrapped = peft.get_peft_model(plain.model, peft.LoraConfig(r=2, lora_alpha=3, **settings))
    with torch.no_grad():
        for parameter in wrapped.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter) * 0.1)
    wrapped.eval().save_pretrained(tmp_path / "it")
    file = tmp_path / "it" / "adapter_model.safetensors"
    if naming == "2024":
        prefix, tensors = "base_model.model.", {}
        for name, value in load_file(file).items():
            tensors[prefix + original_name(name.removeprefix(prefix))] = value
        save_file(tensors, file)
    edit_json(tmp_path / "it" / "adapter_config.json", base_model_name_or_path="base")
    merged = opened_with(tmp_path / "it", base).model
    image = plain.processor.image_token_id
    inputs = {
        "input_ids": torch.tensor([[image] * 5 + [0, 300, 301, 2]]),
        "pixel_values": random(1, 3, 32, 32),
        "decoder_input_ids": torch.tensor([[2, 0, 7, 400]]),
    }
    with torch.inference_mode():
        expected = wrapped(**inputs).logits
        got = merged(**inputs).logits
    torch.testing.assert_close(got, expected, atol=2e-5, rtol=1e-4)
