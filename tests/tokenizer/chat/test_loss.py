"""What is learnt of a conversation is what the model must write when it is asked for an answer."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer
from transformers import AutoTokenizer

from moyai.errors import InputFileError
from moyai.gguf.header import read_header
from moyai.gguf.tokenizer_files import write_tokenizer_files
from moyai.gguf.vocabulary import read_vocabulary
from moyai.recipe.setting_types import ChatTemplateName
from moyai.tokenizer.chat.loss import WeightedIds, training_sequences
from moyai.tokenizer.chat.render import prompt_ids, render
from moyai.tokenizer.chat.templates import CHAT_TEMPLATES
from moyai.tokenizer.text import TextTokenizer
from tiny import TEMPLATE, write_tiny_sentencepiece, write_tiny_tokenizer
from tokenizer.chat_tokenizers import with_special_tokens, with_template, write_llm_jp

Messages = list[dict[str, str]]
MESSAGES = [
    {"role": "system", "content": "Answer  shortly."},
    {"role": "user", "content": "日本の首都は？\n<b>一言で</b>"},
    {"role": "assistant", "content": "東京です。\n以上"},
    {"role": "user", "content": "Thanks"},
    {"role": "assistant", "content": "鱻🛶 どういたしまして"},
]
ANSWERS = ["東京です。\n以上", "鱻🛶 どういたしまして"]
# What each template puts around an answer's words that the model must write too.
AROUND: dict[ChatTemplateName, tuple[str, str]] = {
    "chatml": ("", "<|im_end|>"),
    "llama-2": (" ", " </s>"),
    "llama-3": ("", "<|eot_id|>"),
    "llm-jp": ("", "</s>"),
    "rakuten": (" ", "</s>"),
}
Kind = Literal["bpe", "unigram", "byte-level"]


def directory_of(path: Path, kind: Kind, *, two_newlines: bool = False) -> Path:
    """A tokenizer of that kind; `two_newlines`: the byte-level one has a piece for them."""
    path.mkdir(parents=True, exist_ok=True)
    if kind != "byte-level":
        write_tiny_sentencepiece(path, kind)
        return path
    write_tiny_tokenizer(path)
    if two_newlines:
        data = json.loads((path / "tokenizer.json").read_text(encoding="utf-8"))
        data["model"]["vocab"]["ĊĊ"] = len(data["model"]["vocab"])
        data["model"]["merges"].append(["Ċ", "Ċ"])
        (path / "tokenizer.json").write_text(json.dumps(data), encoding="utf-8")
    with_special_tokens(path, ["<s>", "</s>"])
    own = json.loads((path / "tokenizer_config.json").read_text(encoding="utf-8"))
    own |= {"bos_token": "<s>", "eos_token": "</s>"}
    (path / "tokenizer_config.json").write_text(json.dumps(own), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def tokenizers(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[Kind, ChatTemplateName], TextTokenizer]:
    """A tokenizer of each kind with each named template."""
    root = tmp_path_factory.mktemp("tokenizers")
    kinds: tuple[Kind, ...] = ("bpe", "unigram", "byte-level")
    return {
        (kind, name): with_template(directory_of(root / kind / name, kind), name)
        for kind in kinds
        for name in CHAT_TEMPLATES
    }


def template_on_bytes(directory: Path, template: str) -> TextTokenizer:
    directory_of(directory, "byte-level")
    (directory / "chat_template.jinja").write_text(template, encoding="utf-8")
    return TextTokenizer(directory)


def only(sequences: list[WeightedIds]) -> WeightedIds:
    (sequence,) = sequences
    assert set(sequence.weights) <= {0.0, 1.0}
    return sequence


def runs(sequence: WeightedIds) -> list[range]:
    """Where neighbouring tokens are learnt."""
    edges = [i for i, (a, b) in enumerate(zip([0.0, *sequence.weights], [*sequence.weights, 0.0], strict=True)) if a != b]
    return [range(first, last) for first, last in zip(edges[::2], edges[1::2], strict=True)]


def spelling(tokenizer: TextTokenizer, ids: list[int]) -> bytes:
    """The bytes that tokens stand for, special ones and single bytes included."""
    own = Tokenizer.from_file(str(tokenizer.checkpoint_dir / "tokenizer.json"))
    if own.pre_tokenizer is not None:
        return b"".join(map(tokenizer.token_bytes, ids))
    tokens = [own.id_to_token(id_) for id_ in ids]
    return b"".join(
        bytes.fromhex(token[3:5]) if token.startswith("<0x") else token.replace("▁", " ").encode() for token in tokens
    )


def learnt(tokenizer: TextTokenizer, sequence: WeightedIds) -> list[str]:
    """The runs of learnt tokens as text."""
    return [spelling(tokenizer, sequence.ids[run.start : run.stop]).decode() for run in runs(sequence)]


@pytest.mark.parametrize("name", CHAT_TEMPLATES)
@pytest.mark.parametrize("kind", ["bpe", "unigram", "byte-level"])
def test_exactly_what_the_model_must_write(
    tokenizers: dict[tuple[Kind, ChatTemplateName], TextTokenizer], kind: Kind, name: ChatTemplateName
) -> None:
    tokenizer = tokenizers[kind, name]
    sequence = only(training_sequences(tokenizer, MESSAGES))
    assert sequence.ids == tokenizer.encode(render(tokenizer, MESSAGES))
    before, end = AROUND[name]
    # Some SentencePiece tokenizers put a space behind each special token, so also in front of an answer there.
    assert [text.strip() for text in learnt(tokenizer, sequence)] == [f"{answer}{end}" for answer in ANSWERS]
    if name not in ("chatml", "llama-3"):
        assert all(text.startswith(before) for text in learnt(tokenizer, sequence))
    # The very ids with which the model will be asked stand in front of what it learns.
    for run, asked in zip(runs(sequence), (MESSAGES[:2], MESSAGES[:4]), strict=True):
        assert sequence.ids[: run.start] == prompt_ids(tokenizer, asked)


@pytest.mark.parametrize("name", CHAT_TEMPLATES)
def test_only_the_last_answer(
    tokenizers: dict[tuple[Kind, ChatTemplateName], TextTokenizer], name: ChatTemplateName
) -> None:
    tokenizer = tokenizers["unigram", name]
    every, last = (only(training_sequences(tokenizer, MESSAGES, loss_on=which)) for which in ("all", "last"))
    assert last.ids == every.ids
    assert runs(last) == runs(every)[-1:]


words = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=12).filter(
    lambda text: text == text.strip() and "<" not in text and "▁" not in text
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(question=words, answer=words, kind=st.sampled_from(["bpe", "unigram", "byte-level"]), data=st.data())
def test_whatever_the_words_are(
    tokenizers: dict[tuple[Kind, ChatTemplateName], TextTokenizer],
    question: str,
    answer: str,
    kind: Kind,
    data: st.DataObject,
) -> None:
    name = data.draw(st.sampled_from(list(CHAT_TEMPLATES)))
    tokenizer = tokenizers[kind, name]
    messages = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}] * 2
    sequence = only(training_sequences(tokenizer, messages))
    assert [text.strip() for text in learnt(tokenizer, sequence)] == [answer + AROUND[name][1]] * 2
    for run, asked in zip(runs(sequence), (messages[:1], messages[:3]), strict=True):
        assert sequence.ids[: run.start] == prompt_ids(tokenizer, asked)


def test_the_assistant_is_silent(tokenizers: dict[tuple[Kind, ChatTemplateName], TextTokenizer]) -> None:
    for which in ("all", "last"):
        assert not any(only(training_sequences(tokenizers["bpe", "llm-jp"], MESSAGES[:2], loss_on=which)).weights)


def test_the_empty_piece_behind_an_end_mark_is_not_learnt(
    tokenizers: dict[tuple[Kind, ChatTemplateName], TextTokenizer],
) -> None:
    tokenizer = tokenizers["unigram", "llm-jp"]
    sequence = only(training_sequences(tokenizer, MESSAGES))
    end = runs(sequence)[0].stop
    assert spelling(tokenizer, sequence.ids[end - 1 : end + 1]) == b"</s> ", "the tokenizer begins a piece of text with one"
    assert sequence.weights[end] == 0.0


@pytest.mark.parametrize("answer", ["鱻", "\n鱻", "🛶🛶"])
def test_characters_of_several_tokens_right_behind_an_unknown_one(
    tokenizers: dict[tuple[Kind, ChatTemplateName], TextTokenizer], answer: str
) -> None:
    tokenizer = tokenizers["unigram", "llm-jp"]  # which knows no newline, so the question ends with an unknown character
    messages = [MESSAGES[1], {"role": "assistant", "content": answer}]
    assert learnt(tokenizer, only(training_sequences(tokenizer, messages))) == [f"{answer}</s>"]


def test_an_answer_that_would_be_cut_together_with_the_question(tmp_path: Path) -> None:
    directory_of(tmp_path, "byte-level", two_newlines=True)
    (tmp_path / "chat_template.jinja").write_text(TEMPLATE, encoding="utf-8")
    tokenizer = TextTokenizer(tmp_path)
    boats = [{"role": "assistant", "content": said} for said in ("\n\nboat", "b")]
    messages = [MESSAGES[1], boats[0], MESSAGES[3], boats[1]]
    two_lines = tokenizer.encode("\n\n \n")[:1]
    assert spelling(tokenizer, two_lines) == b"\n\n"
    assert two_lines[0] in tokenizer.encode(render(tokenizer, messages)), "the question's last line and the answer's first"
    first, second = training_sequences(tokenizer, messages)
    assert learnt(tokenizer, first) == ["\n\nboat<|im_end|>"]
    assert learnt(tokenizer, second) == ["b<|im_end|>"]
    for sequence, asked in ((first, messages[:1]), (second, messages[:3])):
        assert sequence.ids[: runs(sequence)[0].start] == prompt_ids(tokenizer, asked)
    assert training_sequences(tokenizer, messages, loss_on="last") == [second]


def test_two_newlines_in_front_of_an_answer(tmp_path: Path) -> None:
    """GPT-2's pattern takes them for one piece only where nothing follows."""
    directory_of(tmp_path, "byte-level", two_newlines=True)
    tokenizer = with_template(tmp_path, "llama-3")
    sequences = training_sequences(tokenizer, MESSAGES)
    assert [learnt(tokenizer, sequence) for sequence in sequences] == [[f"{answer}<|eot_id|>"] for answer in ANSWERS]
    for sequence, asked in zip(sequences, (MESSAGES[:2], MESSAGES[:4]), strict=True):
        assert sequence.ids[: runs(sequence)[0].start] == prompt_ids(tokenizer, asked)


