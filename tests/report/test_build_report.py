"""Card and page of a finished run, of one that stopped early, and of one with hostile words in it."""

from __future__ import annotations

import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
from rich.console import Console

from moyai.errors import InputFileError, RecipeError
from moyai.report import build_report, summary_table

_VOID = {"meta", "br", "link", "img", "hr", "input"}
_LOADS = {"src", "href", "xlink:href", "srcset", "data", "action"}


class _Page(HTMLParser):
    """Balance of tags, and everything that a browser would fetch."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.loads: list[str] = []
        self.ids: list[str] = []
        self.headers_without_scope = 0
        self.drawings_without_words = 0
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._see(tag, dict(attrs))
        if tag not in _VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._see(tag, dict(attrs))

    def _see(self, tag: str, attributes: dict[str, str | None]) -> None:
        self.tags.append(tag)
        self.loads += [value for key, value in attributes.items() if key in _LOADS and value]
        self.ids += [value for key, value in attributes.items() if key == "id" and value]
        self.headers_without_scope += tag == "th" and "scope" not in attributes
        self.drawings_without_words += tag == "svg" and not {"aria-label", "aria-hidden"} & attributes.keys()

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag


def _page(run_dir: Path) -> tuple[str, _Page]:
    text = build_report(run_dir).page.read_text(encoding="utf-8")
    return text, _Page(text)


def _terminal(run_dir: Path) -> str:
    console = Console(width=140)
    with console.capture() as capture:
        console.print(summary_table(run_dir))
    return capture.get()


def test_nothing_but_two_files_is_written(make_run: Any) -> None:
    run_dir = make_run()
    before = {path.name for path in run_dir.iterdir()}
    paths = build_report(run_dir)
    assert (paths.card.name, paths.page.name) == ("README.md", "index.html")
    assert {path.name for path in run_dir.iterdir()} == before | {"README.md", "index.html"}


def test_report_is_the_same_each_time(finished: Path) -> None:
    first = (finished / "index.html").read_bytes()
    assert build_report(finished).page.read_bytes() == first


def test_front_matter_is_what_the_hub_reads(finished: Path) -> None:
    card = finished / "README.md"
    data = huggingface_hub.metadata_load(card)
    assert data is not None
    assert data["language"] == ["ja", "en"]
    assert data["license"] == "apache-2.0"
    assert data["base_model"] == "HuggingFaceTB/SmolLM2-135M-Instruct"
    assert (data["library_name"], data["pipeline_tag"]) == ("transformers", "text-generation")
    assert {"mixture-of-experts", "gguf", "vocabulary-extension"} <= set(data["tags"])
    loaded = huggingface_hub.ModelCard.load(card).data
    results = {
        (result.metric_type, result.dataset_type): result.metric_value for result in loaded.eval_results or []
    }
    assert results == {
        ("bits_per_byte", "moyai-starter-ja"): 1.8391,
        ("bits_per_byte", "moyai-starter-en"): 1.1693,
        ("accuracy", "moyai-starter-quiz"): 0.2929,
    }


def test_card_says_how_it_was_made_and_what_became_worse(finished: Path) -> None:
    text = (finished / "README.md").read_text(encoding="utf-8")
    for said in (
        "1.839 (−20.5 %, better)",
        "1.169 (+3.4 %, worse)",
        "29.3 % (41/140; 22–37 %)",
        "de-quantised from Q4_1 + Q8_0 (211/272 tensors)",
        "English bits per byte became worse",
        "A first step, not a product.",
        "374M parameters, 215M active per token",
        "logits differ by at most 1.2e-5 and 6.5e-7 on average",
            "made by `copy`",
        "`starter:chat`, 41,300 tokens of 380 documents, 1.00 epochs, CC0-1.0",
        'directory = "06-sft"',
        "moyai chat 08-export/model.q8_0.gguf",
        "moyai run recipe.yaml",
        "torch 2.11.0",
        "8.20 GB",
        "2026-08-01",
    ):
        assert said in text
    table = [line for line in text.split("## 作り方")[0].splitlines() if line.startswith("| ")]
    assert len(table) == 2 + 6
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in table} == {7}


def test_page_holds_every_figure(finished: Path) -> None:
    text = (finished / "index.html").read_text(encoding="utf-8")
    for figure in ("2.313", "2.654", "2.101", "1.824", "1.839", "1.130", "1.154", "1.169"):
        assert figure in text
    for said in (
        "−20.5 %", "+14.8 %", "+3.4 %", "±0.0 %", "×1.98", "29.3 %", "22–37 %", "悪化 worse", "改善 better",
        "374,035,968", "1.2e-5", "31.2", "50,152", "ことができ", "84,200", "2.46",
        "398 MB", "2026.10.11549", "日本の首都は東京です。", "3 min 33 s", "9 min 23 s",
        "5.25 GB", "8.20 GB", "bcc81830d10c", "Q4_1", "pieces: 1000", "apache-2.0",
    ):  # fmt: skip
        assert said in text


def test_page_is_whole_and_loads_nothing(finished: Path) -> None:
    text = (finished / "index.html").read_text(encoding="utf-8")
    page = _Page(text)
    assert page.open == []
    assert [load for load in page.loads if not load.startswith("#")] == []
    assert not {"script", "link", "img", "iframe", "object"} & set(page.tags)
    assert not re.search(r"url\((?!#)", text)
    assert "@import" not in text
    assert len(page.ids) == len(set(page.ids))
    assert page.headers_without_scope == 0
    assert page.drawings_without_words == 0
    assert {load.removeprefix("#") for load in page.loads} <= set(page.ids)


def test_words_of_users_and_models_stay_words(finished: Path) -> None:
    page = (finished / "index.html").read_text(encoding="utf-8")
    assert "&lt;script&gt;alert" in page
    assert "<script" not in page
    assert "東京です。&lt;i&gt;" in page
    assert "<li>&lt;b&gt;</li>" in page
    assert "<script" not in (finished / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("until", ["init", "extend", "upcycle", "verify", "sft", "evaluate"])
def test_run_that_stopped_early_gives_a_shorter_report(make_run: Any, until: str) -> None:
    run_dir = make_run(until=until)
    text, page = _page(run_dir)
    assert page.open == []
    assert "未完了" in text
    assert "This run is not finished" in (run_dir / "README.md").read_text(encoding="utf-8")
    assert ("Results" in text) == (until == "evaluate")
    assert "not done yet" in _terminal(run_dir)
    assert huggingface_hub.metadata_load(run_dir / "README.md") is not None


def test_run_without_recipe_takes_the_name_of_its_directory(make_run: Any) -> None:
    text, page = _page(make_run(until="extend", recipe=None))
    assert page.open == []
    assert "<title>run · moyai</title>" in text
    assert "未完了" not in text


def test_certificate_that_says_no_is_shown_as_such(make_run: Any) -> None:
    run_dir = make_run(change={"verify": {"same_function": False, "max_abs_logit_difference": 0.41}})
    text, _ = _page(run_dir)
    assert "✗ 同じ関数ではありません" in text
    assert "✓ 同じ関数です" not in text
    assert "**not** the same function" in (run_dir / "README.md").read_text(encoding="utf-8")
    assert "✗ not the same function" in _terminal(run_dir)


def test_summary_has_before_extension_and_end(finished: Path) -> None:
    text = _terminal(finished)
    lines = {line.split("  ")[0]: " ".join(line.split()) for line in text.splitlines() if line.strip()}
    assert "2.313 2.654 +14.8 % 1.839 −20.5 %" in lines["Japanese bits per byte ↓"]
    assert "1.130 1.130 ±0.0 % 1.169 +3.4 %" in lines["English bits per byte ↓"]
    assert "0.56 1.11 +98.2 % 1.11" in lines["Japanese characters per token ↑"]
    assert "25.0 % (18–32 %)" in lines["quiz accuracy (95 % interval) ↑"]
    assert "29.3 % (22–37 %)" in lines["quiz accuracy (95 % interval) ↑"]
    assert "the same function as warmup" in lines["certificate"]
    assert "9 min 23 s" in lines["time"]
    flat = text.replace("\n", "").replace(" ", "")
    for path in ("index.html", "06-sft", "08-export/model.q8_0.gguf"):
        assert f"{finished}/{path}".replace(" ", "") in flat
    assert f"moyaichat{finished}/08-export/model.q8_0.gguf" in flat


def test_empty_directory_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(InputFileError, match="no finished stage"):
        build_report(tmp_path)


def test_broken_files_are_named(make_run: Any) -> None:
    run_dir = make_run()
    (run_dir / "07-evaluate" / "scores.json").write_text('{"suite": 3}', encoding="utf-8")
    with pytest.raises(InputFileError, match=r"scores\.json"):
        build_report(run_dir)
    (run_dir / "05-pretrain" / "training_log.jsonl").write_text('{"step": 1', encoding="utf-8")
    with pytest.raises(InputFileError, match=r"training_log\.jsonl line 1"):
        build_report(run_dir)
    (run_dir / "recipe.yaml").write_text("moyai: 2", encoding="utf-8")
    with pytest.raises(RecipeError):
        build_report(run_dir)
    assert not (run_dir / "README.md").exists()


def test_a_model_without_a_chat_template_is_shown_how_to_go_on_with_a_text(make_run: Callable[..., Path]) -> None:
    run_dir = make_run()
    (run_dir / "06-sft" / "chat_template.jinja").unlink()
    build_report(run_dir)
    card, page = ((run_dir / name).read_text(encoding="utf-8") for name in ("README.md", "index.html"))
    assert "apply_chat_template" not in card
    assert 'inputs = tokenizer("' in card
    assert "moyai chat" not in card + page
    assert "llama-cli" in card
