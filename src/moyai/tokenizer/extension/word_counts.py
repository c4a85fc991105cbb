"""Counting the words of a corpus, as a base tokenizer cuts them into tokens.

Memory does not grow with the corpus: texts are put into levels by a hash, half of them into level 0, a quarter into
level 1, and so on; when the words grow too many, the lowest level that is left is forgotten, and texts of that
level are skipped from then on.  So what remains is a fair sample, the same in whatever order the texts come.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from moyai.errors import InputFileError
from moyai.progress import Bar
from moyai.tokenizer.extension.word_cuts import cuts
from moyai.tokenizer.extension.words import Symbol, Words
from moyai.tokenizer.sentencepiece.file import PieceType
from moyai.tokenizer.text_batches import text_batches
from moyai.tokenizer.token_bytes import byte_piece_value, byte_to_char, text_bytes
from moyai.tokenizer.vocabulary import BaseVocabulary

MAX_SYMBOLS = 40_000_000
"""Symbols of different words that are kept, which is some 4 GB; with more, a half of the texts is left out, and so on."""

_NUM_LEVELS = 16
# How large the table is, is looked at when it has grown to so many percent.
_CHECK_AT_PERCENT = 105
_SYMBOL_BYTES = 4
# The others stand in no UTF-8 text, and many tokenizers have no piece for them.
_BYTES_OF_TEXT = (*range(0xC0), *range(0xC2, 0xF5))

Boundaries = Callable[[str], Sequence[int]]
"""Where words begin in a text, in characters."""


@dataclass(frozen=True)
class CorpusWords:
    """The words, and how much text they come from."""

    words: Words
    num_texts: int
    num_characters: int
    share_counted: float
    """1, or the part of the texts that was counted because all would not fit."""


def count_words(base: BaseVocabulary, texts: Iterable[str], *, boundaries: Boundaries | None, bar: Bar) -> CorpusWords:
    """Count the words of `texts`.

    Args:
        base: what cuts them into tokens.
        texts: the corpus; gone through once, a batch at a time.
        boundaries: where words begin besides; no word that is counted goes beyond one.
        bar: moves on by characters.

    Raises:
        InputFileError: a text holds half a surrogate pair, or the tokenizer has no piece for a byte of it.
    """
    cutter = _Cutter(base, boundaries)
    levels: list[Counter[bytes]] = [Counter() for _ in range(_NUM_LEVELS)]
    lowest, num_texts, num_characters, next_check = 0, 0, 0, 0
    for batch in text_batches(texts, str):
        by_level: dict[int, list[str]] = {}
        for text in batch:
            by_level.setdefault(_level(text), []).append(text)
        for level, group in by_level.items():
            if level >= lowest:
                levels[level].update(cutter.words(group))
        num_words = sum(map(len, levels))
        if num_words > next_check:
            while lowest < _NUM_LEVELS - 1 and _num_symbols(levels) > MAX_SYMBOLS:
                levels[lowest].clear()
                lowest += 1
            next_check = sum(map(len, levels)) * _CHECK_AT_PERCENT // 100
        num_texts += len(batch)
        num_characters += sum(map(len, batch))
        bar.advance(sum(map(len, batch)))
    total: Counter[bytes] = Counter()
    while levels:
        total.update(levels.pop())
    return CorpusWords(cutter.table(total), num_texts, num_characters, 0.5**lowest)


def _num_symbols(levels: Iterable[Counter[bytes]]) -> int:
    return sum(sum(map(len, level)) for level in levels) // _SYMBOL_BYTES


def _level(text: str) -> int:
    digest = hashlib.blake2b(text_bytes(text), digest_size=4).digest()
    value = int.from_bytes(digest, "little")
    return min((value & -value).bit_length() - 1 if value else _NUM_LEVELS, _NUM_LEVELS - 1)


class _Cutter:
    """Cuts texts into words of symbols."""

    def __init__(self, base: BaseVocabulary, boundaries: Boundaries | None) -> None:
        self._base, self._boundaries = base, boundaries
        self._spelled = [base.bytes_of(id_) for id_ in range(base.num_ids)]
        self._sizes = np.array([len(spelled) for spelled in self._spelled])
        self._has_pre_tokens = base.spelling == "byte-level"
        apart = set(base.added_ids.values())
        values: list[int | None] = [None] * base.num_ids
        if base.spelling == "sentencepiece":
            values = [None if token is None else byte_piece_value(token) for token in base.tokens]
            pieces = base.model.pieces if base.model else ()
            apart |= {id_ for id_, piece in enumerate(pieces) if piece.type not in (PieceType.NORMAL, PieceType.BYTE)}
        apart |= {id_ for id_, value in enumerate(values) if value is not None and value < 0x80}
        self._is_apart = np.isin(np.arange(base.num_ids), list(apart))
        self._is_byte = np.array([value is not None for value in values])

    def words(self, texts: Sequence[str]) -> Iterator[bytes]:
        """The words of these texts: their symbols as int32, an unknown character as `num_ids` and its code point."""
        encode = self._base.tokenizer.encode_batch if self._has_pre_tokens else self._base.tokenizer.encode_batch_fast
        encodings = encode(list(texts), add_special_tokens=False)
        ids = np.concatenate([np.array(encoding.ids, np.int32) for encoding in encodings])
        if not len(ids):
            return
        starts = np.cumsum(self._sizes[ids]) - self._sizes[ids]
        first = np.cumsum([0, *(len(encoding.ids) for encoding in encodings)])[:-1]
        is_cut, code_points = self._cuts(ids, starts, first[first < len(ids)])
        if self._has_pre_tokens:
            numbers = np.concatenate([_word_numbers(encoding.word_ids) for encoding in encodings])
            is_cut[1:] |= numbers[1:] != numbers[:-1]
        is_apart = self._is_apart[ids]
        is_cut |= is_apart
        is_cut[1:] |= is_apart[:-1]
        is_byte = self._is_byte[ids] & ~is_apart
        symbols = np.where(is_byte, self._base.num_ids + code_points, ids).astype(np.int32)
        # Of the bytes of a character the first stands for all; a cut there is never inside of it.
        kept = ~(is_byte & (code_points < 0))
        symbols, is_cut, is_apart, is_byte = symbols[kept], is_cut[kept], is_apart[kept], is_byte[kept]
        bounds = np.flatnonzero(np.concatenate([is_cut, [True]]))
        begins, ends = bounds[:-1], bounds[1:]
        useful = (ends - begins > 1) | (is_byte[begins] & ~is_apart[begins])
        content = symbols.tobytes()
        places = np.stack([begins[useful], ends[useful]], axis=1) * _SYMBOL_BYTES
        for place in places.tolist():
            yield content[slice(*place)]

    def _cuts(
        self, ids: NDArray[np.int32], starts: NDArray[np.int64], first: NDArray[np.int64]
    ) -> tuple[NDArray[np.bool_], NDArray[np.int32]]:
        """Whether a word begins with each token, and the character that a token begins with, -1 inside of one."""
        content = b"".join(map(self._spelled.__getitem__, ids.tolist()))
        try:
            text = content.decode("utf-8")
        except UnicodeDecodeError:
            raise InputFileError(f"the base tokenizer loses bytes of a text: {_reason(self._base)}") from None
        code_points = np.frombuffer(text.encode("utf-32-le"), np.uint32)
        widths = 1 + (code_points >= 0x80) + (code_points >= 0x800) + (code_points >= 0x10000)
        places = np.cumsum(widths) - widths
        begins = cuts(code_points)
        if self._boundaries is not None:
            begins[list(self._boundaries(text))] = True
        is_cut = np.zeros(len(content), bool)
        is_cut[places[begins]] = True
        is_cut[starts[first]] = True
        characters = np.full(len(content), -1, np.int32)
        characters[places] = code_points
        return is_cut[starts], characters[starts]

    def table(self, counts: Counter[bytes]) -> Words:
        """The words in order, so that nothing depends on the order of the texts."""
        separator = np.int32(-1).tobytes()
        words = sorted(counts)
        joined = np.frombuffer(b"".join(word + separator for word in words), np.int32)
        lengths = np.array([len(word) // _SYMBOL_BYTES + 1 for word in words], np.int64)
        used, numbers = np.unique(joined, return_inverse=True)
        is_separator = 1 if len(used) and used[0] == -1 else 0
        symbols = tuple(self._symbol(int(number)) for number in used[is_separator:])
        frequencies = np.array([counts[word] for word in words], np.int64)
        return Words(symbols, (numbers - is_separator).astype(np.int32), np.repeat(frequencies, lengths))

    def _symbol(self, number: int) -> Symbol:
        base = self._base
        if number < base.num_ids:
            return Symbol(base.tokens[number] or "", (number,))
        char = chr(number - base.num_ids)
        return Symbol(char, tuple(base.ids[f"<0x{byte:02X}>"] for byte in char.encode("utf-8")), is_piece=False)


def _reason(base: BaseVocabulary) -> str:
    lacking = [byte for byte in _BYTES_OF_TEXT if byte_to_char()[byte] not in base.ids]
    pieces = ", ".join(f"0x{byte:02X}" for byte in lacking)
    return f"it has no piece for {pieces}" if lacking else "its tokens do not spell what they stand for"


def _word_numbers(word_ids: list[int | None]) -> NDArray[np.int64]:
    return np.array([-1 if number is None else number for number in word_ids], np.int64)
