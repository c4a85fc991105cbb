"""The model card: README.md with the front matter that the Hugging Face hub reads."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from moyai.plan.quantities import format_bytes, format_count, format_seconds
from moyai.recipe.composition import STAGE_PREFIX
from moyai.report.corpora import prepared_line
from moyai.report.front_matter import front_matter
from moyai.report.lineage import RECIPE_NAME, RunReport, StageReport
from moyai.report.number_format import format_change, format_interval, format_share, format_small
from moyai.report.scores import Measured, Quiz, score_rows
from moyai.report.statements import headline, limitations, score_notes
from moyai.report.tokenizers import vocabulary_reports
from moyai.report.wording import key_figure, kind_name, language_name

_STARTER_LICENCE = "CC0-1.0"


def render_card(report: RunReport) -> str:
    """The whole text of README.md; sections of which nothing is known are left out."""
    sections = [
        _opening(report),
        _results(report),
        _route(report),
        _vocabularies(report),
        _certificates(report),
        _use(report),
        _data(report),
        _limits(report),
        _reproduce(report),
    ]
    body = "\n\n".join("\n".join(lines) for lines in sections if lines)
    return f"---\n{front_matter(report)}---\n\n{body}\n"


def _opening(report: RunReport) -> list[str]:
    lines = [f"# {_plain(report.title)}", ""]
    summary = report.card.summary or (report.recipe.description if report.recipe else "")
    if summary:
        lines += [_plain(summary), ""]
    result = headline(report)
    if result:
        lines += [f"**{result.ja}**", "", f"**{result.en}**", ""]
    if report.remaining:
        names = ", ".join(step.name for step in report.remaining)
        lines += [f"> This run is not finished: {names} to do.", ""]
    final = report.final
    if final:
        lines.append(f"A {_shape(report)} made with moyai from {_base(report)}.")
    return lines


def _shape(report: RunReport) -> str:
    upcycled = next((stage for stage in report.lineage[::-1] if stage.kind == "upcycle"), None)
    if upcycled is None:
        total = report.num_parameters
        size = f" of {format_count(total)} parameters" if total else ""
        return f"dense Japanese/English language model{size},"
    results = upcycled.results
    size = (
        f" of {format_count(results['num_parameters'])} parameters, "
        f"{format_count(results['num_active_parameters'])} active per token"
        if {"num_parameters", "num_active_parameters"} <= results.keys()
        else ""
    )
    experts = f" ({results['experts']} experts, {results['active']} active)" if "experts" in results else ""
    return f"Japanese/English mixture-of-experts language model{size}{experts},"


def _base(report: RunReport) -> str:
    if report.of_kind("train_tokenizer"):
        return "nothing: vocabulary and weights were trained from the start"
    repo = report.base_repo
    link = f"[{repo}](https://huggingface.co/{repo})" if repo else ""
    source = f"`{_plain(report.base_source)}`"
    return f"{link} (source: {source})" if link and repo != report.base_source else link or source


def _results(report: RunReport) -> list[str]:
    rows = score_rows(report.scores)
    if not rows:
        return []
    words = [language_name(language) for language in report.languages]
    bits = [f"{word.ja} bits/byte ({word.en}) ↓" for word in words]
    pieces = [f"{word.ja} 文字/トークン ({word.en} chars/token) ↑" for word in words]
    lines = [
        "## 結果 Results",
        "",
        *_table_head(["checkpoint", *bits, *pieces, "クイズ quiz accuracy (95 %) ↑"]),
    ]
    for row in rows:
        cells = [row.name]
        cells += [_measured(row.bits_per_byte.get(language), 3) for language in report.languages]
        cells += [_measured(row.characters_per_token.get(language), 2) for language in report.languages]
        cells.append(_quiz(row.quiz))
        lines.append(_table_line(cells))
    numbers = next((model.num_documents for model in report.scores if model.num_documents), {})
    texts = ", ".join(f"{count} {language_name(language).en}" for language, count in numbers.items())
    assert report.suite is not None
    lines += ["", f"Suite `{report.suite.suite}`; changes are against `{rows[0].name}`"]
    lines[-1] += f"; bits per byte over {texts} texts." if texts else "."
    return [*lines, "", *(f"- {_plain(note.en or note.ja)}" for note in score_notes(report))]


def _measured(measured: Measured | None, digits: int) -> str:
    if measured is None:
        return ""
    value = f"{measured.value:.{digits}f}"
    if measured.change is None:
        return value
    verdict = "" if measured.change.verdict == "same" else f", {measured.change.verdict}"
    return f"{value} ({format_change(measured.change)}{verdict})"


def _quiz(quiz: Quiz | None) -> str:
    if quiz is None:
        return ""
    counts = f"{quiz.num_correct}/{quiz.num_questions}"
    return f"{format_share(quiz.accuracy)} ({counts}; {format_interval(quiz)})"


def _route(report: RunReport) -> list[str]:
    head = ["stage", "what", "from", "result", "tokens", "time", "peak memory", "fingerprint"]
    lines = ["## 作り方 How it was made", "", *_table_head(head)]
    for stage in report.stages:
        figure, tokens = key_figure(stage), stage.results.get("num_tokens")
        lines.append(
            _table_line(
                [
                    stage.name,
                    kind_name(stage.kind).en,
                    ", ".join(stage.parents),
                    "; ".join(part for part in (figure.figure, figure.detail) if part),
                    f"{tokens:,}" if tokens is not None else "",
                    format_seconds(stage.record.seconds),
                    format_bytes(stage.record.peak_bytes),
                    f"`{stage.short_fingerprint}`",
                ]
            )
        )
    total = f"{format_seconds(report.seconds)} in all, at most {format_bytes(report.peak_bytes)} of memory."
    return [*lines, "", total]


def _vocabularies(report: RunReport) -> list[str]:
    lines = []
    for vocabulary in vocabulary_reports(report):
        lines += ["", f"`{_plain(vocabulary.stage.name)}`, held-out text:", ""]
        lines += _table_head(["text", "characters", "characters per token ↑", "bytes per token ↑", *vocabulary.others])
        for each in vocabulary.holdings:
            figures = [(each.characters_before, each.characters_after), (each.bytes_before, each.bytes_after)]
            cells = [f"{after:.2f}" if before is None else f"{before:.2f} → {after:.2f}" for before, after in figures]
            cells += [f"{each.others[other]:.2f}" if other in each.others else "" for other in vocabulary.others]
            lines.append(_table_line([each.text, f"{each.num_characters:,}", *cells]))
    return ["## 語彙 Vocabulary", *lines] if lines else []


def _certificates(report: RunReport) -> list[str]:
    lines = [_certificate(stage.results) for stage in report.of_kind("verify")]
    return ["## 同一性の証明 Certificate", "", *lines] if lines else []


def _certificate(results: Mapping[str, Any]) -> str:
    verdict = "the same function" if results["same_function"] else "**not** the same function"
    made_by = f", made by `{_plain(results['method'])}`" if results.get("method") else ""
    said = (
        f"- `{results['model']}`{made_by}, and `{results['against']}` are {verdict}: logits differ by at most "
        f"{format_small(results['max_abs_logit_difference'])} and {format_small(results['mean_abs_logit_difference'])} "
        f"on average (tolerance {format_small(results['tolerance'])}, largest logit {results['max_abs_logit']:.1f}), "
        f"the loss goes from {results['loss_against']:.4f} to {results['loss']:.4f} nats per token, and on the same input "
        f"no feed-forward layer differs by more than {results['max_local_ulp']:.1f} units in the last place, over "
        f"{results['num_tokens']:,} tokens of `{_plain(source_name(results['text']))}` in {results['dtype']}."
    )
    router = results.get("router")
    if router:
        said += (
            f" Its routers give an expert between {router['min_load']:.0%} and {router['max_load']:.0%} of the choices of"
            f" a layer; mean entropy per token {router['mean_entropy']:.3f} nats."
        )
    return said


def _use(report: RunReport) -> list[str]:
    if report.final is None:
        return []
    directory = report.path_of(report.final)
    lines = [
        "## 使い方 How to use",
        "",
        "```python",
        *_SNIPPET.format(directory=directory, inputs=_CONVERSATION if report.chats else _TEXT).splitlines(),
        "```",
    ]
    commands = [f"moyai chat {directory}"] if report.chats else []
    release = report.release
    if release and "file" in release.results:
        file = report.path_of(release, release.results["file"])
        if report.chats:
            commands += [f"moyai chat {file}        # GGUF, {release.results.get('type', '')}, on llama.cpp"]
        commands += [f"llama-cli -m {file}"]
    return [*lines, "", "```sh", *commands, "```"] if commands else lines


_SNIPPET = """\
from transformers import AutoModelForCausalLM, AutoTokenizer

