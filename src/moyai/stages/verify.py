"""verify: a certificate that two models are, or are not, the same function."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from moyai.checkpoint.disk import replace_file
from moyai.corpus.reading.documents import read_documents
from moyai.errors import InputFileError
from moyai.evaluation.certificate import certify
from moyai.progress import Progress
from moyai.recipe.settings import VerifySettings
from moyai.recipe.sources import corpus_file
from moyai.stages.contract import StageContext
from moyai.stages.outside import file_hashes
from moyai.tokenizer.text import TextTokenizer

REVISION = 3

CERTIFICATE_NAME = "certificate.json"


def outside(settings: VerifySettings, cache_dir: Path) -> dict[str, str]:
    """The text's hash."""
    return file_hashes([settings.text])


def run(settings: VerifySettings, context: StageContext) -> dict[str, Any]:
    """Compare the two inputs and write `certificate.json`; the results are the same without its layers."""
    (model_name, model_dir), (against_name, against_dir) = context.inputs.items()
    certificate = make_certificate(
        against_dir,
        model_dir,
        text=settings.text,
        num_tokens=settings.tokens,
        tolerance=settings.tolerance,
        progress=context.progress,
    )
    certificate = {"model": model_name, "against": against_name, **certificate}
    write_certificate(certificate, context.out_dir)
    return {name: value for name, value in certificate.items() if name != "layers"}


def make_certificate(
    against_dir: Path, model_dir: Path, *, text: str, num_tokens: int, tolerance: float, progress: Progress
) -> dict[str, Any]:
    """Whether a checkpoint is the same function as another, on the first tokens of real text.

    Raises:
        InputFileError: their tokenizers differ, so there are no logits to compare, or the text is too short.
    """
    ids = _common_tokens(against_dir, model_dir, text, num_tokens)
    with progress.bar("verify", total=len(ids), unit="tokens") as bar:
        certificate = certify(against_dir, model_dir, ids, tolerance=tolerance, bar=bar)
    return {**certificate.to_dict(), "text": text}


def write_certificate(certificate: dict[str, Any], directory: Path) -> None:
    """Write `certificate.json`, whole or not at all."""
    text = json.dumps(certificate, indent=2, ensure_ascii=False, allow_nan=False)
    replace_file(directory / CERTIFICATE_NAME, text.encode() + b"\n")


def _common_tokens(first_dir: Path, second_dir: Path, text: str, num_tokens: int) -> list[int]:
    first, second = TextTokenizer(first_dir), TextTokenizer(second_dir)
    ids: list[int] = []
    for document in read_documents(corpus_file(text)):
        both = first.encode(document.text), second.encode(document.text)
        if both[0] != both[1]:
            raise InputFileError(f"{first_dir} and {second_dir} cut document {document.id} of {text} into other tokens")
        ids.extend([first.document_start, *both[0]])
        if len(ids) >= num_tokens:
            break
    if len(ids) < 2:
        raise InputFileError(f"{text} has no text", hint="give a text of a few thousand tokens")
    return ids[: max(num_tokens, 2)]
