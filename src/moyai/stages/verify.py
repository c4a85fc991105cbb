"""verify: a certificate that two models are, or are not, the same function."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from moyai.corpus.documents import read_documents
from moyai.errors import InputFileError
from moyai.evaluation.certificate import compare_functions
from moyai.progress import Progress
from moyai.recipe.settings import VerifySettings
from moyai.recipe.sources import corpus_file
from moyai.stages.contract import StageContext
from moyai.stages.outside import file_hashes
from moyai.tokenizer.text import TextTokenizer

REVISION = 1


def outside(settings: VerifySettings, cache_dir: Path) -> dict[str, str]:
    """The text's hash."""
    return file_hashes([settings.text])


def run(settings: VerifySettings, context: StageContext) -> dict[str, Any]:
    """Compare the two inputs and write `certificate.json`."""
    (model_name, model_dir), (against_name, against_dir) = context.inputs.items()
    certificate = certify(
        against_dir,
        model_dir,
        text=settings.text,
        num_tokens=settings.tokens,
        tolerance=settings.tolerance,
        progress=context.progress,
    )
    certificate = {"model": model_name, "against": against_name, **certificate}
    (context.out_dir / "certificate.json").write_text(json.dumps(certificate, indent=2), encoding="utf-8")
    return certificate


def certify(
    first_dir: Path, second_dir: Path, *, text: str, num_tokens: int, tolerance: float, progress: Progress
) -> dict[str, Any]:
    """Whether both checkpoints give the same logits, within `tolerance`, on the first tokens of real text.

    Raises:
        InputFileError: their tokenizers differ, so there are no logits to compare.
    """
    first, second = TextTokenizer(first_dir), TextTokenizer(second_dir)
    ids: list[int] = []
    for document in read_documents(corpus_file(text)):
        both = first.encode(document.text), second.encode(document.text)
        if both[0] != both[1]:
            raise InputFileError(f"{first_dir} and {second_dir} cut document {document.id} of {text} into other tokens")
        ids.extend([first.document_start, *both[0]])
        if len(ids) >= num_tokens:
            break
    ids = ids[:num_tokens]
    with progress.bar("verify", total=len(ids), unit="tokens") as bar:
        certificate = compare_functions(first_dir, second_dir, ids, bar)
    return {
        **asdict(certificate),
        "text": text,
        "tolerance": tolerance,
        "same_function": certificate.max_abs_logit_difference <= tolerance,
    }
