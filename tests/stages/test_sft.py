"""sft: which rows are learnt, on which answers, and with which chat template the model leaves."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

from moyai.errors import InputFileError
from moyai.progress import SilentProgress
from moyai.recipe.settings import SftSettings
from moyai.stages import sft
from moyai.stages.contract import StageContext
from moyai.tokenizer.chat.templates import CHAT_TEMPLATES
from moyai.tokenizer.text import TextTokenizer
from tiny import tiny_model, write_tiny_checkpoint, write_tiny_sentencepiece
from tokenizer.chat_tokenizers import with_special_tokens

ROWS: list[dict[str, Any]] = [
    {"instruction": "Where is the boat?", "input": "", "output": "Beside the pier.", "lang": "en"},
    {"conversations": [
        {"from": "human", "value": "The tide?"}, {"from": "gpt", "value": "Out."},
        {"from": "human", "value": "And now?"}, {"from": "gpt", "value": "In."},
    ]},
    {"messages": [{"role": "user", "content": "舟は？"}, {"role": "assistant", "content": "桟橋に。"}], "lang": "ja"},
]  # fmt: skip
Run = Callable[..., dict[str, Any]]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Runs the stage on a tiny model and some rows; the result is in `out`."""

    def ran(rows: list[dict[str, Any]], parent: Path | None = None, **settings: Any) -> dict[str, Any]:
        data = tmp_path / "data.jsonl"
        data.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
        own = SftSettings(data=(str(data),), batch_tokens=256, row_tokens=256, precision="float32", **settings)
        out = tmp_path / "out"
        out.mkdir()
        parent = parent or write_tiny_checkpoint(tmp_path / "parent")
        context = StageContext(out, {"parent": parent}, tmp_path / "cache", SilentProgress())
        context.resume_dir.mkdir()
        return sft.run(own, context)

    return ran


def test_rows_of_several_shapes_are_learnt(run: Run) -> None:
    results = run(ROWS)
    (source,) = results["sources"].values()
    assert source["documents"] == source["documents_in_source"] == 3
    assert results["chat_template"] == "the parent's"
    assert results["num_broken"] == results["num_left_out"] == {}


def test_only_one_language_is_learnt(run: Run) -> None:
    results = run(ROWS, language="ja")
    (source,) = results["sources"].values()
    assert source["documents_in_source"] == 2, "a row that does not say its language is taken"
    assert results["num_left_out"] == {"row in another language": 1}


def test_a_broken_row_stops(run: Run, tmp_path: Path) -> None:
    with pytest.raises(InputFileError, match=r"data\.jsonl line 4 has columns wrong; known shapes"):
        run([*ROWS, {"wrong": 1}])


def test_or_is_dropped_with_its_reason(run: Run, tmp_path: Path) -> None:
    results = run([{"wrong": 1}, *ROWS, {"question": "", "answer": "x"}], broken="drop")
    (source,) = results["sources"].values()
    assert source["documents_in_source"] == 3
    assert results["num_broken"] == {"unknown columns": 1, "empty text": 1}
    assert results["broken_places"]["empty text"] == [
        f"{tmp_path / 'data.jsonl'} line 5 has question ''; it must say something"
    ]


def test_a_template_that_cannot_be_learnt_names_the_row(run: Run, tmp_path: Path) -> None:
    parent = write_tiny_checkpoint(tmp_path / "parent")
    (parent / "chat_template.jinja").write_text("{{ raise_exception('only one turn') if messages[2] }}"
                                                "{% for m in messages %}{{ m.content }}<|im_end|>{% endfor %}")  # fmt: skip
    with pytest.raises(InputFileError, match=r"data\.jsonl line 2 cannot be learnt: the chat template of .* only one turn"):
        run(ROWS, parent)
    (tmp_path / "out" / "resume").rmdir()
    (tmp_path / "out").rmdir()
    assert run(ROWS, parent, broken="drop")["num_broken"] == {"template fails": 1}


def test_rows_of_which_none_can_be_learnt(run: Run, tmp_path: Path) -> None:
    with pytest.raises(InputFileError, match=r"no conversation of .*data\.jsonl can be learnt: .* line 1 has columns wrong"):
        run([{"wrong": 1}], broken="drop")


def test_the_model_leaves_with_the_named_template(run: Run, tmp_path: Path) -> None:
    parent = tmp_path / "parent"
    tiny_model(vocab_size=480).save_pretrained(parent)
    write_tiny_sentencepiece(parent, "bpe")
    with_special_tokens(parent, CHAT_TEMPLATES["llama-3"].marks)
    (parent / "generation_config.json").write_text('{"bos_token_id": 1, "eos_token_id": 2}')
    results = run(ROWS, parent, chat_template="llama-3")
    out = tmp_path / "out"
    assert results["chat_template"] == "llama-3"
    theirs = AutoTokenizer.from_pretrained(out)
    assert theirs.eos_token == "<|eot_id|>"
    text = theirs.apply_chat_template(ROWS[2]["messages"], tokenize=False)
    assert text.endswith("<|start_header_id|>assistant<|end_header_id|>\n\n桟橋に。<|eot_id|>")
    stops = [theirs.eos_token_id, 2]
    assert json.loads((out / "generation_config.json").read_text())["eos_token_id"] == stops
    assert json.loads((out / "config.json").read_text())["eos_token_id"] == stops
    (source,) = results["sources"].values()
    tokens = TextTokenizer(out)
    assert source["tokens"] > len(tokens.encode(text)), "the template was learnt, too"


def test_a_template_whose_tokens_are_not_there(run: Run) -> None:
    with pytest.raises(InputFileError, match=r"chat_template is llama-3, and the tokenizer of .* has no token"):
        run(ROWS, chat_template="llama-3")


@pytest.mark.parametrize(("loss_on", "answers"), [("all", ["Out.", "In."]), ("last", ["In."])])
def test_which_answers_are_learnt(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, loss_on: str, answers: list[str]
) -> None:
    learnt: Counter[str] = Counter()

    def rows(conversations: dict[str, Any], settings: SftSettings) -> Any:
        tokenizer = TextTokenizer(tmp_path / "parent")
        for (conversation,) in conversations.values():
            pairs = zip(conversation.ids, conversation.weights, strict=True)
            spelt = [tokenizer.token_bytes(i) if w else b"\0" for i, w in pairs]
            learnt.update(text.decode() for text in b"".join(spelt).split(b"\0") if text)
        return sft_rows(conversations, settings)

    sft_rows = sft.sft_rows
    monkeypatch.setattr(sft, "sft_rows", rows)
    run(ROWS[1:2], loss_on=loss_on)
    assert learnt == Counter(f"{answer}<|im_end|>" for answer in answers)
