"""Tiny random models and a tiny byte-level BPE tokenizer, made from a config; nothing is downloaded."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    MixtralConfig,
    MixtralForCausalLM,
    PreTrainedModel,
)

SPECIALS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
TEMPLATE = (
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
ENGLISH = "The boat is moored beside the pier. Ropes hold it fast, and the tide goes in and out twice a day. "


def tiny_model(family: str = "llama", *, vocab_size: int = 320, tied: bool = True, seed: int = 0) -> PreTrainedModel:
    torch.manual_seed(seed)
    sizes = {
        "vocab_size": vocab_size,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 8,
        "max_position_embeddings": 512,
        "tie_word_embeddings": tied,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": 0,
    }
    if family == "mixtral":
        config = MixtralConfig(**sizes, num_local_experts=4, num_experts_per_tok=2, sliding_window=None)
        model: PreTrainedModel = MixtralForCausalLM(config)
    elif family == "mistral":
        model = MistralForCausalLM(MistralConfig(**sizes, sliding_window=None))
    else:
        model = LlamaForCausalLM(LlamaConfig(**sizes))
    # Larger weights than the default, so that wrong masks and positions show.
    for parameter in model.parameters():
        parameter.data.mul_(3.0)
    return model.eval()


def write_tiny_tokenizer(directory: Path, *, vocab_size: int = 320) -> None:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=SPECIALS,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([ENGLISH] * 8, trainer)
    tokenizer.save(str(directory / "tokenizer.json"))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": "<|im_start|>",
        "eos_token": "<|im_end|>",
        "unk_token": "<|endoftext|>",
        "pad_token": "<|im_end|>",
        "chat_template": TEMPLATE,
        "clean_up_tokenization_spaces": False,
    }
    (directory / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")


def write_tiny_checkpoint(directory: Path, family: str = "llama", *, tied: bool = True, seed: int = 0) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    tiny_model(family, tied=tied, seed=seed).save_pretrained(directory)
    write_tiny_tokenizer(directory)
    return directory