def test_a_token_that_begins_in_the_question_is_not_learnt(tmp_path: Path) -> None:
    """Where an answer cannot be cut alone."""
    directory_of(tmp_path, "bpe")
    template = "{% for m in messages %}{{ m.content }}{% if m.role == 'assistant' %}{{ eos_token }}{% endif %}{% endfor %}"
    (tmp_path / "chat_template.jinja").write_text(template, encoding="utf-8")
    tokenizer = TextTokenizer(tmp_path)
    messages = [{"role": "user", "content": "The bo"}, {"role": "assistant", "content": "at is moored."}]
    sequence = only(training_sequences(tokenizer, messages))
    assert learnt(tokenizer, sequence) == [" is moored.</s>"]
    assert spelling(tokenizer, sequence.ids[: runs(sequence)[0].start]).endswith(b"boat")


MARKED = {
    "chatml": ("{{ message.content }}<|im_end|>", "{{ message.content }}<|im_end|>"),
    "llama-2": ("{{ ' ' ~ message.content | trim ~ ' ' }}{{ eos_token }}",) * 2,
    "llama-3": ("{{ '\\n\\n' ~ message.content | trim }}<|eot_id|>", "{{ message.content | trim }}<|eot_id|>"),
    "llm-jp": ("{{ '\\n\\n### 応答:\\n' ~ message.content }}{{ eos_token }}", "{{ message.content }}{{ eos_token }}"),
    "rakuten": ("{{ ' ' ~ message.content }}{{ eos_token }}",) * 2,
}


