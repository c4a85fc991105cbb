"""Sentences that follow from the records: the result in one line, and what must stand beside the scores."""

from __future__ import annotations

from moyai.report.lineage import RunReport
from moyai.report.number_format import format_change, format_ratio, format_share
from moyai.report.scores import GUESSING, Change, Measured, ScoreRow, score_rows
from moyai.report.wording import Bilingual, language_name

_FLOAT_TYPES = {"F32", "F16", "BF16", "F64"}
# Continued pre-training that taught models of a billion parameters Japanese took more than 10^10 tokens.
_FEW_TOKENS = 1_000_000_000
_VERDICTS = {"better": "改善", "worse": "悪化", "same": "変化なし"}


def final_row(report: RunReport) -> ScoreRow | None:
    """The final checkpoint's line of the results table."""
    final = report.final_scores
    return next((row for row in score_rows(report.scores) if final and row.name == final.name), None)


def headline(report: RunReport) -> Bilingual | None:
    """The result against the base in one line, or None where nothing can be compared."""
    row = final_row(report)
    if row is None:
        return None
    parts = [
        part for language in report.languages if (part := _bits(language, row.bits_per_byte.get(language)))
    ]
    pieces = row.characters_per_token.get("ja")
    if pieces and pieces.change:
        times = format_ratio(pieces.change)
        parts.insert(0, Bilingual(f"日本語の文字/トークン {times}", f"Japanese characters per token {times}"))
    if not parts:
        return None
    return Bilingual("、".join(part.ja for part in parts), "; ".join(part.en for part in parts))


def _bits(language: str, measured: Measured | None) -> Bilingual | None:
    if measured is None or measured.change is None:
        return None
    name, change = language_name(language), measured.change
    figures = f"{change.before:.3f}\u00a0→\u00a0{change.after:.3f}"
    return Bilingual(
        f"{name.ja} bits/byte {figures}（{format_change(change)}、{_VERDICTS[change.verdict]}）",
        f"{name.en} bits per byte {figures} ({format_change(change)}, {change.verdict})",
    )


def score_notes(report: RunReport) -> list[Bilingual]:
    """What must stand beside every score: the state of the base weights, guessing, what became worse."""
    notes = [note for note in (_quantized(report), _quiz(report), _same_collection(report)) if note]
    row = final_row(report)
    for language in report.languages:
        measured = row.bits_per_byte.get(language) if row else None
        if measured and measured.change and measured.change.verdict == "worse":
            notes.append(_became_worse(language, measured.change))
    return notes + [Bilingual(note, "") for note in report.card.notes]


def _quantized(report: RunReport) -> Bilingual | None:
    found = (report.base.results.get("quantization") if report.base else None) or {}
    types = {name: count for name, count in found.items() if name not in _FLOAT_TYPES}
    if not types:
        return None
    names, share = " + ".join(types), f"{sum(types.values())}/{sum(found.values())}"
    return Bilingual(
        f"元モデルの重みは {names} 量子化（{share} テンソル）を復元したものです。"
        "元モデルの点数はこの復元した重みのもので、公開された元の重みの点数ではありません。",
        f"The base weights are de-quantised from {names} ({share} tensors): every score of the base "
        "is that of these weights, not of the originally published ones.",
    )


def _quiz(report: RunReport) -> Bilingual | None:
    final, base = report.final_scores, report.scores[0].quiz if report.scores else None
    if final is None or final.quiz is None:
        return None
    guess = GUESSING.get(report.suite.suite) if report.suite else None
    if guess is not None and final.quiz.holds(guess):
        return _no_better_than(guess)
    if base is None or base == final.quiz or not base.overlaps(final.quiz):
        return None
    return Bilingual(
        "元モデルと最終モデルの正答率の区間は重なっており、差があるとは言えません。",
        "The quiz intervals of the base and of the final model overlap: no difference is shown.",
    )


def _no_better_than(guess: float) -> Bilingual:
    return Bilingual(
        f"クイズの正答率は、当て推量（{format_share(guess)}）と区別できません。",
        f"The quiz accuracy cannot be told apart from guessing ({format_share(guess)}).",
    )


def _same_collection(report: RunReport) -> Bilingual | None:
    trained = {name for stage in report.trainings for name in stage.results["sources"]}
    if report.suite is None or trained.isdisjoint(report.suite.texts.values()):
        return None
    return Bilingual(
        "評価文は学習に使っていませんが、学習文と同じ文集から取ったものです。"
        "bits/byte の改善には、文体への慣れも含まれます。",
        "The test text was not trained on, but it comes from the same collection as the training text: "
        "part of any gain in bits per byte is familiarity with its style.",
    )


def _became_worse(language: str, change: Change) -> Bilingual:
    name, figure = language_name(language), format_change(change)
    return Bilingual(
        f"{name.ja}の bits/byte は元モデルより悪くなりました（{figure}）。",
        f"{name.en} bits per byte became worse than the base's ({figure}).",
    )


def limitations(report: RunReport) -> list[Bilingual]:
    """What the model is not fit for, as far as the records tell."""
    unsafe = Bilingual(
        "事実の誤り、偏見、不適切な内容を含む文を生成することがあります。安全性は評価も調整もしていません。",
        "It can state falsehoods and produce biased or harmful text; safety was neither tuned nor measured.",
    )
    return [_trained_on(report.num_training_tokens), unsafe] if report.trainings else [unsafe]


def _trained_on(num_tokens: int) -> Bilingual:
    ja, en = f"学習は {num_tokens:,} トークン", f"It was trained on {num_tokens:,} tokens here"
    if num_tokens >= _FEW_TOKENS:
        return Bilingual(f"{ja}です。", f"{en}.")
    return Bilingual(
        f"{ja}だけです。新しい知識や流暢な文章は望めません。",
        f"{en}, far too few for new knowledge or fluent writing.",
    )
