"""The YAML at the top of a model card, with the scores as a model index."""

from __future__ import annotations

from huggingface_hub import EvalResult, ModelCardData

from moyai.report.lineage import RunReport
from moyai.report.scores import ModelScores
from moyai.report.wording import language_name


def front_matter(report: RunReport) -> str:
    """YAML that `huggingface_hub.metadata_load` reads: licence, base model, tags and the final scores."""
    is_mixture = any(stage.kind == "upcycle" for stage in report.lineage)
    tags = ["moyai", "japanese", "english"]
    tags += ["mixture-of-experts", "moe", "upcycling"] if is_mixture else []
    tags += ["vocabulary-extension"] if any(stage.kind == "extend" for stage in report.lineage) else []
    tags += ["gguf"] if report.release else []
    scores = report.final_scores
    data = ModelCardData(
        language=list(report.languages),
        license=report.card.license,
        base_model=report.base_repo,
        library_name="transformers",
        pipeline_tag="text-generation",
        tags=tags,
        model_name=report.title,
        eval_results=(
            _eval_results(scores, report.suite.suite, report.languages) if scores and report.suite else None
        ),
    )
    return data.to_yaml(line_break="\n") + "\n"


def _eval_results(scores: ModelScores, suite: str, languages: tuple[str, ...]) -> list[EvalResult] | None:
    found = [
        EvalResult(
            task_type="text-generation",
            dataset_type=f"moyai-{suite}-{language}",
            dataset_name=f"moyai {suite} suite: held-out {language_name(language).en} text",
            dataset_split="heldout",
            metric_type="bits_per_byte",
            metric_name=f"bits per byte ({language_name(language).en}, lower is better)",
            metric_value=round(scores.bits_per_byte[language], 4),
        )
        for language in languages
        if language in scores.bits_per_byte
    ]
    if scores.quiz:
        low, high = scores.quiz.interval
        detail = f"95 % interval {low:.2f}–{high:.2f}, {scores.quiz.num_questions} questions"
        found.append(
            EvalResult(
                task_type="text-generation",
                dataset_type=f"moyai-{suite}-quiz",
                dataset_name=f"moyai {suite} suite: Japanese five-choice quiz",
                dataset_split="test",
                metric_type="accuracy",
                metric_name=f"accuracy ({detail})",
                metric_value=round(scores.quiz.accuracy, 4),
            )
        )
    return found or None
