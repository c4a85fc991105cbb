"""extend: learn new vocabulary pieces on top of the base tokenizer and give them rows in embedding and head."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

from moyai.checkpoint.config import copy_tokenizer_files
from moyai.checkpoint.copying import copied
from moyai.checkpoint.disk import replace_file
from moyai.checkpoint.header import TensorInfo
from moyai.checkpoint.layout import EMBEDDING_NAME, HEAD_NAME, check_complete, expected_tensors
from moyai.checkpoint.model_directory import read_origins, write_model
from moyai.checkpoint.new_rows import grown_table
from moyai.checkpoint.planned import PlannedTensor
from moyai.checkpoint.reader import CheckpointReader
from moyai.corpus.reading.broken import Broken
from moyai.corpus.reading.documents import Split
from moyai.corpus.reading.domains import heldout_by_domain
from moyai.corpus.reading.read import input_files, read_source
from moyai.errors import InputFileError
from moyai.recipe.architecture import Architecture, read_architecture, read_config
from moyai.recipe.corpus_settings import CorpusSource
from moyai.recipe.tokenizer_settings import ExtendSettings
from moyai.stages.contract import StageContext
from moyai.stages.new_row_choice import Choice, Extended, Rows, choose_rows
from moyai.stages.outside import file_hashes, tokenizer_hashes
from moyai.tokenizer.efficiency import compare
from moyai.tokenizer.extension.extend import Extension, learn_extension, write_extended
from moyai.tokenizer.load import load_tokenizer
from moyai.tokenizer.text import TextTokenizer
from moyai.tokenizer.token_bytes import readable
from moyai.tokenizer.vocabulary import JSON_NAME, BaseVocabulary, read_vocabulary

REVISION = 3

PIECES_NAME = "pieces.jsonl"
# What is kept for a resumed run.
_EXTENSION_NAME, _ROWS_NAME = "extension.json", "rows.npz"
# What GPT-2's tokenizer reads where there is no tokenizer.json, which there is; the old ones know no new piece.
_DOUBLED_FILES = ("vocab.json", "merges.txt")
_ENGLISH = "starter:en_text"
_SHARD_BYTES = 5_000_000_000
# At most so much that is held out is measured at the end, of each file and of all together.
_MEASURED_CHARACTERS = 2_000_000
_MEASURED_CHARACTERS_OF_ALL = 20_000_000
_NUM_EXAMPLES = 60
_NUM_CHANGED_LINES = 5


def outside(settings: ExtendSettings, cache_dir: Path) -> dict[str, str]:
    """Hashes of the corpus files, and of the tokenizers that it is compared with."""
    return file_hashes(settings.corpus) | tokenizer_hashes(settings.compare_with or ())


def run(settings: ExtendSettings, context: StageContext) -> dict[str, Any]:
    """Write the extended checkpoint."""
    (parent_dir,) = context.inputs.values()
    base = read_vocabulary(parent_dir)
    architecture = read_architecture(parent_dir)
    reader = CheckpointReader(parent_dir)
    check_complete(reader.shapes, architecture, str(parent_dir))
    _refuse_ids_without_rows(base, architecture, parent_dir)
    extension = _learnt(settings, context, base)
    copy_tokenizer_files(parent_dir, context.out_dir, without=_DOUBLED_FILES)
    write_extended(base, extension, context.out_dir)
    num_ids = base.num_ids + len(extension.pieces)
    heldout = _heldout(settings)
    extended = Extended(
        parent_dir=parent_dir,
        tokenizer=TextTokenizer(context.out_dir),
        replaced=list(extension.pieces.values()),
        num_base_ids=base.num_ids,
        num_rows=-(-max(num_ids, architecture.vocab_size) // settings.pad_vocab_to) * settings.pad_vocab_to,
    )
    choice = _chosen(settings, context, extended, heldout)
    return {
        "num_pieces": len(extension.pieces),
        "vocab_size": num_ids,
        "padded_vocab_size": extended.num_rows,
        "pieces_sha256": _write_pieces(context.out_dir, base, extension),
        "share_learnt_from": round(extension.share_counted, 4),
        "init": choice.rows.way,
        "trials": choice.results,
        **_write_weights(context, reader, extended, choice.rows),
        "efficiency": _efficiency(settings, parent_dir, context.out_dir),
        "english": _english(base, context.out_dir),
        "examples": [readable(piece, base.spelling) for piece in list(extension.pieces)[:_NUM_EXAMPLES]],
    }


def _refuse_ids_without_rows(base: BaseVocabulary, architecture: Architecture, parent_dir: Path) -> None:
    if base.num_ids > architecture.vocab_size:
        raise InputFileError(
            f"the tokenizer of {parent_dir} has {base.num_ids} ids, but its embedding has {architecture.vocab_size} rows",
            hint="give every id a row first (resize_token_embeddings in transformers), or take the added tokens out",
        )


def _learnt(settings: ExtendSettings, context: StageContext, base: BaseVocabulary) -> Extension:
    """The pieces, kept for a resumed run once they are learnt."""
    path = context.resume_dir / _EXTENSION_NAME
    if path.is_file():
        kept = json.loads(path.read_text(encoding="utf-8"))
        pieces = {piece: tuple(ids) for piece, ids in kept["pieces"]}
        return Extension(pieces, tuple(kept["scores"]), kept["share_counted"])
    extension = learn_extension(
        base,
        _train(settings),
        num_pieces=settings.pieces,
        min_frequency=settings.min_frequency,
        max_characters=settings.max_characters,
        segmentation=settings.segmentation,
        progress=context.progress,
    )
    context.resume_dir.mkdir(exist_ok=True)
    kept = {
        "pieces": list(extension.pieces.items()),
        "scores": extension.scores,
        "share_counted": extension.share_counted,
    }
    replace_file(path, json.dumps(kept, ensure_ascii=False).encode("utf-8"))
    return extension


def _chosen(
    settings: ExtendSettings, context: StageContext, extended: Extended, heldout: Mapping[str, Sequence[str]]
) -> Choice:
    """The rows, kept for a resumed run once they are made."""
    path = context.resume_dir / _ROWS_NAME
    if path.is_file():
        return Choice.read(path)
    texts = [text for group in heldout.values() for text in group]
    choice = choose_rows(extended, settings.init, _train(settings), texts, context.progress)
    choice.write(path)
    return choice


def _train(settings: ExtendSettings) -> Iterator[str]:
    for _, text in _named_texts(settings.corpus, "train"):
        yield text


def _named_texts(corpus: Sequence[str], split: Split | None = None) -> Iterator[tuple[str, str]]:
    """Name of the file and text of each document, of all of them or of one side."""
    source = CorpusSource(files=tuple(corpus))
    for file in input_files(source):
        name = file if ":" in file else Path(file).name.split(".")[0]
        for document in read_source(file, source, Broken("stop")):
            if split in (None, document.split):
                yield name, document.text


def _heldout(settings: ExtendSettings) -> dict[str, list[str]]:
    """Of each file the texts that were not learnt from, or the first of them."""
    most = _most_characters(settings)
    texts: defaultdict[str, list[str]] = defaultdict(list)
    held: Counter[str] = Counter()
    for name, text in _named_texts(settings.corpus, "heldout"):
        if held[name] < most:
            texts[name].append(text)
            held[name] += len(text)
    return dict(texts)


def _most_characters(settings: ExtendSettings) -> int:
    """Of each file so much is measured."""
    num_files = len(input_files(CorpusSource(files=tuple(settings.corpus))))
    return min(_MEASURED_CHARACTERS, _MEASURED_CHARACTERS_OF_ALL // max(num_files, 1))


def _efficiency(settings: ExtendSettings, before: Path, after: Path) -> dict[str, Any]:
    """What held-out text comes to, of the corpus by domain and of the starter's English."""
    sources = dict.fromkeys((*settings.corpus, _ENGLISH))
    texts = heldout_by_domain(list(sources), most_characters=_most_characters(settings))
    return compare(before, after, texts, [Path(name).expanduser() for name in settings.compare_with or ()])


