"""export: a GGUF file, loaded and run by llama.cpp before it counts as done."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import Any

from moyai.errors import FailedError
from moyai.generation.llama_cpp import LlamaCpp
from moyai.gguf.tensor_types import GgufType
from moyai.gguf.write import checkpoint_to_gguf
from moyai.progress import Progress
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

    The file keeps its final name only if llama.cpp loads it and cuts the check strings into the tokenizer's ids.

    Raises:
        InputFileError: the checkpoint says something that a GGUF cannot.
        FailedError: llama.cpp does not load the file, or cuts text into other tokens.
        DiskSpaceError: the disk cannot hold the file.
    """
    unproven = path.with_name(f"{path.stem}.unproven.gguf")
    written = checkpoint_to_gguf(checkpoint_dir, unproven, type=type, progress=progress, name=checkpoint_dir.resolve().name)
    progress.note("llama.cpp loads and runs the file")
    answer = _prove(checkpoint_dir, unproven)
    unproven.replace(path)
    return {
        "file": path.name,
        "type": type,
        "num_bytes": written.num_bytes,
        "num_tensors_by_type": dict(written.num_tensors),
        "num_fallback_tensors": written.num_fallback_tensors,
        "llama_cpp": {
            "version": f"xllamacpp {version('xllamacpp')}",
            "prompt": _QUESTION,
            "answer": answer,
            "token_ids_agree": True,
            "num_strings_compared": len(_CHECK_STRINGS),
        },
    }


def _prove(checkpoint_dir: Path, path: Path) -> str:
    """llama.cpp's answer to a question, once its ids are the tokenizer's."""
    tokenizer = TextTokenizer(checkpoint_dir)
    with LlamaCpp(path) as model:
        for text in _CHECK_STRINGS:
            ours, theirs = tokenizer.encode(text), model.tokenize(text)
            if ours != theirs:
                raise FailedError(
                    f"llama.cpp cuts {text!r} into {theirs}, the tokenizer of {checkpoint_dir} into {ours}",
                    hint=f"the file was left at {path}",
                )
        messages = [{"role": "user", "content": _QUESTION}]
        return "".join(model.chat(messages, max_tokens=48, temperature=0.0))