@pytest.mark.parametrize("name", CHAT_TEMPLATES)
@pytest.mark.parametrize("kind", ["bpe", "byte-level"])
def test_templates_with_generation_marks_agree(tmp_path: Path, kind: Kind, name: ChatTemplateName) -> None:
    tokenizer = with_template(directory_of(tmp_path, kind), name)
    written, said = MARKED[name]
    before = {"llama-3": "{{ '\\n\\n' }}", "llm-jp": "{{ '\\n\\n### 応答:\\n' }}"}.get(name, "")
    marked = (
        "{% if message.role == 'assistant' %}" + before + "{% generation %}" + said + "{% endgeneration %}"
        "{% else %}" + written + "{% endif %}"
    )
    assert written in tokenizer.chat_template
    (tmp_path / "chat_template.jinja").write_text(tokenizer.chat_template.replace(written, marked), encoding="utf-8")
    assert_same_mask(TextTokenizer(tmp_path), MESSAGES)


def assert_same_mask(tokenizer: TextTokenizer, messages: Messages) -> None:
    """transformers finds the same tokens where the template marks them."""
    theirs = AutoTokenizer.from_pretrained(tokenizer.checkpoint_dir).apply_chat_template(
        messages, return_dict=True, return_assistant_tokens_mask=True
    )
    sequence = only(training_sequences(tokenizer, messages))
    assert sequence.ids == theirs["input_ids"]
    assert sequence.weights == theirs["assistant_masks"]
    assert sum(sequence.weights) > 2


