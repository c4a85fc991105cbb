r"""How `tokenizer.ggml.pre` of a GGUF and the pre-tokenizer of a `tokenizer.json` name the same thing.

llama.cpp has the pre-tokenizers built in and knows them by name; a `tokenizer.json` spells them out.  One
table serves both directions, so an exported vocabulary inherits the name of its parent: llama.cpp's own
converter looks up a hash over the ids of a test text instead, which no extended vocabulary can ever match.

Source: `llm_tokenizer_bpe` and `llama_vocab::impl::load` in `src/llama-vocab.cpp` of llama.cpp; the
`tokenizer.json` files of SmolLM2, Llama 3, Qwen2 and GPT-2 on the hub.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from moyai.errors import InputFileError

_GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
_LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_QWEN2 = _LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")


@dataclass(frozen=True)
class PreTokenizer:
    """What llama.cpp does with text before the merges, in the words of a `tokenizer.json`."""

    json: Mapping[str, Any]
    normalizer: Mapping[str, Any] | None = None
    ignore_merges: bool = False
    """A word that is a token is taken whole, whatever the merges say."""
    adds_bos: bool = False
    """Whether llama.cpp puts the bos token first when the file does not say."""


def _byte_level(*, use_regex: bool) -> dict[str, Any]:
    return {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": use_regex}


def _sequence(*parts: dict[str, Any]) -> dict[str, Any]:
    return {"type": "Sequence", "pretokenizers": list(parts)}


def _split(regex: str) -> dict[str, Any]:
    return {"type": "Split", "pattern": {"Regex": regex}, "behavior": "Isolated", "invert": False}


PRE_TOKENIZERS: Mapping[str, PreTokenizer] = MappingProxyType(
    {
        "gpt-2": PreTokenizer(_byte_level(use_regex=True)),
        "smollm": PreTokenizer(
            _sequence({"type": "Digits", "individual_digits": True}, _byte_level(use_regex=True))
        ),
        "llama-bpe": PreTokenizer(
            _sequence(_split(_LLAMA3), _byte_level(use_regex=False)), ignore_merges=True, adds_bos=True
        ),
        "qwen2": PreTokenizer(
            # llama.cpp does not normalise; it and Hugging Face differ on text that is not in NFC.
            _sequence(_split(_QWEN2), _byte_level(use_regex=False)),
            normalizer={"type": "NFC"},
        ),
        "default": PreTokenizer(
            _sequence(
                _split(r"[\p{P}\$\+<=>\^~\|]+"),
                _split(_GPT2),
                _split(r"\p{N}+"),
                _split("[0-9][0-9][0-9]"),
                _byte_level(use_regex=False),
            )
        ),
    }
)


def pre_tokenizer_named(name: str, *, where: str) -> PreTokenizer:
    """What `tokenizer.ggml.pre` = `name` stands for.

    Raises:
        InputFileError: the table does not have it.
    """
    if name not in PRE_TOKENIZERS:
        raise InputFileError(
            f"{where} has tokenizer.ggml.pre {name!r}, which is not yet known;"
            f" known are {', '.join(PRE_TOKENIZERS)}",
            hint="take the Hugging Face checkpoint of this model instead of its GGUF",
        )
    return PRE_TOKENIZERS[name]


def pre_tokenizer_name(tokenizer: Mapping[str, Any], *, where: str) -> str:
    """The name that llama.cpp has for the pre-tokenizer of a parsed `tokenizer.json`.

    Raises:
        InputFileError: its normalizer, pre-tokenizer and `ignore_merges` are together none that llama.cpp
        has.

    >>> tokenizer = {"pre_tokenizer": PRE_TOKENIZERS["smollm"].json, "model": {}}
    >>> pre_tokenizer_name(tokenizer, where="tokenizer.json")
    'smollm'
    """
    found = (
        _essential(tokenizer.get("pre_tokenizer")),
        _essential(tokenizer.get("normalizer")),
        bool(tokenizer["model"].get("ignore_merges", False)),
    )
    for name, known in PRE_TOKENIZERS.items():
        if found == (_essential(known.json), _essential(known.normalizer), known.ignore_merges):
            return name
    raise InputFileError(
        f"{where} has a pre-tokenizer that llama.cpp is not known to have"
        f" (pre_tokenizer {found[0]}, normalizer {found[1]}, ignore_merges {found[2]})",
        hint=f"a GGUF can be written for the pre-tokenizers {', '.join(PRE_TOKENIZERS)}",
    )


def _essential(part: Any) -> Any:
    """What of a definition decides where text is split: offsets do not, nor does a sequence of one."""
    if isinstance(part, list):
        return [_essential(item) for item in part]
    if not isinstance(part, Mapping):
        return part
    for key in ("pretokenizers", "normalizers"):
        if part.get("type") == "Sequence" and len(part.get(key, ())) == 1:
            return _essential(part[key][0])
    return {key: _essential(value) for key, value in part.items() if key != "trim_offsets"}
