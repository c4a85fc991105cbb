"""extend: learn new vocabulary pieces on top of the base tokenizer and give them embedding rows."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from moyai.checkpoint.config import copy_tokenizer_files
from moyai.checkpoint.copying import copied
from moyai.checkpoint.dtypes import from_float32
from moyai.checkpoint.header import TensorInfo
from moyai.checkpoint.model_directory import write_model
from moyai.checkpoint.planned import PlannedTensor
from moyai.checkpoint.reader import CheckpointReader
from moyai.corpus.documents import read_documents
from moyai.recipe.architecture import read_architecture, read_config
from moyai.recipe.settings import ExtendSettings
from moyai.recipe.sources import corpus_file
from moyai.stages.contract import StageContext
from moyai.stages.outside import file_hashes
from moyai.tokenizer.bpe_file import BpeFile
from moyai.tokenizer.extend import Extension, learn_extension
from moyai.tokenizer.text import TextTokenizer
from moyai.tokenizer.token_bytes import readable

REVISION = 1

_SHARD_BYTES = 5_000_000_000
_EMBEDDINGS = ("model.embed_tokens.weight", "lm_head.weight")


def outside(settings: ExtendSettings, cache_dir: Path) -> dict[str, str]:
    """The corpus files' hashes."""
    return file_hashes(settings.corpus)


def run(settings: ExtendSettings, context: StageContext) -> dict[str, Any]:
    """Write the extended checkpoint."""
    (parent_dir,) = context.inputs.values()
    base = BpeFile.read(parent_dir)
    texts = [
        document.text
        for name in settings.corpus
        for document in read_documents(corpus_file(name))
        if document.split == "train"
    ]
    context.progress.note(f"learning {settings.pieces} pieces on {len(texts)} documents")
    extension = learn_extension(base, texts, num_pieces=settings.pieces, min_frequency=settings.min_frequency)
    extended = base.extended(extension.merges)
    copy_tokenizer_files(parent_dir, context.out_dir)
    extended.write(context.out_dir)
    results = _write_weights(settings, context, extension, parent_dir, num_base_ids=base.num_ids)
    _write_pieces(context.out_dir, base, extension)
    results["characters_per_token"] = _characters_per_token(settings, parent_dir, context.out_dir)
    results["num_merges"] = len(extension.merges)
    results["examples"] = [readable(piece) for piece in list(extension.pieces)[:60]]
    return results


def _write_weights(
    settings: ExtendSettings, context: StageContext, extension: Extension, parent_dir: Path, *, num_base_ids: int
) -> dict[str, Any]:
    architecture = read_architecture(parent_dir)
    num_ids = num_base_ids + len(extension.pieces)
    padded = -(-max(num_ids, architecture.vocab_size) // settings.pad_vocab_to) * settings.pad_vocab_to
    grown = architecture.model_copy(update={"vocab_size": padded})
    reader = CheckpointReader(parent_dir)
    digest = hashlib.sha256(json.dumps([*extension.pieces.items()]).encode()).hexdigest()
    planned = []
    for info in reader.tensors.values():
        if info.name in _EMBEDDINGS:
            origin = f"{info.name}, and {len(extension.pieces)} rows by {settings.init}, pieces {digest}"
            rows = _rows(reader, info, extension, num_base_ids, padded, settings.init)
            planned.append(PlannedTensor(info.name, info.dtype, (padded, *info.shape[1:]), origin, rows, (info,)))
        else:
            planned.append(copied(info.name, info))
    counts = write_model(
        context.out_dir,
        grown,
        planned,
        like={**read_config(parent_dir), "moyai_num_base_rows": num_base_ids},
        tokenizer_dir=None,
        shard_bytes=_SHARD_BYTES,
        progress=context.progress,
    )
    return {
        "num_pieces": len(extension.pieces),
        "vocab_size": num_ids,
        "padded_vocab_size": padded,
        "init": settings.init,
        **counts,
    }


def _rows(
    reader: CheckpointReader, info: TensorInfo, extension: Extension, num_base_ids: int, padded: int, init: str
) -> Callable[[], Iterator[NDArray[Any]]]:
    """The grown table: base rows as they are, then one row per piece, then padding rows of the mean of all."""

    def make() -> Iterator[NDArray[Any]]:
        base_VD = reader.float32(info.name)
        new = [base_VD[list(ids)].mean(0) if init == "mean" else base_VD[ids[-1]] for ids in extension.pieces.values()]
        rows = [*new, *([base_VD.mean(0)] * (padded - num_base_ids - len(new)))]
        yield reader.raw(info.name)[:num_base_ids]
        yield from_float32(np.stack(rows), info.dtype)

    return make


def _write_pieces(out_dir: Path, base: BpeFile, extension: Extension) -> None:
    """`pieces.jsonl`: each new piece, its id, and the base ids whose rows it was made of."""
    with (out_dir / "pieces.jsonl").open("w", encoding="utf-8") as file:
        for number, (piece, ids) in enumerate(extension.pieces.items()):
            row = {"id": base.num_ids + number, "piece": readable(piece), "spelling": piece, "from": list(ids)}
            file.write(json.dumps(row, ensure_ascii=False) + "\n")


def _characters_per_token(settings: ExtendSettings, before: Path, after: Path) -> Mapping[str, Any]:
    """On held-out documents of the corpus and, to see that English is not cut worse, of the starter's English."""
    sources = {**{name: name for name in settings.corpus}, "starter:en_text": "starter:en_text"}
    measured = {}
    for name in sources:
        texts = [d.text for d in read_documents(corpus_file(name)) if d.split == "heldout"]
        if texts:
            measured[name] = {
                key: round(sum(map(len, texts)) / sum(map(len, TextTokenizer(path).encode_batch(texts))), 4)
                for key, path in (("before", before), ("after", after))
            }
    return measured
