"""Does llama.cpp cut text as the checkpoint's tokenizer does, for each kind of vocabulary?"""

import gzip
import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from gguf import GGUFWriter
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from moyai.generation.llama_cpp import LlamaCpp
from moyai.gguf.differences import known_difference
from moyai.gguf.header import read_header
from moyai.gguf.pretokenizer import PRE_TOKENIZERS
from moyai.gguf.read import gguf_to_checkpoint
from moyai.gguf.tokenizer_files import read_tokenizer_files, write_tokenizer_files
from moyai.gguf.vocabulary import Vocabulary, read_vocabulary, vocabulary_metadata
from moyai.gguf.write import checkpoint_to_gguf
from moyai.progress import SilentProgress
from tiny import ENGLISH, JAPANESE, tiny_model, write_tiny_sentencepiece, write_tiny_tokenizer

SILENT = SilentProgress()
TEXTS = [
    "",
    "a",
    " a",
    "   a",
    "a  b   c ",
    "a\nb\n\n",
    "\n\na",
    "\ta\tb\r\n",
    "123 4567",
    "１２３ＡＢＣ",
    "ひらがなカタカナ漢字、。「」",
    "ｶﾞｷﾞﾊﾝｶｸ",
    "か\u3099き\u3099 e\u0301",
    "🛶🏽‍♂️👩‍👩‍👧😀",
    "鱻麤龘𠮷野家",
    "　全角　空白",
    "한국어 ไทย العربية",
    "<s>a</s>b <s> c",
    "<unk><0x41>",
    "a▁b▁ ▁",
    "aaaaaaaaaaaaaaa",
    "ーーーーーーーー!!!!!!",
    "x\u00a0y\u200bz",
    ENGLISH,
    JAPANESE,
]


class Exported(NamedTuple):
    """A checkpoint with its tokenizer, and the same as llama.cpp has it."""

    tokenizer: Tokenizer
    vocabulary: Vocabulary
    llama_cpp: LlamaCpp
    back: Tokenizer
    """Of the checkpoint that the GGUF becomes."""

    def ids(self, text: str) -> list[int]:
        found: list[int] = self.tokenizer.encode(text, add_special_tokens=False).ids
        return found


KINDS = ["byte-level", "byte-level nfc", "bpe", "bpe always", "bpe first", "unigram", "unigram first"]


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Exported]]:
    with ExitStack() as stack:
        yield {kind: made(tmp_path_factory.mktemp("exported"), kind, stack) for kind in KINDS}


def made(directory: Path, kind: str, stack: ExitStack) -> Exported:
    """A tiny model with a tokenizer of that kind, through llama.cpp and back."""
    tiny_model(vocab_size=480).save_pretrained(directory / "m")
    own, _, variant = kind.partition(" ")
    if own == "byte-level":
        write_tiny_tokenizer(directory / "m")
    else:
        write_tiny_sentencepiece(directory / "m", "bpe" if own == "bpe" else "unigram")
    path = directory / "m" / "tokenizer.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    if variant == "nfc":
        content |= {"normalizer": PRE_TOKENIZERS["qwen2"].normalizer, "pre_tokenizer": PRE_TOKENIZERS["qwen2"].json}
    elif variant:
        metaspace = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": variant, "split": False}
        content |= {"normalizer": None, "pre_tokenizer": metaspace}
    path.write_text(json.dumps(content), encoding="utf-8")
    checkpoint_to_gguf(directory / "m", directory / "a.gguf", type="f32", progress=SILENT)
    gguf_to_checkpoint(directory / "a.gguf", directory / "back", progress=SILENT)
    return Exported(
        Tokenizer.from_file(str(path)),
        read_tokenizer_files(directory / "m", vocab_size=480),
        stack.enter_context(LlamaCpp(directory / "a.gguf", num_context=64, num_threads=1)),
        Tokenizer.from_file(str(directory / "back" / "tokenizer.json")),
    )


