"""export: a GGUF file, loaded and run by llama.cpp before it counts as done."""

from __future__ import annotations

from collections import Counter
from importlib.metadata import version
from pathlib import Path
from typing import Any

from moyai.errors import FailedError
from moyai.generation.llama_cpp import LlamaCpp
from moyai.gguf.differences import known_difference
from moyai.gguf.tensor_types import GgufType
from moyai.gguf.tokenizer_files import read_tokenizer_files
from moyai.gguf.write import checkpoint_to_gguf
from moyai.progress import Progress
from moyai.recipe.architecture import read_architecture, read_config
from moyai.recipe.settings import ExportSettings
from moyai.stages.contract import StageContext
from moyai.tokenizer.text import TextTokenizer

REVISION = 2

_QUESTION = "日本の首都はどこですか。"
# What tokenizers differ on: kana, kanji, half and full width, emoji, digits, spaces, line ends, code.
_CHECK_STRINGS = (
    _QUESTION,
    "吾輩は猫である。名前はまだ無い。",
    "ｶﾀｶﾅとカタカナ、ＡＢＣとABC、①と㍿",
    "The quick brown fox jumps over 12,345 lazy dogs.",
    "  two spaces,\ttab\nand\n\nlines  ",
    "def f(x):\n    return x ** 2  # 二乗",
    "😀👩‍👩‍👧 é が 鬱 𠮟る",
    "https://example.com/?q=1&lang=ja",
)


def run(settings: ExportSettings, context: StageContext) -> dict[str, Any]:
    """Write the file, load it in llama.cpp, compare token ids, and let it answer."""
    (checkpoint_dir,) = context.inputs.values()
    path = context.out_dir / f"model.{settings.type}.gguf"
    return export(checkpoint_dir, path, type=settings.type, progress=context.progress)


def export(checkpoint_dir: Path, path: Path, *, type: GgufType, progress: Progress) -> dict[str, Any]:
    """Write `checkpoint_dir` as the GGUF file `path` and let llama.cpp prove it; returns what the record holds.

    The file gets its final name only if llama.cpp loads it and cuts the check strings into the tokenizer's ids.  Where
    no GGUF can say what the tokenizer does, the strings that are cut otherwise are counted, with the reasons.

    Raises:
        InputFileError: the checkpoint says something that a GGUF cannot.
        FailedError: llama.cpp does not load the file, or cuts text into other tokens for no known reason.
        DiskSpaceError: the disk cannot hold the file.
    """
    unproven = path.with_name(f"{path.stem}.unproven.gguf")
    written = checkpoint_to_gguf(checkpoint_dir, unproven, type=type, progress=progress, name=checkpoint_dir.resolve().name)
    progress.note("llama.cpp loads and runs the file")
    with LlamaCpp(unproven) as model:
        reasons = _token_differences(checkpoint_dir, model, unproven)
        messages = [{"role": "user", "content": _QUESTION}]
        answer = "".join(model.chat(messages, max_tokens=48, temperature=0.0))
    notes = _notes(checkpoint_dir, reasons)
    for note in notes:
        progress.note(note)
    unproven.replace(path)
    return {
        "file": path.name,
        "type": type,
        "num_bytes": written.num_bytes,
        "num_tensors_by_type": dict(written.num_tensors),
        "num_fallback_tensors": written.num_fallback_tensors,
        "notes": notes,
        "llama_cpp": {
            "version": f"xllamacpp {version('xllamacpp')}",
            "prompt": _QUESTION,
            "answer": answer,
            "token_ids_agree": not reasons,
            "num_strings_compared": len(_CHECK_STRINGS),
            "num_strings_that_differ": len(reasons),
        },
    }


def _token_differences(checkpoint_dir: Path, model: LlamaCpp, path: Path) -> list[str]:
    """Why each of the check strings that llama.cpp cuts otherwise is cut otherwise."""
    tokenizer = TextTokenizer(checkpoint_dir)
    vocabulary = read_tokenizer_files(checkpoint_dir, vocab_size=read_architecture(checkpoint_dir).vocab_size)
    reasons = []
    for text in _CHECK_STRINGS:
        ours, theirs = tokenizer.encode(text), model.tokenize(text)
        if ours == theirs:
            continue
        reason = known_difference(vocabulary, text)
        if not reason:
            raise FailedError(
                f"llama.cpp cuts {text!r} into {theirs}, the tokenizer of {checkpoint_dir} into {ours}",
                hint=f"the file was left at {path}",
            )
        reasons.append(reason)
    return reasons


def _notes(checkpoint_dir: Path, reasons: list[str]) -> list[str]:
    notes = [
        f"{count} of {len(_CHECK_STRINGS)} check strings become other tokens: {reason}"
        for reason, count in Counter(reasons).items()
    ]
    config = read_config(checkpoint_dir)
    if config.get("sliding_window") and config.get("use_sliding_window", True):
        notes.append(
            f"llama.cpp attends to everything, the model to the last {config['sliding_window']} tokens: they are the same"
            " on shorter texts"
        )
    return notes