def test_the_template_of_smollm2(smollm2_gguf: Path, tmp_path: Path) -> None:
    write_tokenizer_files(read_vocabulary(read_header(smollm2_gguf)), tmp_path, max_tokens=2048)
    tokenizer = TextTokenizer(tmp_path)
    sequence = only(training_sequences(tokenizer, MESSAGES))
    assert learnt(tokenizer, sequence) == [f"{answer}<|im_end|>" for answer in ANSWERS]
    for run, asked in zip(runs(sequence), (MESSAGES[:2], MESSAGES[:4]), strict=True):
        assert sequence.ids[: run.start] == prompt_ids(tokenizer, asked)
    said = "message['content'] + '<|im_end|>'"
    written = "{{'<|im_start|>' + message['role'] + '\\n' + " + said + " + '\\n'}}"
    assert written in tokenizer.chat_template.replace("\n", "\\n")
    marked = (
        "{{'<|im_start|>' + message['role'] + '\\n'}}{% if message['role'] == 'assistant' %}"
        "{% generation %}{{" + said + "}}{% endgeneration %}{% else %}{{" + said + "}}{% endif %}{{'\\n'}}"
    )
    template = tokenizer.chat_template.replace("\n", "\\n").replace(written, marked)
    (tmp_path / "chat_template.jinja").write_text(template, encoding="utf-8")
    assert_same_mask(TextTokenizer(tmp_path), MESSAGES)


THOUGHTS = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n"
    "{% if message.role == 'assistant' and not loop.last %}{{ message.content.split('</think>')[-1] }}"
    "{% else %}{{ message.content }}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def test_a_template_that_takes_earlier_thoughts_out(tmp_path: Path) -> None:
    tokenizer = template_on_bytes(tmp_path, THOUGHTS)
    messages = [
        MESSAGES[1],
        {"role": "assistant", "content": "<think>a</think>b"},
        MESSAGES[3],
        {"role": "assistant", "content": "<think>c</think>d"},
    ]
    first, second = training_sequences(tokenizer, messages)
    assert learnt(tokenizer, first) == ["<think>a</think>b<|im_end|>"]
    assert learnt(tokenizer, second) == ["<think>c</think>d<|im_end|>"]
    assert b"<think>a" not in spelling(tokenizer, second.ids)
    for sequence, asked in ((first, messages[:1]), (second, messages[:3])):
        assert sequence.ids[: runs(sequence)[0].start] == prompt_ids(tokenizer, asked)
    assert training_sequences(tokenizer, messages, loss_on="last") == [second]


ENDS_TWICE = (
    "{% for message in messages %}{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if not add_generation_prompt %}{{ eos_token }}{% endif %}"
)