@pytest.mark.parametrize("kind", KINDS)
def test_the_very_ids_but_for_the_known_differences(exported: dict[str, Exported], kind: str) -> None:
    one = exported[kind]
    for text in TEXTS:
        difference = known_difference(one.vocabulary, text)
        assert (one.llama_cpp.tokenize(text) == one.ids(text)) == (difference == ""), (text, difference)
        if not difference:
            assert one.llama_cpp.tokenize(text, add_special=True) == one.tokenizer.encode(text).ids, text


@pytest.mark.parametrize("kind", ["byte-level", "byte-level nfc", "bpe", "unigram"])
def test_what_comes_back_is_the_same_tokenizer(exported: dict[str, Exported], kind: str) -> None:
    for text in TEXTS:
        assert exported[kind].back.encode(text).ids == exported[kind].tokenizer.encode(text).ids, text


@pytest.mark.parametrize("kind", ["bpe always", "bpe first"])
def test_what_comes_back_is_what_llama_cpp_does(exported: dict[str, Exported], kind: str) -> None:
    one = exported[kind]
    for text in TEXTS:
        assert one.back.encode(text, add_special_tokens=False).ids == one.llama_cpp.tokenize(text), text


@pytest.mark.parametrize("kind", ["byte-level", "byte-level nfc", "bpe"])
def test_differences_are_few(exported: dict[str, Exported], kind: str) -> None:
    found = {text: known_difference(exported[kind].vocabulary, text) for text in TEXTS}
    expected = "llama.cpp does not compose characters (NFC)" if kind == "byte-level nfc" else ""
    assert {text for text, difference in found.items() if difference} <= {"か\u3099き\u3099 e\u0301"}
    assert found["か\u3099き\u3099 e\u0301"] == expected


def test_lost_characters_become_the_unknown_token(exported: dict[str, Exported]) -> None:
    one, text = exported["unigram"], "舟🛶\n鱻a"
    difference = known_difference(one.vocabulary, text)
    assert difference == "llama.cpp takes the unknown token for '🛶鱻', the tokenizer takes bytes"
    assert one.llama_cpp.tokenize(text).count(0) == 2
    assert 0 not in one.ids(text)
    assert known_difference(exported["bpe"].vocabulary, text) == ""


_CHARACTERS = [*"a b\n　舟は。潮ー<s>/▁\t0", *JAPANESE, *ENGLISH]


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(st.one_of(st.sampled_from(_CHARACTERS), st.characters(codec="utf-8"))))
def test_any_text(exported: dict[str, Exported], kind: str, text: str) -> None:
    one = exported[kind]
    if "\0" not in text and not known_difference(one.vocabulary, text):
        assert one.llama_cpp.tokenize(text) == one.ids(text)


# ------------------------------------------------------------------------------------- released vocabularies


