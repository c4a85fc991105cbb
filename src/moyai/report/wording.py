"""The words for stages and languages, in Japanese and English alike."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from moyai.plan.quantities import format_bytes, format_count
from moyai.report.lineage import StageReport
from moyai.report.number_format import format_small


@dataclass(frozen=True)
class Bilingual:
    """The same said twice."""

    ja: str
    en: str


_LANGUAGE_NAMES = {"ja": Bilingual("日本語", "Japanese"), "en": Bilingual("英語", "English")}

_KIND_NAMES = {
    "train_tokenizer": Bilingual("語彙の学習", "train vocabulary"),
    "init": Bilingual("元モデル", "base"),
    "prepare": Bilingual("コーパスの準備", "prepare corpus"),
    "extend": Bilingual("語彙拡張", "extend vocabulary"),
    "upcycle": Bilingual("アップサイクル", "upcycle to experts"),
    "compose": Bilingual("エキスパートの合成", "compose experts"),
    "chat_vector": Bilingual("チャットベクトル", "add chat vector"),
    "pretrain": Bilingual("継続事前学習", "continued pre-training"),
    "sft": Bilingual("指示学習", "instruction tuning"),
    "verify": Bilingual("同一性の検証", "verify"),
    "evaluate": Bilingual("評価", "evaluate"),
    "export": Bilingual("書き出し", "export"),
}


@dataclass(frozen=True)
class KeyFigure:
    """What a stage came to: one figure, and a second line."""

    figure: str
    detail: str


def language_name(language: str) -> Bilingual:
    """The words for a language; its code where there are none."""
    return _LANGUAGE_NAMES.get(language, Bilingual(language, language))


def kind_name(kind: str) -> Bilingual:
    """The words for a kind of stage; the kind itself where there are none."""
    return _KIND_NAMES.get(kind, Bilingual("", kind))


def key_figure(stage: StageReport) -> KeyFigure:
    """The figure to remember of one finished stage; empty lines where its record does not hold it."""
    make = _KEY_FIGURES.get(stage.kind)
    return make(stage.results) if make else KeyFigure("", "")


def _count(results: dict[str, Any], key: str, unit: str) -> str:
    return f"{format_count(results[key])} {unit}" if results.get(key) is not None else ""


def _init(results: dict[str, Any]) -> KeyFigure:
    return KeyFigure(_count(results, "num_parameters", "parameters"), str(results.get("model_name", "")))


def _train_tokenizer(results: dict[str, Any]) -> KeyFigure:
    borrowed = results.get("num_borrowed_pieces")
    stages = len(results.get("stages", ()))
    detail = f"{stages} stage{'s' if stages != 1 else ''}" + (f", {borrowed:,} borrowed" if borrowed else "")
    return KeyFigure(f"vocabulary {results['vocab_size']:,}" if "vocab_size" in results else "", detail)


def _prepare(results: dict[str, Any]) -> KeyFigure:
    kept, read = results.get("num_documents"), results.get("num_read")
    detail = f"{kept:,} of {read:,} documents" if kept is not None and read is not None else ""
    return KeyFigure(_count(results, "num_tokens", "tokens"), detail)


def _extend(results: dict[str, Any]) -> KeyFigure:
    pieces = f"+{results['num_pieces']:,} pieces" if "num_pieces" in results else ""
    return KeyFigure(pieces, f"vocabulary {results['vocab_size']:,}" if "vocab_size" in results else "")


def _upcycle(results: dict[str, Any]) -> KeyFigure:
    experts = f"{results['experts']} experts, {results['active']} active" if "experts" in results else ""
    total, active = results.get("num_parameters"), results.get("num_active_parameters")
    size = f"{format_count(total)}, {format_count(active)} active" if total and active else ""
    return KeyFigure(experts, size)


def _chat_vector(results: dict[str, Any]) -> KeyFigure:
    vectors = results.get("vectors", ())
    ratios = ", ".join(f"{vector['ratio']:g} × {vector['chat']}" for vector in vectors)
    return KeyFigure(f"{len(vectors)} vector{'s' if len(vectors) != 1 else ''}", ratios)


def _training(results: dict[str, Any]) -> KeyFigure:
    first, last = results.get("first_loss"), results.get("last_loss")
    loss = f"loss {first:.2f} → {last:.2f}" if first is not None and last is not None else ""
    return KeyFigure(_count(results, "num_tokens", "tokens"), loss)


def _verify(results: dict[str, Any]) -> KeyFigure:
    if "same_function" not in results:
        return KeyFigure("", "")
    verdict = "✓ same function" if results["same_function"] else "✗ function differs"
    return KeyFigure(verdict, f"max |Δ logit| {format_small(results['max_abs_logit_difference'])}")


def _evaluate(results: dict[str, Any]) -> KeyFigure:
    return KeyFigure(f"{len(results.get('models', ()))} checkpoints", f"suite {results.get('suite', '')}")


def _export(results: dict[str, Any]) -> KeyFigure:
    size = f" · {format_bytes(results['num_bytes'])}" if "num_bytes" in results else ""
    answered = "✓ llama.cpp answers" if (results.get("llama_cpp") or {}).get("answer") else ""
    return KeyFigure(f"{results.get('type', '')}{size}", answered)


_KEY_FIGURES: dict[str, Callable[[dict[str, Any]], KeyFigure]] = {
    "train_tokenizer": _train_tokenizer,
    "init": _init,
    "prepare": _prepare,
    "extend": _extend,
    "upcycle": _upcycle,
    "compose": _upcycle,
    "chat_vector": _chat_vector,
    "pretrain": _training,
    "sft": _training,
    "verify": _verify,
    "evaluate": _evaluate,
    "export": _export,
}