def _write_weights(
    context: StageContext, reader: CheckpointReader, extended: Extended, rows: Rows
) -> dict[str, Any]:
    architecture = read_architecture(extended.parent_dir)
    told = read_origins(extended.parent_dir)
    tables = {EMBEDDING_NAME: rows.embedding, HEAD_NAME: rows.head}

    def planned(info: TensorInfo) -> PlannedTensor:
        if info.name not in tables:
            return copied(info.name, info, told.get(info.name, ""))
        return grown_table(
            info,
            tables[info.name],
            num_base_rows=extended.num_base_ids,
            num_rows=extended.num_rows,
            made=rows.way,
            before=told.get(info.name, ""),
        )

    return write_model(
        context.out_dir,
        architecture.model_copy(update={"vocab_size": extended.num_rows}),
        [planned(reader.tensors[name]) for name in expected_tensors(architecture)],
        like={**read_config(extended.parent_dir), "moyai_num_base_rows": extended.num_base_ids},
        tokenizer_dir=None,
        shard_bytes=_SHARD_BYTES,
        progress=context.progress,
    )


def _write_pieces(out_dir: Path, base: BaseVocabulary, extension: Extension) -> str:
    """`pieces.jsonl`: each new piece, its id, and the base ids that it replaces; returns the file's sha256."""
    rows = (
        {"id": id_, "piece": readable(piece, base.spelling), "spelling": piece, "from": list(ids)}
        for id_, (piece, ids) in enumerate(extension.pieces.items(), start=base.num_ids)
    )
    content = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode("utf-8")
    replace_file(out_dir / PIECES_NAME, content)
    return sha256(content).hexdigest()


def _english(base: BaseVocabulary, out_dir: Path) -> dict[str, Any]:
    """The starter's English, line by line, before and after: what is cut otherwise now."""
    lines = [line for _, text in _named_texts((_ENGLISH,)) for line in text.splitlines() if line]
    extended = load_tokenizer(out_dir / JSON_NAME)
    before, after = (
        [encoding.ids for encoding in tokenizer.encode_batch(lines, add_special_tokens=False)]
        for tokenizer in (base.tokenizer, extended)
    )
    changed = [
        {"line": line, "tokens_before": len(one), "tokens_after": len(other)}
        for line, one, other in zip(lines, before, after, strict=True)
        if one != other
    ]
    return {
        "num_lines": len(lines),
        "tokens_before": sum(map(len, before)),
        "tokens_after": sum(map(len, after)),
        "changed": len(changed),
        "examples": changed[:_NUM_CHANGED_LINES],
    }
