"""A SentencePiece model with new pieces.

A repeated field of a protocol buffer goes on where it is given again, and a single one counts as given last.  So the
extended file is the bytes of the old one, then messages of the new pieces, then the new size: whatever else the old
file holds, such as its table of replaced characters, stays as it was to the byte.

Source: `src/sentencepiece_model.proto` of SentencePiece, and the wire format of protocol buffers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from moyai.tokenizer.sentencepiece.file import Piece, PieceType, SentencePieceModel
from moyai.tokenizer.sentencepiece.json_form import split_merges
from moyai.tokenizer.sentencepiece.write import bytes_field, number_field, piece_field, sentencepiece_bytes
from moyai.tokenizer.token_bytes import byte_piece_value
from moyai.tokenizer.vocabulary import BaseVocabulary

_TRAINER, _VOCAB_SIZE = 2, 4


def extended_model(
    base: BaseVocabulary, pieces: Sequence[str], scores: Sequence[float]
) -> tuple[SentencePieceModel | None, bytes]:
    """The model with `pieces` from `base.num_ids` up, and its bytes; none for a vocabulary that has no such file.

    Added tokens behind the old pieces become control pieces (user-defined ones where they are not special), which
    SentencePiece never cuts a text into, so that every later id is the same in both files.
    """
    old, content = base.model, base.model_bytes
    if old is None:
        old = _model_of_json(base)
        content = b""
    if old is None:
        return None, b""
    between = [_placed(base, id_) for id_ in range(len(old.pieces), base.num_ids)]
    if base.family == "SentencePiece BPE":
        scores = _scores_below(min(piece.score for piece in old.pieces if piece.type == PieceType.NORMAL), len(pieces))
    new = [Piece(text, score, PieceType.NORMAL) for text, score in zip(pieces, scores, strict=True)]
    grown = replace(old, pieces=(*old.pieces, *between, *new))
    if not content:
        return grown, sentencepiece_bytes(grown)
    messages = b"".join(piece_field(piece) for piece in (*between, *new))
    return grown, content + messages + bytes_field(_TRAINER, number_field(_VOCAB_SIZE, len(grown.pieces)))


def merges_with_new_parts(base: BaseVocabulary, own: list[list[str]], new: frozenset[str]) -> list[list[str]]:
    """The base's merges, and behind those of each old piece the ways to make it of which a half is new."""
    parts = (set(base.ids) - set(base.added_ids)) | new
    last = {left + right: place for place, (left, right) in enumerate(own)}
    by_place: dict[int, list[list[str]]] = {}
    for piece in sorted(base.ids, key=lambda piece: base.ids[piece]):
        if len(piece) > 1 and piece not in base.added_ids:
            for merge in split_merges([piece], parts):
                if merge[0] in new or merge[1] in new:
                    by_place.setdefault(last.get(piece, len(own) - 1), []).append(merge)
    merges = []
    for place, merge in enumerate(own):
        merges.append(merge)
        merges += by_place.get(place, [])
    return merges


def _scores_below(lowest: float, count: int) -> list[float]:
    """So many scores, each less than the one before, that stay different as float32.

    >>> _scores_below(-3.0, 2), _scores_below(-1e9, 2)
    ([-4.0, -5.0], [-1000000128.0, -1000000256.0])
    """
    step = max(1.0, 2 * float(np.spacing(np.float32(abs(lowest)))))
    return [lowest - step * (number + 1) for number in range(count)]


def unused_name(id_: int) -> str:
    """What an id is called that no token has."""
    return f"<unused{id_}>"


def _placed(base: BaseVocabulary, id_: int) -> Piece:
    """What stands in the model for an id behind its pieces."""
    token = base.tokens[id_]
    if token is None:
        return Piece(unused_name(id_), 0.0, PieceType.UNUSED)
    return Piece(token, 0.0, PieceType.CONTROL if base.is_special(token) else PieceType.USER_DEFINED)


def _model_of_json(base: BaseVocabulary) -> SentencePieceModel | None:
    """The model that a `tokenizer.json` says, where SentencePiece has one that cuts text as it does."""
    prefix = base.plain_prefix()
    if prefix is None or (base.family == "SentencePiece BPE" and not base.joins_any_split):
        return None
    own = base.data["model"]
    if base.family == "Unigram":
        scores = {token: float(score) for token, score in own["vocab"]}
        unknown = base.tokens[own["unk_id"]]
    else:
        scores = {}
        for left, right in base.merges:
            scores.setdefault(left + right, -float(len(scores)))
        lowest = -float(len(scores))
        scores |= {token: lowest for token in base.ids if token not in scores}
        unknown = own.get("unk_token")

    def piece(id_: int, token: str | None) -> Piece:
        if token is not None and token == unknown:
            return Piece(token, 0.0, PieceType.UNKNOWN)
        if token is None or token in base.added_ids:
            return _placed(base, id_)
        kind = PieceType.NORMAL if byte_piece_value(token) is None else PieceType.BYTE
        return Piece(token, scores[token] if kind == PieceType.NORMAL else 0.0, kind)

    pieces = tuple(piece(id_, token) for id_, token in enumerate(base.tokens))
    if not any(made.type == PieceType.UNKNOWN for made in pieces):
        return None
    return SentencePieceModel(
        kind="unigram" if base.family == "Unigram" else "bpe",
        pieces=pieces,
        adds_dummy_prefix=prefix,
        removes_extra_spaces=False,
        has_charsmap=False,
    )
