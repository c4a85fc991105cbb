"""A random model of Mistral's shape, written piece by piece.

    python -m benchmarks.programs.make_model SIZE SEED OUT_DIR

Normal(0, 0.02) in bfloat16, norms 1.  The tokenizer is a small SentencePiece BPE with byte fallback, learnt from the
starter texts: `tokenizer.model`, and the `tokenizer.json` that transformers makes of it.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import moyai
from moyai.checkpoint.config import write_config
from moyai.checkpoint.dtypes import from_float32
from moyai.checkpoint.layout import expected_tensors
from moyai.checkpoint.planned import PlannedTensor
from moyai.checkpoint.writer import write_checkpoint
from moyai.progress import SilentProgress
from moyai.recipe.architecture import Architecture

# name: hidden size, layers, feed-forward size, heads, key-value heads
SIZES = {
    "tiny": (256, 4, 704, 8, 4),
    "0.25B": (1024, 16, 2816, 16, 8),
    "0.5B": (1536, 16, 4224, 16, 8),
    "1B": (2048, 20, 5632, 16, 8),
    "2B": (2560, 26, 7040, 20, 10),
    "3B": (3072, 28, 8448, 24, 8),
}
VOCAB_SIZE = 32_000
TINY_VOCAB_SIZE = 2_048
SHARD_BYTES = 5_000_000_000
_PIECE_ELEMENTS = 1 << 20
_STARTER_TEXTS = ("ja_text.jsonl", "en_text.jsonl")


def architecture(size: str) -> Architecture:
    """The architecture of one of `SIZES`."""
    hidden, layers, feed_forward, heads, key_value_heads = SIZES[size]
    return Architecture(
        family="mistral",
        vocab_size=TINY_VOCAB_SIZE if size == "tiny" else VOCAB_SIZE,
        hidden_size=hidden,
        intermediate_size=feed_forward,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=key_value_heads,
        head_dim=hidden // heads,
        tie_word_embeddings=False,
    )


def make_model(size: str, seed: int, out_dir: Path) -> None:
    """Write the model into `out_dir`, config and tokenizer last."""
    shape = architecture(size)
    tensors = [
        PlannedTensor(name, "BF16", dims, f"random, seed {seed}", partial(_draw, dims, seed * 100_003 + number))
        for number, (name, dims) in enumerate(expected_tensors(shape).items())
    ]
    write_checkpoint(out_dir, tensors, shard_bytes=SHARD_BYTES, progress=SilentProgress())
    _write_tokenizer(out_dir)
    write_config(out_dir, shape, dtype="BF16", like={"bos_token_id": 1, "eos_token_id": 2})


def _draw(shape: tuple[int, ...], seed: int) -> Iterator[NDArray[Any]]:
    if len(shape) == 1:
        yield from_float32(np.ones(shape, np.float32), "BF16")
        return
    stream = np.random.default_rng(seed)
    step = max(1, _PIECE_ELEMENTS // shape[1])
    for start in range(0, shape[0], step):
        rows = stream.standard_normal((min(step, shape[0] - start), shape[1]), dtype=np.float32)
        yield from_float32(rows * np.float32(0.02), "BF16")


def _write_tokenizer(out_dir: Path) -> None:
    import sentencepiece
    from transformers import LlamaTokenizer

    starter = Path(moyai.__file__).parent / "starter"
    lines = [line for name in _STARTER_TEXTS for line in (starter / name).read_text(encoding="utf-8").splitlines()]
    with (out_dir / "tokenizer.model").open("wb") as file:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(json.loads(line)["text"] for line in lines),
            model_writer=file,
            model_type="bpe",
            vocab_size=TINY_VOCAB_SIZE,
            character_coverage=0.98,
            byte_fallback=True,
            max_sentence_length=1 << 20,
            num_threads=1,
            minloglevel=2,
        )
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(out_dir / "tokenizer.model"))
    vocabulary = {pieces.id_to_piece(number): number for number in range(pieces.vocab_size())}
    LlamaTokenizer(vocab=vocabulary, merges=_merges(vocabulary), add_bos_token=True).save_pretrained(out_dir)


def _merges(vocabulary: dict[str, int]) -> list[tuple[str, str]]:
    """The merges behind SentencePiece's pieces, whose ids are in the order in which they were learnt."""
    merges: list[tuple[str, str]] = []
    for piece in vocabulary:
        pairs = [(piece[:cut], piece[cut:]) for cut in range(1, len(piece))]
        known = [pair for pair in pairs if pair[0] in vocabulary and pair[1] in vocabulary]
        merges += sorted(known, key=lambda pair: (vocabulary[pair[0]], vocabulary[pair[1]]))
    return merges


if __name__ == "__main__":
    make_model(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]))
