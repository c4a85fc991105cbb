"""Tiny random models and tokenizers of each kind, made from a config; nothing is downloaded."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any, Literal

import torch
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

SPECIALS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
TEMPLATE = (
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
ENGLISH = "The boat is moored beside the pier. Ropes hold it fast, and the tide goes in and out twice a day. "


JAPANESE = (
    "舟は桟橋に舫ってある。綱がしっかりと舟を留めていて、潮は一日に二度満ち引きする。"
    "港の朝は早い。漁師たちは暗いうちに沖へ出て、昼前に戻ってくる。今日の魚はアジとサバだ。\n"
)
_QWEN_EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 64, "intermediate_size": 128}
# What each family's config has besides the sizes that all of them share.
FAMILIES: dict[str, dict[str, Any]] = {
    "llama": {},
    "mistral": {"sliding_window": None},
    "mixtral": {"sliding_window": None, "num_local_experts": 4, "num_experts_per_tok": 2},
    "qwen2": {},
    "qwen3": {},
    "qwen2_moe": {**_QWEN_EXPERTS, "shared_expert_intermediate_size": 96, "norm_topk_prob": False},
    "qwen3_moe": {**_QWEN_EXPERTS, "norm_topk_prob": True},
}


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
    config = AutoConfig.for_model(family, **sizes | FAMILIES[family])
    model: PreTrainedModel = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    for name, parameter in model.named_parameters():
        # Larger weights than the default, so that wrong masks and positions show.
        parameter.data.mul_(3.0)
        # Qwen's biases begin as zeros and its head norms as ones, which would hide a wrong order.
        if name.endswith((".bias", "q_norm.weight", "k_norm.weight")):
            parameter.data.add_(torch.randn_like(parameter))
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


def write_tiny_sentencepiece(directory: Path, kind: Literal["bpe", "unigram"], *, vocab_size: int = 448) -> None:
    """A SentencePiece model with byte fallback as `tokenizer.model`, and `tokenizer.json` as released with such models.

    "bpe" is in the form of Llama 2 and Mistral, "unigram" in the form of llm-jp; both put <s> before a text.
    """
    from sentencepiece import SentencePieceProcessor, SentencePieceTrainer

    model = io.BytesIO()
    SentencePieceTrainer.train(
        sentence_iterator=iter([ENGLISH, *JAPANESE.splitlines()] * 8),
        model_writer=model,
        model_type=kind,
        vocab_size=vocab_size,
        byte_fallback=True,
        character_coverage=1.0,
        hard_vocab_limit=False,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        split_digits=True,
        num_threads=1,
        minloglevel=2,
    )
    (directory / "tokenizer.model").write_bytes(model.getvalue())
    pieces = SentencePieceProcessor(model_proto=model.getvalue())
    scores = [(pieces.id_to_piece(i), pieces.get_score(i)) for i in range(len(pieces))]
    tokenizer = Tokenizer(_merging(scores) if kind == "bpe" else models.Unigram(scores, unk_id=0, byte_fallback=True))
    space = normalizers.Replace(" ", "▁")
    prefix = normalizers.Prepend("▁") if kind == "bpe" else normalizers.Replace(Regex(r"(?<!\n)^"), "▁")
    tokenizer.normalizer = normalizers.Sequence([prefix, space])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    tokenizer.add_special_tokens([AddedToken(token, normalized=False) for token, _ in scores[:3]])
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    tokenizer.save(str(directory / "tokenizer.json"))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": "<s>",
        "eos_token": "</s>",
        "unk_token": "<unk>",
        "add_bos_token": True,
        "add_eos_token": False,
        "clean_up_tokenization_spaces": False,
    }
    (directory / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")


def _merging(scores: list[tuple[str, float]]) -> models.BPE:
    """The merges that make each piece, the piece of the highest score first."""
    vocab = {piece: i for i, (piece, _) in enumerate(scores)}
    merges = [
        (piece[:cut], piece[cut:])
        for piece, _ in sorted(scores[259:], key=lambda entry: -entry[1])
        for cut in range(1, len(piece))
        if piece[:cut] in vocab and piece[cut:] in vocab
    ]
    return models.BPE(vocab, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True)


def write_tiny_checkpoint(directory: Path, family: str = "llama", *, tied: bool = True, seed: int = 0) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    tiny_model(family, tied=tied, seed=seed).save_pretrained(directory)
    write_tiny_tokenizer(directory)
    return directory
