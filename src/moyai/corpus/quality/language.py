"""Which language a text is in."""

from __future__ import annotations

from functools import cache
from typing import Any

from moyai.corpus.extras import need
from moyai.corpus.quality.character_counts import count_characters

_SAMPLE_CHARACTERS = 300
# No other language is written in kana, and one text in fifty of Japanese has less.
_KANA_SHARE = 0.2


def language_of(text: str) -> str:
    """The ISO 639 code of the language that `text` is most likely in, one of 140.

    A text of which a fifth is kana is Japanese.  Another is judged by py3langid, one of more than 900 characters by
    300 of its beginning, its middle and its end.  The choice is not narrowed to a few languages: a text in none of
    them would be given one of them all the same, German English.

    Raises:
        UserError: py3langid is not installed.

    >>> language_of("舟を岸に寄せて、潮の満ちるのを待った。")
    'ja'
    """
    counts = count_characters(text)
    if counts.hiragana + counts.katakana > _KANA_SHARE * counts.visible:
        return "ja"
    return str(_identifier().classify(sample_text(text, _SAMPLE_CHARACTERS))[0])


def sample_text(text: str, characters: int) -> str:
    r"""So many characters of the beginning, the middle and the end; all of a text that has no more than those.

    >>> sample_text("abcdefghi", 2)
    'ab\nde\nhi'
    """
    if len(text) <= 3 * characters:
        return text
    middle = len(text) // 2
    return "\n".join(
        (text[:characters], text[middle - characters // 2 : middle + (characters + 1) // 2], text[-characters:])
    )


@cache
def _identifier() -> Any:
    library = need("py3langid.langid", "Checks of the language")
    return library.LanguageIdentifier.from_model_file(library.MODEL_FILE)