directory = "{directory}"
tokenizer = AutoTokenizer.from_pretrained(directory)
model = AutoModelForCausalLM.from_pretrained(directory)
{inputs}
output = model.generate(**inputs, max_new_tokens=64, do_sample=False)
print(tokenizer.decode(output[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True))"""


_CONVERSATION = """\
messages = [{"role": "user", "content": "日本で一番高い山は何ですか。"}]
inputs = tokenizer.apply_chat_template(
    messages, add_generation_prompt=True, return_dict=True, return_tensors="pt"
)"""
_TEXT = 'inputs = tokenizer("日本で一番高い山は", return_tensors="pt")'


def _data(report: RunReport) -> list[str]:
    lines = ["## データと利用許諾 Data and licences", ""]
    if report.base and report.base.results.get("license"):
        lines.append(f"- base: {_base(report)}, {_plain(report.base.results['license'])}")
    lines += [prepared_line(stage) for stage in report.of_kind("prepare")]
    for stage in report.trainings:
        for source, counts in stage.results["sources"].items():
            lines.append(
                f"- `{stage.name}`: `{_plain(source_name(source))}`, {counts['tokens']:,} tokens "
                f"of {counts['documents']:,} documents, {counts['epochs']:.2f} epochs, "
                f"{source_licence(source)}"
            )
    return [*lines, f"- this model: {_plain(report.card.license)}"]


def source_name(source: str) -> str:
    """A source as others may read it: without the directories of this machine.

    >>> source_name("starter:ja_text"), source_name("/home/me/texts/ja.jsonl.gz")
    ('starter:ja_text', 'ja.jsonl.gz')
    """
    if source.startswith(STAGE_PREFIX):
        return source.removeprefix(STAGE_PREFIX)
    return source if source.startswith("starter:") else Path(source).name


def source_licence(source: str) -> str:
    """The licence of a training source, as far as moyai knows it."""
    return _STARTER_LICENCE if source.startswith("starter:") else "licence as its owner states"


def _limits(report: RunReport) -> list[str]:
    return ["## 制限 Limitations", "", *(f"- {note.ja} {note.en}" for note in limitations(report))]


def _reproduce(report: RunReport) -> list[str]:
    last: StageReport = report.stages[-1]
    lines = ["## 再現 Reproduce", ""]
    if report.recipe_text:
        lines += [
            f"With moyai {last.record.moyai}:",
            "",
            "```sh",
            f"moyai run {RECIPE_NAME} --out again",
            "```",
            "",
        ]
    for title, field in (("Versions", "versions"), ("Machine", "machine")):
        facts = ", ".join(f"{key} {' / '.join(values)}" for key, values in report.facts(field).items())
        lines += [f"- {title}: {_plain(facts)}"] if facts else []
    return [*lines, f"- moyai {last.record.moyai}, {last.record.started}"]


def _table_head(cells: list[str]) -> list[str]:
    return [_table_line(cells), _table_line(["---"] * len(cells))]


def _table_line(cells: list[str]) -> str:
    return "| " + " | ".join(_plain(cell).replace("|", "\\|") for cell in cells) + " |"


def _plain(text: str) -> str:
    """One line in which nothing is taken for an HTML tag."""
    return " ".join(str(text).split()).replace("<", "&lt;")