@pytest.mark.parametrize("stops", ["1", "[3, 2]"])
def test_the_first_token_at_which_generation_stops_is_the_end(tmp_path: Path, stops: str) -> None:
    (tmp_path / "generation_config.json").write_text('{"eos_token_id": ' + stops + "}")
    tokenizer = template_on_bytes(tmp_path, ENDS_TWICE)
    assert ("<|im_end|>" in tokenizer.stop_tokens) == (stops == "[3, 2]")
    sequences = training_sequences(tokenizer, MESSAGES)
    found = [text for sequence in sequences for text in learnt(tokenizer, sequence)]
    if stops == "1":  # nothing says that a model stops at <|im_end|>, so the end is what the template puts last
        assert found == [f"{answer}<|im_end|>\n</s>" for answer in ANSWERS]
    else:
        assert found == [f"{answer}<|im_end|>" for answer in ANSWERS]
        assert len(sequences) == 1


def test_a_template_that_asks_in_another_way_than_it_writes(tmp_path: Path) -> None:
    asks = "{% for message in messages %}{{ message.content }}{{ eos_token }}{% endfor %}"
    tokenizer = template_on_bytes(tmp_path, asks + "{% if add_generation_prompt %}<think>{% endif %}")
    with pytest.raises(InputFileError, match="begins an answer in another way than it asks for one"):
        training_sequences(tokenizer, MESSAGES)


def test_a_template_without_end_marks(tmp_path: Path) -> None:
    tokenizer = template_on_bytes(tmp_path, "{% for message in messages %}{{ message.content }}\n{% endfor %}")
    with pytest.raises(InputFileError, match="puts no end mark behind an answer") as caught:
        training_sequences(tokenizer, MESSAGES)
    assert "chat_template" in caught.value.hint


@pytest.mark.parametrize("answer", ["e", "im", "im_end", "</s", "zz", "say <|im_end|> now"])
def test_words_that_also_stand_in_the_name_of_a_later_mark(tmp_path: Path, answer: str) -> None:
    template = "{% for message in messages %}{{ message.content }}{{ eos_token }}\n{% endfor %}"
    tokenizer = template_on_bytes(tmp_path, template + "{% if not add_generation_prompt %}<|im_end|></s>{% endif %}")
    messages = [MESSAGES[1], {"role": "assistant", "content": answer}]
    assert learnt(tokenizer, only(training_sequences(tokenizer, messages))) == [f"{answer}</s>"]


@pytest.mark.parametrize("behind", ["", "\n", " \n\n", "[next]"])
def test_nothing_behind_the_end_mark_is_learnt(tmp_path: Path, behind: str) -> None:
    written = "{{ message.content }}{{ eos_token }}{{ '" + repr(behind)[1:-1] + "' }}"
    template = "{% for message in messages %}" + written + "{% endfor %}"
    tokenizer = template_on_bytes(tmp_path, template)
    assert learnt(tokenizer, only(training_sequences(tokenizer, MESSAGES))) == [f"{answer}</s>" for answer in ANSWERS]


def test_the_ids_of_llm_jp_and_how_it_was_trained(shared_data: Callable[[str], Path], tmp_path: Path) -> None:
    """Its training dropped the pieces that the tokenizer puts in front of every part; encoded at once there are fewer.

    Source: `dataset.py` of llm-jp/instruct3.
    """
    directory = shared_data("tokenizers/llm-jp-v3.1")
    write_llm_jp(
        directory / "llm-jp-tokenizer-100k.ver3.1.model", directory / "tokenizer_config.json", tmp_path
    )
    tokenizer = with_template(tmp_path, "llm-jp")

    def turn(asked: str, answered: str) -> list[int]:
        prompt = tokenizer.encode(f"\n\n### 指示:\n{asked}\n\n### 応答:\n")
        return prompt[1:] + tokenizer.encode(f"\n{answered}")[2:] + tokenizer.encode("</s>")

    begin = tokenizer.encode("<s>以下は、タスクを説明する指示です。要求を適切に満たす応答を書きなさい。")
    in_parts = begin + turn(MESSAGES[1]["content"], ANSWERS[0])
    assert only(training_sequences(tokenizer, MESSAGES[:3])).ids == in_parts
    second = turn(MESSAGES[3]["content"], ANSWERS[1])
    space = Tokenizer.from_file(str(tmp_path / "tokenizer.json")).token_to_id("▁")
    sequence = only(training_sequences(tokenizer, MESSAGES))
    assert sequence.ids == [*in_parts, space, *second], "one ▁ more, behind each end mark, as a served model sees it"
    assert [text.removesuffix("</s>") for text in learnt(tokenizer, sequence)] == ANSWERS
