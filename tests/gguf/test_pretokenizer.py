import json

import pytest
from tokenizers import Tokenizer
from tokenizers import pre_tokenizers as pt
from tokenizers.models import BPE

from moyai.errors import InputFileError
from moyai.gguf.pretokenizer import PRE_TOKENIZERS, pre_tokenizer_name, pre_tokenizer_named


@pytest.mark.parametrize("name", PRE_TOKENIZERS)
def test_every_name_comes_back(name: str) -> None:
    known = PRE_TOKENIZERS[name]
    tokenizer = {
        "pre_tokenizer": known.json,
        "normalizer": known.normalizer,
        "model": {"ignore_merges": known.ignore_merges},
    }
    assert pre_tokenizer_name(tokenizer, where="t") == name
    assert pre_tokenizer_named(name, where="t") is known


@pytest.mark.parametrize("name", PRE_TOKENIZERS)
def test_the_tokenizers_library_reads_every_one(name: str) -> None:
    content = {
        "version": "1.0",
        "added_tokens": [],
        "pre_tokenizer": PRE_TOKENIZERS[name].json,
        "normalizer": PRE_TOKENIZERS[name].normalizer,
        "model": {"type": "BPE", "vocab": {"a": 0}, "merges": []},
    }
    split = Tokenizer.from_str(json.dumps(content)).pre_tokenizer.pre_tokenize_str("It's 12345 boats!")
    digits = {
        "gpt-2": ["Ġ12345"],
        "smollm": ["Ġ", "1", "2", "3", "4", "5"],
        "llama-bpe": ["Ġ", "123", "45"],
        "qwen2": ["Ġ", "1", "2", "3", "4", "5"],
        "default": ["Ġ", "123", "45"],
    }[name]
    apostrophe = ["'", "s"] if name == "default" else ["'s"]
    assert [piece for piece, _ in split] == ["It", *apostrophe, *digits, "Ġboats", "!"]


def test_structure_counts_and_offsets_do_not() -> None:
    model = {"model": {}}
    plain = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": True}
    assert pre_tokenizer_name({"pre_tokenizer": plain, **model}, where="t") == "gpt-2"
    alone = {"type": "Sequence", "pretokenizers": [plain]}
    assert pre_tokenizer_name({"pre_tokenizer": alone, **model}, where="t") == "gpt-2"


@pytest.mark.parametrize(
    "tokenizer",
    [
        {"pre_tokenizer": {**PRE_TOKENIZERS["gpt-2"].json, "add_prefix_space": True}, "model": {}},
        {"pre_tokenizer": PRE_TOKENIZERS["gpt-2"].json, "normalizer": {"type": "NFC"}, "model": {}},
        {"pre_tokenizer": PRE_TOKENIZERS["llama-bpe"].json, "model": {"ignore_merges": False}},
        {"pre_tokenizer": None, "model": {}},
    ],
)
def test_an_unknown_structure_is_refused(tokenizer: dict[str, object]) -> None:
    with pytest.raises(InputFileError, match=r"pre-tokenizer that llama\.cpp is not known to have"):
        pre_tokenizer_name(tokenizer, where="tokenizer.json")


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(InputFileError, match="'tekken', which is not yet known"):
        pre_tokenizer_named("tekken", where="a.gguf")


def test_digits_before_byte_level() -> None:
    parts = pt.Sequence([pt.Digits(individual_digits=True), pt.ByteLevel(add_prefix_space=False)])
    tokenizer = Tokenizer(BPE())
    tokenizer.pre_tokenizer = parts
    assert pre_tokenizer_name(json.loads(tokenizer.to_str()), where="t") == "smollm"
