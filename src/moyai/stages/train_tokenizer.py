"""train_tokenizer: train a Unigram vocabulary with byte fallback from nothing, language after language."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from moyai.corpus.reading.documents import Split
from moyai.corpus.reading.domains import heldout_by_domain, read_domain_texts
from moyai.corpus.reading.sample import TextSample, sample_texts
from moyai.errors import InputFileError
from moyai.recipe.record import file_sha256
from moyai.recipe.sources import corpus_file
from moyai.recipe.tokenizer_settings import TokenizerStage, TrainTokenizerSettings
from moyai.stages.contract import StageContext
from moyai.stages.outside import file_hashes, tokenizer_hashes
from moyai.tokenizer.efficiency import compare
from moyai.tokenizer.unigram.borrowed import borrowed_pieces
from moyai.tokenizer.unigram.files import write_unigram_tokenizer
from moyai.tokenizer.unigram.layout import FIXED_TOKENS
from moyai.tokenizer.unigram.train import LanguageStage, TrainedUnigram, train_unigram

REVISION = 1

# Of each text so much that is held out is measured at the end.
_MEASURED_CHARACTERS = 2_000_000
_NUM_EXAMPLES = 60


def outside(settings: TrainTokenizerSettings, cache_dir: Path) -> dict[str, str]:
    """Hashes of the texts, of the mandatory pieces and of the tokenizers that pieces are borrowed from or compared with."""
    hashes = file_hashes(name for stage in settings.stages for name in (*stage.corpus, *(stage.mandatory or ())))
    if settings.borrow is not None:
        path = Path(settings.borrow).expanduser()
        if not path.is_file():
            raise InputFileError(f"{settings.borrow}, from which pieces are borrowed, does not exist")
        hashes[settings.borrow] = file_sha256(path)
    return hashes | tokenizer_hashes(settings.compare_with or ())


def run(settings: TrainTokenizerSettings, context: StageContext) -> dict[str, Any]:
    """Write the tokenizer's files."""
    borrowed = borrowed_pieces(Path(settings.borrow).expanduser()) if settings.borrow else {}
    mandatory = [_mandatory(stage) for stage in settings.stages]
    samples = [
        sample_texts(_texts(stage, "train"), max_characters=settings.sample_characters, seed=settings.seed)
        for stage in settings.stages
    ]
    stages = [
        LanguageStage(sample.texts, stage.pieces, pieces)
        for stage, sample, pieces in zip(settings.stages, samples, mandatory, strict=True)
    ]
    trained = train_unigram(stages, borrowed=borrowed, max_characters=settings.max_characters, progress=context.progress)
    write_unigram_tokenizer(trained.model, context.out_dir)
    return {
        "vocab_size": len(trained.model.pieces),
        "num_fixed_tokens": len(FIXED_TOKENS),
        "num_borrowed_pieces": trained.num_borrowed,
        "num_unseen_pieces": trained.num_unseen,
        "stages": [
            _stage_results(*parts) for parts in zip(settings.stages, samples, mandatory, trained.stage_pieces, strict=True)
        ],
        "efficiency": _efficiency(settings, context),
        "examples": _examples(trained),
    }


def _texts(stage: TokenizerStage, split: Split) -> Iterator[str]:
    for source in stage.corpus:
        for found in read_domain_texts(source):
            if found.split == split:
                yield found.text


def _mandatory(stage: TokenizerStage) -> tuple[str, ...]:
    """The pieces of the files, one a line, with ▁ for a space."""
    pieces: dict[str, None] = {}
    for name in stage.mandatory or ():
        path = corpus_file(name)
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except UnicodeDecodeError as error:
            raise InputFileError(f"{path} is not UTF-8 (byte {error.start})") from None
        for number, line in enumerate(lines, start=1):
            piece = line.replace(" ", "▁")
            if piece in FIXED_TOKENS:
                raise InputFileError(f"{path} line {number} is {line!r}, which every vocabulary has")
            if piece:
                pieces[piece] = None
    return tuple(pieces)


def _stage_results(
    stage: TokenizerStage, sample: TextSample, mandatory: tuple[str, ...], pieces: tuple[str, ...]
) -> dict[str, Any]:
    return {
        "corpus": list(stage.corpus),
        "num_pieces": len(pieces),
        "num_mandatory_pieces": len(mandatory),
        "num_documents": sample.num_documents,
        "num_characters": sample.num_characters,
        "num_sampled_characters": sample.num_sampled_characters,
    }


def _efficiency(settings: TrainTokenizerSettings, context: StageContext) -> dict[str, Any]:
    """What held-out text comes to, each file by itself; before: with the tokenizer that pieces were borrowed from."""
    sources = list(dict.fromkeys(name for stage in settings.stages for name in stage.corpus))
    texts = heldout_by_domain(sources, most_characters=_MEASURED_CHARACTERS)
    before = Path(settings.borrow).expanduser() if settings.borrow else None
    return compare(before, context.out_dir, texts, [Path(name).expanduser() for name in settings.compare_with or ()])


def _examples(trained: TrainedUnigram) -> list[str]:
    """Frequent longer pieces of the last stage, for people to look at."""
    longer = (piece.replace("▁", " ").strip() for piece in trained.stage_pieces[-1])
    return list(islice(dict.fromkeys(piece for piece in longer if len(piece) > 1), _NUM_EXAMPLES))
