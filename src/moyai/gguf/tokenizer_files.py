"""A vocabulary as the tokenizer files of a Hugging Face checkpoint, in both directions."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from moyai.checkpoint.disk import replace_file
from moyai.errors import InputFileError
from moyai.gguf.pretokenizer import pre_tokenizer_name
from moyai.gguf.sentencepiece_vocabulary import sentencepiece_vocabulary, vocabulary_of_model
from moyai.gguf.text_ends import text_ends
from moyai.gguf.token_list import token_list
from moyai.gguf.tokenizer_json import tokenizer_json
from moyai.gguf.vocabulary import Vocabulary
from moyai.tokenizer.sentencepiece.file import read_sentencepiece
from moyai.tokenizer.vocabulary import added_tokens, json_object, merges_of

_ROLES = ("bos", "eos", "unk", "pad")


def write_tokenizer_files(vocabulary: Vocabulary, out_dir: Path, *, max_tokens: int) -> None:
    """Write `tokenizer.json`, `tokenizer_config.json` and `generation_config.json`.

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
        ("tokenizer.json", tokenizer_json(vocabulary)),
        ("tokenizer_config.json", config),
        ("generation_config.json", generation),
    ):
        text = json.dumps(content, ensure_ascii=False, indent=2) + "\n"
        replace_file(out_dir / name, text.encode("utf-8"))


def read_tokenizer_files(checkpoint_dir: Path, *, vocab_size: int) -> Vocabulary:
    """The vocabulary of a checkpoint directory, with a `[PADn]` token for each row that has none.

    `tokenizer.json` decides; a checkpoint without one is read from `tokenizer.model`.

    Raises:
        InputFileError: llama.cpp has nothing equal to the tokenizer, or it has more ids than the checkpoint has
            rows.
    """
    path, model_path = checkpoint_dir / "tokenizer.json", checkpoint_dir / "tokenizer.model"
    config = json_object(checkpoint_dir / "tokenizer_config.json")
    if path.is_file():
        data = json_object(path)
        vocabulary = _vocabulary(data, model_path, vocab_size=vocab_size, where=str(path))
    elif model_path.is_file():
        # transformers takes add_bos_token for true where a SentencePiece tokenizer's settings leave it out.
        data, config = {}, {"add_bos_token": True} | config
        added = {token["content"]: token["id"] for token in added_tokens(checkpoint_dir, config)}
        model = read_sentencepiece(model_path)
        vocabulary = vocabulary_of_model(model, added, vocab_size=vocab_size, where=str(model_path))
    else:
        raise InputFileError(f"{checkpoint_dir} has neither tokenizer.json nor tokenizer.model")
    ids = {token: i for i, token in enumerate(vocabulary.tokens)}
    special_ids = _special_ids(checkpoint_dir, ids) | dict(vocabulary.special_ids)
    adds_bos, adds_eos = text_ends(path, data.get("post_processor"), config, special_ids)
    return replace(
        vocabulary,
        special_ids=special_ids,
        adds_bos=adds_bos,
        adds_eos=adds_eos,
        chat_template=_chat_template(checkpoint_dir, config),
    )


def _vocabulary(data: dict[str, Any], model_path: Path, *, vocab_size: int, where: str) -> Vocabulary:
    """What a parsed `tokenizer.json` says of the tokens and of how text is cut into them."""
    own = data.get("model")
    kind = own.get("type") if isinstance(own, dict) else None
    if kind == "Unigram" or (kind == "BPE" and data["model"].get("byte_fallback")):
        # Beside a byte-level tokenizer a file of this name is of another format, as Llama 3's is.
        model = read_sentencepiece(model_path) if kind == "BPE" and model_path.is_file() else None
        return sentencepiece_vocabulary(data, model, vocab_size=vocab_size, where=where)
    if kind != "BPE":
        raise InputFileError(f"{where} has a model of type {kind!r}; a GGUF can be written for BPE and Unigram")
    pre = pre_tokenizer_name(data, where=where)
    tokens, types = token_list(data["model"]["vocab"], data.get("added_tokens", []), vocab_size=vocab_size, where=where)
    return Vocabulary(
        model="gpt2", pre=pre, tokens=tuple(tokens), types=tuple(types), merges=tuple(merges_of(data))
    )


def _special_ids(checkpoint_dir: Path, ids: Mapping[str, int]) -> dict[str, int]:
    """What the tokenizer says; for a role that it leaves out, what `config.json` says."""
    tokenizer = json_object(checkpoint_dir / "tokenizer_config.json")
    model = json_object(checkpoint_dir / "config.json")
    generation = json_object(checkpoint_dir / "generation_config.json")
    found: dict[str, int] = {}
    for role in _ROLES:
        token = tokenizer.get(f"{role}_token")
        content = token.get("content") if isinstance(token, dict) else token
        from_model = _first(model.get(f"{role}_token_id"))
        if content is not None:
            if content not in ids:
                raise InputFileError(
                    f"{checkpoint_dir / 'tokenizer_config.json'} has {role}_token {content!r},"
                    " which the vocabulary does not have"
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


def _chat_template(checkpoint_dir: Path, config: Mapping[str, Any]) -> str | None:
    """`chat_template.jinja` wins over `tokenizer_config.json`, as in transformers."""
    path = checkpoint_dir / "chat_template.jinja"
    if path.is_file():
        return path.read_text(encoding="utf-8")
    template = config.get("chat_template")
    if isinstance(template, list):
        template = {entry["name"]: entry["template"] for entry in template}.get("default")
    return template if isinstance(template, str) else None