def write_vocabulary(path: Path, vocabulary: Vocabulary) -> None:
    """A GGUF file with a vocabulary and next to no model."""
    size, num_tokens = 32, len(vocabulary.tokens)
    writer = GGUFWriter(path, "llama")
    for key in ("embedding_length", "feed_forward_length", "rope.dimension_count", "context_length"):
        writer.add_uint32(f"llama.{key}", size)
    for key in ("block_count", "attention.head_count"):
        writer.add_uint32(f"llama.{key}", 1)
    writer.add_float32("llama.attention.layer_norm_rms_epsilon", 1e-5)
    for key, value in vocabulary_metadata(vocabulary).items():
        adders = {bool: writer.add_bool, int: writer.add_uint32, str: writer.add_string, list: writer.add_array}
        adders[type(value)](key, value)
    shapes: dict[str, tuple[int, ...]] = {"token_embd": (num_tokens, size), "output_norm": (size,)}
    shapes |= {f"blk.0.{name}": (size,) for name in ("attn_norm", "ffn_norm")}
    matrices = ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down")
    shapes |= {f"blk.0.{name}": (size, size) for name in matrices}
    for name, shape in shapes.items():
        writer.add_tensor(f"{name}.weight", np.zeros(shape, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def lines(path: Path, count: int) -> list[str]:
    found: list[str] = []
    with gzip.open(path, "rt", encoding="utf-8") as file:
        for row in file:
            found += [line for line in json.loads(row)["text"].splitlines() if line.strip()]
            if len(found) >= count:
                break
    return found[:count]


@pytest.fixture(scope="module")
def corpus(shared_data: Callable[[str], Path]) -> list[str]:
    parts = [lines(shared_data(f"corpus/{name}/{name}.jsonl.gz"), 200) for name in ("ja_text", "en_text")]
    return [*parts[0], *parts[1], *("\n".join(part[:40]) for part in parts)]


def compared(vocabulary: Vocabulary, texts: list[str], tmp_path: Path) -> Iterator[tuple[str, list[int], list[int]]]:
    """Each text with llama.cpp's ids, and with those of the checkpoint that the GGUF becomes."""
    write_vocabulary(tmp_path / "a.gguf", vocabulary)
    (tmp_path / "back").mkdir()
    write_tokenizer_files(read_vocabulary(read_header(tmp_path / "a.gguf")), tmp_path / "back", max_tokens=32)
    back = Tokenizer.from_file(str(tmp_path / "back" / "tokenizer.json"))
    with LlamaCpp(tmp_path / "a.gguf", num_context=32, num_threads=1) as model:
        for text in texts:
            yield text, model.tokenize(text), back.encode(text, add_special_tokens=False).ids


SPECIALS = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}


def write_settings(directory: Path, content: dict[str, Any]) -> None:
    (directory / "tokenizer_config.json").write_text(json.dumps(content), encoding="utf-8")


@pytest.mark.parametrize("name", ["mistral-v1-32k", "mistral-v3-32k"])
def test_mistral(shared_data: Callable[[str], Path], corpus: list[str], tmp_path: Path, name: str) -> None:
    from sentencepiece import SentencePieceProcessor

    shutil.copy(shared_data(f"tokenizers/{name}/tokenizer.model"), tmp_path)
    write_settings(tmp_path, SPECIALS)
    library = SentencePieceProcessor(model_file=str(tmp_path / "tokenizer.model"))
    vocabulary = read_tokenizer_files(tmp_path, vocab_size=len(library) + 8)
    plain = [text for text in TEXTS if "<s>" not in text and "<unk>" not in text]  # the library does not know them
    for text, in_llama_cpp, back in compared(vocabulary, corpus + plain, tmp_path):
        assert in_llama_cpp == back == library.encode(text), text


@pytest.mark.parametrize(("name", "most_lost"), [("llm-jp-v2.2-48k", 0.12), ("llm-jp-v3.1", 0.02)])
def test_llm_jp(
    shared_data: Callable[[str], Path], corpus: list[str], tmp_path: Path, name: str, most_lost: float
) -> None:
    from sentencepiece import SentencePieceProcessor

    directory = shared_data(f"tokenizers/{name}")
    (model,) = directory.glob("*.model")
    library = SentencePieceProcessor(model_file=str(model))
    if (directory / "tokenizer.json").is_file():
        shutil.copy(directory / "tokenizer.json", tmp_path)
        shutil.copy(directory / "tokenizer_config.json", tmp_path)
    else:
        shutil.copy(model, tmp_path / "tokenizer.model")
        write_settings(tmp_path, SPECIALS)
    vocabulary = read_tokenizer_files(tmp_path, vocab_size=len(library) + 8)
    num_lost = 0
    for text, in_llama_cpp, back in compared(vocabulary, corpus, tmp_path):
        assert back == library.encode(text), text
        is_lost = bool(known_difference(vocabulary, text))
        assert in_llama_cpp == back or is_lost, text
        num_lost += is_lost
    assert num_lost <= most_lost * len(corpus)
