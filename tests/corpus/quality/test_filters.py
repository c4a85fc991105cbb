"""Rules of quality: what each drops, under which name, and that good text passes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from moyai.corpus.quality.english_rules import repeated_phrases
from moyai.corpus.quality.filters import PRESETS, quality
from moyai.corpus.quality.general_rules import cut_lines, repeated_character, repeated_lines, short_lines
from moyai.corpus.reading.documents import read_documents
from moyai.errors import UserError
from moyai.recipe.corpus_settings import CorpusSource
from moyai.recipe.sources import corpus_file

JAPANESE = (
    "港の朝は早い。まだ暗いうちに漁師たちは舟を出し、沖の網を引き上げる。\n"
    "市場では、揚がったばかりの魚を前に、仲買人が値をつけていく。子どもたちはその声で目を覚ます。\n"
    "昼になると風が変わり、白い帆が一つずつ岸へ戻ってくる。浜では女たちが網をつくろいながら、昔の嵐の話をしていた。\n"
    "夕方、灯台に明かりがともる。老人は毎日その階段を上り、油を足し、硝子を磨く。\n"
    "誰に頼まれたわけでもないが、四十年のあいだ一度も休んだことがない。\n"
)
ENGLISH = (
    "The harbour wakes before the town does. While it is still dark the fishermen row out to their nets.\n"
    "In the market the buyers stand around the catch and call out what they would give for it.\n"
    "By noon the wind has turned, and one white sail after another comes back to the shore.\n"
    "On the beach the women mend nets and tell of the storm that took the old pier with it.\n"
    "In the evening an old man climbs the stairs of the lighthouse, as he has for forty years.\n"
)
PROVINCES = "東京都港区赤坂、大阪府堺市北区、京都府宇治市、兵庫県神戸市中央区、"
GOODS = "ワイヤレスイヤホン、ノートパソコンスタンド、モバイルバッテリー、"
PHRASES = "営業時間、お問い合わせください。求人情報、現在公開中。にお任せください。"


def reason(text: str, **settings: Any) -> str | None:
    return quality(CorpusSource(files=("-",), **settings))(text)


@pytest.mark.parametrize("filters", ["none", "web", "book"])
def test_good_text_is_kept(filters: str) -> None:
    assert reason(JAPANESE, language="ja", filters=filters) is None
    assert reason(ENGLISH, language="en", filters=filters) is None


def test_another_language_is_named_first() -> None:
    for filters in ("none", "web", "book"):
        assert reason(ENGLISH, language="ja", filters=filters) == "language"
        assert reason(JAPANESE, language="en", filters=filters) == "language"
    assert reason(ENGLISH) is None, "nothing is asked, nothing is dropped"
    assert reason("-") is None


MENU = "".join(f"{word}\n" for word in ("ホーム", "会社概要", "お知らせ", "採用のご案内", "よくある質問", "サイトの地図"))
TEASERS = "".join(f"昨日の試合では、若い投手が九回を投げ切って{number}勝目を挙げ、監督は…\n" for number in range(6))
WEB_JA = {
    "too short": "短いページです。",
    "garbled": JAPANESE + "〓\ufffd\ue000" * 3,
    "little Japanese": JAPANESE[:100] + "ldconfig libgcc-s1 libstdc++6 libzstd1 lsb-release " * 6,
    "few kana": JAPANESE[:20] + PROVINCES * 12,
    "mostly katakana": JAPANESE[:20] + GOODS * 8,
    "no sentences": JAPANESE.replace("。", "、"),
    "short lines": JAPANESE[:35] + "\n" + MENU * 3,
    "list": "".join(f"・{line}\n" for line in JAPANESE.splitlines()),
    "cut lines": TEASERS.replace("、監督は…", "。監督は…"),
    "repeated lines": JAPANESE + JAPANESE[:200],
    "repeated character": JAPANESE + "ー" * 200,
    "repeated phrases": JAPANESE + "".join(f"{number}番の札をお取りください。" for number in range(80)),
    "advertising": JAPANESE + "".join(f"{number}階の店は{PHRASES}" for number in "一二三四"),
    "adult words": "アダルト動画、18禁、ポルノ。" + "人気の作品を毎日紹介しています。会員登録はいりません。" * 2,
}


@pytest.mark.parametrize("expected", WEB_JA)
def test_japanese_web_pages(expected: str) -> None:
    assert expected in dict(PRESETS["web", "ja"])
    rules = PRESETS["web", "ja"]
    assert next(name for name, drops in rules if drops(WEB_JA[expected])) == expected


NAVIGATION = "Go to the top.\nAbout us.\nThe products.\nWrite to us.\nJobs and careers.\nSign in.\n"
WEB_EN = {
    "too short": "All of it is to be found on the next page, and that is a short one.",
    "garbled": ENGLISH + "\ufffd" * 6,
    "word length": "https://example.org/a/very/long/address/of/a/page " * 50,
    "few letters": ENGLISH[:60] + "12,000 7.55% |||| 99.9% " * 40,
    "symbols": ENGLISH + "#sea #boat " * 20,
    "no sentences": "\n".join(f"Buy {name} now with free delivery to the door" for name in "abcdefghijklmnopq"),
    "short lines": ENGLISH[:100] + "\n" + NAVIGATION * 12,
    "list": "".join(f"- {line}\n" for line in ENGLISH.splitlines()),
    "cut lines": ENGLISH.replace(".\n", "...\n", 3),
    "placeholder": ENGLISH + "Lorem ipsum dolor sit amet.",
    "repeated lines": ENGLISH + ENGLISH[:190],
    "repeated character": ENGLISH + "=" * 200,
    "repeated phrases": ENGLISH + "we have the best offers in the whole of the city today. " * 20,
    "adult words": "Adult films, porn films, sex films, porn clips, sex clips, adult stories. " + ENGLISH[:240],
}


@pytest.mark.parametrize("expected", WEB_EN)
def test_english_web_pages(expected: str) -> None:
    assert expected in dict(PRESETS["web", "en"])
    rules = PRESETS["web", "en"]
    assert next(name for name, drops in rules if drops(WEB_EN[expected])) == expected


def test_every_rule_has_a_text_that_it_drops() -> None:
    assert list(WEB_JA) == [name for name, _ in PRESETS["web", "ja"]]
    assert list(WEB_EN) == [name for name, _ in PRESETS["web", "en"]]
    for language in ("ja", "en"):
        assert {name for name, _ in PRESETS["book", language]} <= {name for name, _ in PRESETS["web", language]}


def test_books_may_have_what_pages_may_not() -> None:
    verse = "".join(f"{line}\n\n" for line in ("雪がふると", "狐の背中は", "白くなる", "誰もいない", "野の道で")) * 12
    dialogue = "「おい」\n「なんだ」\n「雨だ」\n「うん」\n「舟は」\n「出さぬ」\n" + JAPANESE.replace("。", "」\n「")
    for text in (JAPANESE.replace("。", "、") * 2, dialogue):
        assert reason(text, language="ja", filters="book") is None
    assert reason(JAPANESE.replace("。", "、") * 2, language="ja", filters="web") == "no sentences"
    assert reason(verse, language="ja", filters="book") == "repeated lines", "but not the same five lines twelve times"


def test_headings_alone_do_not_make_a_menu() -> None:
    reference = "".join(f"Remarks\n\nParameters\n\nExample\n\n{line}\n\n" for line in ENGLISH.splitlines())
    assert not short_lines(reference, characters=30)
    assert short_lines(NAVIGATION * 2, characters=30)
    assert not short_lines("Home\nAbout\n", characters=30), "too few lines to tell"


@pytest.mark.parametrize(
    ("drops", "just_not", "just"),
    [
        (lambda text: repeated_lines(text, share=0.2), "abcd\nefgh\nijkl\nmnop\nabcd", "abcd\nefgh\nijkl\nabcd"),
        (repeated_character, "a" * 199 + "b", "b" + "a" * 200),
        (repeated_character, "a" + " " * 500, "ab" + "。" * 200),
        (cut_lines, "a…\nb…\nc…\n" + "d\n" * 7, "a…\nb…\nc…\nd...\n" + "e\n" * 7),
    ],
)
def test_thresholds(drops: Callable[[str], bool], just_not: str, just: str) -> None:
    assert not drops(just_not)
    assert drops(just)


def test_repeated_runs_are_counted_by_their_characters() -> None:
    different = " ".join(f"word{number}" for number in range(100))
    run = " ".join(f"again{number}" for number in range(10))
    assert not repeated_phrases(different)
    assert not repeated_phrases(f"{different} {run} {run} {run}"), "two of the three runs stood there before: 18 %"
    assert repeated_phrases(f"{different} " + f"{run} " * 8)
    assert not repeated_phrases("one two three")
    assert repeated_phrases("one two " * 3)


def test_white_space_alone_breaks_no_rule() -> None:
    for rules in PRESETS.values():
        for text in ("", " \n\u3000", "\n" * 300):
            assert [type(drops(text)) for _, drops in rules] == [bool] * len(rules)


def test_a_library_that_is_missing_is_told_before_the_first_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "hojichar", None)
    source = CorpusSource(files=("-",), language="ja", filters="web")
    with pytest.raises(UserError, match="Filters need hojichar"):
        quality(source)


@pytest.mark.parametrize(("name", "language"), [("starter:ja_text", "ja"), ("starter:en_text", "en")])
def test_hardly_any_of_the_starter_texts_is_dropped(name: str, language: str) -> None:
    for filters in ("web", "book"):
        judge = quality(CorpusSource(files=(name,), language=language, filters=filters))
        reasons = [judge(document.text) for document in read_documents(corpus_file(name))]
        assert sum(found is not None for found in reasons) <= 0.02 * len(reasons), set(reasons)


@pytest.mark.parametrize(
    ("file", "book", "language"),
    [("corpus/ja_text/ja_text.jsonl.gz", "aozora", "ja"), ("corpus/en_text/en_text.jsonl.gz", "standardebooks", "en")],
)
def test_real_text_is_in_its_language_and_books_are_kept(
    shared_data: Callable[[str], Path], file: str, book: str, language: str
) -> None:
    from moyai.corpus.reading.documents import read_rows

    asked = quality(CorpusSource(files=("-",), language=language))
    books = quality(CorpusSource(files=("-",), language=language, filters="book"))
    rows = list(read_rows(shared_data(file)))[::8]
    assert [row["source"] for row in rows if asked(row["text"])] == []
    reasons = [books(row["text"]) for row in rows if row["source"].startswith(book)]
    assert len(reasons) > 50
    assert set(reasons) == {None}
