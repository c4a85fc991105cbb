"""Vocabulary extension of byte-level BPE: new merges learnt on top of the base tokenizer.

The corpus is encoded by the base tokenizer and each id mapped to one private code point; a BPE trainer learns
merges over those, and they are mapped back and ranked after the base's own.  In BPE the lowest rank goes first, and
joining two tokens never creates a neighbourhood that did not exist, so the extended tokenizer first does exactly
what the base did and then merges further: no text is ever cut into more tokens than before.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from moyai.errors import UserError
from moyai.tokenizer.bpe_file import BpeFile

_PRIVATE = 0xF0000
_PRIVATE_SIZE = 0x10FFFE - _PRIVATE
# Words are fed to the trainer in lines of about this many, each repeated as often as it occurs.
_WORDS_PER_LINE = 1000


@dataclass(frozen=True)
class Extension:
    """What was learnt."""

    merges: list[tuple[str, str]]
    """In order of rank, in the vocabulary's spelling."""
    pieces: dict[str, tuple[int, ...]]
    """Spelling of each new piece, in order of id, to the base ids it replaces."""


def learn_extension(base: BpeFile, texts: Iterable[str], *, num_pieces: int, min_frequency: int) -> Extension:
    """Learn exactly `num_pieces` new pieces on `texts`.

    Raises:
        UserError: the texts hold fewer pairs that occur `min_frequency` times.
    """
    words = _words(base, texts)
    alphabet = {id_ for word in words for id_ in word}
    if alphabet and max(alphabet) >= _PRIVATE_SIZE:
        raise UserError(f"the base vocabulary has more than {_PRIVATE_SIZE} ids")
    # Some learnt pieces spell a token that is there already or that another merge spells too: ask for more.
    spare = num_pieces // 5 + 64
    trained = _train(words, len(alphabet) + num_pieces + spare, min_frequency)
    extension = _select(base, trained, num_pieces)
    if len(extension.pieces) < num_pieces:
        raise UserError(
            f"the corpus yields {len(extension.pieces)} new pieces that occur {min_frequency} times, not {num_pieces}",
            hint="give more text, or fewer pieces",
        )
    return extension


def _words(base: BpeFile, texts: Iterable[str]) -> Counter[tuple[int, ...]]:
    """How often each pre-token occurs, as base ids."""
    tokenizer = Tokenizer.from_str(json.dumps(base.data, ensure_ascii=False))
    words: Counter[tuple[int, ...]] = Counter()
    for text in texts:
        encoding = tokenizer.encode(text, add_special_tokens=False)
        word: list[int] = []
        current = None
        for id_, index in zip(encoding.ids, encoding.word_ids, strict=True):
            if index != current and word:
                words[tuple(word)] += 1
                word = []
            current = index
            word.append(id_)
        if word:
            words[tuple(word)] += 1
    return words


def _train(words: Counter[tuple[int, ...]], vocab_size: int, min_frequency: int) -> list[tuple[str, str]]:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    trainer = trainers.BpeTrainer(vocab_size=vocab_size, min_frequency=min_frequency, show_progress=False)

    def lines() -> Iterable[str]:
        # Sorted, so that ties between equally frequent pairs never depend on the order of the corpus.
        for word, count in sorted(words.items()):
            if len(word) > 1:
                spelled = "".join(chr(_PRIVATE + id_) for id_ in word)
                for start in range(0, count, _WORDS_PER_LINE):
                    yield " ".join([spelled] * min(_WORDS_PER_LINE, count - start))

    tokenizer.train_from_iterator(lines(), trainer)
    merges = json.loads(tokenizer.to_str())["model"]["merges"]
    return [tuple(m.split(" ", 1)) if isinstance(m, str) else tuple(m) for m in merges]  # type: ignore[misc]


def _select(base: BpeFile, trained: list[tuple[str, str]], num_pieces: int) -> Extension:
    """Map the private code points back; drop merges that only respell a base token, and all that build on them."""
    vocab = base.vocab
    spelling = {id_: token for token, id_ in vocab.items()}
    pieces: dict[str, tuple[int, ...]] = {}
    merges: list[tuple[str, str]] = []
    usable: set[str] = set()
    for left, right in trained:
        if any(len(side) > 1 and side not in usable for side in (left, right)):
            continue
        ids = tuple(ord(char) - _PRIVATE for char in left + right)
        piece = "".join(spelling[id_] for id_ in ids)
        if piece in vocab:
            continue
        if piece not in pieces:
            if len(pieces) == num_pieces:
                continue
            pieces[piece] = ids
        usable.add(left + right)
        merges.append(
            tuple("".join(spelling[ord(char) - _PRIVATE] for char in side) for side in (left, right))  # type: ignore[arg-type]
        )
    return Extension(merges, pieces)
