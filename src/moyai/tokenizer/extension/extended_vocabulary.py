"""A vocabulary with new pieces: the content of every file that holds it, what was there unchanged.

An added token is written into the model's vocabulary too, under the id it has: `tokenizers` numbers an added token
that is not there by the size of the vocabulary, which has just grown.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from moyai.tokenizer.extension.sentencepiece import extended_model, merges_with_new_parts, unused_name
from moyai.tokenizer.sentencepiece.json_form import split_merges
from moyai.tokenizer.vocabulary import JSON_NAME, MODEL_NAME, BaseVocabulary


def extended_vocabulary(base: BaseVocabulary, pieces: Sequence[str], scores: Sequence[float] = ()) -> BaseVocabulary:
    """The base with `pieces` numbered from its `num_ids` up.

    Args:
        base: what is extended.
        pieces: new ones in the vocabulary's spelling, those to be joined first in front.
        scores: their log-probabilities, for a Unigram vocabulary.
    """
    model = dict(base.data["model"])
    if base.family == "Unigram":
        model["vocab"] = _unigram_vocab(base, pieces, scores)
    else:
        model["vocab"] = base.ids | {piece: base.num_ids + number for number, piece in enumerate(pieces)}
        model["merges"] = _merges(base, pieces)
    grown, content = extended_model(base, pieces, scores)
    return BaseVocabulary(base.family, {**base.data, "model": model}, grown, content)


def write_vocabulary(vocabulary: BaseVocabulary, out_dir: Path) -> None:
    """Write `tokenizer.json`, and `tokenizer.model` where the vocabulary has one, each whole or not at all."""
    _replace_file(out_dir / JSON_NAME, json.dumps(vocabulary.data, ensure_ascii=False).encode("utf-8"))
    if vocabulary.model_bytes:
        _replace_file(out_dir / MODEL_NAME, vocabulary.model_bytes)


def _merges(base: BaseVocabulary, pieces: Sequence[str]) -> list[list[str]]:
    own = [list(merge) for merge in base.merges]
    parts = (set(base.ids) - set(base.added_ids)) | set(pieces)
    if base.joins_any_split:
        own = merges_with_new_parts(base, own, frozenset(pieces))
    return own + split_merges(pieces, parts)


def _unigram_vocab(base: BaseVocabulary, pieces: Sequence[str], scores: Sequence[float]) -> list[list[Any]]:
    """As in the base; an id behind its pieces that an added token has, or none, is taken by a piece no text is cut into."""
    own = [list(entry) for entry in base.data["model"]["vocab"]]
    lowest = min(score for _, score in own)
    between = [[base.tokens[id_] or unused_name(id_), lowest] for id_ in range(len(own), base.num_ids)]
    return [*own, *between, *([piece, score] for piece, score in zip(pieces, scores, strict=True))]


def _replace_file(path: Path, content: bytes) -> None:
    partial = path.with_name(f"{path.name}.partial")
    partial.write_bytes(content)
    partial.replace(path)
