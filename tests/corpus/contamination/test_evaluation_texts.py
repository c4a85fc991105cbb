"""Contamination of a document: planted runs are always found, and nothing shorter is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from moyai.corpus.contamination.evaluation_texts import EvaluationTexts, Hit
from moyai.corpus.folding import JAPANESE, fold
from moyai.errors import InputFileError
from moyai.recipe.corpus_settings import ContaminationSettings

QUESTION = "電子機器で使用される最も主要な電子回路基板の事をなんと言う？"
ENGLISH = (
    "Janet's ducks lay 16 eggs per day. She eats three for breakfast every morning and bakes muffins for her friends."
)


def read(directory: Path, items: list[list[str]], *, characters: int = 20, words: int = 13) -> EvaluationTexts:
    path = directory / "set.jsonl"
    path.write_text("".join(json.dumps(item) + "\n" for item in items))
    settings_ = ContaminationSettings(files=(str(path),), characters=characters, words=words)
    return EvaluationTexts.read([str(path)], settings_)


def letters(text: str) -> str:
    return "".join(chr(code & 0x1FFFFF) for code in fold(text) if code)


def is_japanese(character: str) -> bool:
    return bool((fold(character) & JAPANESE).any())


def words(text: str) -> list[str]:
    """Words of `fold`, a run of Japanese being one."""
    found, before = [""], ""
    for code in fold(text):
        kind = "" if code == 0 else "japanese" if code & JAPANESE else "other"
        if kind != before and found[-1]:
            found.append("")
        found[-1] += chr(code & 0x1FFFFF) if kind else ""
        before = kind
    return [word for word in found if word]


def items_found_slowly(items: list[list[str]], document: str, run: int, num_words: int) -> set[int]:
    """The rules said once more, one window at a time."""
    found = set()
    in_letters, in_words = letters(document), words(document)
    for number, texts in enumerate(items, start=1):
        sizes = [sum(map(is_japanese, text)) if any("ぁ" <= c <= "ゖ" for c in text) else 0 for text in texts]
        word_sizes = [sum(1 for character in letters(text) if not is_japanese(character)) for text in texts]
        for text, size, word_size in zip(texts, sizes, word_sizes, strict=True):
            whole = letters(text)
            length = run if len(whole) >= run else len(whole)
            if length == run or (length >= (run + 1) // 2 and size and size == max(sizes)):
                for start in range(len(whole) - length + 1):
                    window = whole[start : start + length]
                    if 2 * sum(map(is_japanese, window)) >= length and window in in_letters:
                        found.add(number)
            whole_words = words(text)
            length = num_words if len(whole_words) >= num_words else len(whole_words)
            if length == num_words or (length >= (num_words + 1) // 2 and word_size and word_size == max(word_sizes)):
                for start in range(len(whole_words) - length + 1):
                    window_words = whole_words[start : start + length]
                    if not any(is_japanese(word[0]) for word in window_words) and any(
                        in_words[place : place + length] == window_words for place in range(len(in_words) - length + 1)
                    ):
                        found.add(number)
    return found


piece = st.text(st.sampled_from("あい漢ア a b1。\n"), max_size=16)


@settings(deadline=None, max_examples=200)
@given(st.lists(st.lists(piece, min_size=1, max_size=3), min_size=1, max_size=4), piece, piece, st.data())
@example([["あああ漢漢漢漢漢"]], "", "", None)
def test_against_the_rules_said_one_window_at_a_time(
    tmp_path_factory: pytest.TempPathFactory,
    items: list[list[str]],
    before: str,
    after: str,
    data: st.DataObject | None,
) -> None:
    items = [["これは見つかるものです", "one two three four"], *items]
    planted = data.draw(st.sampled_from([text for item in items for text in item])) if data else items[1][0]
    document = before + planted + after
    evaluation = read(tmp_path_factory.mktemp("sets"), items, characters=6, words=3)
    found = {hit.item for hit in evaluation.hits(document)}
    assert found == items_found_slowly([list(dict.fromkeys(item)) for item in items], document, 6, 3)


@settings(deadline=None)
@given(st.integers(0, 28), st.integers(0, 28), st.sampled_from(["", " ", "\n", "、"]))
def test_a_planted_run_of_japanese(tmp_path_factory: pytest.TempPathFactory, start: int, length: int, space: str) -> None:
    evaluation = read(tmp_path_factory.mktemp("sets"), [[QUESTION, "マザーボード"]])
    run = letters(QUESTION)[start : start + length]
    hits = evaluation.hits(f"前置き{space.join(run)}続きます")
    assert bool(hits) == (len(run) >= 20)
    assert all(hit.set == "set.jsonl" and hit.item == 1 and letters(run) in letters(hit.run) for hit in hits)


@settings(deadline=None)
@given(st.integers(0, 22), st.integers(0, 22), st.sampled_from([" ", "\n", " — ", ", "]))
def test_a_planted_run_of_english(tmp_path_factory: pytest.TempPathFactory, start: int, length: int, space: str) -> None:
    evaluation = read(tmp_path_factory.mktemp("sets"), [[ENGLISH, "B"]])
    run = words(ENGLISH)[start : start + length]
    hits = evaluation.hits(f"Once {space.join(run).upper()} again")
    assert bool(hits) == (len(run) >= 13)


def test_width_case_and_marks_make_no_difference(tmp_path: Path) -> None:
    evaluation = read(tmp_path, [["1個2ドルの「ﾃﾆｽﾎﾞｰﾙ」を、Ａ社は毎日いくつ売りますか？"]])
    (hit,) = evaluation.hits("問: １個２ドルのテニスボールを ａ社は毎日いくつ売りますか")
    assert hit == Hit("set.jsonl", 1, "１個２ドルのテニスボールを ａ社は毎日いくつ売りますか")
    (hit,) = evaluation.hits("½ １個２ドルのテニスボールを a社は毎日いくつ売りますか")
    assert hit.run == "1個2ドルのテニスボールを a社は毎日いくつ売りますか", "a text that is normalised whole is quoted so"


def test_a_short_question_counts_as_a_whole_and_names_do_not(tmp_path: Path) -> None:
    items = [
        ["田んぼが広がる風景を何という？", "畑", "田園"],
        ["0123456789abcdef0123456789abcdef", "開発した会社はどこですか", "オペレーティングシステム"],
        ["会社は？", "マサチューセッツ工科大学"],
    ]
    evaluation = read(tmp_path, items)
    assert evaluation.sets["set.jsonl"] == (3, 2)
    assert [hit.item for hit in evaluation.hits("問題：田んぼが広がる風景を何という？")] == [1]
    assert [hit.item for hit in evaluation.hits("その開発した会社はどこですか。")] == [2]
    assert evaluation.hits("田んぼが広がる風景を何と") == []
    assert evaluation.hits("オペレーティングシステムとマサチューセッツ工科大学") == []


def test_what_many_items_of_a_set_have_is_a_template(tmp_path: Path) -> None:
    template = "次の文章を読んで、正しいものを選択肢から一つ選びなさい。"
    numbers = "一二三四五六七八九十百千万億"
    items = [[f"{template}{QUESTION[number:]}{numbers[number] * 3}"] for number in range(10)]
    ten = read(tmp_path, items)
    assert len(ten.hits(template)) == 10
    eleven = read(tmp_path, [*items, [f"{template}舟を岸に寄せて仕事をする人のことをなんと言う？"]])
    assert eleven.hits(template) == []
    assert [hit.item for hit in eleven.hits("舟を岸に寄せて仕事をする人のことをなんと言うでしょう")] == [11]
    assert [hit.run for hit in eleven.hits(f"{template}舟を岸に寄せて仕事をする人")] == [
        f"{template}舟を岸に寄せて仕事をする人"
    ], "a run that goes on into the item's own text"


def test_a_run_of_another_script_is_none(tmp_path: Path) -> None:
    evaluation = read(tmp_path, [["次の関数の働きを説明せよ。def has_close_elements(numbers, threshold): return numbers"]])
    assert evaluation.hits("def has_close_elements(numbers, threshold)") == [], "23 letters, but no 13 words"
    assert evaluation.hits("次の関数の働きを説明せよ。def has_close_ele")


def test_no_set_has_anything_to_look_for(tmp_path: Path) -> None:
    with pytest.raises(InputFileError, match=r"the evaluation sets set\.jsonl have no text that is long enough"):
        read(tmp_path, [["短い"], ["too short"], []])
    with pytest.raises(InputFileError, match="have no text"):
        read(tmp_path, [])


def test_empty_and_broken_texts(tmp_path: Path) -> None:
    evaluation = read(tmp_path, [[QUESTION], ["", "\ud83d"]])
    assert evaluation.hits("") == evaluation.hits("\ud83d") == evaluation.hits("。" * 50) == []
