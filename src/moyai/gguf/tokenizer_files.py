"""A vocabulary as the tokenizer files of a Hugging Face checkpoint, in both directions."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gguf.constants import TokenType

from moyai.checkpoint.disk import replace_file
from moyai.errors import InputFileError
from moyai.gguf.pretokenizer import PRE_TOKENIZERS, pre_tokenizer_name
from moyai.gguf.vocabulary import Vocabulary
from moyai.tokenizer.bpe_file import BpeFile

_ADDED_TYPES = {TokenType.CONTROL, TokenType.UNKNOWN, TokenType.USER_DEFINED}
_ROLES = ("bos", "eos", "unk", "pad")


def write_tokenizer_files(vocabulary: Vocabulary, out_dir: Path, *, max_tokens: int) -> None:
    """Write `tokenizer.json`, `tokenizer_config.json` and `generation_config.json`.

    Unused tokens at the end of the vocabulary pad the embedding only and stay out of `tokenizer.json`.

    Args:
        vocabulary: what to write.
        out_dir: the checkpoint directory.
        max_tokens: the longest context, in tokens.
    """
    special = vocabulary.special_ids
    config: dict[str, Any] = {
        f"{role}_token": vocabulary.tokens[special[role]] for role in _ROLES if role in special
    }
    config |= {
        "clean_up_tokenization_spaces": False,
        "model_max_length": max_tokens,
        "tokenizer_class": "PreTrainedTokenizerFast",
    }
    if vocabulary.chat_template:
        config["chat_template"] = vocabulary.chat_template
    stops = [special[role] for role in ("eos", "eot") if role in special]
    generation: dict[str, Any] = {
        f"{role}_token_id": special[role] for role in ("bos", "pad") if role in special
    }
    if stops:
        generation["eos_token_id"] = stops[0] if len(set(stops)) == 1 else stops
    for name, content in (
        ("tokenizer.json", _tokenizer_json(vocabulary)),
        ("tokenizer_config.json", config),
        ("generation_config.json", generation),
    ):
        text = json.dumps(content, ensure_ascii=False, indent=2) + "\n"
        replace_file(out_dir / name, text.encode("utf-8"))


def _tokenizer_json(vocabulary: Vocabulary) -> dict[str, Any]:
    known = PRE_TOKENIZERS[vocabulary.pre]
    num_used = len(vocabulary.tokens)
    while num_used and vocabulary.types[num_used - 1] == TokenType.UNUSED:
        num_used -= 1
    used = list(enumerate(zip(vocabulary.tokens, vocabulary.types, strict=True)))[:num_used]
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [_added_token(i, token, kind) for i, (token, kind) in used if kind in _ADDED_TYPES],
        "normalizer": known.normalizer,
        "pre_tokenizer": known.json,
        "post_processor": _post_processor(vocabulary),
        "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": known.ignore_merges,
            "vocab": {token: i for i, (token, _) in used},
            "merges": [list(merge) for merge in vocabulary.merges],
        },
    }


def _added_token(token_id: int, content: str, kind: TokenType) -> dict[str, Any]:
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    return {"id": token_id, "content": content, **flags, "special": kind != TokenType.USER_DEFINED}


def _post_processor(vocabulary: Vocabulary) -> dict[str, Any] | None:
    ends = {"bos": vocabulary.adds_bos, "eos": vocabulary.adds_eos}
    tokens = {role: vocabulary.tokens[vocabulary.special_ids[role]] for role, is_added in ends.items()
              if is_added and role in vocabulary.special_ids}  # fmt: skip
    if not tokens:
        return None

    def framed(sequence: str, type_id: int) -> list[dict[str, Any]]:
        parts: list[dict[str, Any]] = [{"Sequence": {"id": sequence, "type_id": type_id}}]
        if "bos" in tokens:
            parts.insert(0, {"SpecialToken": {"id": tokens["bos"], "type_id": type_id}})
        if "eos" in tokens:
            parts.append({"SpecialToken": {"id": tokens["eos"], "type_id": type_id}})
        return parts

    return {
        "type": "TemplateProcessing",
        "single": framed("A", 0),
        "pair": framed("A", 0) + framed("B", 1),
        "special_tokens": {
            token: {"id": token, "ids": [vocabulary.special_ids[role]], "tokens": [token]}
            for role, token in tokens.items()
        },
    }


def read_tokenizer_files(checkpoint_dir: Path, *, vocab_size: int) -> Vocabulary:
    """The vocabulary of a checkpoint directory, with a `[PADn]` token for each row that has none.

    Raises:
        InputFileError: the tokenizer is not byte-level BPE, llama.cpp has nothing equal to its
        pre-tokenizer, or
            it has more ids than the checkpoint has rows.
    """
    path = checkpoint_dir / "tokenizer.json"
    file = BpeFile.read(checkpoint_dir)
    pre = pre_tokenizer_name(file.data, where=str(path))
    if file.num_ids > vocab_size:
        raise InputFileError(f"{path} has ids up to {file.num_ids - 1}, the embedding only {vocab_size} rows")
    tokens = [f"[PAD{i}]" for i in range(vocab_size)]
    types = [TokenType.UNUSED] * vocab_size
    for token, token_id in file.vocab.items():
        tokens[token_id], types[token_id] = token, TokenType.NORMAL
    for added in file.data.get("added_tokens", []):
        if added.get("lstrip") or added.get("rstrip") or added.get("single_word"):
            raise InputFileError(
                f"{path}: the added token {added['content']!r} takes in its surroundings (lstrip, rstrip or"
                " single_word), which a GGUF cannot say"
            )
        tokens[added["id"]] = added["content"]
        types[added["id"]] = TokenType.CONTROL if added.get("special") else TokenType.USER_DEFINED
    if len(set(tokens)) != vocab_size:
        raise InputFileError(f"{path} has a token that is called like a padding row, [PADn]")
    special_ids = _special_ids(checkpoint_dir, {token: i for i, token in enumerate(tokens)})
    config = _json_object(checkpoint_dir / "tokenizer_config.json")
    adds_bos, adds_eos = _ends(path, file.data.get("post_processor"), config, special_ids)
    return Vocabulary(
        pre=pre,
        tokens=tuple(tokens),
        types=tuple(types),
        merges=tuple(file.merges),
        special_ids=special_ids,
        adds_bos=adds_bos,
        adds_eos=adds_eos,
        chat_template=_chat_template(checkpoint_dir, config),
    )


def _special_ids(checkpoint_dir: Path, ids: Mapping[str, int]) -> dict[str, int]:
    """What the tokenizer says; for a role that it leaves out, what `config.json` says."""
    tokenizer = _json_object(checkpoint_dir / "tokenizer_config.json")
    model = _json_object(checkpoint_dir / "config.json")
    generation = _json_object(checkpoint_dir / "generation_config.json")
    found: dict[str, int] = {}
    for role in _ROLES:
        token = tokenizer.get(f"{role}_token")
        content = token.get("content") if isinstance(token, dict) else token
        from_model = _first(model.get(f"{role}_token_id"))
        if content is not None:
            if content not in ids:
                raise InputFileError(
                    f"{checkpoint_dir / 'tokenizer_config.json'} has {role}_token {content!r},"
                    " which tokenizer.json does not have"
                )
            found[role] = ids[content]
        elif from_model is not None and 0 <= from_model < len(ids):
            found[role] = from_model
    stops = generation.get("eos_token_id")
    others = [stop for stop in stops if stop != found.get("eos")] if isinstance(stops, list) else []
    if others:
        found["eot"] = others[0]
    return found


def _first(value: Any) -> int | None:
    value = value[0] if isinstance(value, list) and value else value
    return value if isinstance(value, int) else None


def _ends(
    path: Path, processor: Any, config: Mapping[str, Any], special_ids: Mapping[str, int]
) -> tuple[bool, bool]:
    """Whether bos and eos are put around a text; an explicit setting goes first, as in transformers 5."""
    bos, eos = special_ids.get("bos"), special_ids.get("eos")
    around = _around(path, processor)
    adds_bos, adds_eos = around[0] == [bos], around[1] == [eos]
    if around != ([bos] * adds_bos, [eos] * adds_eos):
        raise InputFileError(
            f"{path} puts the ids {around[0]} and {around[1]} around a text,"
            f" which are not its bos ({bos}) and eos ({eos})"
        )
    said_bos, said_eos = config.get("add_bos_token"), config.get("add_eos_token")
    return adds_bos if said_bos is None else bool(said_bos), adds_eos if said_eos is None else bool(said_eos)


def _around(path: Path, processor: Any) -> tuple[list[int], list[int]]:
    """The ids that a post-processor puts before and after a text."""
    kind = processor.get("type") if isinstance(processor, dict) else None
    before: list[int] = []
    after: list[int] = []
    if processor is None or kind == "ByteLevel":
        return before, after
    if kind == "Sequence":
        for part in processor["processors"]:
            outer = _around(path, part)
            before, after = outer[0] + before, after + outer[1]
        return before, after
    if kind != "TemplateProcessing":
        raise InputFileError(f"{path} has the post-processor {kind!r}, which a GGUF cannot say")
    side = before
    for part in processor["single"]:
        if "Sequence" in part:
            side = after
        else:
            side.extend(processor["special_tokens"][part["SpecialToken"]["id"]]["ids"])
    return before, after


def _chat_template(checkpoint_dir: Path, config: Mapping[str, Any]) -> str | None:
    """`chat_template.jinja` wins over `tokenizer_config.json`, as in transformers."""
    path = checkpoint_dir / "chat_template.jinja"
    if path.is_file():
        return path.read_text(encoding="utf-8")
    template = config.get("chat_template")
    if isinstance(template, list):
        template = {entry["name"]: entry["template"] for entry in template}.get("default")
    return template if isinstance(template, str) else None


def _json_object(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InputFileError(f"{path} is not JSON: {error}") from None
    if not isinstance(content, dict):
        raise InputFileError(f"{path} is not a JSON object")
    return content
