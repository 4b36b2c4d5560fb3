"""Patterns of modules mean what PEFT means by them, and are compared, never run."""

from __future__ import annotations

import re

import pytest

from florence_demo.checkpoints.adapter_config import MAX_PATTERN, MAX_PATTERNS, read_adapter_config
from florence_demo.checkpoints.info import called
from florence_demo.errors import CheckpointError

Q = "model.language_model.encoder.layers.1.self_attn.q_proj"
MODULES = [
    *(Q, "lm_head", "q_proj", "model.language_model.encoder.layers.11.self_attn.q_proj"),
    *("model.vision_tower.blocks.0.0.channel_block.ffn.fc1", "model.vision_tower.convs.1.conv"),
    "model.language_model.decoder.layers.1.encoder_attn.q_proj",
]
KNOWN = {
    "the last part": "q_proj",
    "the last parts": "self_attn.q_proj",
    "a part of a part": "proj",
    "a whole path": Q,
    "a whole path as eva and others write it": f"^{Q}",
    "a whole path with an end": f"^{Q}$",
    "dots that are escaped": r"layers\.1\.self_attn\.q_proj",
    "another escaped sign": r"self_attn\.q\_proj",
    "anything before parts": r".*\.layers\.1\.self_attn\.q_proj",
    "anything before an end": ".*proj",
    "anything after the beginning": r"^.*\.fc1$",
    "a name alone": "^lm_head",
    "nobody's": "nowhere",
}


def config(**values):
    return read_adapter_config({"peft_type": "LORA", "r": 2, "lora_alpha": 4, **values})


@pytest.mark.parametrize("pattern", KNOWN.values(), ids=KNOWN)
@pytest.mark.parametrize("module", MODULES)
def test_a_pattern_means_what_peft_means(pattern, module):
    meant = re.match(rf"(.*\.)?({pattern})$", module) is not None  # PEFT's get_pattern_key
    assert config(rank_pattern={pattern: 7}).rank_of(module) == (7 if meant else 2)
    assert config(alpha_pattern={pattern: 0.5}).alpha_of(module) == (0.5 if meant else 4)


def test_the_first_pattern_counts():
    patterns = {"k_proj": 1, "self_attn.q_proj": 3, "q_proj": 5}
    assert config(rank_pattern=patterns).rank_of(Q) == 3


REFUSED = {
    "doublings": "(?:a?){28}a{28}",
    "marks of doubt": "a?" * 28 + "a" * 28,
    "two ways": "(?:a|a|ab)" * 4,
    "a set": "[a-z]+x",
    "digits": r"layers\.\d+\.q_proj",
    "anything within": r"layers\..*q_proj",
    "a look ahead": "(?=.*a)b",
    "an end within": "a$b",
    "broken": "(",
    "long": "a" * (MAX_PATTERN + 1),
    "nothing": "",
    "a line's end": "q_proj\n",
    "letters of elsewhere": "q_prоj",
}


@pytest.mark.parametrize("pattern", REFUSED.values(), ids=REFUSED)
@pytest.mark.parametrize("field", ["rank_pattern", "alpha_pattern"])
def test_any_other_form_is_refused_in_a_sentence(field, pattern):
    with pytest.raises(CheckpointError, match="too involved") as caught:
        config(**{field: {pattern: 2}})
    assert len(str(caught.value)) < 300


def test_the_number_of_patterns_is_bounded():
    patterns = {f"name{i}": 2 for i in range(MAX_PATTERNS)}
    assert config(rank_pattern=patterns).rank_of("name999") == 2
    with pytest.raises(CheckpointError, match="1,001 patterns"):
        config(rank_pattern={**patterns, "more": 2})


ODD = {
    "a rank by a word": {"r": "two"},
    "a true rank": {"r": True},
    "half a rank": {"r": 2.5},
    "a rank of a million": {"r": 10**6},
    "an alpha by a word": {"lora_alpha": "six"},
    "an alpha beyond all numbers": {"lora_alpha": 10**400},
    "a list of patterns": {"rank_pattern": ["q_proj"]},
    "a rank of a pattern by a word": {"rank_pattern": {"q_proj": "two"}},
    "an alpha of a pattern in a list": {"alpha_pattern": {"q_proj": [1]}},
    "targets by a number": {"target_modules": 7},
}


@pytest.mark.parametrize("values", ODD.values(), ids=ODD)
def test_values_of_other_kinds_are_errors(values):
    with pytest.raises((ValueError, TypeError, AttributeError)):
        config(**values)


def test_what_is_told_is_short():
    told = config(
        base_model_name_or_path="x" * 10**6,
        target_modules=["y" * 10**6, "q\nproj", "<b>"],
        init_lora_weights="pissa" + "z" * 10**6,
        **{f"use_{i}": True for i in range(1_000)},
    )
    # It is looked for under the whole of a path, and shown shorter.
    assert len(told.base or "") <= 1_000
    assert len(called(told.base or "")) <= 200
    assert "q proj" in told.targets
    assert "‹b›" in told.targets
    assert len(told.problems) == 2
    assert sum(map(len, (*told.targets, *told.problems))) < 2_000
