"""A Florence-2 of a few thousand parameters, random and whole: class, processor, folder on disk."""

from __future__ import annotations

import json
from typing import Any

IMAGE_SIDE = 32
WORDS = "What is the name date total ? a red blue square circle cat dog Locate objects image ."


def micro_processor() -> Any:
    from tokenizers import ByteLevelBPETokenizer
    from transformers import BartTokenizer, CLIPImageProcessorPil
    from transformers.models.florence2.processing_florence2 import Florence2Processor

    bpe = ByteLevelBPETokenizer()
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>", "<image>"]
    bpe.train_from_iterator([WORDS] * 3, vocab_size=360, min_frequency=1, special_tokens=special)
    built = json.loads(bpe.to_str())["model"]
    tokenizer = BartTokenizer(
        vocab=built["vocab"],
        merges=[tuple(m) if isinstance(m, list) else tuple(m.split(" ")) for m in built["merges"]],
        extra_special_tokens={"image_token": "<image>"},
    )
    locations = [f"<loc_{i}>" for i in range(1000)] + ["<sep>", "<poly>", "</poly>", "<and>"]
    tokenizer.add_special_tokens(
        {"extra_special_tokens": locations}, replace_extra_special_tokens=False
    )
    images = CLIPImageProcessorPil(
        size={"height": IMAGE_SIDE, "width": IMAGE_SIDE},
        do_center_crop=False,
        image_mean=[0.5] * 3,
        image_std=[0.5] * 3,
    )
    images.image_seq_length = 2 * 2 + 1
    config: dict[str, Any] = {"pure_text": {}}
    return Florence2Processor(images, tokenizer, post_processor_config=config)


def micro_model(processor: Any, seed: int = 0) -> Any:
    import torch
    from transformers import Florence2Config, Florence2ForConditionalGeneration

    torch.manual_seed(seed)
    config = Florence2Config(
        vision_config={
            "depths": [1, 1],
            "patch_size": [7, 3],
            "patch_stride": [8, 2],
            "patch_padding": [3, 1],
            "patch_prenorm": [False, True],
            "embed_dim": [8, 16],
            "num_heads": [2, 2],
            "num_groups": [2, 2],
            "window_size": 4,
            "projection_dim": 16,
            "max_position_embeddings": 4,
            "max_temporal_embeddings": 2,
            "drop_path_rate": 0.3,
        },
        text_config={
            "model_type": "bart",
            "vocab_size": len(processor.tokenizer),
            "d_model": 16,
            "encoder_layers": 1,
            "decoder_layers": 1,
            "encoder_attention_heads": 2,
            "decoder_attention_heads": 2,
            "encoder_ffn_dim": 32,
            "decoder_ffn_dim": 32,
            "max_position_embeddings": 128,
            "dropout": 0.0,
            "init_std": 0.1,
            "bos_token_id": 0,
            "pad_token_id": 1,
            "eos_token_id": 2,
            "decoder_start_token_id": 2,
            "forced_eos_token_id": 2,
        },
        image_token_id=processor.image_token_id,
    )
    model = Florence2ForConditionalGeneration(config)
    model.generation_config.update(
        num_beams=1,
        no_repeat_ngram_size=0,
        forced_bos_token_id=0,
        forced_eos_token_id=2,
        decoder_start_token_id=2,
        bos_token_id=0,
        eos_token_id=2,
        pad_token_id=1,
    )
    return model.eval()
