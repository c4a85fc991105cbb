"""The vocabulary of a SentencePiece tokenizer: from `tokenizer.json`, from `tokenizer.model`, or from both.

llama.cpp joins the two neighbours whose piece has the highest score; a `tokenizer.json` lists merges by rank.
Where every way to join two pieces into a third is listed, the two do the same with the negative rank as the
score.  SentencePiece's own scores are taken where `tokenizer.model` has them and they say the same.

Source: `llm_tokenizer_spm_session` and `llm_tokenizer_ugm_session` in `src/llama-vocab.cpp` of llama.cpp.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, Literal

from gguf.constants import TokenType

from moyai.errors import InputFileError
from moyai.gguf.token_list import token_list
from moyai.gguf.vocabulary import Vocabulary
from moyai.tokenizer.sentencepiece.file import PieceType, SentencePieceModel
from moyai.tokenizer.sentencepiece.json_form import PREFIXES, SPACES
from moyai.tokenizer.token_bytes import byte_piece_value
from moyai.tokenizer.vocabulary import merges_of

_NUM_BYTES = 256
# So much below the least likely piece that no text is ever cut into it.
_UNREACHABLE = 1000.0
_METASPACE_SCHEMES: tuple[Literal["never", "always", "first"], ...] = ("never", "always", "first")
_METASPACE = {"type": "Metaspace", "replacement": "▁", "split": False}
_TYPES = {
    PieceType.NORMAL: TokenType.NORMAL,
    PieceType.UNKNOWN: TokenType.UNKNOWN,
    PieceType.CONTROL: TokenType.CONTROL,
    PieceType.USER_DEFINED: TokenType.USER_DEFINED,
    PieceType.UNUSED: TokenType.UNUSED,
    PieceType.BYTE: TokenType.BYTE,
}


def sentencepiece_vocabulary(
    data: Mapping[str, Any], model: SentencePieceModel | None, *, vocab_size: int, where: str
) -> Vocabulary:
    """The vocabulary of a parsed `tokenizer.json` whose model is Unigram, or BPE with byte fallback.

    Args:
        data: the parsed file.
        model: `tokenizer.model` of the same checkpoint, where there is one; only its scores are taken.
        vocab_size: rows of the embedding.
        where: the file, for messages.

    Raises:
        InputFileError: llama.cpp has nothing equal to what is done with a text before it is cut, or a byte has
            no token.
    """
    own = data["model"]
    is_bpe = own["type"] == "BPE"
    prefix = _space_prefix(data, where)
    vocab, unknown_id = _bpe_vocab(own, where) if is_bpe else _unigram_vocab(own, where)
    tokens, types = token_list(vocab, data.get("added_tokens", []), vocab_size=vocab_size, where=where)
    if own.get("byte_fallback"):
        _mark_bytes(tokens, types, where)
    if unknown_id is not None:
        types[unknown_id] = TokenType.UNKNOWN
    merges = merges_of(data) if is_bpe else []
    scores = _bpe_scores(tokens, merges, model) if is_bpe else _unigram_scores(own["vocab"], vocab_size)
    return Vocabulary(
        model="llama" if is_bpe else "t5",
        tokens=tuple(tokens),
        types=tuple(types),
        scores=tuple(scores),
        adds_space_prefix=prefix != "never",
        metaspace=prefix if prefix in ("always", "first") else "",
        special_ids={} if unknown_id is None else {"unk": unknown_id},
    )


def vocabulary_of_model(
    model: SentencePieceModel, added: Mapping[str, int], *, vocab_size: int, where: str
) -> Vocabulary:
    """The vocabulary of a `tokenizer.model` alone.

    Args:
        model: the parsed file.
        added: special tokens that the checkpoint has besides, by their id.
        vocab_size: rows of the embedding.
        where: the file, for messages.

    Raises:
        InputFileError: it replaces characters or squeezes spaces, a byte has no token, or there are more ids
            than rows.
    """
    if model.has_charsmap or model.removes_extra_spaces:
        raise InputFileError(
            f"{where} replaces characters or squeezes spaces before it cuts a text, which is not yet written to a"
            " GGUF"
        )
    if model.kind == "bpe" and not model.has_byte_fallback:
        raise InputFileError(f"{where} has no tokens <0x00> to <0xFF>, which llama.cpp needs of a BPE model")
    vocab = {piece.text: i for i, piece in enumerate(model.pieces)}
    specials = [{"id": i, "content": token, "special": True} for token, i in added.items() if token not in vocab]
    tokens, types = token_list(vocab, specials, vocab_size=vocab_size, where=where)
    scores = [piece.score for piece in model.pieces]
    types[: len(scores)] = [_TYPES[piece.type] for piece in model.pieces]
    unreachable = min(scores) - _UNREACHABLE
    unknown = [i for i, kind in enumerate(types) if kind == TokenType.UNKNOWN]
    return Vocabulary(
        model="llama" if model.kind == "bpe" else "t5",
        tokens=tuple(tokens),
        types=tuple(types),
        scores=tuple(scores + [unreachable] * (vocab_size - len(scores))),
        adds_space_prefix=model.adds_dummy_prefix,
        special_ids={"unk": unknown[0]} if unknown else {},
    )


def _space_prefix(data: Mapping[str, Any], where: str) -> Literal["never", "plain", "always", "first"]:
    """When a space is put before a text: "plain" does so always, Metaspace's "always" where none is there.

    Whatever else is done to a text must be only that a space becomes ▁.
    """
    normalizer, before = data.get("normalizer") or {}, data.get("pre_tokenizer") or {}
    steps = normalizer.get("normalizers", [normalizer])
    if not before and steps[-1] in SPACES and len(steps) <= 2 and all(step in PREFIXES for step in steps[:-1]):
        return "plain" if len(steps) == 2 else "never"
    for scheme in _METASPACE_SCHEMES:
        if not normalizer and before == _METASPACE | {"prepend_scheme": scheme}:
            return scheme
    raise InputFileError(
        f"{where} prepares a text in a way that llama.cpp is not known to have (normalizer {normalizer},"
        f" pre_tokenizer {before})",
        hint="a GGUF can be written where spaces become ▁, one is put before a text or not, and nothing else",
    )


def _bpe_vocab(model: Mapping[str, Any], where: str) -> tuple[dict[str, int], int | None]:
    if model.get("ignore_merges") or model.get("dropout") or model.get("continuing_subword_prefix"):
        raise InputFileError(
            f"{where} has a BPE model with ignore_merges, dropout or continuing_subword_prefix, which llama.cpp"
            " does not have for SentencePiece"
        )
    vocab: dict[str, int] = model["vocab"]
    return vocab, vocab.get(model.get("unk_token") or "")


def _unigram_vocab(model: Mapping[str, Any], where: str) -> tuple[dict[str, int], int]:
    vocab = {token: i for i, (token, _) in enumerate(model["vocab"])}
    unknown_id = model.get("unk_id")
    if not isinstance(unknown_id, int) or len(vocab) != len(model["vocab"]):
        raise InputFileError(f"{where} has a Unigram model without unk_id, or with a piece that stands twice")
    return vocab, unknown_id


def _mark_bytes(tokens: Sequence[str], types: list[TokenType], where: str) -> None:
    for i, token in enumerate(tokens):
        if types[i] == TokenType.NORMAL and byte_piece_value(token) is not None:
            types[i] = TokenType.BYTE
    if types.count(TokenType.BYTE) != _NUM_BYTES:
        raise InputFileError(f"{where} falls back to bytes, but not every byte is a token <0x00> to <0xFF>")


def _unigram_scores(vocab: Sequence[tuple[str, float]], vocab_size: int) -> list[float]:
    scores = [float(score) for _, score in vocab]
    return scores + [min(scores) - _UNREACHABLE] * (vocab_size - len(scores))


def _bpe_scores(
    tokens: Sequence[str], merges: Sequence[tuple[str, str]], model: SentencePieceModel | None
) -> list[float]:
    ranks: dict[str, int] = {}
    for rank, (left, right) in enumerate(merges):
        ranks.setdefault(left + right, rank)
    if model is not None and _says_the_same(model, tokens, ranks):
        own = [piece.score for piece in model.pieces]
        return own + [min(own) - _UNREACHABLE] * (len(tokens) - len(own))
    return [-float(ranks.get(token, len(merges))) for token in tokens]


def _says_the_same(model: SentencePieceModel, tokens: Sequence[str], ranks: Mapping[str, int]) -> bool:
    """Whether SentencePiece's scores order the pieces as the merges do, and no merge makes any other piece."""
    own = {piece.text: piece.score for piece in model.pieces}
    in_order = sorted((rank, own[piece]) for piece, rank in ranks.items() if piece in own)
    return (
        model.kind == "bpe"
        and [piece.text for piece in model.pieces] == list(tokens[: len(model.pieces)])
        and len(in_order) == len(ranks)
        and all(before >= after for (_, before), (_, after) in pairwise(in_order))
    )
