"""export: a GGUF file, loaded and run by llama.cpp before it counts as done."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

from moyai.errors import FailedError
from moyai.generation.llama_cpp import LlamaCpp
from moyai.gguf.write import checkpoint_to_gguf
from moyai.recipe.settings import ExportSettings
from moyai.stages.contract import StageContext
from moyai.tokenizer.text import TextTokenizer

REVISION = 1

_QUESTION = "日本の首都はどこですか。"


def run(settings: ExportSettings, context: StageContext) -> dict[str, Any]:
    """Write the file, load it in llama.cpp, compare token ids, and let it answer."""
    (checkpoint_dir,) = context.inputs.values()
    path = context.out_dir / f"model.{settings.type}.gguf"
    if not path.exists():
        checkpoint_to_gguf(checkpoint_dir, path, type=settings.type, progress=context.progress)
    context.progress.note("llama.cpp loads and runs the file")
    model = LlamaCpp(path)
    try:
        ours = TextTokenizer(checkpoint_dir).encode(_QUESTION)
        theirs = model.tokenize(_QUESTION)
        if ours != theirs:
            raise FailedError(f"llama.cpp cuts {_QUESTION!r} into {theirs}, the tokenizer into {ours}")
        messages = [{"role": "user", "content": _QUESTION}]
        answer = "".join(model.chat(messages, max_tokens=48, temperature=0.0))
    finally:
        model.close()
    return {
        "file": path.name,
        "type": settings.type,
        "num_bytes": path.stat().st_size,
        "llama_cpp": {
            "version": f"xllamacpp {version('xllamacpp')}",
            "prompt": _QUESTION,
            "answer": answer,
            "token_ids_agree": True,
        },
    }
