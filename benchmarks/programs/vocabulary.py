"""What `benchmarks.vocabulary` measures, each in a process of its own: `python -m benchmarks.programs.vocabulary MODE ...`.

- `learn TOKENIZER TEXT PIECES OUT`: pieces on top of a tokenizer, learnt and written.
- `train TEXT PIECES`: SentencePiece's own BPE trainer makes a vocabulary of that many pieces from nothing.
- `encode TOKENIZER TEXT...`: `encode_batch_fast` on texts that are in memory.
"""

from __future__ import annotations

import io
import json
import resource
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path

_TEXTS_AT_A_TIME = 1000


def _train_texts(file: str) -> Iterator[str]:
    from moyai.corpus.reading.documents import read_documents

    return (document.text for document in read_documents(Path(file)) if document.split == "train")


def _done(started: float, cpu: float) -> dict[str, float]:
    seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {"seconds": seconds, "cpu_seconds": cpu_seconds, "peak_bytes": peak}


def learn(tokenizer_dir: str, text: str, pieces: str, out: str) -> dict[str, float]:
    """Learn pieces and write the extended tokenizer."""
    from moyai.tokenizer.extension.extend import learn_extension, write_extended
    from moyai.tokenizer.vocabulary import read_vocabulary

    started, cpu = time.perf_counter(), time.process_time()
    base = read_vocabulary(Path(tokenizer_dir))
    extension = learn_extension(base, _train_texts(text), num_pieces=int(pieces))
    shutil.copytree(tokenizer_dir, out)
    for path in Path(out).iterdir():
        path.chmod(0o644)
    write_extended(base, extension, Path(out))
    return _done(started, cpu)


def train(text: str, pieces: str) -> dict[str, float]:
    """Train a vocabulary from nothing, with the peer."""
    from sentencepiece import SentencePieceTrainer

    lines = (line for document in _train_texts(text) for line in document.splitlines() if line)
    started, cpu = time.perf_counter(), time.process_time()
    SentencePieceTrainer.train(
        sentence_iterator=lines,
        model_writer=io.BytesIO(),
        model_type="bpe",
        vocab_size=int(pieces),
        byte_fallback=True,
        normalization_rule_name="identity",
        split_digits=True,
        num_threads=2,
        minloglevel=2,
        max_sentence_length=1 << 20,
    )
    return _done(started, cpu)


def encode(tokenizer_dir: str, *texts: str) -> dict[str, float]:
    """Encode texts."""
    from moyai.corpus.reading.documents import read_documents
    from moyai.tokenizer.vocabulary import read_vocabulary

    tokenizer = read_vocabulary(Path(tokenizer_dir)).tokenizer
    documents = [document.text for text in texts for document in read_documents(Path(text))]
    started, cpu = time.perf_counter(), time.process_time()
    tokens = 0
    for first in range(0, len(documents), _TEXTS_AT_A_TIME):
        batch = tokenizer.encode_batch_fast(documents[first : first + _TEXTS_AT_A_TIME], add_special_tokens=False)
        tokens += sum(map(len, batch))
    return {**_done(started, cpu), "tokens": tokens}


if __name__ == "__main__":
    print(json.dumps({"learn": learn, "train": train, "encode": encode}[sys.argv[1]](*sys.argv[2:])))
